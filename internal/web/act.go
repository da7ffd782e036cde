package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
)

// actView is the page before an action: what it would do exactly, or why it is
// refused, and the form that does it.
type actView struct {
	Title   string
	Dialog  bool // it stands in the dialog of another page
	Asked   actForm
	Form    *deployForm   // what may be chosen; of a deploy
	Would   *control.Done // nil: it is refused, or not asked yet
	Trouble *trouble      // why it is refused
	Wrong   string        // what is wrong with the form that was sent
	Moved   string        // what was seen is no longer so
	Command string        // that does the same
	Edit    string        // address to choose again; "" if there is nothing to choose
	Cancel  string        // address of the page to go back to
	Home    string        // what that page is about
	Reason  string        // "", "optional" or "required"
	Type    string        // what has to be typed; "" if nothing
	Key     string        // names the form, so that sending it twice is doing it once
	Label   string        // of the button that does it
	Danger  bool
}

// Sentence is what the action does.
func (v actView) Sentence() string {
	if v.Would == nil {
		return ""
	}
	return v.Would.Effect.Text
}

// Ways is the plan of a deploy, one line an environment.
func (v actView) Ways() []way {
	if v.Would == nil {
		return nil
	}
	var out []way
	for i, p := range v.Would.Plans {
		how := "by itself"
		switch {
		case i == 0:
			how = "at once"
		case p.Promote == delivery.Manual:
			how = "when it is promoted"
		}
		out = append(out, way{Env: p.Env, When: how, Course: promotion.Course(p.Plan), Why: p.Plan.Reason})
	}
	return out
}

// way is one environment of a plan.
type way struct{ Env, When, Course, Why string }

// actPage shows what an action would do.
func (w *Web) actPage(rw http.ResponseWriter, r *http.Request) {
	who, ok := w.admit(rw, r, delivery.Reader)
	if !ok {
		return
	}
	v, ok := w.asked(rw, r, who, r.URL.Query())
	if !ok {
		return
	}
	if f := v.Asked; f.Verb == control.ActDeploy {
		var err error
		if v.Form, err = w.deployForm(r.Context(), f, who); err != nil {
			w.refuse(rw, r, who, err)
			return
		}
		if !f.Planned {
			w.showAct(rw, r, who, v)
			return
		}
	}
	w.showAct(rw, r, who, w.preflight(r.Context(), v, who))
}

// actDo does an action, and goes on to what it is about. What it cannot do now is
// shown as before, with why.
func (w *Web) actDo(rw http.ResponseWriter, r *http.Request) {
	who, ok := w.admitForm(rw, r, delivery.Reader)
	if !ok {
		return
	}
	v, ok := w.asked(rw, r, who, r.PostForm)
	if !ok {
		return
	}
	f := v.Asked
	if f.Verb == control.ActDeploy {
		v.Edit = f.address(false)
	}
	if wrong := w.incomplete(r.Context(), f, who); wrong != "" {
		v = w.preflight(r.Context(), v, who)
		v.Wrong = wrong
		w.showAct(rw, r, who, v)
		return
	}
	act := f.act(who)
	act.Seen, act.Key = f.Seen, f.Key
	done, err := w.d.Loop.Do(r.Context(), act)
	if err == nil {
		http.Redirect(rw, r, after(done), http.StatusSeeOther)
		return
	}
	if no := refusalOf(err); no != nil && (no.Code == delivery.CodeMovedOn || no.Code == delivery.CodeKeyReused) {
		v = w.preflight(r.Context(), v, who)
		v.Moved = no.Why
		w.showAct(rw, r, who, v)
		return
	}
	w.showAct(rw, r, who, w.refused(r.Context(), v, err))
}

// asked reads which action is asked for. Where it is none, or one that who asks may
// not do, it has answered.
func (w *Web) asked(rw http.ResponseWriter, r *http.Request, who delivery.Who, form url.Values) (v actView, ok bool) {
	f, err := readAct(r.PathValue("verb"), form)
	if err != nil {
		w.refuse(rw, r, who, err)
		return actView{}, false
	}
	v = newActView(r, f)
	if err := f.allowed(who); err != nil {
		w.showAct(rw, r, who, w.refused(r.Context(), v, err))
		return v, false
	}
	return v, true
}

// isFragment reports whether a script asks for what goes into the dialog.
func isFragment(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("HX-Request") == "true" && r.Header.Get("HX-History-Restore-Request") == ""
}

// newActView is an action that nothing is known of yet but what is asked.
func newActView(r *http.Request, f actForm) actView {
	how := manners(f)
	return actView{
		Title: how.title, Label: how.label, Danger: how.danger, Reason: how.reason, Dialog: isFragment(r), Asked: f,
		Command: f.act(delivery.Who{}).Command(), Cancel: f.home(), Home: f.about(), Key: rand.Text(),
	}
}

