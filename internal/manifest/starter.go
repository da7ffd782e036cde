package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Starter writes a small commented slipway.yaml for what was detected. Parse
// accepts it. Where nothing was detected it holds an example service to replace.
func Starter(d Detection) []byte {
	project := nameFrom(d.Project)
	services := d.Services
	var b strings.Builder
	fmt.Fprintf(&b, "# yaml-language-server: $schema=%s\n", SchemaURL)
	fmt.Fprintf(&b, "project: %s\n\n", scalarText(project))
	b.WriteString("services:\n")
	if len(services) == 0 {
		b.WriteString("  # Nothing was recognised here. This one serves the files of this folder: put your command in its place.\n")
		services = []Found{{Name: project, Run: []string{"sh", "-c", `exec python3 -m http.server "$PORT"`}, Public: "/"}}
	}
	b.WriteString("  # Each instance listens on $PORT. A service that needs cart is given its address as CART_URL.\n")
	for _, s := range services {
		fields := starterFields(s)
		if len(services) > 3 {
			fmt.Fprintf(&b, "  %s: { %s }%s\n", scalarText(s.Name), strings.Join(fields, ", "), starterRemark(s))
			continue
		}
		fmt.Fprintf(&b, "  %s:%s\n", scalarText(s.Name), starterRemark(s))
		for _, field := range fields {
			fmt.Fprintf(&b, "    %s\n", field)
		}
		if s.Health == "" {
			b.WriteString("    # health: /healthz  # without it, its port must accept a connection\n")
		}
	}
	b.WriteString("\nenvironments: [dev, staging, prod]  # in the order of promotion\n")
	b.WriteString("rollout: canary  # or blue-green, rolling, recreate; see them all with: slipway config explain\n")
	return []byte(b.String())
}

// starterFields writes the fields of a service, each as it may stand in a line.
func starterFields(s Found) []string {
	fields := []string{"run: " + starterCommand(s.Run)}
	if s.Dir != "" {
		fields = append(fields, "dir: "+scalarText(s.Dir))
	}
	if s.Health != "" {
		fields = append(fields, "health: "+scalarText(s.Health))
	}
	if len(s.Needs) > 0 {
		needs := make([]string, len(s.Needs))
		for i, n := range s.Needs {
			needs[i] = scalarText(n)
		}
		fields = append(fields, "needs: ["+strings.Join(needs, ", ")+"]")
	}
	if s.Public != "" {
		fields = append(fields, "public: "+scalarText(s.Public))
	}
	return fields
}

// starterRemark says what must be done before the service runs.
func starterRemark(s Found) string {
	var remarks []string
	if s.Before != "" {
		remarks = append(remarks, "first: "+s.Before)
	}
	if len(s.Ports) > 0 {
		remarks = append(remarks, "listened on "+portsText(s.Ports))
	}
	if len(remarks) == 0 {
		return ""
	}
	return "  # " + strings.Join(remarks, "; ")
}

// starterCommand writes a command as text if that gives the words back, else as a list.
func starterCommand(words []string) string {
	line := quote(words)
	if back, why, _ := split(line); why == "" && slices.Equal(back, words) {
		return scalarText(line)
	}
	items := make([]string, len(words))
	for i, w := range words {
		items[i] = scalarText(w)
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// plainText is what means itself in YAML without quotes, in a list as well.
var plainText = regexp.MustCompile(`^(?:[A-Za-z/]|\.{1,2}/)(?:[A-Za-z0-9/._=+@%$"'&|;<>()*!?~^-]|:[A-Za-z0-9/]| +[A-Za-z0-9/._=+$"'&|;<>()-])*$`)

// scalarText writes one line of text as a YAML scalar.
func scalarText(s string) string {
	words := []string{"true", "false", "null", "yes", "no", "on", "off"}
	switch {
	case plainText.MatchString(s) && !slices.Contains(words, strings.ToLower(s)):
		return s
	case !strings.ContainsAny(s, "\"\\"):
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}
