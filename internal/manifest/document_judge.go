package manifest

type judgeDoc struct {
	Off               *bool            `json:"off,omitempty" jsonschema_description:"No analysis at all."`
	Alpha             *float64         `json:"alpha,omitempty" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=1" jsonschema_description:"Chance to roll back an acceptable release, per rollout."`
	Beta              *float64         `json:"beta,omitempty" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=1" jsonschema_description:"Chance to promote an unacceptable release, per step."`
	Only              *string          `json:"only,omitempty" jsonschema:"enum=errors,enum=latency" jsonschema_description:"What of a service's own requests decides; the other is shown. Default: both."`
	ErrorRatio        *float64         `json:"error_ratio,omitempty" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"Roll back above this many times the error rate of the stable release ..."`
	ErrorAdd          *float64         `json:"error_add,omitempty" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=1" jsonschema_description:"... and this share of requests above it: 0.01 is one in a hundred."`
	PromoteErrorRatio *float64         `json:"promote_error_ratio,omitempty" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"Promote when proven below this many times the error rate of the stable release ..."`
	PromoteErrorAdd   *float64         `json:"promote_error_add,omitempty" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=1" jsonschema_description:"... or within this share of requests of it."`
	LatencyRatio      *float64         `json:"latency_ratio,omitempty" jsonschema:"exclusiveMinimum=0,maximum=1000" jsonschema_description:"Slower by this share is tolerated: 0.05 is 5 %."`
	PromoteLatency    *float64         `json:"promote_latency,omitempty" jsonschema:"exclusiveMinimum=0,maximum=1000" jsonschema_description:"Promote when proven less than this share slower: 0.25 is 25 %."`
	Warmup            *duration        `json:"warmup,omitempty" jsonschema_description:"Data dropped after each change of weight."`
	Cold              *duration        `json:"cold,omitempty" jsonschema_description:"How long a fresh instance may be slow because its caches are cold. Default: 30s."`
	AtLeast           *int             `json:"at_least,omitempty" jsonschema:"minimum=1,maximum=1000000000" jsonschema_description:"Callers of the new release at a step before it may pass there. Default: 30."`
	SLO               *sloDoc          `json:"slo,omitempty" jsonschema_description:"What the service promises as a whole, whichever release answers. While both releases break it alike there is an incident, and its rollouts stand still. Default: nothing."`
	Metrics           named[metricDoc] `json:"metrics,omitzero" jsonschema_description:"Numbers beside errors and latency, by a name of your choice. The built-in ones are changed or switched off by their names: restarts, memory, error-lines, 'errors at SERVICE' and 'latency at SERVICE' of each service that calls this one."`
}

type sloDoc struct {
	Errors   *float64  `json:"errors,omitempty" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=1" jsonschema_description:"Share of requests that may fail: 0.01 is one in a hundred."`
	Latency  *duration `json:"latency,omitempty" jsonschema_description:"Time that the share 'within' of the requests takes at most."`
	Within   *float64  `json:"within,omitempty" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=1" jsonschema_description:"Share of requests that latency speaks of. Default: 0.99."`
	Patience *duration `json:"patience,omitempty" jsonschema_description:"How long it must be broken before it is an incident. Default: 10s."`
}

type metricDoc struct {
	Off          *bool     `json:"off,omitempty" jsonschema_description:"Do not judge by it, whatever a weaker place of the file says."`
	Kind         *string   `json:"kind,omitempty" jsonschema:"enum=share,enum=count,enum=latency,enum=mean,enum=level" jsonschema_description:"share: bad ones of all; count: events by exposure; latency: a distribution of times; mean: one value a unit; level: one value an instance, compared with a fresh twin."`
	From         *string   `json:"from,omitempty" jsonschema:"enum=service,enum=prometheus,enum=workload,enum=logs,enum=traffic" jsonschema_description:"Who has the numbers: the service itself, a server that answers PromQL, what runs its instances, its log lines, or the data plane. Default: service."`
	Value        *string   `json:"value,omitempty" jsonschema:"minLength=1,maxLength=2000" jsonschema_description:"Which numbers: a series with labels, as in requests_total{code=~'5..'}; from prometheus, a whole expression, in which $service, $env, $release, $version and $step are replaced. Of a share the bad ones, of a count the events, of a latency the histogram."`
	Per          *string   `json:"per,omitempty" jsonschema:"minLength=1,maxLength=2000" jsonschema_description:"What value is measured by: of a share all events, of a count the exposure (seconds of instances, requests, or a series), of a mean how many units there were."`
	Unit         *string   `json:"unit,omitempty" jsonschema:"maxLength=20" jsonschema_description:"For people: bytes, s, EUR."`
	Better       *string   `json:"better,omitempty" jsonschema:"enum=lower,enum=higher" jsonschema_description:"Which way a mean or a level is good. Default: lower."`
	Role         *string   `json:"role,omitempty" jsonschema:"enum=required,enum=guard,enum=watch" jsonschema_description:"required: may fail a rollout, and is waited for; guard: may fail it; watch: is shown. Default: guard."`
	NoData       *string   `json:"no_data,omitempty" jsonschema:"enum=wait,enum=refuse" jsonschema_description:"What a minute without data means: wait for it if it is required, or an error that stops the rollout. Never a pass. Default: wait."`
	Ratio        *float64  `json:"ratio,omitempty" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"Roll back above this many times the stable release ..."`
	Add          *float64  `json:"add,omitempty" jsonschema:"minimum=0" jsonschema_description:"... and this much above it, in its unit."`
	PromoteRatio *float64  `json:"promote_ratio,omitempty" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"Proven when shown to be below this many times the stable release ..."`
	PromoteAdd   *float64  `json:"promote_add,omitempty" jsonschema:"minimum=0" jsonschema_description:"... plus this much, in its unit."`
	Quantile     *float64  `json:"quantile,omitempty" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=1" jsonschema_description:"Of a latency: the quantile that promotion asks for. Default: 0.95."`
	AtLeast      *int      `json:"at_least,omitempty" jsonschema:"minimum=1,maximum=1000000000" jsonschema_description:"Units or events of the new release before it counts as proven."`
	Low          *float64  `json:"low,omitempty" jsonschema_description:"Of a mean: no single value is below this. With high, it is judged without assumptions."`
	High         *float64  `json:"high,omitempty" jsonschema_description:"Of a mean: no single value is above this."`
	Every        *duration `json:"every,omitempty" jsonschema_description:"From prometheus: how often it is asked. Default: 15s."`
}
