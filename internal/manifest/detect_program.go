package manifest

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

var procLine = regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(\S.*?)\s*$`)

// procfile recognises the processes of a Procfile in the project's folder.
func (f *finder) procfile() {
	src, ok := f.file(".", "Procfile")
	if !ok {
		return
	}
	for line := range strings.Lines(src) {
		m := procLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		if m[1] == "release" {
			f.note("Procfile: release is left out; it runs once per release, not as a service")
			continue
		}
		words := shellWords(m[2])
		if len(words) == 0 {
			continue
		}
		found := Found{Name: m[1], Run: words}
		found.Reasons = append(found.Reasons, fmt.Sprintf("from Procfile, command %s", quote(words)))
		if m[1] == "web" {
			found.Public = "/"
			found.Reasons = append(found.Reasons, "public, since a Procfile's web takes the requests")
		} else {
			found.Health = "none"
			found.Reasons = append(found.Reasons, "health none, since only a Procfile's web listens on a port")
		}
		f.out.Services = append(f.out.Services, found)
	}
}

// fromProcfile reads how the web process is started.
func fromProcfile(src string, found *Found) bool {
	for line := range strings.Lines(src) {
		if m := procLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil && m[1] == "web" {
			found.Run = shellWords(m[2])
		}
	}
	return len(found.Run) > 0
}

var (
	goModule     = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)`)
	majorVersion = regexp.MustCompile(`^v\d+$`)
)

// fromGoMod names the program by its module. It must be built first: "go run"
// would not pass on the signal that ends it.
func fromGoMod(src string, found *Found) bool {
	m := goModule.FindStringSubmatch(src)
	if m == nil {
		return false
	}
	name := path.Base(m[1])
	if majorVersion.MatchString(name) {
		name = path.Base(path.Dir(m[1]))
	}
	found.Name = name
	binary := nameFrom(name)
	found.Run, found.Before = []string{"./" + binary}, "go build -o "+binary+" ."
	return true
}

// fromPackage reads the start script, or the main file, of a Node package.
func fromPackage(src string, found *Found) bool {
	var p struct {
		Name    string            `json:"name"`
		Main    string            `json:"main"`
		Scripts map[string]string `json:"scripts"`
	}
	// A package.json that is not JSON starts nothing; what could be read is used.
	_ = json.Unmarshal([]byte(src), &p)
	found.Name = path.Base(p.Name)
	if p.Name == "" {
		found.Name = ""
	}
	if start := p.Scripts["start"]; start != "" {
		found.Run = []string{"npm", "start"}
		if words, why, _ := split(start); why == "" && len(words) > 1 && words[0] == "node" {
			found.Run = words // without npm in between, signals arrive
		}
		return true
	}
	if p.Main != "" {
		found.Run = []string{"node", p.Main}
		return true
	}
	return false
}

// fromPyproject reads the name and the first script of a Python project. Of
// TOML it knows sections and lines of key = "text", which is where those stand.
func fromPyproject(src string, found *Found) bool {
	section := ""
	var entry string
	for line := range strings.Lines(src) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[] ")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		key, value = strings.Trim(strings.TrimSpace(key), `"'`), tomlText(value)
		switch section {
		case "project", "tool.poetry":
			if key == "name" && value != "" {
				found.Name = value
			}
		case "project.scripts", "tool.poetry.scripts":
			if entry == "" {
				entry = value
			}
		}
	}
	if m := entryPoint.FindStringSubmatch(entry); m != nil {
		found.Run = []string{"python3", "-c", fmt.Sprintf("from %s import %s; %s()", m[1], m[2], m[2])}
		return true
	}
	if module := strings.ReplaceAll(found.Name, "-", "_"); pythonName.MatchString(module) {
		found.Run = []string{"python3", "-m", module}
		return true
	}
	return false
}

var (
	entryPoint = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*):([A-Za-z_][A-Za-z0-9_]*)$`)
	pythonName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// tomlText returns the text in a TOML value's quotes, or "".
func tomlText(value string) string {
	value = strings.TrimSpace(value)
	if strings.HasPrefix(value, "'") {
		text, _, _ := strings.Cut(value[1:], "'")
		return text
	}
	text, err := strconv.QuotedPrefix(value)
	if err != nil {
		return ""
	}
	text, err = strconv.Unquote(text)
	if err != nil {
		return ""
	}
	return text
}
