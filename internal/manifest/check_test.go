package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// mistakesIn parses a file that must have mistakes.
func mistakesIn(t *testing.T, src string) Mistakes {
	t.Helper()
	_, _, err := Parse("slipway.yaml", []byte(src), "/srv")
	got, ok := errors.AsType[*Mistakes](err)
	if !ok {
		t.Fatalf("Parse gave %v, want *Mistakes, for:\n%s", err, src)
	}
	if !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("the mistakes do not match delivery.ErrInvalid")
	}
	return *got
}

// service is a file with one service under test; the fragment starts at line 5.
func service(fragment string) string {
	return "project: shop\nservices:\n  cart:\n    run: ./cart\n    " + fragment + "\n  other: {run: ./other}\n"
}

// whole is a file with one good service; the fragment starts at line 4.
func wholeFile(fragment string) string {
	return "project: shop\nservices:\n  cart: {run: ./cart}\n" + fragment + "\n"
}

// traffic is a service with traffic words under test; the fragment starts at 6:7.
func traffic(fragment string) string { return service("traffic:\n      " + fragment) }

// rule is a file with one mistake: where, which field, why and the cure.
type rule struct{ name, src, where, field, why, next string }

// judging is a service whose judge is told to do words.
func judging(words string) string { return service("rollout:\n      judge: {" + words + "}") }

