package delivery

import (
	"net/netip"
	"slices"
	"time"
)

// Project is what slipway.yaml says, with every default filled in.
type Project struct {
	Name         string        `json:"name"`
	Services     []Service     `json:"services"`
	Environments []Environment `json:"environments"` // in the order of promotion
	DataPlane    DataPlane     `json:"data_plane,omitzero"`
	Prometheus   Prometheus    `json:"prometheus,omitzero"` // who is asked for metrics from Prometheus
}

// Service is one thing that receives requests or does work.
type Service struct {
	Name     string                `json:"name"`
	Dir      string                `json:"dir,omitempty"`      // absolute path of the working folder or file that is snapshotted
	Versions string                `json:"versions,omitempty"` // absolute path of a folder that holds one folder or file per version
	Run      RunSpec               `json:"run"`
	Config   map[string]string     `json:"config,omitempty"`
	Public   Public                `json:"public"`
	Traffic  Traffic               `json:"traffic,omitzero"`
	Metrics  Scrape                `json:"metrics,omitzero"`
	Targets  []Target              `json:"targets,omitempty"`
	Mirror   *Mirror               `json:"mirror,omitempty"`
	In       map[string]Deployment `json:"in"` // environment -> how it is deployed there
}

// Scrape is where the instances of a service show their metrics, as Prometheus
// asks for them. The zero value tries /metrics on the port that they serve on, and
// takes what it finds there if it is such a page.
type Scrape struct {
	Path string `json:"path,omitempty"`
	Port int    `json:"port,omitempty"` // 0 is the instance's own
	Off  bool   `json:"off,omitempty"`
}

// Public says how requests from outside reach a service through an
// environment's listener. A zero Public is reached at host SERVICE.localhost only.
type Public struct {
	Hosts []string `json:"hosts,omitempty"`
	Paths []string `json:"paths,omitempty"` // prefixes, longest wins
}

// Deployment is how one service is deployed in one environment.
type Deployment struct {
	Replicas int               `json:"replicas"`
	Config   map[string]string `json:"config,omitempty"` // what differs here
	Strategy Strategy          `json:"strategy"`
}

// Promotion says how a release enters an environment.
type Promotion string

// Promotions.
const (
	Auto   Promotion = "auto"   // as soon as the environment before it is done
	Manual Promotion = "manual" // when a person says so
)

// Environment is where releases run. Its place in Project.Environments is its
// place in the order of promotion.
type Environment struct {
	Name    string    `json:"name"`
	Listen  string    `json:"listen"` // host:port of its listener
	Promote Promotion `json:"promote"`
	TLS     *TLS      `json:"tls,omitempty"` // of its listener
}

// StrategyKind names a way to roll out.
type StrategyKind string

// The strategies.
const (
	Canary    StrategyKind = "canary"
	BlueGreen StrategyKind = "blue-green"
	Rolling   StrategyKind = "rolling"
	Recreate  StrategyKind = "recreate"
)

// Silence says what no data means when a step waits for proof.
type Silence string

// Silences. Waiting is the default; promoting on silence has to be asked for.
const (
	SilenceWaits    Silence = "wait"
	SilencePromotes Silence = "promote"
)

// Strategy is how a release rolls out in one environment. It is turned into a
// Plan before anything runs.
type Strategy struct {
	Kind           StrategyKind  `json:"kind"`
	Steps          []StepSpec    `json:"steps,omitempty"`           // canary
	Test           []string      `json:"test,omitempty"`            // blue-green: command run against the preview route; exit 0 passes
	TestTimeout    time.Duration `json:"test_timeout,omitempty"`    // of Test
	MaxSurge       int           `json:"max_surge,omitempty"`       // rolling: instances above replicas
	MaxUnavailable int           `json:"max_unavailable,omitempty"` // rolling: instances below replicas
	Deadline       time.Duration `json:"deadline"`                  // longest time without progress while starting
	Soak           time.Duration `json:"soak"`                      // watch at 100 % before done
	Window         time.Duration `json:"window"`                    // the release before stays warm this long after done
	OnSilence      Silence       `json:"on_silence"`
	Supersede      Supersede     `json:"supersede"`
	Twin           bool          `json:"twin,omitempty"` // fresh instances of the stable release run beside those of the new one while it is judged
	Judge          JudgePolicy   `json:"judge"`
}

