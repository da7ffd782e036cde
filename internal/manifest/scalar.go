package manifest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// duration is a time span: "1h30m", "10s", "500ms", "7d".
type duration time.Duration

func (v *duration) read(d *decoder, path string, n *node) {
	span, err := parseDuration(n.text)
	switch {
	case n.kind == text && err == nil && span >= 0:
		*v = duration(span)
	case n.kind == text && err == nil:
		d.refuse(path, n, "a duration is never below zero, is "+n.text, "say 0s for none")
	case n.kind == whole || n.kind == decimal || n.kind == text && bareNumber(n.text):
		d.refuse(path, n, n.text+" has no unit", fmt.Sprintf("say %ss, or %sm for minutes", n.text, n.text))
	default:
		d.refuse(path, n, "must be a duration, is "+n.show(), "say 10s, 1m30s, 2h or 7d")
	}
}

func bareNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// parseDuration reads what time.ParseDuration reads, and whole days in front: "7d", "1d12h".
func parseDuration(s string) (time.Duration, error) {
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, err
	}
	span := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return span, nil
	}
	more, err := time.ParseDuration(rest)
	if more < 0 || more > math.MaxInt64-span {
		return 0, fmt.Errorf("%s is out of range", s)
	}
	return span + more, err
}

// JSONSchema describes a duration to editors.
func (duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "string", Pattern: `^(\d+d)?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))*$`, MinLength: new(uint64(2)),
		Description: "A duration, such as 10s, 1m30s, 2h or 7d.",
	}
}

// weight is a share of traffic: 5, "5%", "5 %" or 0.25, all in percent.
type weight delivery.Weight

func (v *weight) read(d *decoder, path string, n *node) {
	const cure = "say a share in percent, such as 5 or 5%"
	s := n.text
	switch n.kind {
	case text:
		var ok bool
		if s, ok = strings.CutSuffix(s, "%"); !ok {
			d.refuse(path, n, "must be a share of the traffic, is "+n.show(), cure)
			return
		}
		s = strings.TrimSpace(s)
	case whole, decimal:
	case mapping, list, truth, nothing:
		d.refuse(path, n, "must be a share of the traffic, is "+n.show(), cure)
		return
	}
	f, err := strconv.ParseFloat(s, 64)
	hundredths := math.Round(f * 100)
	switch {
	case err != nil || math.IsNaN(f):
		d.refuse(path, n, "must be a share of the traffic, is "+n.show(), cure)
	case f <= 0 || f > 100:
		d.refuse(path, n, "a weight is above 0 and at most 100, is "+n.show(), cure)
	case math.Abs(f*100-hundredths) > 1e-6:
		d.refuse(path, n, "a weight has at most two decimals, is "+n.show(), fmt.Sprintf("say %v", max(hundredths, 1)/100))
	default:
		*v = weight(hundredths)
	}
}

// JSONSchema describes a weight to editors.
func (weight) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "number", ExclusiveMinimum: "0", Maximum: "100"},
		{Type: "string", Pattern: `^\s*\d+(\.\d{1,2})?\s*%$`},
	}}
}

// size is a number of bytes: "256MiB", "1.5GiB", "64MB".
type size int64

var sizePattern = regexp.MustCompile(`^(\d{1,9}(?:\.\d{1,3})?) ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$`)

func (v *size) read(d *decoder, path string, n *node) {
	units := map[string]float64{
		"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}
	m := sizePattern.FindStringSubmatch(n.text)
	switch {
	case n.kind == whole || n.kind == decimal || n.kind == text && bareNumber(n.text):
		d.refuse(path, n, n.text+" has no unit", fmt.Sprintf("say %sMiB, or %sB for bytes", n.text, n.text))
	case n.kind != text || m == nil:
		d.refuse(path, n, "must be a size, is "+n.show(), "say 256MiB or 1GiB")
	default:
		f, err := strconv.ParseFloat(m[1], 64)
		if bytes := f * units[m[2]]; err == nil && bytes >= 1 && bytes <= 1<<60 {
			*v = size(bytes)
			return
		}
		d.refuse(path, n, n.text+" is out of range", "say 256MiB or 1GiB")
	}
}

// JSONSchema describes a size to editors.
func (size) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: strings.ReplaceAll(sizePattern.String(), "?:", ""), Description: "A size, such as 256MiB."}
}

// setting is the value of one environment variable. Numbers and truths are
// taken as they are written: 1.10 stays "1.10".
type setting string

func (v *setting) read(d *decoder, path string, n *node) {
	switch {
	case n.kind == nothing:
		d.refuse(path, n, "has no value", `say "" for an empty one`)
	case n.kind == mapping || n.kind == list:
		d.refuse(path, n, "must be text, a number, or true or false, is "+n.show(), "put structured data into quotes as text")
	case strings.ContainsRune(n.text, 0):
		d.refuse(path, n, "an environment variable cannot hold a zero byte", "encode it, for example as base64")
	default:
		*v = setting(n.text)
	}
}

// JSONSchema describes a setting to editors.
func (setting) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
}

// need is a service that another one calls: "cart" or "payment >= 7".
type need delivery.Need

var needPattern = regexp.MustCompile(`^([^\s<>=~^!]+)(?:\s*>=\s*([^\s<>=]+))?$`)

func (v *need) read(d *decoder, path string, n *node) {
	s, ok := d.text(path, n)
	if !ok {
		return
	}
	m := needPattern.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		d.refuse(path, n, fmt.Sprintf("%q is not a need", clip(s)), `say the name of a service, or a name and its lowest version: "payment >= 7"`)
		return
	}
	*v = need{Service: m[1], AtLeast: m[2]}
}

// JSONSchema describes a need to editors.
func (need) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^\s*[a-z][a-z0-9-]{0,30}(\s*>=\s*[^\s<>=]+)?\s*$`}
}

// command is the words of a command: a list, or text that is split as a shell does.
type command []string

func (v *command) read(d *decoder, path string, n *node) {
	switch n.kind {
	case text:
		words, why, next := split(n.text)
		if why != "" {
			d.refuse(path, n, why, next)
			return
		}
		*v = words
	case list:
		for i, item := range n.items {
			if item.kind == mapping || item.kind == list || item.kind == nothing {
				d.refuse(fmt.Sprintf("%s[%d]", path, i), item, "must be a word, is "+item.show(), "put it in quotes")
				return
			}
			if d.masked(fmt.Sprintf("%s[%d]", path, i), item) {
				return
			}
			*v = append(*v, item.text)
		}
	case mapping, whole, decimal, truth, nothing:
		d.refuse(path, n, "must be a command, is "+n.show(), "say the command as text or as a list of words")
		return
	}
	if len(*v) == 0 || (*v)[0] == "" {
		d.refuse(path, n, "the command is empty", "say the program to start and its arguments")
	}
	for _, word := range *v {
		if strings.ContainsRune(word, 0) {
			d.refuse(path, n, "a command cannot hold a zero byte", "remove it")
			return
		}
	}
}

// JSONSchema describes a command to editors.
func (command) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string", MinLength: new(uint64(1))},
		{Type: "array", MinItems: new(uint64(1)), Items: setting("").JSONSchema()},
	}}
}