func rules() []rule {
	return []rule{
		{"project missing", "services: {cart: {run: x}}", "1:1", "project", "no name", "project: NAME"},
		{"project name", "project: My Shop\nservices: {cart: {run: x}}", "1:10", "project", "not a name", "say my-shop"},
		{"name too long", "project: " + strings.Repeat("a", 32) + "\nservices: {cart: {run: x}}", "1:10", "project", "at most 31", strings.Repeat("a", 31)},
		{"no services", "project: shop\nservices: {}", "2:11", "services", "no service", "slipway init"},
		{"services missing", "project: shop", "1:1", "services", "no service", "slipway init"},
		{"not a mapping", "- a\n- b", "1:1", "", "must be a mapping", "project, services"},
		{"service name", "project: shop\nservices:\n  Cart: {run: x}", "3:3", "services.Cart", "not a name", "say cart"},
		{"run missing", "project: shop\nservices:\n  cart: {dir: x}", "3:3", "services.cart.run", "missing", "run: COMMAND"},
		{"run of nothing", "project: shop\nservices:\n  cart:\n    run:", "4:5", "services.cart.run", "missing", "run: COMMAND"},
		{"run empty", "project: shop\nservices:\n  cart: {run: []}", "3:15", "services.cart.run", "empty", "program to start"},
		{"run blank", "project: shop\nservices:\n  cart: {run: '  '}", "3:15", "services.cart.run", "empty", "program to start"},
		{"run quote", "project: shop\nservices:\n  cart:\n    run: ./x 'a", "4:10", "services.cart.run", "never closed", "close it"},
		{"run variable", "project: shop\nservices:\n  cart:\n    run: ./x $PORT", "4:10", "services.cart.run", "$ needs a shell", "sh -c 'exec ./x $PORT'"},
		{"run pipe", "project: shop\nservices:\n  cart:\n    run: a | b", "4:10", "services.cart.run", "| needs a shell", "sh -c"},
		{"run assignment", "project: shop\nservices:\n  cart:\n    run: A=b ./x", "4:10", "services.cart.run", "A=b in front", "under config:"},
		{"run nested", "project: shop\nservices:\n  cart:\n    run: [a, [b]]", "4:14", "services.cart.run[1]", "must be a word", "in quotes"},
		{"dir and versions", "project: shop\nservices:\n  cart: {run: x, dir: a, versions: b}", "3:36", "services.cart.versions", "both said", "keep dir"},
		{"dir empty", service("dir: ''"), "5:10", "services.cart.dir", "is empty", "folder that holds"},
		{"port", service("port: 7071"), "5:5", "services.cart.port", "free port in PORT", "remove it"},
		{"word from elsewhere", service("depends_on: [other]"), "5:5", "services.cart.depends_on", "no field depends_on", "called needs"},
		{"typo", service("replcas: 2"), "5:5", "services.cart.replcas", "no field replcas", "did you mean replicas?"},
		{"unlike anything", service("zzzzzzzz: 2"), "5:5", "services.cart.zzzzzzzz", "no field", "say one of run, dir"},
		{"replicas high", service("replicas: 101"), "5:15", "services.cart.replicas", "from 0 to 100, is 101", "say 100"},
		{"replicas low", service("replicas: -1"), "5:15", "services.cart.replicas", "from 0 to 100, is -1", "say 0"},
		{"replicas huge", service("replicas: 99999999999"), "5:15", "services.cart.replicas", "out of range", "smaller"},
		{"replicas quoted", service(`replicas: "2"`), "5:15", "services.cart.replicas", "must be a whole number", "remove the quotes: 2"},
		{"need unknown", service("needs: [othr]"), "5:13", "services.cart.needs[0]", "no service othr", "did you mean other?"},
		{"need itself", service("needs: [cart]"), "5:13", "services.cart.needs[0]", "does not need itself", "remove"},
		{"need twice", service("needs: [other, other]"), "5:20", "services.cart.needs[1]", "needed twice", "keep one"},
		{"need malformed", service(`needs: ["other < 7"]`), "5:13", "services.cart.needs[0]", "is not a need", "payment >= 7"},
		{"need not a list", service("needs: other"), "5:12", "services.cart.needs", "must be a list", "[other]"},
		{"health word", service("health: ok"), "5:13", "services.cart.health", "no health check", "/healthz"},
		{"health two", service("health: {http: /a, tcp: true}"), "5:29", "services.cart.health.tcp", "http and tcp are both said", "keep one"},
		{"health path", service("health: {http: healthz}"), "5:20", "services.cart.health.http", "not a path", "/healthz"},
		{"health no tcp", service("health: {tcp: false}"), "5:19", "services.cart.health.tcp", "tcp: false", "health: none"},
		{"health rise", service("health: {rise: 0}"), "5:20", "services.cart.health.rise", "from 1 to 100", "say 1"},
		{"health interval", service("health: {interval: 0s}"), "5:24", "services.cart.health.interval", "above zero", "say 1s"},
		{"duration bare", service("stop: {drain: 10}"), "5:19", "services.cart.stop.drain", "has no unit", "say 10s"},
		{"duration quoted", service(`stop: {drain: "10"}`), "5:19", "services.cart.stop.drain", "has no unit", "say 10s"},
		{"duration below zero", service("stop: {grace: -1s}"), "5:19", "services.cart.stop.grace", "never below zero", "0s"},
		{"duration word", service("stop: {grace: soon}"), "5:19", "services.cart.stop.grace", "must be a duration", "1m30s"},
		{"memory bare", service("limits: {memory: 256}"), "5:22", "services.cart.limits.memory", "no unit", "256MiB"},
		{"memory word", service("limits: {memory: 256m}"), "5:22", "services.cart.limits.memory", "must be a size", "256MiB"},
		{"cpus", service("limits: {cpus: 0}"), "5:20", "services.cart.limits.cpus", "above 0", "0.5"},
		{"open files", service("limits: {open_files: 3}"), "5:26", "services.cart.limits.open_files", "from 16", "say 16"},
		{"config PORT", service("config: {PORT: 1}"), "5:14", "services.cart.config.PORT", "given by Slipway", "another name"},
		{"config SLIPWAY_", service("config: {SLIPWAY_X: 1}"), "5:14", "services.cart.config.SLIPWAY_X", "SLIPWAY_", "another name"},
		{"config OTEL", service("config: {OTEL_RESOURCE_ATTRIBUTES: 1}"), "5:14", "services.cart.config.OTEL_RESOURCE_ATTRIBUTES", "given by Slipway", "another name"},
		{"config need", service("config: {OTHER_URL: x}\n    needs: [other]"), "5:14", "services.cart.config.OTHER_URL", "address of other", "another name"},
		{"config name", service("config: {A-B: x}"), "5:14", "services.cart.config.A-B", "environment variable", "letters, digits"},
		{"config of nothing", service("config: {A: }"), "5:14", "services.cart.config.A", "has no value", `""`},
		{"config list", service("config: {A: [1]}"), "5:17", "services.cart.config.A", "must be text, a number", "quotes"},
		{"config in env", service("in: {prod: {config: {PORT: 1}}}"), "5:26", "services.cart.in.prod.config.PORT", "given by Slipway", "another name"},
		{"public host", service("public: 'http://x'"), "5:13", "services.cart.public.hosts[0]", "not a host name", "without scheme"},
		{"public path", service("public: {paths: [api]}"), "5:22", "services.cart.public.paths[0]", "not a path prefix", "/api"},
		{"public taken", service("public: /a/") + "  more: {run: x, public: /a}\n", "7:26", "services.more.public.paths[0]", "/a is taken by service cart", "longer path"},
		{"host taken", service("public: shop.localhost") + "  more: {run: x, public: {hosts: [shop.localhost]}}\n", "7:35", "services.more.public.hosts[0]", "taken by service cart", "another host"},
		{"own host taken", service("public: other.localhost"), "5:13", "services.cart.public.hosts[0]", "taken by service other", "another host"},
		{"in unknown", service("in: {prd: {replicas: 1}}"), "5:10", "services.cart.in.prd", "no environment prd", "did you mean prod?"},
		{"environments not a list", wholeFile("environments: prod"), "4:15", "environments", "must be a list", "[prod]"},
		{"environments empty", wholeFile("environments: []"), "4:15", "environments", "list is empty", "[prod]"},
		{"environment twice", wholeFile("environments: [prod, prod]"), "4:22", "environments[1].name", "two environments prod", "rename"},
		{"environment name", wholeFile("environments: [Prod]"), "4:16", "environments[0].name", "not a name", "say prod"},
		{"environment nameless", wholeFile("environments: [{listen: '127.0.0.1:1'}]"), "4:16", "environments[0].name", "no name", "name: prod"},
		{"environment hole", wholeFile("environments:\n  -\n  - prod"), "5:4", "environments[0]", "nothing here", "write a value"},
		{"promote", wholeFile("environments: [{name: prod, promote: atuo}]"), "4:38", "environments[0].promote", "none of auto, manual", "did you mean auto?"},
		{"listen form", wholeFile("environments: [{name: prod, listen: here}]"), "4:37", "environments[0].listen", "not host:port", "127.0.0.1:7580"},
		{"listen port", wholeFile("environments: [{name: prod, listen: '127.0.0.1:70000'}]"), "4:37", "environments[0].listen", "not a port", "127.0.0.1:7580"},
		{"listen host", wholeFile("environments: [{name: prod, listen: 'shop:7580'}]"), "4:37", "environments[0].listen", "not an IP address", "127.0.0.1:7580"},
		{"listen hostless", wholeFile("environments: [{name: prod, listen: ':7580'}]"), "4:37", "environments[0].listen", "host is missing", "127.0.0.1:7580"},
		{"listen twice", wholeFile("environments: [{name: a, listen: 'localhost:80'}, {name: b, listen: '127.0.0.1:80'}]"), "4:69", "environments[1].listen", "taken by environment a", "another port"},
		{"listen everywhere", wholeFile("environments: [{name: a, listen: '0.0.0.0:80'}, {name: b, listen: '[::1]:80'}]"), "4:67", "environments[1].listen", "taken by environment a", "another port"},
		{"listen of a default", wholeFile("environments: [{name: a, listen: '127.0.0.1:7580'}, b]"), "4:34", "environments[0].listen", "taken by environment b", "another port"},
		{"strategy", wholeFile("rollout: canari"), "4:10", "rollout.strategy", "none of canary", "did you mean canary?"},
		{"silence", wholeFile("rollout: {on_silence: pass}"), "4:23", "rollout.on_silence", "none of wait, promote", "say one of wait, promote"},
		{"supersede", wholeFile("rollout: {supersede: queu}"), "4:22", "rollout.supersede", "none of replace", "did you mean queue?"},
		{"steps fall", wholeFile("rollout: {steps: [5, 5, 100]}"), "4:22", "rollout.steps[1].weight", "must rise", "in order"},
		{"steps end", wholeFile("rollout: {steps: [5, 50]}"), "4:22", "rollout.steps[1].weight", "last step must be 100 %", "add 100"},
		{"steps empty", wholeFile("rollout: {steps: []}"), "4:18", "rollout.steps", "list is empty", "[5, 25, 50, 100]"},
		{"step without weight", wholeFile("rollout: {steps: [{hold: 1m}, 100]}"), "4:19", "rollout.steps[0].weight", "no weight", "weight: 5"},
		{"step above all", wholeFile("rollout: {steps: [5, 150%]}"), "4:22", "rollout.steps[1]", "at most 100", "in percent"},
		{"step too fine", wholeFile("rollout: {steps: [0.123, 100]}"), "4:19", "rollout.steps[0]", "two decimals", "say 0.12"},
		{"step of words", wholeFile("rollout: {steps: [half, 100]}"), "4:19", "rollout.steps[0]", "share of the traffic", "5%"},
		{"step as list", wholeFile("rollout: {steps: [[5], 100]}"), "4:19", "rollout.steps[0]", "is a list", "{weight: 5"},
		{"step max below hold", wholeFile("rollout: {steps: [{weight: 5, hold: 2m, max: 1m}, 100]}"), "4:19", "rollout.steps[0]", "shorter than", "raise max"},
		{"max below hold", wholeFile("rollout: {hold: 2m, max: 1m}"), "4:26", "rollout.max", "shorter than", "raise max"},
		{"recreate with steps", wholeFile("rollout: {strategy: recreate, steps: [100]}"), "4:38", "rollout.steps", "steps belongs to canary", "strategy: canary"},
		{"test on canary", wholeFile("rollout: {test: ./check}"), "4:17", "rollout.test", "test belongs to blue-green", "strategy: blue-green"},
		{"surge on canary", wholeFile("rollout: {max_surge: 1}"), "4:22", "rollout.max_surge", "belongs to rolling", "strategy: rolling"},
		{"steps beside own strategy", service("rollout: {strategy: rolling, hold: 1s}"), "5:40", "services.cart.rollout.hold", "belongs to canary", "remove it"},
		{"steps under own strategy", service("rollout: rolling\n    in: {prod: {rollout: {steps: [100]}}}"), "6:34", "services.cart.in.prod.rollout.steps", "strategy here is rolling", "remove it"},
		{"nothing can move", wholeFile("rollout: {strategy: rolling, max_surge: 0}"), "4:41", "rollout.max_surge", "nothing can move", "max_unavailable: 1"},
		{"surge range", wholeFile("rollout: {strategy: rolling, max_surge: 200}"), "4:41", "rollout.max_surge", "from 0 to 100", "say 100"},
		{"window zero", wholeFile("rollout: {window: 0s}"), "4:19", "rollout.window", "at most 30d", "10m"},
		{"window long", wholeFile("rollout: {window: 31d}"), "4:19", "rollout.window", "at most 30d", "10m"},
		{"deadline zero", wholeFile("rollout: {deadline: 0s}"), "4:21", "rollout.deadline", "above zero", "2m"},
		{"test timeout zero", wholeFile("rollout: {strategy: blue-green, test: x, test_timeout: 0s}"), "4:56", "rollout.test_timeout", "above zero", "1m"},
		{"judge share", wholeFile("rollout: {judge: {alpha: 1}}"), "4:26", "rollout.judge.alpha", "between 0 and 1", "default"},
		{"judge ratio", wholeFile("rollout: {judge: {error_ratio: 0.5}}"), "4:32", "rollout.judge.error_ratio", "at least 1", "1.2"},
		{"judge latency", wholeFile("rollout: {judge: {latency_ratio: 0}}"), "4:34", "rollout.judge.latency_ratio", "above 0", "0.05"},
		{"judge margins", wholeFile("rollout: {judge: {error_ratio: 2, promote_error_ratio: 1.5}}"), "4:56", "rollout.judge.promote_error_ratio", "wider", "raise it"},
		{"judge off and proven", wholeFile("rollout: {judge: {off: true}, steps: [{weight: 100, proven: true}]}"), "4:61", "rollout.steps[0].proven", "judge is off", "remove proven"},
		{"judge truth", wholeFile("rollout: {judge: {off: yes}}"), "4:24", "rollout.judge.off", "must be true or false", "true or false"},
		{"judge number", wholeFile("rollout: {judge: {beta: .inf}}"), "4:25", "rollout.judge.beta", "not a number", "0.5"},
		{"protocol", service("protocol: http3"), "5:15", "services.cart.protocol", "none of http, h2c, grpc", "did you mean http?"},
		{"health of a grpc service", service("health: {grpc: 'a b'}"), "5:20", "services.cart.health.grpc", "not the name of a service", "whole server"},
		{"health grpc and http", service("health: {grpc: '', http: /a}"), "5:20", "services.cart.health.grpc", "http and grpc are both said", "keep one"},
		{"host wild in the middle", service("public: 'a.*.org'"), "5:13", "services.cart.public.hosts[0]", "not a host name", "*.example.org"},
		{"host wild alone", service("public: '*.'"), "5:13", "services.cart.public.hosts[0]", "not a host name", "*.example.org"},
		{"public taken with one match", service("public: /a\n    traffic: {match: [{method: [PUT, POST]}, {header: A}]}") + "  more: {run: x, public: /a, traffic: {match: [{header: A}, {method: [POST, PUT]}]}}\n", "8:26", "services.more.public.paths[0]", "/a is taken by service cart", "traffic.match"},
		{"own host taken with a match", service("public: other.localhost\n    traffic: {match: [{header: A}]}"), "5:13", "services.cart.public.hosts[0]", "taken by service other", "another host or a longer path"},
		{"condition of nothing", traffic("match: [{is: x}]"), "6:15", "services.cart.traffic.match[0]", "looks at nothing", "{header: NAME}"},
		{"condition of two", traffic("match: [{header: A, cookie: B}]"), "6:35", "services.cart.traffic.match[0].cookie", "both said", "keep one"},
		{"condition misspelt", traffic("match: [{haeder: A}]"), "6:16", "services.cart.traffic.match[0].haeder", "no field haeder", "did you mean header?"},
		{"condition as a word", traffic("match: [POST]"), "6:15", "services.cart.traffic.match[0]", "must be a mapping", "method"},
		{"condition list", traffic("match: {header: A}"), "6:14", "services.cart.traffic.match", "must be a list", "dash"},
		{"condition name", traffic("match: [{header: 'A:'}]"), "6:24", "services.cart.traffic.match[0].header", "not a name", "X-Tester"},
		{"condition without a name", traffic("match: [{header: ''}]"), "6:24", "services.cart.traffic.match[0].header", "is missing", "say a name"},
		{"condition of a query without a name", traffic("match: [{query: ''}]"), "6:23", "services.cart.traffic.match[0].query", "no query parameter", "say its name"},
		{"method in lower case", traffic("match: [{method: post}]"), "6:24", "services.cart.traffic.match[0].method[0]", "upper case", "say POST"},
		{"second method in lower case", traffic("match: [{method: [GET, post]}]"), "6:30", "services.cart.traffic.match[0].method[1]", "upper case", "say POST"},
		{"method and is", traffic("match: [{method: GET, is: HEAD}]"), "6:33", "services.cart.traffic.match[0].is", "named by method itself", "method: [GET, HEAD]"},
		{"values of nothing", traffic("match: [{header: A, is: []}]"), "6:31", "services.cart.traffic.match[0].is", "list is empty", "remove it"},
		{"values and prefix", traffic("match: [{header: A, is: x, prefix: y}]"), "6:15", "services.cart.traffic.match[0]", "more than one", "keep one"},
		{"prefix of nothing", traffic("match: [{header: A, prefix: ''}]"), "6:35", "services.cart.traffic.match[0].prefix", "is empty", "remove it"},
		{"pattern", traffic("match: [{header: A, pattern: '(?=x)'}]"), "6:36", "services.cart.traffic.match[0].pattern", "invalid or unsupported", "RE2"},
		{"timeout of nothing", traffic("timeout: 0s"), "6:16", "services.cart.traffic.timeout", "above zero", "say 1m"},
		{"timeout without end", traffic("timeout: 2d"), "6:16", "services.cart.traffic.timeout", "must be from 1ms to 24h", "say 24h"},
		{"try above the whole", traffic("per_try: 2m"), "6:16", "services.cart.traffic.per_try", "longer than the 1m0s", "raise timeout"},
		{"retries", traffic("retries: 11"), "6:16", "services.cart.traffic.retries.attempts", "from 1 to 10, is 11", "say 10"},
		{"retries of none", traffic("retries: {attempts: 0}"), "6:27", "services.cart.traffic.retries.attempts", "from 1 to 10, is 0", "say 1"},
		{"retries of words", traffic("retries: often"), "6:16", "services.cart.traffic.retries", "must be a whole number", "such as 2"},
		{"budget", traffic("retries: {budget: 120%}"), "6:25", "services.cart.traffic.retries.budget", "at most 100", "percent"},
		{"sticky word", traffic("sticky: user"), "6:15", "services.cart.traffic.sticky", "nothing that callers are known by", "{header: NAME}"},
		{"sticky two", traffic("sticky: {header: A, cookie: B}"), "6:35", "services.cart.traffic.sticky.cookie", "both said", "keep one"},
		{"sticky of nothing", traffic("sticky: {}"), "6:15", "services.cart.traffic.sticky", "says nothing", "say cookie"},
		{"sticky name", traffic("sticky: {header: 'a b'}"), "6:24", "services.cart.traffic.sticky.header", "not a name", "X-Tester"},
		{"sticky cookie without a name", traffic("sticky: {cookie: ''}"), "6:24", "services.cart.traffic.sticky.cookie", "is empty", "sticky: cookie"},
		{"in flight", traffic("limits: {in_flight: 0}"), "6:27", "services.cart.traffic.limits.in_flight", "from 1 to 1000000", "say 1"},
		{"queue alone", traffic("limits: {queue: 5}"), "6:23", "services.cart.traffic.limits.queue", "without in_flight", "in_flight too"},
		{"wait alone", traffic("limits: {in_flight: 5, wait: 1s}"), "6:36", "services.cart.traffic.limits.wait", "without queue", "queue too"},
		{"rate per", traffic("rates: [{per: user, rate: 1}]"), "6:21", "services.cart.traffic.rates[0].per", "none of route, ip, key, header", "say one of"},
		{"rate without per", traffic("rates: [{rate: 1}]"), "6:15", "services.cart.traffic.rates[0].per", "is missing", "route, ip, key, header"},
		{"rate without rate", traffic("rates: [{per: ip}]"), "6:15", "services.cart.traffic.rates[0].rate", "is missing", "rate: 10"},
		{"rate of nothing", traffic("rates: [{per: ip, rate: 0}]"), "6:31", "services.cart.traffic.rates[0].rate", "must be from 0.001", "0.5 is one in two"},
		{"rate of words", traffic("rates: [{per: ip, rate: 10/s}]"), "6:31", "services.cart.traffic.rates[0].rate", "must be a number", "0.5"},
		{"rate per header without a name", traffic("rates: [{per: header, rate: 1}]"), "6:15", "services.cart.traffic.rates[0].header", "is missing", "say a name"},
		{"rate per route with a name", traffic("rates: [{per: route, header: A, rate: 1}]"), "6:36", "services.cart.traffic.rates[0].header", "takes no name", "remove it"},
		{"rate burst", traffic("rates: [{per: ip, rate: 1, burst: 0}]"), "6:41", "services.cart.traffic.rates[0].burst", "from 1 to", "say 1"},
		{"ejection off and after", traffic("ejection: {off: true, after: 3}"), "6:36", "services.cart.traffic.ejection.after", "ejection is off", "keep one"},
		{"ejection after", traffic("ejection: {after: 0}"), "6:25", "services.cart.traffic.ejection.after", "from 1 to 1000", "say 1"},
		{"ejection first above longest", traffic("ejection: {first: 1m, longest: 1s}"), "6:25", "services.cart.traffic.ejection.first", "longer than the longest", "raise longest"},
		{"slow start", traffic("slow_start: 2h"), "6:19", "services.cart.traffic.slow_start", "must be from", "say 1h"},
		{"error field with a dot too many", traffic("error_field: status..error"), "6:20", "services.cart.traffic.error_field", "a name of no letters", "status.error"},
		{"hold of nothing", traffic("hold: {}"), "6:7", "services.cart.traffic.hold.for", "is missing", "for: 10s"},
		{"hold zero", traffic("hold: 0s"), "6:13", "services.cart.traffic.hold.for", "above zero", "say 1ms"},
		{"hold bare", traffic("hold: 10"), "6:13", "services.cart.traffic.hold", "no unit", "10s"},
		{"hold max alone", traffic("hold: {max: 5}"), "6:19", "services.cart.traffic.hold.max", "without for", "for: 10s"},
		{"stream idle", traffic("stream_idle: 8d"), "6:20", "services.cart.traffic.stream_idle", "must be from", "say 168h"},
		{"target without a name", traffic("targets: [{when: [{header: A}]}]"), "6:17", "services.cart.traffic.targets[0].name", "is missing", "name: testers"},
		{"target name", traffic("targets: [{name: a b, when: [{header: A}]}]"), "6:24", "services.cart.traffic.targets[0].name", "not a name", "name alone"},
		{"target twice", traffic("targets: [{name: a, when: [{header: A}]}, {name: a, when: [{header: B}]}]"), "6:56", "services.cart.traffic.targets[1].name", "two targets a", "rename"},
		{"target of everybody", traffic("targets: [{name: a}]"), "6:17", "services.cart.traffic.targets[0].when", "every request would match", "which requests"},
		{"target condition", traffic("targets: [{name: a, when: [{method: get}]}]"), "6:43", "services.cart.traffic.targets[0].when[0].method[0]", "upper case", "say GET"},
		{"target to nothing", traffic("targets: [{name: a, when: [{header: A}], to: ''}]"), "6:52", "services.cart.traffic.targets[0].to", "names no release", "candidate"},
		{"mirror share", traffic("mirror: {to: v2}"), "6:7", "services.cart.traffic.mirror.share", "is missing", "share: 10%"},
		{"mirror word", traffic("mirror: all"), "6:15", "services.cart.traffic.mirror", "share of the traffic", "5%"},
		{"mirror body", traffic("mirror: {share: 5, max_body: 9MiB}"), "6:36", "services.cart.traffic.mirror.max_body", "8388608 bytes", "at most 8MiB"},
		{"word of other proxies", traffic("rate_limit: 5"), "6:7", "services.cart.traffic.rate_limit", "no field rate_limit", "called rates"},
		{"tls of nothing", wholeFile("environments: [{name: prod, tls: {}}]"), "4:34", "environments[0].tls", "neither where a certificate is", "cert and key"},
		{"tls half", wholeFile("environments: [{name: prod, tls: {key: a.pem}}]"), "4:29", "environments[0].tls.cert", "missing beside key", "PEM file"},
		{"tls two", wholeFile("environments: [{name: prod, tls: {cert: a, key: b, acme: {domains: [a.org]}}}]"), "4:34", "environments[0].tls", "both files and acme", "keep one"},
		{"acme without a domain", wholeFile("environments: [{name: prod, tls: {acme: {email: a@b.org}}}]"), "4:35", "environments[0].tls.acme.domains", "names no domain", "name the hosts"},
		{"acme wild", wholeFile("environments: [{name: prod, tls: {acme: {domains: ['*.b.org']}}}]"), "4:52", "environments[0].tls.acme.domains[0]", "wildcard", "certificate file"},
		{"acme directory", wholeFile("environments: [{name: prod, tls: {acme: {domains: [b.org], directory: 'http://x'}}}]"), "4:71", "environments[0].tls.acme.directory", "https://", "https://HOST"},
		{"access log", wholeFile("data_plane: {access_log: al}"), "4:26", "data_plane.access_log", "none of off, sampled", "did you mean all?"},
		{"otlp", wholeFile("data_plane: {otlp: 'localhost:4318'}"), "4:20", "data_plane.otlp", "not a URL", "http://HOST:PORT"},
		{"trusted address", wholeFile("data_plane: {trusted: [10.0.0.1]}"), "4:24", "data_plane.trusted[0]", "not a range", "10.0.0.1/32"},
		{"plane connections", wholeFile("data_plane: {limits: {connections: 0}}"), "4:36", "data_plane.limits.connections", "from 1 to", "say 1"},
		{"plane head", wholeFile("data_plane: {limits: {head_bytes: 2MiB}}"), "4:35", "data_plane.limits.head_bytes", "1048576 bytes", "64KiB"},
		{"plane head time", wholeFile("data_plane: {limits: {head_time: 0s}}"), "4:34", "data_plane.limits.head_time", "above zero", "10s"},
		{"prometheus url", wholeFile("prometheus: {url: 'localhost:9090'}"), "4:19", "prometheus.url", "not a URL", "http://HOST:PORT"},
		{"prometheus without url", wholeFile("prometheus: {user: u, password_file: p}"), "4:1", "prometheus.url", "missing", "9090"},
		{"prometheus secret", wholeFile("prometheus: {url: 'http://u:p@h:9090'}"), "4:19", "prometheus.url", "ends up in logs", "password_file"},
		{"prometheus user alone", wholeFile("prometheus: {url: 'http://h:9090', user: u}"), "4:42", "prometheus.user", "belong together", "both"},
		{"prometheus empty", wholeFile("prometheus: {url: 'http://h:9090', token_file: ''}"), "4:48", "prometheus.token_file", "is empty", "name a file"},
		{"metric name", judging("metrics: {Bad Name: {kind: share}}"), "6:25", "services.cart.rollout.judge.metrics.Bad Name", "not a name for a metric", "say bad_name"},
		{"metric of every release", judging("metrics: {errors: {kind: share}}"), "6:25", "services.cart.rollout.judge.metrics.errors", "always judged", "error_ratio"},
		{"metric without a kind", judging("metrics: {m: {value: x}}"), "6:25", "services.cart.rollout.judge.metrics.m.kind", "has no kind", "share, count"},
		{"metric of nothing", judging("metrics: {m: }"), "6:25", "services.cart.rollout.judge.metrics.m.kind", "has no kind", "share, count"},
		{"metric kind", judging("metrics: {m: {kind: shre, value: x, per: y}}"), "6:35", "services.cart.rollout.judge.metrics.m.kind", "none of share", "did you mean share?"},
		{"metric source", judging("metrics: {m: {kind: count, from: graphite, value: x}}"), "6:48", "services.cart.rollout.judge.metrics.m.from", "none of service", "say one of"},
		{"metric misspelt", judging("metrics: {m: {kind: count, vlaue: x}}"), "6:42", "services.cart.rollout.judge.metrics.m.vlaue", "no field vlaue", "did you mean value?"},
		{"metric of no series", judging("metrics: {m: {kind: count}}"), "6:25", "services.cart.rollout.judge.metrics.m.value", "which numbers", "value:"},
		{"metric of a workload", judging("metrics: {m: {kind: count, from: workload, value: ram}}"), "6:65", "services.cart.rollout.judge.metrics.m.value", "has no \"ram\"", "memory, cpu"},
		{"metric kind of a workload", judging("metrics: {m: {kind: count, from: workload, value: memory}}"), "6:35", "services.cart.rollout.judge.metrics.m.kind", "memory is a level", "kind: level"},
		{"metric of lines", judging("metrics: {m: {kind: mean, from: logs, value: x, per: y}}"), "6:35", "services.cart.rollout.judge.metrics.m.kind", "lines are counted", "kind: count"},
		{"metric share of nothing", judging("metrics: {m: {kind: share, value: x}}"), "6:25", "services.cart.rollout.judge.metrics.m.per", "needs all events", "per:"},
		{"metric latency of something", judging("metrics: {m: {kind: latency, value: x, per: y}}"), "6:59", "services.cart.rollout.judge.metrics.m.per", "not measured by", "remove"},
		{"metric ratio", judging("metrics: {m: {kind: count, value: x, ratio: 0.5}}"), "6:59", "services.cart.rollout.judge.metrics.m.ratio", "at least 1", "1.2"},
		{"metric add", judging("metrics: {m: {kind: count, value: x, add: -1}}"), "6:57", "services.cart.rollout.judge.metrics.m.add", "below zero", "better: higher"},
		{"metric margins", judging("metrics: {m: {kind: count, value: x, ratio: 2, promote_ratio: 1.5}}"), "6:77", "services.cart.rollout.judge.metrics.m.promote_ratio", "wider than", "raise it"},
		{"metric share of everything", judging("metrics: {m: {kind: share, value: x, per: y, add: 1}}"), "6:65", "services.cart.rollout.judge.metrics.m.add", "tolerates everything", "0.01"},
		{"metric direction", judging("metrics: {m: {kind: share, value: x, per: y, better: higher}}"), "6:68", "services.cart.rollout.judge.metrics.m.better", "good when it is low", "count what fails"},
		{"metric quantile", judging("metrics: {m: {kind: latency, value: x, quantile: 95}}"), "6:64", "services.cart.rollout.judge.metrics.m.quantile", "between 0 and 1", "0.95"},
		{"metric quantile of a count", judging("metrics: {m: {kind: count, value: x, quantile: 0.9}}"), "6:62", "services.cart.rollout.judge.metrics.m.quantile", "no quantiles", "kind: latency"},
		{"metric bound alone", judging("metrics: {m: {kind: mean, value: x, per: y, low: 0}}"), "6:64", "services.cart.rollout.judge.metrics.m.low", "one bound alone", "high too"},
		{"metric bounds crossed", judging("metrics: {m: {kind: mean, value: x, per: y, low: 5, high: 1}}"), "6:64", "services.cart.rollout.judge.metrics.m.low", "below high", "low: 0"},
		{"metric interval", judging("metrics: {m: {kind: count, value: x, every: 5s}}"), "6:59", "services.cart.rollout.judge.metrics.m.every", "only a server", "prometheus"},
		{"only what there is not", judging("only: error"), "6:21", "services.cart.rollout.judge.only", "none of errors, latency", "errors"},
		{"metric watched and refusing", judging("metrics: {m: {kind: count, value: x, role: watch, no_data: refuse}}"), "6:74", "services.cart.rollout.judge.metrics.m.no_data", "refuses nothing", "guard"},
		{"metric at least", judging("metrics: {m: {kind: count, value: x, at_least: 0}}"), "6:62", "services.cart.rollout.judge.metrics.m.at_least", "from 1 to", "say 1"},
		{"built-in metric", judging("metrics: {memory: {kind: level}}"), "6:40", "services.cart.rollout.judge.metrics.memory.kind", "is built in", "another name"},
		{"judge at least", judging("at_least: 0"), "6:25", "services.cart.rollout.judge.at_least", "from 1 to", "say 1"},
		{"judge cold", judging("cold: 2h"), "6:21", "services.cart.rollout.judge.cold", "at most 1h", "say 1h"},
		{"slo of nothing", judging("slo: {}"), "6:20", "services.cart.rollout.judge.slo", "promises nothing", "errors: 0.01"},
		{"slo share", judging("slo: {errors: 99}"), "6:29", "services.cart.rollout.judge.slo.errors", "between 0 and 1", "one in a hundred"},
		{"slo patience", judging("slo: {errors: 0.1, patience: 1h}"), "6:44", "services.cart.rollout.judge.slo.patience", "from 1s to 10m", "say 10s"},
		{"slo within nothing", judging("slo: {within: 0.9}"), "6:29", "services.cart.rollout.judge.slo.within", "without latency", "latency: 500ms"},
		{"second document", wholeFile("---\nproject: x"), "5:1", "", "second document", "---"},
		{"unknown alias", wholeFile("rollout: *r"), "4:10", "", "no anchor &r", "&r"},
		{"tag", wholeFile("rollout: !!str canary"), "4:10", "", "tags are not used", "remove"},
		{"not UTF-8", "project: shop\nservices: \xff", "2:11", "", "UTF-8", "UTF-8"},
		{"syntax", "project: [shop\nservices: x", "2:1", "", "not YAML", "brackets"},
	}
}