// preflight fills in what the action would do, or why it is refused.
func (w *Web) preflight(ctx context.Context, v actView, who delivery.Who) actView {
	if v.Asked.Verb == control.ActDeploy {
		v.Edit = v.Asked.address(false)
	}
	done, err := w.d.Loop.Preflight(ctx, v.Asked.act(who))
	if err != nil {
		return w.refused(ctx, v, err)
	}
	v.Would = &done
	v.Asked.Seen = done.Effect.Seen
	if v.Asked.Change != 0 && done.Effect.Service != "" { // its number says little
		v.Title = manners(v.Asked.named(done.Effect.Service)).title
	}
	if v.Asked.Env == "" && v.Asked.Verb != control.ActDeploy && v.Asked.Verb != control.ActRelease {
		v.Asked.Env = done.Effect.Env // the form means what the page says
		v.Command = v.Asked.act(who).Command()
	}
	if v.Type, err = w.toType(ctx, v.Asked, done); err != nil {
		return w.refused(ctx, v, err)
	}
	return v
}

// refused is an action that cannot be done, and what comes next.
func (w *Web) refused(ctx context.Context, v actView, err error) actView {
	t := w.troubleOf(ctx, err)
	v.Would, v.Trouble = nil, &t
	return v
}

// toType is what a person types to show that it is meant: the name of the service
// whose stable release would be taken back where the real traffic is. What is only
// on its way is taken back without: there every second counts.
func (w *Web) toType(ctx context.Context, f actForm, done control.Done) (string, error) {
	if f.Verb != control.ActRollback && (f.Verb != control.ActSwitch || !f.Back) || done.Effect.Change != 0 {
		return "", nil
	}
	p, _, err := w.d.Store.Project(ctx)
	if err != nil || p.After(done.Effect.Env) != "" {
		return "", err
	}
	return done.Effect.Service, nil
}

// incomplete says what a form lacks; "" if nothing.
func (w *Web) incomplete(ctx context.Context, f actForm, who delivery.Who) string {
	if manners(f).reason == "required" && f.Reason == "" {
		return "say why: whoever meets this wants to know"
	}
	if f.Seen == "" {
		return "look at what it does first"
	}
	if f.Verb != control.ActRollback && f.Verb != control.ActSwitch {
		return ""
	}
	done, err := w.d.Loop.Preflight(ctx, f.act(who))
	if err != nil {
		return "" // doing it says why
	}
	name, err := w.toType(ctx, f, done)
	if err != nil {
		return w.troubleOf(ctx, err).Why
	}
	if name != "" && f.Typed != name {
		return "type " + name + " to confirm that what is stable in " + done.Effect.Env + " shall go back"
	}
	return ""
}

// showAct renders the page of an action, or what goes into the dialog.
func (w *Web) showAct(rw http.ResponseWriter, r *http.Request, who delivery.Who, v actView) {
	status := http.StatusOK
	switch {
	case v.Trouble != nil:
		status = v.Trouble.Status
	case v.Moved != "":
		status = http.StatusConflict
	case v.Wrong != "":
		status = http.StatusUnprocessableEntity
	}
	rw.Header().Add("Vary", "HX-Request")
	w.write(rw, r, status, frame{page: page{Title: v.Title, Name: "act-page", View: v}, Who: who})
}

// after is the page to go on with when something was done.
func after(d control.Done) string {
	if d.Change != 0 {
		return fmt.Sprintf("/changes/%d", d.Change)
	}
	return "/services/" + url.PathEscape(d.Effect.Service)
}

// deployForm is what may be chosen for a deploy.
type deployForm struct {
	Services   []string
	Versions   []control.Version
	Envs       []string
	Strategies []string
	Chosen     string // version that is chosen when the form opens
	None       string // the command that brings a version; "" if there is one to choose
	Glass      bool   // whoever asks may go past the order of environments
}

func (w *Web) deployForm(ctx context.Context, f actForm, who delivery.Who) (*deployForm, error) {
	p, _, err := w.d.Store.Project(ctx)
	if err != nil {
		return nil, err
	}
	out := &deployForm{
		Glass:    access.BreakGlass(who) == nil,
		Services: p.ServiceNames(), Envs: p.EnvironmentNames(),
		Strategies: []string{string(delivery.Canary), string(delivery.BlueGreen), string(delivery.Rolling), string(delivery.Recreate)},
	}
	if f.Service == "" {
		return out, nil
	}
	out.Versions, err = w.d.Loop.Versions(ctx, f.Service)
	if errors.Is(err, delivery.ErrNotFound) {
		return nil, err
	}
	out.Versions = slices.DeleteFunc(out.Versions, func(v control.Version) bool { return v.Gone })
	out.Chosen = f.Version
	if f.Version == "" && !f.Planned && f.Set == "" && f.Unset == "" {
		out.Chosen = likely(out.Versions)
	}
	if len(out.Versions) == 0 {
		out.None = "slipway deploy " + delivery.Shell(f.Service) + " VERSION --from PATH"
	}
	return out, err
}

// likely is the version that a person most likely comes to deploy: one that was never
// deployed, else one that is newer than all that is stable; never an older one, as
// that would be a way back. "" is none.
func likely(newestFirst []control.Version) string {
	fresh := slices.IndexFunc(newestFirst, func(v control.Version) bool { return v.Release == "" })
	if fresh >= 0 {
		return newestFirst[fresh].Version
	}
	for _, v := range newestFirst {
		if len(v.StableIn) > 0 {
			break
		}
		if v.Held == nil {
			return v.Version
		}
	}
	return ""
}
