package server

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// routes is the whole API in one place. To leave huma, this file and openapi.go
// are what has to be written anew; handlers are plain functions.
func (s *Server) routes() {
	s.api = humago.NewWithPrefix(s.mux, Base, specification())
	s.projectRoutes()
	s.changeRoutes()
	s.serviceRoutes()
	s.previewRoutes()
	s.environmentRoutes()
	s.holdRoutes()
	s.ledgerRoutes()
	s.accessRoutes()
	s.documentRoutes()
}

func (s *Server) projectRoutes() {
	route(s, s.op("GET /healthz", "health", "Whether the server answers", anyone, describe("No token is needed.")), s.healthz)
	route(s, s.op("GET /doctor", "doctor", "What Slipway finds when it looks at itself", reader), s.doctor)
	route(s, s.op("GET /status", "status", "What runs where, and what can be deployed right now", reader), s.status)
	route(s, s.op("PUT /project", "put-project", "Put a slipway.yaml in force", admin, reads(yamlBody),
		describe("Every mistake is answered at once, with file, line, column and a caret.")), s.putProject)
	route(s, s.op("GET /project", "get-project", "The project in force", reader), s.getProject)
	route(s, s.op("GET /project/explain", "explain-project", "Every value of the project and where it came from", reader), s.explainProject)
	route(s, s.op("POST /bundles", "upload-bundle", "Upload what a service is made of", deployer, reads(tarBody),
		describe("A canonical tar of at most 1 GiB. The same content is kept once, so no Idempotency-Key is needed.")), s.postBundle)
	route(s, s.op("GET /bundles/{digest}", "has-bundle", "Whether a bundle is here", reader, status(http.StatusNoContent),
		describe("HEAD does the same.")), s.getBundle)
}

func (s *Server) changeRoutes() {
	route(s, s.op("POST /changes", "submit", "Submit a change", deployer, reads(jsonBody), status(http.StatusCreated),
		describe("With dry_run the answer is 200, says what would happen, and nothing changes.")), s.postChange)
	route(s, s.op("GET /changes", "list-changes", "Changes, newest first, and how they stand", reader), s.getChanges)
	route(s, s.op("GET /changes/{id}", "get-change", "A change and how far it is", reader), s.getChange)
	for verb, does := range map[string]struct {
		ask delivery.AskVerb
		say string
	}{
		"abort":   {delivery.AskAbort, "Take a change back"},
		"pause":   {delivery.AskPause, "Stop a change where it is"},
		"resume":  {delivery.AskResume, "Let a paused change go on"},
		"approve": {delivery.AskApprove, "Let the step be left that waits for a person"},
		"finish":  {delivery.AskPromote, "Skip what is left of the analysis"},
	} {
		route(s, s.op("POST /changes/{id}/"+verb, verb+"-change", does.say, deployer, reads(jsonBody)), s.askChange(does.ask))
	}
	route(s, s.op("GET /changes/{id}/traces", "list-traces", "Traces of requests that a change failed, newest first", reader,
		describe("They are kept while the change is rolled out, fifty at most, and for thirty days.")), s.getTraces)
	route(s, s.op("GET /traces/{id}", "get-trace", "A trace that is kept, or of the last minutes", reader), s.getTrace)
	route(s, s.op("POST /changes/{id}/promote", "promote-change", "Let a change enter the next environment", deployer, reads(jsonBody)), s.promoteChange)
	route(s, s.op("GET /changes/{id}/analysis", "explain-analysis", "What was judged about a change, and how", reader,
		describe("For each of its rollouts the verdict with every check, the policy with its defaults, and how the evidence came about, second by second.")), s.explainAnalysis)
	route(s, s.op("GET /changes/{id}/analysis/replay", "replay-analysis", "Judge what is on tape again", reader,
		describe("The same data give the same verdict, bit for bit, under the same rules; what differs is told field by field.")), s.replayAnalysis)
	route(s, s.op("GET /rollouts", "list-rollouts", "Rollouts, newest first", reader), s.getRollouts)
	route(s, s.op("GET /rollouts/{change}/{env}", "get-rollout", "A rollout with everything that is measured about it", reader), s.getRollout)
}