// Each rule finds its one mistake, where it is, and says how to mend it.
func TestRules(t *testing.T) {
	for _, tt := range rules() {
		t.Run(tt.name, func(t *testing.T) {
			got := mistakesIn(t, tt.src)
			if len(got) != 1 {
				t.Fatalf("found %d mistakes, want one:\n%v", len(got), got)
			}
			m := got[0]
			if where := fmt.Sprintf("%d:%d", m.Line, m.Column); where != tt.where || m.Field != tt.field {
				t.Errorf("points at %s %q, want %s %q\n%v", where, m.Field, tt.where, tt.field, got)
			}
			if !strings.Contains(m.Why, tt.why) || !strings.Contains(m.Next, tt.next) {
				t.Errorf("says %q, next %q; want %q, next %q", m.Why, m.Next, tt.why, tt.next)
			}
		})
	}
}

// A file with five mistakes of different kinds shows all five, in the order of
// its lines, each with its caret under what is wrong.
func TestFiveMistakes(t *testing.T) {
	src := string(examples(t, "bad")["testdata/bad/five.yaml"])
	got := mistakesIn(t, src)
	wrong := []string{"two", "helth", "crat", "10", "25"}
	if len(got) != len(wrong) {
		t.Fatalf("found %d mistakes, want %d:\n%v", len(got), len(wrong), got)
	}
	lines := strings.Split(src, "\n")
	for i, m := range got {
		if !strings.HasPrefix(lines[m.Line-1][m.Column-1:], wrong[i]) {
			t.Errorf("mistake %d points at %q, want %q", i, lines[m.Line-1][m.Column-1:], wrong[i])
		}
		shown := strings.Split(m.Snippet, "\n")
		if len(shown) != 2 || !strings.HasPrefix(shown[0][strings.IndexByte(shown[1], '^'):], wrong[i]) {
			t.Errorf("the caret is not under %q:\n%s", wrong[i], m.Snippet)
		}
		if i > 0 && m.Line < got[i-1].Line {
			t.Errorf("mistake %d is out of order", i)
		}
		if !strings.HasPrefix(m.Error(), fmt.Sprintf("slipway.yaml:%d:%d  %s: ", m.Line, m.Column, m.Field)) {
			t.Errorf("Error() = %q", m.Error())
		}
	}
}

