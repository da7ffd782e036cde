package telemetry

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/otlp"
)

// story is one rollout that ended, and the change it is of.
type story struct {
	project string
	change  delivery.Change
	rollout delivery.Rollout
	lines   []delivery.Event // of the rollout, oldest first
	over    bool             // the change has nothing more to do by itself
	failed  bool             // the change did not get to its end
}

// over says whether a change is at its end: nothing of it is under way, and it is
// where it was to go, or will not get there. What waits to be promoted is not over.
func over(p delivery.Project, c delivery.Change, all []delivery.Rollout) (over, failed bool) {
	last := c.Only
	if n := len(p.Environments); last == "" && n > 0 {
		last = p.Environments[n-1].Name
	}
	there := 0
	for _, r := range all {
		switch {
		case !r.State.Final():
			return false, false
		case r.State != delivery.Done:
			failed = true
		case r.Env == last:
			there++
		}
	}
	return failed || there >= len(c.Members), failed
}

// IDs are hashes of what is told, so that telling it twice is telling it once.
func hashOf(parts ...string) [32]byte {
	doc, err := json.Marshal(parts) // so that no two lists of parts look the same
	if err != nil {
		doc = nil // texts always have a form
	}
	return sha256.Sum256(doc)
}

// trace is the ID of the trace of the change: of this project and this ledger.
func (s *story) trace() (id [16]byte) {
	h := hashOf("slipway change", s.project, strconv.FormatInt(int64(s.change.ID), 10), strconv.FormatInt(s.change.Submitted.UnixMicro(), 10))
	copy(id[:], h[:])
	return id
}

func (s *story) id(parts ...string) (id [8]byte) {
	h := hashOf(append([]string{fmt.Sprintf("%x", s.trace())}, parts...)...)
	copy(id[:], h[:])
	return id
}

// spans is the trace: the change, once it is over; the rollout; what it went
// through; and the verdicts. Names are those of OpenTelemetry's conventions for
// CI/CD and deployments
// (https://opentelemetry.io/docs/specs/semconv/cicd/cicd-spans/).
func (s *story) spans() []*otlp.Span {
	root := s.id("change")
	var out []*otlp.Span
	if s.over {
		out = append(out, s.root(root))
	}
	r := &s.rollout
	id := s.id("rollout", string(r.ID))
	good := r.State == delivery.Done
	out = append(out, &otlp.Span{
		Trace: s.trace(), ID: id, Parent: root, Kind: otlp.Internal, Name: "rollout " + r.Service + " to " + r.Env,
		Start: r.Created, End: latest(r.Created, r.Ended), Failed: failing(r.State), Why: why(r),
		Attrs: attrs(
			"cicd.pipeline.task.name", "rollout",
			"cicd.pipeline.task.run.id", string(r.ID),
			"cicd.pipeline.task.type", "deploy",
			"cicd.pipeline.task.run.result", result(r.State),
			"deployment.environment.name", r.Env,
			"deployment.id", string(r.ID),
			"deployment.name", r.Service,
			"deployment.status", pick(good, "succeeded", "failed"),
			"slipway.service", r.Service,
			"slipway.release", string(r.To),
			"slipway.version", r.Version,
			"slipway.version.before", r.Was,
			"slipway.strategy", string(r.Plan.Strategy),
			"slipway.state", string(r.State),
			"slipway.cause", string(r.Cause.Kind),
		),
	})
	return append(out, s.visits(id)...)
}

func (s *story) root(id [8]byte) *otlp.Span {
	c := &s.change
	span := &otlp.Span{
		Trace: s.trace(), ID: id, Kind: otlp.Server, Name: "RUN " + s.project,
		Start: c.Submitted, End: latest(c.Submitted, s.rollout.Ended), Failed: s.failed,
		Attrs: attrs(
			"cicd.pipeline.name", s.project,
			"cicd.pipeline.run.id", strconv.FormatInt(int64(c.ID), 10),
			"cicd.pipeline.action.name", "RUN",
			"cicd.pipeline.result", result(s.rollout.State),
			"vcs.ref.head.revision", c.Commit,
			"slipway.change.kind", string(c.Kind),
			"slipway.change.origin", string(c.Origin),
			"slipway.change.by", c.By,
			"slipway.change.reason", c.Reason,
		),
	}
	if s.failed {
		span.Why = why(&s.rollout)
	}
	return span
}

// move is what a line of the ledger says when a rollout moved.
type move struct {
	Weight  delivery.Weight   `json:"weight"`
	Waiting *delivery.Blocker `json:"waiting_on"`
	Verdict *delivery.Verdict `json:"verdict"`
}

// visit is one stay of a rollout in a stage.
type visit struct {
	stage  string
	weight delivery.Weight
	begin  delivery.Event
}

