package web

import (
	"context"
	"net/url"
	"slices"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// graphView is who calls whom in one environment, as the data plane sees it.
type graphView struct {
	Env          string
	Environments []string
	Around       string // the service that is looked at; "" is all of them
	Services     []string
	Listed       bool // they are few enough to be listed
	Picture      graphPicture
	Sentence     string // what the picture shows, for who cannot see it
	Calls        []graphRow
	MoreCalls    int // that are not in the table
	Observed     bool
	Empty        *empty // there is no service
}

// graphRow is one line of the table.
type graphRow struct {
	Caller, Callee         string
	CallerHref, CalleeHref string
	Rate                   string // "" when it was not seen
	Failed                 string
	Sign                   sign
}

// maxListed is how many services are listed to choose one.
const maxListed = 100

// Bounds of a page: how many calls it draws, and how many its table lists.
const (
	maxGraphLines = 80
	maxGraphRows  = 50
)

func (w *Web) graph(ctx context.Context, q request) (page, error) {
	p := page{Tab: "graph", Title: "Graph", Name: "graph", Live: true}
	project, err := w.d.Loop.Project(ctx)
	if none := nothingYet(project, err); none != nil {
		p.View = graphView{Empty: none}
		return p, nil
	}
	if err != nil {
		return page{}, err
	}
	v := graphView{Listed: len(project.Services) <= maxListed, Environments: project.EnvironmentNames(), Services: project.ServiceNames(), Around: q.URL.Query().Get("around")}
	if v.Env, err = envAsked(project, q.URL.Query().Get("env")); err != nil {
		return page{}, err
	}
	if v.Around != "" && !slices.Contains(v.Services, v.Around) {
		return page{}, delivery.Unknown(delivery.CodeUnknownService, "service", v.Around, v.Services, "slipway status")
	}
	board, err := w.d.Loop.Board(ctx)
	if err != nil {
		return page{}, err
	}
	g := observed(v.Env, project, board, w.d.Loop.Calls(""))
	if v.Around != "" {
		g = g.around(serviceNode(v.Around))
	}
	v.fill(g)
	p.Title, p.View = "Graph of "+v.Env, v
	return p, nil
}

// nothingYet is what a page says that shows services, while there are none; nil if
// there are, or if that is not known.
func nothingYet(p delivery.Project, err error) *empty {
	if isNoProject(err) || err == nil && len(p.Services) == 0 {
		return noProject()
	}
	return nil
}

// envAsked returns the environment that is asked for: the last one as a rule, for
// there are the users.
func envAsked(p delivery.Project, env string) (string, error) {
	names := p.EnvironmentNames()
	switch {
	case env == "" && len(names) > 0:
		return names[len(names)-1], nil
	case slices.Contains(names, env):
		return env, nil
	}
	return "", delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", env, names, "slipway status")
}

// fill draws a graph, and puts its calls in a table, the worst first.
func (v *graphView) fill(g callGraph) {
	g.order()
	for _, c := range g.Calls {
		v.Observed = v.Observed || c.Requests > 0
		if len(v.Calls) == maxGraphRows {
			v.MoreCalls++
			continue
		}
		from, to := g.Nodes[c.From], g.Nodes[c.To]
		row := graphRow{Caller: from.Name, CallerHref: from.Href, Callee: to.Name, CalleeHref: to.Href, Sign: c.sign()}
		if c.Requests > 0 {
			row.Rate, row.Failed = aSecond(c.rate()), percent(c.share())
		}
		v.Calls = append(v.Calls, row)
	}
	v.Picture = g.capped(maxGraphNodes).draw(maxGraphLines)
	v.Sentence = g.sentence(v.Env)
}

// observed is the graph of an environment: its services, what they are declared to
// need, and the calls that were seen.
func observed(env string, p delivery.Project, b delivery.Board, calls []control.Call) callGraph {
	g := newCallGraph()
	for _, row := range b.Services {
		n := callNode{ID: serviceNode(row.Service), Name: row.Service, Href: "/services/" + url.PathEscape(row.Service)}
		for _, cell := range row.Cells {
			if cell.Env == env {
				n.Version, n.Sign = cell.Version, standing(cell)
			}
		}
		g.Nodes[n.ID] = n
	}
	for _, svc := range p.Services {
		for _, need := range svc.Run.Needs {
			g.call(serviceNode(svc.Name), serviceNode(need.Service)).Declared = true
		}
	}
	for _, c := range calls {
		if c.Env != env {
			continue
		}
		from := serviceNode(c.Caller)
		if c.Caller == "" {
			from = outsideNode
			g.Nodes[from] = callNode{ID: from, Name: "outside", Sign: sign{"", "callers from outside", "is-quiet"}}
		}
		e := g.call(from, serviceNode(c.Callee))
		e.Requests, e.Failed, e.Seconds = e.Requests+c.Requests, e.Failed+c.Failed, c.Seconds
	}
	g.missing()
	return g
}

// standing is how a service does in one environment.
func standing(c delivery.Cell) sign {
	switch {
	case c.Flight != nil && c.Flight.Waiting == nil && c.Healthy >= c.Want:
		return sign{signRunning.Icon, c.Flight.Version + " on its way", signRunning.Class}
	case c.Version == "":
		return sign{signWaiting.Icon, "not deployed", signWaiting.Class}
	case c.Want > 0 && c.Healthy == 0:
		return sign{signFailed.Icon, "down", signFailed.Class}
	case c.Healthy < c.Want:
		return sign{signFailed.Icon, grouped(c.Healthy) + " of " + grouped(c.Want) + " healthy", "is-warn"}
	case c.Held != nil && c.Held.Kind == delivery.Pinned:
		return sign{signBlocked.Icon, "held", "is-warn"}
	}
	return signGood
}
