package manifest

// The types below are the document: what may be written in slipway.yaml, and
// nothing else. The decoder reads into them and the JSON Schema is generated
// from them; a nil pointer or slice means that nothing was said.

type document struct {
	Project      string            `json:"project" jsonschema_description:"Name of the project: lower-case letters, digits and dashes."`
	Services     named[serviceDoc] `json:"services" jsonschema_description:"The services by name. Each is deployed, judged and rolled back by itself."`
	Environments []environmentDoc  `json:"environments,omitempty" jsonschema_description:"Where releases run, in the order of promotion. Default: [prod]."`
	Rollout      *rolloutDoc       `json:"rollout,omitempty" jsonschema_description:"How releases roll out, unless a service or an environment says otherwise. Default: canary."`
	DataPlane    *dataPlaneDoc     `json:"data_plane,omitempty" jsonschema_description:"What the data plane does for all services. It takes effect when the file is put in force, without a deploy."`
	Prometheus   *prometheusDoc    `json:"prometheus,omitempty" jsonschema_description:"The server that metrics with from: prometheus are asked of: Prometheus, or another that speaks its HTTP API. It takes effect when the file is put in force, without a deploy."`
}

type serviceDoc struct {
	Run      command        `json:"run" jsonschema_description:"The command that starts one instance, which listens on $PORT. Text is split into words as a shell does it, but no shell runs; a list is taken as it stands."`
	Dir      *string        `json:"dir,omitempty" jsonschema_description:"Folder or file that is snapshotted into a release, relative to this file. Default: the folder of this file."`
	Versions *string        `json:"versions,omitempty" jsonschema_description:"Instead of dir: a folder that holds one folder or file per version, by its name."`
	Protocol *string        `json:"protocol,omitempty" jsonschema:"enum=http,enum=h2c,enum=grpc" jsonschema_description:"What an instance speaks on $PORT: http (HTTP/1.1), or h2c or grpc (HTTP/2 without TLS). It is part of the release. Default: http."`
	Health   *healthDoc     `json:"health,omitempty" jsonschema_description:"How an instance shows that it can take requests: a path, 'grpc', 'tcp', 'none' or an object. Default: its port accepts a connection."`
	Needs    []need         `json:"needs,omitempty" jsonschema_description:"Services that this one calls. The address of cart is given to it as CART_URL."`
	Replicas *int           `json:"replicas,omitempty" jsonschema:"minimum=0,maximum=100" jsonschema_description:"Instances in each environment. Default: 1."`
	Config   named[setting] `json:"config,omitzero" jsonschema_description:"Environment variables of every instance. They are part of the release, so a rollback restores them."`
	Public   *publicDoc     `json:"public,omitempty" jsonschema_description:"How requests from outside reach it: a path prefix, a host or an object. Default: host SERVICE.localhost only."`
	Traffic  *trafficDoc    `json:"traffic,omitempty" jsonschema_description:"How requests to it are carried. This belongs to the project and not to a release: it takes effect when the file is put in force (slipway up), without a deploy, and a rollback does not bring it back."`
	Metrics  *metricsDoc    `json:"metrics,omitempty" jsonschema_description:"Where an instance shows its metrics, in Prometheus text or OpenMetrics: a path, 'off' or an object. This belongs to the project and not to a release. Default: /metrics, if there is such a page."`
	Stop     *stopDoc       `json:"stop,omitempty" jsonschema_description:"How an instance ends."`
	Limits   *limitsDoc     `json:"limits,omitempty" jsonschema_description:"Bounds of one instance. Default: unbounded."`
	Rollout  *rolloutDoc    `json:"rollout,omitempty" jsonschema_description:"How this service rolls out. Wins over the project's."`
	In       named[inDoc]   `json:"in,omitzero" jsonschema_description:"What differs in an environment, by its name."`
}

