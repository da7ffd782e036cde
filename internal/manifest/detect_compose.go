package manifest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// compose recognises the services of a Compose file in folder.
func (f *finder) compose(folder string) {
	for _, name := range composeNames() {
		src, ok := f.file(folder, name)
		if !ok {
			continue
		}
		file := path.Join(folder, name)
		r := newReport(file, src)
		root := read(r, src)
		if root.field("services") == nil {
			if len(r.mistakes) > 0 {
				f.note("%s", r.mistakes[0].Error())
				return
			}
			f.note("%s: it has no services", file)
			return
		}
		if n := root.field("name"); n != nil && n.kind == text {
			f.out.Project = n.text
		}
		for _, p := range root.field("services").pairs {
			f.composed(folder, file, p)
		}
		return
	}
}

// composed takes over one service of a Compose file, or notes why not.
func (f *finder) composed(folder, file string, p pair) {
	s, context := p.value, ""
	if build := s.field("build"); build != nil {
		context = "."
		if build.kind == text {
			context = build.text
		} else if c := build.field("context"); c != nil {
			context = c.text
		}
	}
	if context == "" {
		image := "an image"
		if i := s.field("image"); i != nil {
			image = "image " + i.text
		}
		f.note("%s: left out, since Slipway does not run %s; start it yourself and put its address under config:", p.key, image)
		return
	}
	found := Found{Name: p.key}
	if found.Dir = path.Join(folder, context); found.Dir == "." {
		found.Dir = ""
	}
	if words := append(composeWords(s.field("entrypoint")), composeWords(s.field("command"))...); len(words) > 0 {
		found.Run = words
		found.Reasons = append(found.Reasons, fmt.Sprintf("from %s service %s, command %s", file, p.key, quote(words)))
	} else if program, ok := f.program(path.Join(folder, context)); ok {
		found.Run, found.Before = program.Run, program.Before
		found.Reasons = append(found.Reasons, fmt.Sprintf("from %s service %s", file, p.key))
		found.Reasons = append(found.Reasons, program.Reasons...)
	} else {
		f.note("%s: left out, since its command is not in %s; add it with run:", p.key, file)
		return
	}
	composeHealth(s.field("healthcheck"), &found)
	found.Needs = append(found.Needs, keysOrItems(s.field("depends_on"))...)
	if len(found.Needs) > 0 {
		found.Reasons = append(found.Reasons, "needs "+strings.Join(found.Needs, ", ")+", from depends_on")
	}
	composePorts(s, &found)
	if n := len(keysOrItems(s.field("environment"))); n > 0 {
		f.note("%s: its environment is not copied (%d variables); put what it needs, but no secrets, under config:", p.key, n)
	}
	f.out.Services = append(f.out.Services, found)
}

// composeWords returns the words of a Compose command; $$ stands for $ there.
func composeWords(n *node) []string {
	if n == nil {
		return nil
	}
	unescape := func(s string) string { return strings.ReplaceAll(s, "$$", "$") }
	if n.kind != list {
		return shellWords(unescape(n.text))
	}
	var words []string
	for _, item := range n.items {
		words = append(words, unescape(item.text))
	}
	return words
}

// keysOrItems returns the names in what may be a list or a mapping.
func keysOrItems(n *node) []string {
	var names []string
	if n == nil {
		return nil
	}
	for _, item := range n.items {
		names = append(names, item.text)
	}
	for _, p := range n.pairs {
		names = append(names, p.key)
	}
	return names
}

var probeURL = regexp.MustCompile(`https?://[^/\s"'|;&]+(/[^\s"'|;&?#]*)`)

// composeHealth takes over a health check that asks for a URL.
func composeHealth(n *node, found *Found) {
	test := n.field("test")
	if test == nil {
		return
	}
	words := []string{test.text}
	for _, item := range test.items {
		words = append(words, item.text)
	}
	if m := probeURL.FindStringSubmatch(strings.Join(words, " ")); m != nil {
		found.Health = m[1]
		found.Reasons = append(found.Reasons, "health "+m[1]+", from healthcheck")
	}
}

// composePorts mentions the ports that a service listened on.
func composePorts(s *node, found *Found) {
	ports := s.field("ports")
	if ports == nil {
		return
	}
	for _, item := range ports.items {
		said := item.text
		if target := item.field("target"); target != nil {
			said = target.text
		}
		if port, ok := portOf(said); ok && !slices.Contains(found.Ports, port) {
			found.Ports = append(found.Ports, port)
		}
	}
	if len(found.Ports) > 0 {
		found.Reasons = append(found.Reasons, fmt.Sprintf("listened on %s; it must listen on $PORT", portsText(found.Ports)))
	}
}

func portsText(ports []int) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(ports), "[]"), " ", ", ")
}
