package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// complaint is an error in the three parts a person needs.
type complaint struct {
	what  string   // in a sentence
	why   []string // details, one a line
	who   string   // may lift it
	next  string   // the command or edit that comes next
	block string   // text that is already laid out, such as lines with carets
	code  string
	each  []client.ProblemDetail
}

// complain says an error on stderr: what, why, next.
func (s *session) complain(err error) {
	if _, said := errors.AsType[outcome](err); said {
		return
	}
	format, program := s.forPrograms()
	if interrupted(err) && !program {
		s.talk("  interrupted\n")
		return
	}
	c := complaintOf(err)
	if errors.Is(err, client.ErrNoServer) && s.onlyServerDown() {
		c = complaint{what: serverDown, why: []string{unanswered(err)}, next: "slipway up", code: noServerCode}
	}
	if c.next == "" {
		c.next = "slipway doctor"
		if exitOf(err) == exitUsage {
			c.next = cmp.Or(s.name, "slipway") + " --help"
		}
	}
	if program {
		f := failure{Code: cmp.Or(c.code, failedCode), Error: c.what, Why: c.why, Who: c.who, Next: strings.TrimPrefix(s.again(nextMark+c.next), nextMark), Errors: c.each, Exit: exitOf(err)}
		_, _ = fmt.Fprint(s.Stderr, f.written(format)) // nobody else could be told
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", s.look.bad("✖"), c.what)
	for _, line := range c.why {
		fmt.Fprintf(&b, "  why   %s\n", line)
	}
	if c.block != "" {
		b.WriteString(c.block + "\n")
	}
	if c.who != "" {
		fmt.Fprintf(&b, "  who   %s\n", c.who)
	}
	if c.next != "" {
		b.WriteString(next(c.next))
	}
	s.talk(b.String())
}

// serverDown says what it means that the control plane alone is gone.
const serverDown = "the server does not answer; the data plane and the instances go on as they are"

// onlyServerDown reports whether a server ran in the state folder of this run,
// and the data plane there still does.
func (s *session) onlyServerDown() bool {
	if s.Roof.ProxyRuns == nil || s.Vars("SLIPWAY_URL") != "" {
		return false
	}
	folder, err := s.folder()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(folder, "api.json"))
	return err == nil && s.Roof.ProxyRuns(folder)
}

// unanswered is what an error that matches ErrNoServer says beyond that.
func unanswered(err error) string {
	return strings.TrimPrefix(err.Error(), client.ErrNoServer.Error()+": ")
}

func complaintOf(err error) complaint {
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return complaintOfProblem(p)
	}
	if u, ok := errors.AsType[usageError](err); ok {
		what, meant, _ := strings.Cut(u.Error(), "\n\nDid you mean this?")
		if words := strings.Fields(meant); len(words) > 0 {
			return complaint{what: what, why: []string{"did you mean " + strings.Join(words, " or ") + "?"}, next: "slipway " + words[0] + " --help", code: usageCode}
		}
		return complaint{what: what, next: u.next, code: usageCode}
	}
	if r, ok := errors.AsType[*delivery.Refusal](err); ok {
		return complaint{what: r.Why, who: r.Who, next: r.Next, code: string(r.Code)}
	}
	if f, ok := errors.AsType[*delivery.FieldError](err); ok {
		return complaint{what: f.Error(), next: f.Next, code: invalidCode, each: []client.ProblemDetail{{Location: f.Field, Message: f.Why}}}
	}
	if errors.Is(err, client.ErrNoServer) {
		return complaint{what: "Slipway does not run", why: []string{err.Error()}, next: "slipway up, or name its folder with --state", code: noServerCode}
	}
	if interrupted(err) {
		return complaint{what: "interrupted; what the server does goes on", code: interruptedCode, next: "slipway status"}
	}
	return complaint{what: err.Error()}
}

func complaintOfProblem(p *client.Problem) complaint {
	c := complaint{what: p.Error(), who: p.Who, next: p.Hint, code: p.Code, each: p.Errors}
	if len(p.Errors) == 1 && (p.Errors[0].Message == p.Detail || strings.HasSuffix(p.Detail, p.Errors[0].Message)) {
		return c
	}
	var b strings.Builder
	for _, e := range p.Errors {
		switch {
		case e.Location != "":
			fmt.Fprintf(&b, "%s  %s\n", e.Location, e.Message)
		default:
			fmt.Fprintf(&b, "%s\n", e.Message)
		}
		if text, ok := e.Value.(string); ok && strings.Contains(text, "\n") {
			b.WriteString(text + "\n")
		}
	}
	c.block = strings.TrimSuffix(b.String(), "\n")
	return c
}

// talk says something to the person, not to the program that reads the output.
func (s *session) talk(text string) { _, _ = fmt.Fprint(s.Stderr, s.again(text)) } // nobody else could be told