func (s *Server) serviceRoutes() {
	for verb, does := range map[string]struct {
		ask delivery.AskVerb
		say string
	}{
		"abort":  {delivery.AskAbort, "Take back what is under way"},
		"pause":  {delivery.AskPause, "Stop what is under way where it is"},
		"resume": {delivery.AskResume, "Let what is paused go on"},
	} {
		route(s, s.op("POST /services/{service}/"+verb, verb+"-service", does.say, deployer, reads(jsonBody)), s.askService(does.ask))
	}
	route(s, s.op("POST /services/{service}/promote", "promote-service", "Promote what is stable before an environment", deployer, reads(jsonBody)), s.promoteService)
	route(s, s.op("POST /services/{service}/rollback", "rollback", "Go back", deployer, reads(jsonBody),
		describe("What is under way is aborted; otherwise the release before takes over again, code and configuration.")), s.rollback)
	route(s, s.op("POST /services/{service}/switch", "switch", "Switch all traffic to what a blue-green rollout has made ready, or back", deployer, reads(jsonBody)), s.switchOver)
	route(s, s.op("GET /services/{service}/versions", "list-versions", "What can be deployed, newest first", reader,
		describe("Releases that are known, and what lies in the service's folder of versions. A change that names one of these needs no bundle.")), s.versions)
	route(s, s.op("GET /services/{service}/why", "why", "Why the newest release is or is not in an environment", reader), s.why)
	route(s, s.op("GET /services/{service}/analysis/plan", "plan-analysis", "How soon the judge would see what, at the traffic of the last ten minutes", reader), s.planAnalysis)
	route(s, s.op("GET /metrics/query", "query-metrics", "Numbers of releases over time", reader,
		describe("Steps below a minute are known of the last ten minutes, others of the last day.")), s.queryMetrics)
	route(s, s.op("GET /metrics/promql", "promql", "An expression in PromQL, at one moment", reader,
		describe("Answered by the server that slipway.yaml names under prometheus. At most 50 lines are told, four questions are asked at a time, and each for ten seconds.")), s.promQLInstant)
	route(s, s.op("GET /metrics/promql/range", "promql-range", "An expression in PromQL, over time", reader,
		describe("As GET /metrics/promql, at most 1,000 steps.")), s.promQLRange)
	route(s, s.op("GET /services/{service}/signals", "signals", "Traffic, errors, latency and saturation of a service, by release", reader,
		describe("Only steps that are over are told. Of many releases these are the stable one, the one on its way and those heard of last.")), s.signals)
	route(s, s.op("GET /services/{service}/diff", "diff", "What differs between two releases", reader), s.diff)
	route(s, s.op("GET /services/{service}/releases", "list-releases", "Releases of a service, newest first", reader), s.releases)
	route(s, s.op("GET /services/{service}/links", "links", "The neighbours of a service, as seen and as declared", reader,
		describe("Who calls it and what it calls, as the data plane saw it in the last ten minutes, beside needs of slipway.yaml.")), s.links)
	route(s, s.op("GET /services/{service}/calls", "calls", "Who called this service and whom it called in the last ten minutes", reader), s.calls)
	route(s, s.op("GET /services/{service}/logs", "logs", "What instances wrote, or which requests failed", reader, streaming(sse, ndjson)), s.logs)
}

func (s *Server) previewRoutes() {
	route(s, s.op("POST /previews", "preview", "Sign the header that a release under way answers to", deployer, reads(jsonBody), status(http.StatusCreated),
		describe("Whoever sends the header to the environment's listener is answered by that release, whatever its share of the traffic, and is no evidence for the judge. The ledger keeps who asked for it.")), s.postPreview)
}

func (s *Server) environmentRoutes() {
	route(s, s.op("GET /environments", "list-environments", "Environments, how they stand and what is held in them", reader), s.environments)
	route(s, s.op("GET /drift", "drift", "What differs between two environments", reader,
		describe("Service by service: release, code and each value of configuration; what slipway.yaml says for one environment alone is marked as meant.")), s.drift)
}

func (s *Server) holdRoutes() {
	route(s, s.op("GET /holds", "list-holds", "Holds in force", reader), s.getHolds)
	route(s, s.op("POST /holds", "hold", "Pin an environment or quarantine a version", deployer, reads(jsonBody), status(http.StatusCreated),
		describe("With dry_run the answer is 200, says what it would do, and nothing changes.")), s.postHold)
	route(s, s.op("POST /holds/lift", "lift", "Lift holds", deployer, reads(jsonBody)), s.liftHold)
}

func (s *Server) accessRoutes() {
	route(s, s.op("GET /whoami", "whoami", "Who asks, and what they may do", reader), s.whoami)
	route(s, s.op("GET /tokens", "list-tokens", "Named tokens, those that open nothing any more last", admin), s.getTokens)
	route(s, s.op("POST /tokens", "create-token", "Make a named token", admin, unkept, reads(jsonBody), status(http.StatusCreated),
		describe("What opens it is in this answer and nowhere else: Slipway keeps its hash. "+neverKept)), s.postToken)
	route(s, s.op("POST /tokens/{name}/revoke", "revoke-token", "Take a token back", admin, reads(jsonBody),
		describe("What it opened is over at once, sessions of browsers too.")), s.revokeToken)
	route(s, s.op("POST /sign-in-links", "sign-in-link", "Make a link that signs a browser in", admin, unkept, reads(jsonBody), status(http.StatusCreated),
		describe("It works once, within two minutes, for who asked for it. "+neverKept)), s.postSignInLink)
}

