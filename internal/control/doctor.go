package control

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Outcomes of a finding.
const (
	FindOK   = "ok"
	FindWarn = "warn"
	FindBad  = "bad"
)

// Doctor looks at everything that could stop a delivery and says what to do about it.
func (l *Loop) Doctor(ctx context.Context) []Finding {
	out := []Finding{l.ledgerFinding(ctx)}
	w, pic, err := l.fresh(ctx)
	if err != nil {
		return append(out, Finding{Name: "project", Outcome: FindBad, What: err.Error(), Next: "slipway up in the folder of your slipway.yaml"})
	}
	out = append(out, Finding{Name: "project", Outcome: FindOK, What: fmt.Sprintf("%s: %d services, %d environments", w.Project.Name, len(w.Project.Services), len(w.Project.Environments))})
	if !pic.known {
		out = append(out, Finding{Name: "data plane", Outcome: FindBad, What: "does not answer; it routes as before if its process lives, but nothing can be changed", Next: "slipway up"})
	} else {
		out = append(out, Finding{Name: "data plane", Outcome: FindOK, What: fmt.Sprintf("table %d in force, pid %d", pic.traffic.Generation, pic.traffic.PID)})
	}
	for _, ls := range pic.traffic.Listeners {
		if ls.Error != "" {
			out = append(out, Finding{Name: "listener " + ls.Name, Outcome: FindBad, What: ls.Addr + ": " + ls.Error, Next: "end what uses the port, or change listen: of this environment in slipway.yaml"})
		}
	}
	snap, err := l.d.Store.Snapshot(ctx)
	if err != nil {
		return append(out, Finding{Name: "store", Outcome: FindBad, What: err.Error(), Next: "slipway audit verify"})
	}
	out = append(out, l.instanceFindings(pic, snap.Wants, snap.Releases)...)
	out = append(out, l.telemetryFindings()...)
	for _, svc := range w.Project.Services {
		if h := svc.Run.Health; h.HTTP == "" && len(h.Command) == 0 {
			out = append(out, Finding{Name: "health of " + svc.Name, Outcome: FindWarn, What: "no health check: an open port counts as ready, so requests may reach it too early", Next: "add health: /healthz to services." + svc.Name})
		}
		for env, dep := range svc.In {
			if dep.Replicas < 2 && w.Project.After(env) == "" {
				out = append(out, Finding{Name: "replicas of " + svc.Name, Outcome: FindWarn, What: "one instance in " + env + ": when it dies, requests fail until it is back", Next: "replicas: 2 in services." + svc.Name})
			}
		}
	}
	return out
}

func (l *Loop) ledgerFinding(ctx context.Context) Finding {
	proof, err := l.d.Store.Proven(ctx)
	if err != nil {
		return Finding{Name: "ledger", Outcome: FindBad, What: err.Error(), Next: "slipway audit verify"}
	}
	if b := proof.Broken; b != nil {
		return Finding{Name: "ledger", Outcome: FindBad, What: fmt.Sprintf("line %d is %s: %s", b.Seq, b.Fault, b.Why), Next: "slipway audit verify"}
	}
	out := Finding{Name: "ledger", Outcome: FindOK, What: "the ledger is empty"}
	at := proof.Walked.UTC().Format("2006-01-02 15:04:05 UTC")
	switch later := proof.Lines - proof.Whole; {
	case later > 0:
		out.What = fmt.Sprintf("%d lines, chain intact: the first %d were walked at %s, %d since then", proof.Lines, proof.Whole, at, later)
	case proof.Lines > 0:
		out.What = fmt.Sprintf("%d lines, chain intact: all were walked at %s", proof.Lines, at)
	}
	return out
}

func (l *Loop) instanceFindings(pic live, wants []delivery.Want, releases map[delivery.ReleaseID]delivery.Release) []Finding {
	ready, wanted := 0, 0
	var out []Finding
	for _, w := range wants {
		wanted += w.Count
		rel := releases[w.Release]
		if code := rel.CodeDigest(); w.Count > 0 && !l.d.Artifacts.Has(code) {
			out = append(out, Finding{
				Name: "files of " + w.Service + " " + rel.Version, Outcome: FindBad, What: "bundle " + code.Short() + " is gone, so no instance of it can start in " + w.Env,
				Next: "bring the bundles folder back beside store.db, or slipway deploy " + w.Service + " " + rel.Version + " --from PATH",
			})
		}
	}
	for _, s := range pic.statuses {
		if s.Phase == workload.Stopped {
			continue
		}
		if s.Phase == workload.Ready {
			ready++
			continue
		}
		if s.Phase == workload.Starting && time.Since(s.Started) < 10*time.Second {
			continue
		}
		out = append(out, Finding{
			Name: "instance " + string(s.Spec.ID), Outcome: FindBad, What: string(s.Phase) + ": " + trouble(s),
			Next: "slipway logs " + s.Spec.Service + " --env " + s.Spec.Env,
		})
	}
	all := Finding{Name: "instances", Outcome: FindOK, What: fmt.Sprintf("%d ready, %d wanted", ready, wanted)}
	if ready < wanted {
		all.Outcome, all.Next = FindBad, "wait a moment if they are starting, else see the lines above"
	}
	return append(out, all)
}

// Collect forgets bundles that nothing can go back to any more: those of
// releases that are stable, were stable before, are wanted, are on their way or
// are among the newest keep of their service stay.
func (l *Loop) Collect(ctx context.Context, keep int) ([]delivery.Digest, error) {
	snap, err := l.d.Store.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[delivery.ReleaseID]bool{}
	for _, s := range snap.Stables {
		ids[s.Release], ids[s.Previous] = true, true
	}
	for _, w := range snap.Wants {
		ids[w.Release] = true
	}
	for _, r := range snap.Rollouts {
		ids[r.From], ids[r.To] = true, true
	}
	used := map[delivery.Digest]bool{}
	for id := range ids {
		if id == "" {
			continue
		}
		rel, err := l.d.Store.Release(ctx, id)
		if err != nil {
			return nil, err
		}
		used[rel.CodeDigest()] = true
	}
	for _, svc := range snap.Project.Services {
		rels, err := l.d.Store.Releases(ctx, svc.Name, keep)
		if err != nil {
			return nil, err
		}
		for _, rel := range rels {
			used[rel.CodeDigest()] = true
		}
	}
	return l.d.Artifacts.Collect(ctx, func(d delivery.Digest) bool { return used[d] })
}
