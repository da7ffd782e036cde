package web

import (
	"regexp"
	"strings"
)

// sourceLine is one line of a file, from 1 on.
type sourceLine struct {
	N    int
	Text string
}

// maxSourceLines is how many lines of a file a page shows, and maxSourceBytes how
// much of each.
const (
	maxSourceLines = 250
	maxSourceBytes = 140
)

const hidden = "(hidden)"

var (
	// secretKey finds a key whose value is a secret, as far as its name tells, and
	// what is said of it up to the end of the line or of its place in a list.
	secretKey = regexp.MustCompile(`(?i)([\w.-]*(?:secret|passw|token|credential|api_?key|private_?key|access_?key|dsn)[\w.-]*["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,}\]{\[#][^,}\]#]*)`)
	secretURL = regexp.MustCompile(`://[^/\s:@"']*:[^\s"']+@`) // up to the last @: people forget to encode one, or a /
	secretRun = regexp.MustCompile(`(?i)(--?[\w-]*(?:secret|passw|token|api-?key)[\w-]*[ =])(\S+)`)
)

// sourceLines shows a slipway.yaml: what looks like a secret in it is left out, for
// whoever may read the page need not know it. It says how many lines are not shown.
func sourceLines(src string) (lines []sourceLine, more int) {
	all := strings.Split(strings.TrimRight(strings.ReplaceAll(src, "\r\n", "\n"), "\n"), "\n")
	block := -1 // how far the key is indented whose block of text is a secret
	for i, text := range all {
		if i == maxSourceLines {
			return lines, len(all) - i
		}
		indent := len(text) - len(strings.TrimLeft(text, " "))
		if block >= 0 && (indent > block || strings.TrimSpace(text) == "") {
			lines = append(lines, sourceLine{i + 1, strings.Repeat(" ", indent) + hidden})
			continue
		}
		block = -1
		shown, opens := discreetLine(text)
		if opens {
			block = indent
		}
		lines = append(lines, sourceLine{i + 1, visible(cutText(shown, maxSourceBytes))})
	}
	return lines, 0
}

// secretName finds a name whose value is a secret, as far as it tells.
var secretName = regexp.MustCompile(`(?i)secret|passw|token|credential|api_?key|private_?key|access_?key|dsn`)

// discreet shows a value of configuration, and leaves out what looks like a secret as
// sourceLines does: what the file hides no other page tells.
func discreet(key, value string) string {
	low := strings.ToLower(key)
	if value != "" && secretName.MatchString(low) && !strings.HasSuffix(low, "_file") && !strings.HasSuffix(low, ".file") {
		return hidden
	}
	value = secretURL.ReplaceAllString(value, "://"+hidden+"@")
	return secretRun.ReplaceAllString(value, "${1}"+hidden)
}

// discreetLine leaves secrets out of a line. opens says that one goes on in the
// lines below.
func discreetLine(text string) (shown string, opens bool) {
	text = secretKey.ReplaceAllStringFunc(text, func(found string) string {
		m := secretKey.FindStringSubmatch(found)
		key := strings.ToLower(strings.TrimRight(m[1], " :=\"'"))
		if strings.HasSuffix(key, "_file") || strings.HasSuffix(key, ".file") { // it names a file, and says nothing of what is in it
			return found
		}
		value := strings.TrimSpace(m[2])
		opens = opens || strings.HasPrefix(value, "|") || strings.HasPrefix(value, ">")
		return m[1] + hidden
	})
	text = secretURL.ReplaceAllString(text, "://"+hidden+"@")
	return secretRun.ReplaceAllString(text, "${1}"+hidden), opens
}