const neverKept = "The answer is never kept, so an Idempotency-Key has no effect."

func (s *Server) ledgerRoutes() {
	route(s, s.op("GET /events", "events", "Follow the ledger", reader, streaming(sse),
		describe("Server-sent events: id is the line number, event its kind, data the line. Nothing is lost or doubled over reconnects.")), s.events)
	route(s, s.op("GET /ledger", "list-ledger", "Lines of the ledger", reader), s.getLedger)
	route(s, s.op("GET /audit/verify", "verify-ledger", "Whether the chain of the ledger holds", reader), s.verify)
}

// option alters an operation, and what is known of its route.
type option func(s *Server, op *huma.Operation)

// op describes one route; where is its method and path.
func (s *Server) op(where, id, summary string, options ...option) huma.Operation {
	method, path, _ := strings.Cut(where, " ")
	noun, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	op := huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{noun},
		BodyReadTimeout: -1, // the body is read already, within its time
		MaxBodyBytes:    maxText + 1,
		Responses:       map[string]*huma.Response{"default": problemResponse(s.api.OpenAPI().Components.Schemas)},
	}
	for _, o := range options {
		o(s, &op)
	}
	if _, said := s.needs[op.Method+" "+Base+op.Path]; !said {
		panic("server: nobody says who may " + where)
	}
	return op
}

// reads says what a route reads.
func reads(k bodyKind) option {
	return func(s *Server, op *huma.Operation) {
		s.bodies[op.Method+" "+Base+op.Path] = k
		if op.Method == http.MethodPost && k == jsonBody && !s.unkept[op.Method+" "+Base+op.Path] {
			op.Parameters = append(op.Parameters, &huma.Param{
				Name: keyHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: new(255)},
				Description: "Names the request. The same key with the same body gives the answer that was given before, marked " + replayHeader + ": true.",
			})
		}
		if k == tarBody {
			op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
				string(tarBody): {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
			}}
		}
	}
}

// streaming says which forms an answer without end has.
func streaming(forms ...framing) option {
	return func(_ *Server, op *huma.Operation) {
		content := map[string]*huma.MediaType{}
		for _, f := range forms {
			content[string(f)] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
		}
		op.Responses["200"] = &huma.Response{Description: "A stream", Content: content}
	}
}

func status(code int) option {
	return func(_ *Server, op *huma.Operation) { op.DefaultStatus = code }
}

func describe(text string) option {
	return func(_ *Server, op *huma.Operation) { op.Description = text }
}

// unkept answers hold a secret: they are not remembered under an Idempotency-Key.
// It goes before reads.
func unkept(s *Server, op *huma.Operation) { s.unkept[op.Method+" "+Base+op.Path] = true }

// Who may ask: each route says one of these.

// anyone may, without a token.
func anyone(s *Server, op *huma.Operation) {
	s.needs[op.Method+" "+Base+op.Path] = delivery.Nobody
	op.Security = []map[string][]string{{}}
}

// reader may: it only looks.
func reader(s *Server, op *huma.Operation) { s.need(op, delivery.Reader) }

// deployer may: it changes what runs, or holds it.
func deployer(s *Server, op *huma.Operation) { s.need(op, delivery.Deployer) }

// admin may: it says what the project is, or who may do what.
func admin(s *Server, op *huma.Operation) { s.need(op, delivery.Admin) }

func (s *Server) need(op *huma.Operation, a delivery.Access) {
	s.needs[op.Method+" "+Base+op.Path] = a
	op.Security = []map[string][]string{{"token": {string(a)}}, {"session": {string(a)}}}
}

// Rights lists what can be asked and who may, from those who may least on, as the
// routes themselves say.
func (s *Server) Rights() []delivery.Right {
	var out []delivery.Right
	for path, item := range s.api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete} {
			if op != nil {
				out = append(out, delivery.Right{What: op.Summary, Route: op.Method + " " + path, Need: s.needs[op.Method+" "+Base+path]})
			}
		}
	}
	level := func(r delivery.Right) int { return slices.Index(delivery.Accesses(), r.Need) }
	slices.SortFunc(out, func(a, b delivery.Right) int {
		return cmp.Or(cmp.Compare(level(a), level(b)), strings.Compare(a.What, b.What), strings.Compare(a.Route, b.Route))
	})
	return out
}