type inDoc struct {
	Replicas *int           `json:"replicas,omitempty" jsonschema:"minimum=0,maximum=100" jsonschema_description:"Instances in this environment."`
	Config   named[setting] `json:"config,omitzero" jsonschema_description:"Environment variables that differ in this environment."`
	Rollout  *rolloutDoc    `json:"rollout,omitempty" jsonschema_description:"How this service rolls out in this environment. Wins over everything else."`
}

type healthDoc struct {
	HTTP     *string   `json:"http,omitempty" jsonschema:"pattern=^/" jsonschema_description:"Path that answers 2xx when the instance is healthy."`
	GRPC     *string   `json:"grpc,omitempty" jsonschema_description:"Service that grpc.health.v1.Health/Check is asked for; '' asks for the whole server. HTTP/2 without TLS."`
	TCP      *bool     `json:"tcp,omitempty" jsonschema_description:"The port accepts a connection. This is the default."`
	Command  command   `json:"command,omitempty" jsonschema_description:"Command that exits 0 when the instance is healthy; PORT is set."`
	Interval *duration `json:"interval,omitempty" jsonschema_description:"Time between two probes. Default: 1s."`
	Timeout  *duration `json:"timeout,omitempty" jsonschema_description:"Longest time of one probe. Default: 1s."`
	Rise     *int      `json:"rise,omitempty" jsonschema:"minimum=1,maximum=100" jsonschema_description:"Good probes in a row until an instance is ready. Default: 2."`
	Fall     *int      `json:"fall,omitempty" jsonschema:"minimum=1,maximum=100" jsonschema_description:"Bad probes in a row until it is not. Default: 3."`

	none bool // health: none
}

type metricsDoc struct {
	Path *string `json:"path,omitempty" jsonschema:"pattern=^/" jsonschema_description:"Path of the page. Default: /metrics."`
	Port *int    `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535" jsonschema_description:"Port that the page is on, when it is a fixed one that is not $PORT. It cannot be one for several instances."`

	off bool // metrics: off
}

type publicDoc struct {
	Hosts []string `json:"hosts,omitempty" jsonschema_description:"Host names, without scheme or port; *.example.org is every name below example.org."`
	Paths []string `json:"paths,omitempty" jsonschema_description:"Path prefixes; the longest wins. Default with hosts: /."`
}

type stopDoc struct {
	Drain *duration `json:"drain,omitempty" jsonschema_description:"Longest time that open requests get to finish. Default: 10s."`
	Grace *duration `json:"grace,omitempty" jsonschema_description:"Time between SIGTERM and SIGKILL. Default: 5s."`
}

type limitsDoc struct {
	Memory    *size    `json:"memory,omitempty" jsonschema_description:"Memory, such as 256MiB."`
	CPUs      *float64 `json:"cpus,omitempty" jsonschema:"exclusiveMinimum=0,maximum=1024" jsonschema_description:"Processor time; 0.5 is half a core."`
	OpenFiles *int     `json:"open_files,omitempty" jsonschema:"minimum=16,maximum=1048576" jsonschema_description:"Open files and sockets."`
	Processes *int     `json:"processes,omitempty" jsonschema:"minimum=1,maximum=1048576" jsonschema_description:"Processes and threads."`
}

type environmentDoc struct {
	Name     string      `json:"name" jsonschema:"pattern=^[a-z][a-z0-9-]{0\\,30}$" jsonschema_description:"Name of the environment."`
	Listen   *string     `json:"listen,omitempty" jsonschema:"pattern=:[0-9]+$" jsonschema_description:"Address that its requests come in on. Default: 127.0.0.1:7580 for the last environment, 7581 for the one before it and so on."`
	TLS      *tlsDoc     `json:"tls,omitempty" jsonschema_description:"How its listener proves who it is: cert and key, or acme. Default: it speaks plain HTTP. It takes effect when the file is put in force, without a deploy."`
	Promote  *string     `json:"promote,omitempty" jsonschema:"enum=auto,enum=manual" jsonschema_description:"How a release enters: auto, as soon as the environment before is done, or manual, when a person says so. Default: auto."`
	Replicas *int        `json:"replicas,omitempty" jsonschema:"minimum=0,maximum=100" jsonschema_description:"Instances of each service here, unless the service says otherwise for this environment."`
	Rollout  *rolloutDoc `json:"rollout,omitempty" jsonschema_description:"How releases roll out here. Wins over the service's and the project's."`
}

