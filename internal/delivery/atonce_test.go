package delivery_test

import (
	"slices"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestAtOnce(t *testing.T) {
	was := func() delivery.Project {
		return delivery.Project{
			Services:     []delivery.Service{{Name: "cart"}, {Name: "pay", Mirror: &delivery.Mirror{To: "v2", Share: 1}}},
			Environments: []delivery.Environment{{Name: "prod", Listen: "127.0.0.1:80"}},
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*delivery.Project)
		want   []string
	}{
		{"nothing", func(*delivery.Project) {}, nil},
		{"what waits for a release", func(p *delivery.Project) { p.Services[0].Run.Protocol = delivery.H2C }, nil},
		{"a new service", func(p *delivery.Project) {
			p.Services = append(p.Services, delivery.Service{Name: "new", Traffic: delivery.Traffic{Timeout: 1}})
		}, nil},
		{"a new environment", func(p *delivery.Project) {
			p.Environments = append(p.Environments, delivery.Environment{Name: "dev", Listen: "127.0.0.1:81"})
		}, nil},
		{"words", func(p *delivery.Project) {
			p.Services[0].Traffic.Timeout = time.Second
			p.Services[0].Public.Paths = []string{"/"}
			p.Services[1].Mirror.Share = 2
		}, []string{"public of cart", "traffic of cart", "traffic of pay"}},
		{"targets", func(p *delivery.Project) { p.Services[0].Targets = []delivery.Target{{Name: "a"}} }, []string{"traffic of cart"}},
		{"listener", func(p *delivery.Project) {
			p.Environments[0].Listen, p.Environments[0].TLS = "127.0.0.1:443", &delivery.TLS{}
		}, []string{"listen of prod", "tls of prod"}},
		{"plane", func(p *delivery.Project) { p.DataPlane.FullOnly = true }, []string{"data_plane"}},
	} {
		p := was()
		tt.change(&p)
		if got := p.AtOnce(was()); !slices.Equal(got, tt.want) {
			t.Errorf("%s: AtOnce = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAtDeploy(t *testing.T) {
	was := func() delivery.Project {
		return delivery.Project{
			Services:     []delivery.Service{{Name: "cart", In: map[string]delivery.Deployment{"prod": {Replicas: 1}}}, {Name: "pay", Config: map[string]string{"A": "1"}}},
			Environments: []delivery.Environment{{Name: "prod"}},
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*delivery.Project)
		want   []string
	}{
		{"nothing", func(*delivery.Project) {}, nil},
		{"the command", func(p *delivery.Project) { p.Services[0].Run.Command = []string{"./cart", "-v"} }, []string{"run of cart"}},
		{"the health check", func(p *delivery.Project) { p.Services[1].Run.Health.HTTP = "/up" }, []string{"run of pay"}},
		{"configuration", func(p *delivery.Project) {
			p.Services[1].Config = map[string]string{"A": "2"}
			p.Services[0].In["prod"] = delivery.Deployment{Replicas: 1, Config: map[string]string{"B": "1"}}
		}, []string{"config of cart in prod", "config of pay"}},
		{"what differs at once", func(p *delivery.Project) { p.Services[0].Traffic.Timeout = time.Second }, nil},
		{"a new service", func(p *delivery.Project) {
			p.Services = append(p.Services, delivery.Service{Name: "new", Config: map[string]string{"A": "1"}})
		}, nil},
	} {
		p := was()
		tt.change(&p)
		if got := p.AtDeploy(was()); !slices.Equal(got, tt.want) {
			t.Errorf("%s: AtDeploy = %q, want %q", tt.name, got, tt.want)
		}
	}
}