// visits are the stages of the rollout, one after the other, and the verdicts
// that were said when it left them.
func (s *story) visits(parent [8]byte) []*otlp.Span {
	var out []*otlp.Span
	var at visit
	leave := func(end time.Time) {
		if at.stage == "" {
			return
		}
		out = append(out, &otlp.Span{
			Trace: s.trace(), ID: s.id("stage", string(s.rollout.ID), strconv.FormatInt(at.begin.Seq, 10)), Parent: parent, Kind: otlp.Internal,
			Name: at.stage, Start: at.begin.At, End: latest(at.begin.At, end), Failed: at.stage == "revert", Why: pick(at.stage == "revert", s.rollout.Cause.Text, ""),
			Attrs: append(attrs(
				"cicd.pipeline.task.name", at.stage,
				"cicd.pipeline.task.run.id", fmt.Sprintf("%s/%d", s.rollout.ID, at.begin.Seq),
				"cicd.pipeline.task.type", "deploy",
				"slipway.reason", at.begin.Text,
			), otlp.Attr{Key: "slipway.weight.basis_points", Number: int64(at.weight)}),
		})
	}
	var testing *delivery.Event // the line since which the test of a step runs
	for i, e := range s.lines {
		if e.Kind != delivery.EventMoved {
			continue
		}
		var m move
		if err := json.Unmarshal(e.Data, &m); err != nil && len(e.Data) > 0 {
			m = move{} // a line of another version of Slipway: its time and state are enough
		}
		switch tests := m.Waiting != nil && m.Waiting.On == "test"; {
		case tests && testing == nil:
			testing = &s.lines[i]
		case !tests && testing != nil:
			out = append(out, s.test(parent, *testing, e))
			testing = nil
		}
		if stage := stageOf(e); stage != at.stage {
			leave(e.At)
			at = visit{stage: stage, weight: m.Weight, begin: e}
		}
		if m.Verdict != nil && !m.Verdict.At.IsZero() {
			out = append(out, s.verdict(parent, e, m.Verdict))
		}
	}
	leave(s.rollout.Ended)
	return out
}

// test is the test of a step, which runs between two lines.
func (s *story) test(parent [8]byte, begin, end delivery.Event) *otlp.Span {
	bad := end.State == delivery.Reverting && s.rollout.Cause.Kind == delivery.CauseTest
	return &otlp.Span{
		Trace: s.trace(), ID: s.id("test", string(s.rollout.ID), strconv.FormatInt(begin.Seq, 10)), Parent: parent, Kind: otlp.Internal,
		Name: "test", Start: begin.At, End: latest(begin.At, end.At), Failed: bad, Why: pick(bad, s.rollout.Cause.Text, ""),
		Attrs: attrs(
			"cicd.pipeline.task.name", "test",
			"cicd.pipeline.task.run.id", fmt.Sprintf("%s/%d/test", s.rollout.ID, begin.Seq),
			"cicd.pipeline.task.type", "test",
			"cicd.pipeline.task.run.result", pick(bad, "failure", pick(end.State == delivery.Reverting, "cancellation", "success")),
		),
	}
}

// verdict is a moment.
func (s *story) verdict(parent [8]byte, e delivery.Event, v *delivery.Verdict) *otlp.Span {
	return &otlp.Span{
		Trace: s.trace(), ID: s.id("verdict", string(s.rollout.ID), strconv.FormatInt(e.Seq, 10)), Parent: parent, Kind: otlp.Internal,
		Name: "verdict " + string(v.Outcome), Start: v.At, End: v.At, Failed: v.Outcome == delivery.Fail, Why: pick(v.Outcome == delivery.Fail, v.Sentence, ""),
		Attrs: append(attrs(
			"cicd.pipeline.task.name", "verdict",
			"cicd.pipeline.task.run.id", fmt.Sprintf("%s/%d/verdict", s.rollout.ID, e.Seq),
			"cicd.pipeline.task.type", "test",
			"cicd.pipeline.task.run.result", verdictResult(v.Outcome),
			"slipway.verdict.sentence", v.Sentence,
			"slipway.verdict.evidence", strconv.FormatFloat(v.Evidence, 'g', 6, 64),
			"slipway.verdict.limit", strconv.FormatFloat(v.Limit, 'g', 6, 64),
		), otlp.Attr{Key: "slipway.verdict.seconds", Number: int64(v.Seconds)}),
	}
}

// stageOf names where a rollout is after a line; "" is its end.
func stageOf(e delivery.Event) string {
	switch e.State {
	case delivery.Queued:
		return "queue"
	case delivery.Preparing:
		return "prepare"
	case delivery.Starting:
		return "start"
	case delivery.Shifting, delivery.Judging, delivery.Waiting:
		return fmt.Sprintf("step %d", e.Step+1)
	case delivery.Finishing:
		return "finish"
	case delivery.Soaking:
		return "soak"
	case delivery.Reverting:
		return "revert"
	case delivery.Done, delivery.Reverted, delivery.RevertFailed, delivery.Superseded, delivery.Cancelled:
		return ""
	}
	return string(e.State)
}

// result is a value of cicd.pipeline.result.
func result(s delivery.State) string {
	switch s {
	case delivery.Done:
		return "success"
	case delivery.RevertFailed:
		return "error"
	case delivery.Superseded, delivery.Cancelled:
		return "cancellation"
	case delivery.Reverted, delivery.Queued, delivery.Preparing, delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Waiting,
		delivery.Finishing, delivery.Soaking, delivery.Reverting:
	}
	return "failure"
}

func verdictResult(o delivery.Outcome) string {
	switch o {
	case delivery.Pass:
		return "success"
	case delivery.Fail:
		return "failure"
	case delivery.Broken:
		return "error"
	case delivery.Inconclusive, delivery.NoData:
	}
	return "skip"
}

func failing(s delivery.State) bool { return s == delivery.Reverted || s == delivery.RevertFailed }

// why is why a rollout failed, in one sentence; "" when it did not.
func why(r *delivery.Rollout) string {
	if !failing(r.State) {
		return ""
	}
	return pick(r.Cause.Text != "", r.Cause.Text, r.Reason)
}

func pick(which bool, yes, no string) string {
	if which {
		return yes
	}
	return no
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// attrs makes attributes of names and texts. An empty text is none.
func attrs(pairs ...string) []otlp.Attr {
	var out []otlp.Attr
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out = append(out, otlp.Attr{Key: pairs[i], Text: pairs[i+1]})
		}
	}
	return out
}