type rolloutDoc struct {
	Strategy       *string   `json:"strategy,omitempty" jsonschema:"enum=canary,enum=blue-green,enum=rolling,enum=recreate" jsonschema_description:"canary: in steps, judged at each; blue-green: all at once after a test; rolling: instance by instance; recreate: stop all, start all."`
	Steps          []stepDoc `json:"steps,omitempty" jsonschema_description:"canary: shares of the traffic in percent, rising to 100. Default: 5, 25, 50, 100 in the last environment; 100 in those before."`
	Hold           *duration `json:"hold,omitempty" jsonschema_description:"canary: least time at each step. Default: 10s in the last environment, 5s before."`
	Max            *duration `json:"max,omitempty" jsonschema_description:"canary: longest time of judging a step, then a person decides; 0s: no limit. Default: 10m."`
	Test           command   `json:"test,omitempty" jsonschema_description:"blue-green: command that is run in the release's files before the switch; exit 0 passes. To reach the new release it asks $SLIPWAY_URL with the headers Host: $SLIPWAY_HOST and Slipway-Preview: $SLIPWAY_PREVIEW; without the second the release that serves answers."`
	TestTimeout    *duration `json:"test_timeout,omitempty" jsonschema_description:"blue-green: longest time of the test. Default: 1m."`
	MaxSurge       *int      `json:"max_surge,omitempty" jsonschema:"minimum=0,maximum=100" jsonschema_description:"rolling: instances above replicas. Default: 1."`
	MaxUnavailable *int      `json:"max_unavailable,omitempty" jsonschema:"minimum=0,maximum=100" jsonschema_description:"rolling: instances below replicas. Default: 0."`
	Soak           *duration `json:"soak,omitempty" jsonschema_description:"Time to watch the whole traffic before the release counts as good. Default: 30s in the last environment, 0s before."`
	Window         *duration `json:"window,omitempty" jsonschema_description:"Time that the release before stays warm, so that a rollback is one route change; at most 30d. Default: 10m in the last environment, 1m before."`
	Deadline       *duration `json:"deadline,omitempty" jsonschema_description:"Longest time without progress while instances start. Default: 2m."`
	OnSilence      *string   `json:"on_silence,omitempty" jsonschema:"enum=wait,enum=promote" jsonschema_description:"What no data means where proof is wanted: wait, or promote. Default: wait."`
	Supersede      *string   `json:"supersede,omitempty" jsonschema:"enum=replace,enum=queue,enum=coalesce" jsonschema_description:"What a newer change does to one under way. Default: replace."`
	Twin           *bool     `json:"twin,omitempty" jsonschema_description:"canary: while a release is judged, run as many fresh instances of the stable one beside it, so that levels such as memory are compared between instances of the same age. Default: false."`
	Judge          *judgeDoc `json:"judge,omitempty" jsonschema_description:"What a release is judged by, and what is tolerated."`
}

type stepDoc struct {
	Weight  *weight   `json:"weight" jsonschema_description:"Share of the traffic in percent: 5, '5%' or 0.25."`
	Hold    *duration `json:"hold,omitempty" jsonschema_description:"Least time at this weight."`
	Max     *duration `json:"max,omitempty" jsonschema_description:"Longest time of judging, then a person decides; 0s: no limit."`
	Proven  *bool     `json:"proven,omitempty" jsonschema_description:"Leave only when the release is proven no worse. Default: true."`
	Approve *bool     `json:"approve,omitempty" jsonschema_description:"Wait for a person before the next step."`
}
