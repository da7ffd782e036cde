package promotion

import (
	"fmt"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// large is 200 services in 5 environments: every pair has a stable release and
// its history, a tenth has something under way, and a tenth is on hold.
func large() World {
	w := stage("dev", "test", "staging", "preprod", "prod").w
	w.Project.Services = nil
	change := 0
	for i := range 200 {
		service := fmt.Sprintf("service-%03d", i)
		w.Project.Services = append(w.Project.Services, delivery.Service{Name: service})
		for j, env := range w.Project.EnvironmentNames() {
			change++
			s := delivery.Stable{Service: service, Env: env, Release: rel(change), Version: ver(change), Change: delivery.ChangeID(change), Since: noon}
			w.Stables = append(w.Stables, s)
			for k := range j + 1 { // it came through those before
				w.Ended = append(w.Ended, delivery.Rollout{
					ID: delivery.RolloutID(fmt.Sprintf("%d/%s", change, env)), Service: service, Env: w.Project.Environments[k].Name,
					Change: s.Change, To: s.Release, Version: s.Version, State: delivery.Done,
				})
			}
			if (i+j)%10 == 0 {
				w.Open = append(w.Open, delivery.Rollout{ID: "x", Service: service, Env: env, Change: s.Change + 1, To: rel(change + 1), Version: ver(change + 1), State: delivery.Judging})
			}
		}
		if i%10 == 0 {
			w.Holds = append(w.Holds, delivery.Hold{Kind: delivery.Quarantine, Service: service, Release: rel(change), Version: ver(change), Why: "bad", Change: delivery.ChangeID(change)})
		}
	}
	return w
}

// BenchmarkWhyOne answers for one service in every environment, as slipway why does.
func BenchmarkWhyOne(b *testing.B) {
	w := large()
	for b.Loop() {
		for _, env := range w.Project.EnvironmentNames() {
			Why(w, "service-150", env, Candidate{Service: "service-150", Release: "new", Version: "new", Change: 9999})
		}
	}
}

// BenchmarkWhyAll answers for all 200 services in all 5 environments.
func BenchmarkWhyAll(b *testing.B) {
	w := large()
	for b.Loop() {
		for _, service := range w.Project.ServiceNames() {
			for _, env := range w.Project.EnvironmentNames() {
				Why(w, service, env, Candidate{Service: service, Release: "new", Version: "new", Change: 9999})
			}
		}
	}
}

// BenchmarkBoard makes the rows of all 200 services.
func BenchmarkBoard(b *testing.B) {
	w := large()
	for b.Loop() {
		Rows(w, func(string, string, delivery.ReleaseID) (int, int) { return 2, 2 })
	}
}

// BenchmarkProposals is what every pass of the loop does.
func BenchmarkProposals(b *testing.B) {
	w := large()
	for b.Loop() {
		Proposals(w)
	}
}