// StepSpec is one canary step as written by a person.
type StepSpec struct {
	Weight  Weight        `json:"weight"`
	Hold    time.Duration `json:"hold"`              // least time at this weight
	Proven  bool          `json:"proven"`            // leave only when the judge says pass
	Max     time.Duration `json:"max,omitempty"`     // longest time of judging, then wait for a person
	Approve bool          `json:"approve,omitempty"` // wait for a person before the next step
}

// Supersede says what a newer change does to one under way.
type Supersede string

// Supersede policies.
const (
	Replace  Supersede = "replace"  // the newer one takes over at once
	Queue    Supersede = "queue"    // the newer one waits its turn
	Coalesce Supersede = "coalesce" // it waits, and only the newest of those waiting runs
)

// JudgePolicy bounds what the judge tolerates. Zero fields take the defaults of
// package analysis. Rates are shares of requests from 0 to 1.
type JudgePolicy struct {
	Off               bool          `json:"off,omitempty"`                 // no analysis at all
	Alpha             float64       `json:"alpha,omitempty"`               // chance to roll back an acceptable release, per rollout
	Beta              float64       `json:"beta,omitempty"`                // chance to promote an unacceptable one, per step
	Only              Family        `json:"only,omitempty"`                // what of a service's own requests decides; "" is both families
	ErrorRatio        float64       `json:"error_ratio,omitempty"`         // rollback margin: canary above ratio * stable ...
	ErrorAdd          float64       `json:"error_add,omitempty"`           // ... and above stable + add
	PromoteErrorRatio float64       `json:"promote_error_ratio,omitempty"` // promotion margin
	PromoteErrorAdd   float64       `json:"promote_error_add,omitempty"`   //
	LatencyRatio      float64       `json:"latency_ratio,omitempty"`       // 0.05 tolerates 5 % slower
	PromoteLatency    float64       `json:"promote_latency,omitempty"`     // 0.25: proven less than 25 % slower
	LatencyAdd        time.Duration `json:"latency_add,omitempty"`         // always tolerated; a fast service may be a few per cent slower
	PromoteLatencyAdd time.Duration `json:"promote_latency_add,omitempty"` //
	Warmup            time.Duration `json:"warmup,omitempty"`              // data dropped after each weight change
	Cold              time.Duration `json:"cold,omitempty"`                // how long a new instance may be slow because its caches are cold; 0 is 30 s
	AtLeast           uint64        `json:"at_least,omitempty"`            // units of the canary in a step before it may pass
	Metrics           []Metric      `json:"metrics,omitempty"`             // judged beside errors and latency
	SLO               SLO           `json:"slo,omitzero"`                  // of the whole service
}

// Family is what the data plane knows of a service's own requests.
type Family string

// The families. Where a policy names one of them, the other is shown and decides
// nothing, and its part of the evidence is the named one's.
const (
	FamilyErrors  Family = "errors"
	FamilyLatency Family = "latency"
)

// Service returns the named service.
func (p Project) Service(name string) (Service, bool) {
	i := slices.IndexFunc(p.Services, func(s Service) bool { return s.Name == name })
	if i < 0 {
		return Service{}, false
	}
	return p.Services[i], true
}

// Environment returns the named environment.
func (p Project) Environment(name string) (Environment, bool) {
	i := p.place(name)
	if i < 0 {
		return Environment{}, false
	}
	return p.Environments[i], true
}

func (p Project) place(name string) int {
	return slices.IndexFunc(p.Environments, func(e Environment) bool { return e.Name == name })
}

