package manifest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Detection is what Detect recognised.
type Detection struct {
	Project  string   `json:"project,omitempty"` // "" when no file names it
	Services []Found  `json:"services"`
	Notes    []string `json:"notes,omitempty"` // what was seen and left out, and why
}

// Found is one service that was recognised.
type Found struct {
	Name    string   `json:"name"`
	Dir     string   `json:"dir,omitempty"` // relative; "" is the folder of the file
	Run     []string `json:"run"`
	Health  string   `json:"health,omitempty"` // a path, "none", or "" for the default
	Needs   []string `json:"needs,omitempty"`
	Ports   []int    `json:"ports,omitempty"`  // it listened on, to be mentioned
	Public  string   `json:"public,omitempty"` // a path prefix, or ""
	Before  string   `json:"before,omitempty"` // command that must have been run first
	Reasons []string `json:"reasons"`          // where each guess comes from
}

// maxFound is how many services are taken over; more are noted.
const maxFound = 50

// composeNames are the names of Compose files, the preferred one first.
func composeNames() []string {
	return []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}
}

// Detect recognises services in the contents of files, by their slash-separated
// paths relative to the project: a Compose file, else a Procfile, else go.mod,
// package.json and pyproject.toml in the project's folder and one level below.
// It reads what it is given and never fails: what it cannot use, it notes.
func Detect(files map[string][]byte) Detection {
	f := finder{files: files}
	for _, folder := range f.folders() {
		f.compose(folder)
		if len(f.out.Services) > 0 {
			break
		}
	}
	if len(f.out.Services) == 0 {
		f.procfile()
	}
	if len(f.out.Services) == 0 {
		for _, folder := range f.folders() {
			f.folder(folder)
		}
	}
	f.finish()
	return f.out
}

type finder struct {
	files map[string][]byte
	out   Detection
}

func (f *finder) note(format string, args ...any) {
	f.out.Notes = append(f.out.Notes, printable(fmt.Sprintf(format, args...)))
}

// folders lists the folders that hold files, the project's own first.
func (f *finder) folders() []string {
	seen := map[string]bool{}
	for name := range f.files {
		seen[path.Dir(path.Clean(name))] = true
	}
	delete(seen, ".")
	return append([]string{"."}, slices.Sorted(maps.Keys(seen))...)
}

// file returns the contents of a file in a folder.
func (f *finder) file(folder, name string) (string, bool) {
	b, ok := f.files[path.Join(folder, name)]
	return string(b), ok
}

// folder recognises one service by what is in its folder.
func (f *finder) folder(folder string) {
	found, ok := f.program(folder)
	if !ok {
		return
	}
	if found.Name == "" || folder != "." {
		found.Name = path.Base(folder)
	}
	f.out.Services = append(f.out.Services, found)
}

// guess reads from one kind of file how a program is called and started. It
// returns false if the file does not say how to start it.
type guess struct {
	file string
	read func(src string, found *Found) bool
}

// guesses lists the files that tell, the most telling first.
func guesses() []guess {
	return []guess{{"Procfile", fromProcfile}, {"go.mod", fromGoMod}, {"pyproject.toml", fromPyproject}, {"package.json", fromPackage}}
}

// program guesses how the program in a folder is started.
func (f *finder) program(folder string) (Found, bool) {
	for _, guess := range guesses() {
		src, ok := f.file(folder, guess.file)
		if !ok {
			continue
		}
		found := Found{}
		if folder != "." {
			found.Dir = folder
		}
		if guess.read(src, &found) {
			found.Reasons = append(found.Reasons, fmt.Sprintf("from %s, command %s", path.Join(folder, guess.file), quote(found.Run)))
			if found.Before != "" {
				found.Reasons = append(found.Reasons, "build it before each deploy: "+found.Before)
			}
			return found, true
		}
		f.note("%s: it does not say how to start the program", path.Join(folder, guess.file))
	}
	return Found{}, false
}