// What is not a mistake, though it looks like one.
func TestAllowed(t *testing.T) {
	tests := []struct{ name, src string }{
		{"needs in a circle", "project: shop\nservices:\n  a: {run: x, needs: [b]}\n  b: {run: x, needs: [a]}"},
		{"same path on two hosts", "project: shop\nservices:\n  a: {run: x, public: {hosts: [a.example], paths: [/]}}\n  b: {run: x, public: {hosts: [b.example], paths: [/]}}\n  c: {run: x, public: /}"},
		{"longer path", "project: shop\nservices:\n  a: {run: x, public: /}\n  b: {run: x, public: /api}\n  c: {run: x, public: /api/v2}"},
		{"same path told apart by what matches", service("public: /a") + "  b: {run: x, public: /a, traffic: {match: [{header: A}]}}\n  c: {run: x, public: /a, traffic: {match: [{header: A, not: true}]}}\n"},
		{"a host and those below it", service("public: {hosts: [example.org]}") + "  b: {run: x, public: '*.example.org'}\n  c: {run: x, public: '*.a.example.org'}\n"},
		{"long names of hosts", service("public: {hosts: ['*." + strings.Repeat("a.", 100) + "org']}")},
		{"traffic of nothing", traffic("match:\n      limits: {}\n      targets: []\n      rates:\n")},
		{"own host", "project: shop\nservices:\n  a: {run: x, public: a.localhost}"},
		{"the address of what is not needed", service("config: {OTHER_URL: 'http://x'}")},
		{"same port on two addresses", wholeFile("environments: [{name: a, listen: '127.0.0.1:80'}, {name: b, listen: '127.0.0.2:80'}]")},
		{"nothing said", service("health:\n    needs:\n    in:")},
		{"no replicas", service("replicas: 0")},
		{"steps of an environment pass over other strategies", service("rollout: rolling") + "environments: [{name: prod, rollout: {steps: [50, 100]}}]"},
		{"byte order mark", "\ufeffproject: shop\nservices: {cart: {run: x}}"},
		{"a metric that only another place completes", service("rollout: {judge: {metrics: {m: {kind: count}}}}\n    in: {prod: {rollout: {judge: {metrics: {m: {value: x}}}}}}")},
		{"a metric that is taken away and incomplete", service("rollout: {judge: {metrics: {m: {off: true}}}}")},
		{"built-in metrics changed", judging("metrics: {memory: {off: true}, restarts: {role: watch}, errors at other: {ratio: 2}}")},
		{"lines of Windows", "project: shop\r\nservices:\r\n  cart:\r\n    run: ./cart\r\n"},
	}
	for _, tt := range tests {
		if _, _, err := Parse("slipway.yaml", []byte(tt.src), "/srv"); err != nil {
			t.Errorf("%s:\n%v", tt.name, err)
		}
	}
}