// URL is where requests come in from this machine.
func (e Environment) URL() string {
	scheme, addr := "http://", e.Listen
	if e.TLS != nil {
		scheme = "https://"
	}
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Addr().IsUnspecified() {
		here := netip.IPv6Loopback()
		if ap.Addr().Is4() {
			here = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		addr = netip.AddrPortFrom(here, ap.Port()).String()
	}
	return scheme + addr
}

// Before returns the environment that a release passes before env; "" if env is the first.
func (p Project) Before(env string) string {
	if i := p.place(env); i > 0 {
		return p.Environments[i-1].Name
	}
	return ""
}

// After returns the environment that follows env in the order of promotion; "" if env is the last.
func (p Project) After(env string) string {
	if i := p.place(env); i >= 0 && i+1 < len(p.Environments) {
		return p.Environments[i+1].Name
	}
	return ""
}

// ServiceNames lists the services in the order of the file.
func (p Project) ServiceNames() []string {
	var names []string
	for _, s := range p.Services {
		names = append(names, s.Name)
	}
	return names
}

// EnvironmentNames lists the environments in the order of promotion.
func (p Project) EnvironmentNames() []string {
	var names []string
	for _, e := range p.Environments {
		names = append(names, e.Name)
	}
	return names
}

// With returns s changed as o asks. Another kind keeps what all kinds share and
// drops the steps of the old one; steps alone ask for a canary, and a canary
// without any takes the usual ones.
func (s Strategy) With(o *Override) Strategy {
	if o == nil {
		return s
	}
	kind := o.Kind
	if kind == "" && len(o.Steps) > 0 {
		kind = Canary
	}
	if kind != "" && kind != s.Kind {
		s.Kind, s.Steps, s.Test = kind, nil, nil
		s.MaxSurge, s.MaxUnavailable = 1, 0
	}
	if len(o.Steps) > 0 {
		s.Steps = o.Steps
	}
	s.Twin = s.Twin || o.Twin
	if s.Kind == Canary && len(s.Steps) == 0 {
		for _, w := range []int{5, 25, 50, 100} {
			s.Steps = append(s.Steps, StepSpec{Weight: Percent(w), Hold: 10 * time.Second, Proven: w < 100, Max: 10 * time.Minute})
		}
	}
	if o.Approve {
		s.Steps = approved(s)
	}
	return s
}

// approved returns the steps of s with a person before each that takes the new
// release further: each but the last of a canary, and the switch of blue-green.
func approved(s Strategy) []StepSpec {
	steps := slices.Clone(s.Steps)
	if s.Kind == BlueGreen && len(steps) == 0 {
		steps = []StepSpec{{Weight: Full}}
	}
	for i := range steps {
		steps[i].Approve = steps[i].Approve || s.Kind == BlueGreen || s.Kind == Canary && steps[i].Weight < Full
	}
	return steps
}

// Validate refuses an override that cannot be carried out.
func (o *Override) Validate() error {
	if o == nil {
		return nil
	}
	switch o.Kind {
	case "", Canary, BlueGreen, Rolling, Recreate:
	default:
		return InvalidNext("strategy.kind", "there is no strategy "+string(o.Kind), "say canary, blue-green, rolling or recreate")
	}
	if len(o.Steps) > 0 && o.Kind != Canary && o.Kind != "" {
		return Invalid("strategy.steps", "steps are those of a canary")
	}
	if o.Twin && o.Kind != Canary && o.Kind != "" {
		return InvalidNext("strategy.twin", "a twin belongs to canary, and the strategy asked for is "+string(o.Kind), "leave one of the two out")
	}
	if o.Approve && (o.Kind == Rolling || o.Kind == Recreate) {
		return InvalidNext("strategy.approve", "a person approves the steps of a canary or the switch of blue-green, and the strategy asked for is "+string(o.Kind), "leave one of the two out")
	}
	last := Weight(0)
	for _, s := range o.Steps {
		if s.Weight <= last || s.Weight > Full || s.Hold < 0 || s.Max < 0 {
			return Invalid("strategy.steps", "weights must rise and end at 100 %, and times must not be negative")
		}
		last = s.Weight
	}
	if len(o.Steps) > 0 && last != Full {
		return Invalid("strategy.steps", "must end at 100 %")
	}
	return nil
}
