// Package discreet is the one rule of what looks like a secret in configuration, and
// leaves it out of what is shown. It guesses by names, and by the forms that secrets
// have in addresses and command lines: it is a curtain before values that should not
// be there, and no vault. It keeps nothing and knows not who asks.
package discreet

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Mask stands where a secret is left out. It is never taken for a value:
// see delivery.Masked.
const Mask = delivery.Mask

const names = `secret|passw|token|credential|api[_-]?key|private[_-]?key|access[_-]?key|dsn`

var (
	// secretName finds a name whose value is a secret, as far as it tells.
	secretName = regexp.MustCompile(`(?i)` + names)
	// secretPair finds such a name with its value, as YAML, shells and JSON write them.
	secretPair = regexp.MustCompile(`(?i)([\w.-]*(?:` + names + `)[\w.-]*["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,}\]{\[#][^,}\]#]*)`)
	// secretURL finds who somebody is in an address, up to the last @: people forget
	// to encode one, or a slash.
	secretURL = regexp.MustCompile(`://[^/\s:@"']*:[^\s"']+@`)
	// secretFlag finds a flag of a command with its value.
	secretFlag = regexp.MustCompile(`(?i)(--?[\w-]*(?:` + names + `)[\w-]*)([ =]+)("[^"]*"?|'[^']*'?|\S+)`)
	// secretTop finds a key of block YAML whose value may go on in the lines below.
	secretTop = regexp.MustCompile(`(?i)^\s*(?:- +)*["']?[\w.-]*(?:` + names + `)[\w.-]*["']?\s*:(?:\s|$)`)
)

// Value shows a value of configuration by its name or by the path of its field.
func Value(name, value string) string {
	if value != "" && secret(name[strings.LastIndex(name, ".")+1:]) {
		return Mask
	}
	return Text(value)
}

// secret reports whether a name says that its value is one. Who names a file says
// nothing of what is in it.
func secret(name string) bool {
	name = strings.ToLower(strings.Trim(name, " -:=\"'"))
	for _, file := range []string{"_file", "-file", ".file"} {
		if strings.HasSuffix(name, file) {
			return false
		}
	}
	return secretName.MatchString(name)
}

// Text shows a line of text, such as a command.
func Text(line string) string {
	line = secretPair.ReplaceAllStringFunc(line, func(found string) string {
		m := secretPair.FindStringSubmatch(found)
		if !secret(m[1]) {
			return found
		}
		return m[1] + masked(m[2], `'" `)
	})
	line = secretURL.ReplaceAllString(line, "://"+Mask+"@")
	return secretFlag.ReplaceAllStringFunc(line, func(found string) string {
		m := secretFlag.FindStringSubmatch(found)
		if !secret(m[1]) {
			return found
		}
		return m[1] + m[2] + masked(m[3], `'",}])`)
	})
}

// masked stands for a value. What closes something that was opened before it, around
// the whole command, stays: the rest is read as it was.
func masked(value, closing string) string {
	if strings.HasPrefix(value, Mask) { // it was a pair too
		return value
	}
	if strings.HasPrefix(value, `"`) || strings.HasPrefix(value, `'`) {
		return Mask
	}
	return Mask + value[len(strings.TrimRight(value, closing)):]
}

// Words shows the words of a command.
func Words(words []string) []string {
	out, follows := slices.Clone(words), false
	for i, word := range out {
		if out[i] = Text(word); follows && !strings.HasPrefix(word, "-") {
			out[i] = Mask
		}
		follows = strings.HasPrefix(word, "-") && !strings.Contains(word, "=") && secret(word)
	}
	return out
}

// Source shows a slipway.yaml, line for line. p is what it says: a secret of p is left
// out in whatever form it is written.
func Source(src string, p delivery.Project) string {
	known := knownOf(p)
	lines := strings.Split(src, "\n")
	block := -1 // how far the key is indented whose value is a secret
	for i, text := range lines {
		trimmed := strings.TrimSpace(text)
		indent := len(text) - len(strings.TrimLeft(text, " "))
		if block >= 0 && (indent > block || trimmed == "") {
			if trimmed != "" {
				lines[i] = strings.Repeat(" ", indent) + Mask
			}
			continue
		}
		block = -1
		if key := secretTop.FindString(text); key != "" && secret(strings.TrimLeft(strings.TrimSpace(key), "- ")) {
			block = indent
		}
		for _, k := range known {
			text = strings.ReplaceAll(text, k[0], k[1])
		}
		lines[i] = Text(text)
	}
	return strings.Join(lines, "\n")
}

// minKnown is how long a secret is that is looked for wherever it stands: a shorter
// one would be found in half of the words.
const minKnown = 4

// knownOf lists the values of p that are not shown, each with how it is, longest first.
func knownOf(p delivery.Project) [][2]string {
	var all [][2]string
	add := func(config map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(config)) {
			value := config[name]
			if shown := Value(name, value); shown != value && len(value) >= minKnown && !strings.Contains(value, "\n") {
				all = append(all, [2]string{value, shown})
			}
		}
	}
	for _, s := range p.Services {
		add(s.Config)
		for _, in := range s.In {
			add(in.Config)
		}
	}
	slices.SortStableFunc(all, func(a, b [2]string) int { return len(b[0]) - len(a[0]) })
	return all
}
