package demo

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

//go:embed assets/catalog assets/pricing
var programs embed.FS

//go:embed slipway.yaml.tmpl
var projectText string

// ProjectFile is the name of the file that Write makes in the project's folder.
const ProjectFile = "slipway.yaml"

// basePort is the first port of the demo when Options says none.
const basePort = 7500

// fastRate is the shoppers' requests a second in prod when Options.Fast is set.
const fastRate = 160

// Options says how the demo project is written.
type Options struct {
	Self string       // absolute path of the slipway binary, which holds the Go programs
	Have Interpreters // a missing one means the Go twin
	Port int          // first port of the demo, whose environments listen at +60, +70 and +80; 0 means 7500
	Fast bool         // short holds, for a tour that ends within a minute or two
}

// Place is one environment of the demo as a shopper sees it.
type Place struct {
	Env  string
	Addr string  // host:port of its listener
	Rate float64 // requests a second that its shoppers make
}

// URL returns the address a shopper goes to.
func (p Place) URL() string { return "http://" + p.Addr }

// Places lists the environments in the order of promotion, with real traffic in
// prod and a light synthetic test in the others.
func (o Options) Places() []Place {
	busy := float64(defaultRate)
	if o.Fast {
		busy = fastRate // the judge counts requests, not seconds
	}
	return []Place{
		{Env: "dev", Addr: o.at(60), Rate: 5},
		{Env: "staging", Addr: o.at(70), Rate: 10},
		{Env: "prod", Addr: o.at(80), Rate: busy},
	}
}

// goodWorkMS is the median time of an operation of a good version. With the
// error rate below it gives the judge a baseline that looks like a real one.
const (
	goodWorkMS = 2
	goodFail   = 0.002
)

// api is where the demo's API listens.
func (o Options) api() string { return o.at(0) }

// at is the address at an offset from the first port.
func (o Options) at(offset int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(cmp.Or(o.Port, basePort)+offset))
}

// Versions lists the versions of a service that Write makes, the one to begin with first.
func Versions(service string) []Behaviour {
	good := Behaviour{WorkMS: goodWorkMS, Fail: goodFail}
	v1, v2 := good, good
	v1.Version, v1.Note = "v1", "the one to begin with"
	v2.Version, v2.Note = "v2", "as good as v1"
	switch service {
	case "payment":
	case "pricing":
		empty := good
		empty.Version, empty.Note = "v3-empty", "answers quickly and without an error, and leaves the prices out of a share of its answers: its callers fail"
		empty.Empty = 0.08
		return []Behaviour{v1, v2, empty}
	default:
		return []Behaviour{v1, v2}
	}
	bad, slow := good, good
	bad.Version, bad.Note = "v3-bad", "loses a share of the charges; its health check does not see it"
	bad.Fail, bad.Status, bad.Error = 0.08, 502, "upstream bank refused: connection reset"
	slow.Version, slow.Note = "v4-slow", "answers a share of the charges late"
	slow.DelayMS, slow.DelayShare = 150, 0.3
	return []Behaviour{v1, v2, bad, slow}
}

// member is one service as the project file shows it.
type member struct {
	Name, About, Language string
	Run, Needs, Traffic   string // as YAML
	Config                map[string]string
	Public                bool
}

func (o Options) members() []member {
	about := []member{
		{Name: "shop", About: "the page and the checkout", Public: true},
		{Name: "cart", About: "adds up a basket"},
		// Whoever asks the shop with "baggage: tester=1" sees the catalog that is being rolled out.
		{Name: "catalog", About: "lists what is on sale", Traffic: "{targets: [{name: testers, when: [{baggage: tester}], to: candidate}]}"},
		{Name: "pricing", About: "knows every price"},
		{Name: "payment", About: "charges", Traffic: "{timeout: 5s, retries: 2}", Config: map[string]string{"BANK_TIMEOUT_MS": "800"}},
	}
	for i := range about {
		m := &about[i]
		m.Language = o.Have.Language(m.Name)
		m.Run = yamlList(o.command(m.Name))
		if d, err := define(m.Name); err == nil && len(d.needs) > 0 {
			m.Needs = "[" + strings.Join(d.needs, ", ") + "]"
		}
	}
	return about
}

