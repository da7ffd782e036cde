package control

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Command is the command line that does the same as an act.
func (a Act) Command() string {
	words := []string{"slipway"}
	say := func(all ...string) {
		for _, w := range all {
			words = append(words, delivery.Shell(w))
		}
	}
	flag := func(name, value string) {
		if value != "" {
			say("--"+name, value)
		}
	}
	subject := a.Service
	if a.Change != 0 {
		subject = fmt.Sprint(a.Change)
	}
	switch a.Verb {
	case ActDeploy:
		say("deploy", a.Service)
		if a.Version != "" {
			say(a.Version)
		}
		for _, k := range slices.Sorted(maps.Keys(a.Set)) {
			say("--set", k+"="+a.Set[k])
		}
		for _, k := range a.Unset {
			say("--unset", k)
		}
		flag("env", a.Env)
		if o := a.Strategy; o != nil {
			flag("strategy", string(o.Kind))
			if o.Approve {
				say("--approve")
			}
		}
		if a.BreakGlass {
			say("--break-glass")
		}
	case ActPromote:
		say("promote", subject)
		flag("to", a.Env)
	case ActApprove:
		say("promote", subject)
		flag("env", a.Env)
	case ActFinish:
		say("promote", subject)
		flag("env", a.Env)
		say("--finish")
	case ActPause, ActResume, ActAbort:
		say(string(a.Verb), subject)
		flag("env", a.Env)
	case ActRollback:
		say("rollback", a.Service)
		flag("env", a.Env)
		flag("to", a.Version)
	case ActSwitch:
		say("switch", a.Service)
		flag("env", a.Env)
		if a.Back {
			say("--back")
		}
	case ActHold, ActRelease:
		say(string(a.Verb), a.Service)
		if a.Version != "" {
			say(a.Version)
		}
		flag("env", a.Env)
	}
	if a.Verb == ActHold {
		flag("why", a.Reason)
	} else {
		flag("reason", a.Reason)
	}
	return strings.Join(words, " ")
}