// finish makes what was found fit for a file: names that are valid and said
// once, needs that exist, and one service that the outside reaches.
func (f *finder) finish() {
	if f.out.Project == "" {
		f.out.Project = f.projectName()
	}
	if f.out.Project != "" {
		f.out.Project = nameFrom(f.out.Project)
	}
	if n := len(f.out.Services); n > maxFound {
		f.note("%d services were recognised; the first %d are taken over", n, maxFound)
		f.out.Services = f.out.Services[:maxFound]
	}
	f.out.Services = slices.DeleteFunc(f.out.Services, func(s Found) bool {
		bad := !writable(s.Run) || !writable([]string{s.Dir, s.Health}) || s.Run[0] == "" || s.Dir != "" && strings.TrimSpace(s.Dir) == ""
		if bad {
			f.note("%s: left out, since its command or folder cannot be written down", s.Name)
		}
		return bad
	})
	f.rename()
	f.front()
	for i := range f.out.Services {
		for j, reason := range f.out.Services[i].Reasons {
			f.out.Services[i].Reasons[j] = f.out.Services[i].Name + ": " + printable(reason)
		}
	}
}

// rename gives each service a valid name of its own, and its needs the new names.
func (f *finder) rename() {
	renamed, used := map[string]string{}, map[string]bool{}
	for i := range f.out.Services {
		s := &f.out.Services[i]
		name := nameFrom(s.Name)
		for n := 2; used[name]; n++ {
			suffix := "-" + strconv.Itoa(n)
			base := nameFrom(s.Name)
			name = strings.TrimRight(base[:min(len(base), 31-len(suffix))], "-") + suffix
		}
		used[name] = true
		if _, again := renamed[s.Name]; !again {
			renamed[s.Name] = name
		}
		s.Name = name
	}
	for i := range f.out.Services {
		f.known(&f.out.Services[i], renamed)
	}
}

// known keeps the needs that are services, by their new names.
func (f *finder) known(s *Found, renamed map[string]string) {
	var needs []string
	for _, n := range s.Needs {
		name, ok := renamed[n]
		switch {
		case !ok:
			f.note("%s: needs %s, which Slipway does not run; put its address under config:", s.Name, n)
		case name != s.Name && !slices.Contains(needs, name):
			needs = append(needs, name)
		}
	}
	s.Needs = needs
}

// front guesses the one service that requests from outside go to.
func (f *finder) front() {
	needed := map[string]bool{}
	public := false
	for i := range f.out.Services {
		s := &f.out.Services[i]
		if public {
			s.Public = "" // one is enough
		}
		public = public || s.Public != ""
		for _, n := range s.Needs {
			needed[n] = true
		}
	}
	var fronts []int
	for i, s := range f.out.Services {
		if s.Health != "none" && !needed[s.Name] && (len(s.Ports) > 0 || len(f.out.Services) == 1) {
			fronts = append(fronts, i)
		}
	}
	if public || len(fronts) != 1 {
		return
	}
	s := &f.out.Services[fronts[0]]
	s.Public = "/"
	why := "it is the only service"
	if len(f.out.Services) > 1 {
		why = "it alone has a published port and no service needs it"
	}
	s.Reasons = append(s.Reasons, "public, since "+why)
}

// projectName is what the manifest in the project's folder calls it.
func (f *finder) projectName() string {
	for _, guess := range guesses() {
		if src, ok := f.file(".", guess.file); ok {
			found := Found{}
			if guess.read(src, &found); found.Name != "" {
				return found.Name
			}
		}
	}
	return ""
}

// writable says whether words can stand in a file as they are.
func writable(words []string) bool {
	for _, w := range words {
		if !utf8.ValidString(w) || strings.ContainsFunc(w, func(c rune) bool { return !unicode.IsPrint(c) }) {
			return false
		}
	}
	return true
}

// printable makes s fit for one line.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '·'
		}
		return c
	}, s)
}

// shellWords returns the words of a command line, with a shell in front where
// it needs one.
func shellWords(line string) []string {
	words, why, _ := split(line)
	if why != "" {
		return []string{"sh", "-c", line}
	}
	return words
}

var portPattern = regexp.MustCompile(`(?:^|:)(\d{1,5})(?:/tcp)?$`)

// portOf returns the port inside the container of a Compose port: "8080:80/tcp".
func portOf(s string) (int, bool) {
	m := portPattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	port, err := strconv.Atoi(m[1])
	return port, err == nil && port > 0 && port < 1<<16
}