func (o Options) command(service string) []string {
	switch o.Have.Language(service) {
	case "node":
		return []string{o.Have.Node.Path, "server.js"}
	case "python":
		return []string{o.Have.Python.Path, "main.py"}
	}
	return []string{o.Self, "demo", "serve", service}
}

// step is one canary step of the project file.
type step struct {
	Weight int
	Hold   time.Duration
	Proven bool
}

// pace is what Fast shortens.
type pace struct {
	Steps                      []step // in prod
	Quick, Soak, Window, Probe time.Duration
}

func (o Options) pace() pace {
	if o.Fast {
		return pace{
			Steps: []step{{5, 2 * time.Second, false}, {25, 2 * time.Second, false}, {50, 2 * time.Second, true}, {100, time.Second, false}},
			Quick: time.Second, Soak: 2 * time.Second, Window: time.Minute, Probe: 200 * time.Millisecond,
		}
	}
	return pace{
		Steps: []step{{5, 15 * time.Second, false}, {25, 25 * time.Second, false}, {50, 25 * time.Second, true}, {100, 5 * time.Second, false}},
		Quick: 5 * time.Second, Soak: 15 * time.Second, Window: 10 * time.Minute, Probe: 500 * time.Millisecond,
	}
}

func (o Options) project() ([]byte, error) {
	t, err := template.New(ProjectFile).Parse(projectText)
	if err != nil {
		return nil, err
	}
	type place struct {
		Place
		Quick bool // prod alone takes its time
	}
	var places []place
	for _, p := range o.Places() {
		places = append(places, place{p, p.Env != "prod"})
	}
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		pace
		Places   []place
		Services []member
	}{o.pace(), places, o.members()})
	return b.Bytes(), err
}

// Write writes the demo project to dir: slipway.yaml, and a folder of versions
// for each service. It may be written again over itself, but refuses a folder
// that holds another project.
func Write(dir string, o Options) error {
	if !filepath.IsAbs(o.Self) {
		return delivery.Invalid("self", fmt.Sprintf("must be the absolute path of the slipway binary, not %q", o.Self))
	}
	if o.Port < 0 || o.Port > 65_000 {
		return delivery.Invalid("port", "must be from 1 to 65000")
	}
	text, err := o.project()
	if err != nil {
		return fmt.Errorf("demo: %s: %w", ProjectFile, err)
	}
	if err := ours(dir, text); err != nil {
		return err
	}
	for _, m := range o.members() {
		for _, how := range Versions(m.Name) {
			if err := writeBundle(filepath.Join(dir, m.Name, how.Version), m, how); err != nil {
				return fmt.Errorf("demo: write %s %s: %w", m.Name, how.Version, err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ProjectFile), text, 0o644); err != nil {
		return fmt.Errorf("demo: write project: %w", err)
	}
	return nil
}

// ours refuses a folder whose project file does not begin as the demo's does.
func ours(dir string, text []byte) error {
	there, err := os.ReadFile(filepath.Join(dir, ProjectFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("demo: write project: %w", err)
	}
	if head, _, _ := bytes.Cut(text, []byte("\n")); !bytes.HasPrefix(there, head) {
		return delivery.InvalidNext("dir", dir+" holds a project that is not the demo's", "slipway demo --dir another-folder")
	}
	return nil
}

// writeBundle writes one version of a service: what its program reads, and the
// program itself where it is not the slipway binary.
func writeBundle(dir string, m member, how Behaviour) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(how, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, behaviourFile), append(b, '\n'), 0o644); err != nil {
		return err
	}
	from := "assets/" + m.Name
	files, err := programs.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the slipway binary is the whole program
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if m.Language == "go" && filepath.Ext(f.Name()) != ".json" {
			continue
		}
		b, err := programs.ReadFile(from + "/" + f.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// yamlList writes a command as a YAML list; a JSON string is a YAML string too.
func yamlList(command []string) string {
	quoted := make([]string, len(command))
	for i, c := range command {
		quoted[i] = strconv.Quote(c)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
