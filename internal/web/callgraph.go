package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-cd/slipway/internal/web/layered"
)

// maxGraphNodes is how many boxes a graph is drawn with, and maxGraphGroups how
// many of them may stand for all others.
const (
	maxGraphNodes  = 60
	maxGraphGroups = 8
)

// callGraph is services and who calls whom.
type callGraph struct {
	Nodes map[string]callNode // by ID
	Calls []callEdge
	at    map[[2]string]int // of each edge in Calls, until they are ordered
}

// callNode is a service, the world outside, or several that are drawn as one.
type callNode struct {
	ID      string
	Name    string
	Version string
	Href    string // "" leads nowhere
	Sign    sign
	Members int // of several
}

// callEdge is the calls from one node to another.
type callEdge struct {
	From, To         string
	Requests, Failed uint64
	Seconds          int64 // that they were counted in
	Declared         bool  // slipway.yaml says that there are such calls
}

func newCallGraph() callGraph {
	return callGraph{Nodes: map[string]callNode{}, at: map[[2]string]int{}}
}

// outsideNode is the node of callers that are no service.
const outsideNode = "outside"

func serviceNode(name string) string { return "service/" + name }

// call returns the edge between two nodes, which it makes if there is none. It is
// the caller's until the next call.
func (g *callGraph) call(from, to string) *callEdge {
	i, there := g.at[[2]string{from, to}]
	if !there {
		i = len(g.Calls)
		g.at[[2]string{from, to}] = i
		g.Calls = append(g.Calls, callEdge{From: from, To: to})
	}
	return &g.Calls[i]
}

// missing adds the nodes that calls name and nothing else does: they were taken out
// of slipway.yaml within the last ten minutes.
func (g *callGraph) missing() {
	for _, e := range g.Calls {
		for _, id := range []string{e.From, e.To} {
			if _, there := g.Nodes[id]; !there {
				g.Nodes[id] = callNode{ID: id, Name: id[len(serviceNode("")):], Sign: sign{signSuperseded.Icon, "not in slipway.yaml", signSuperseded.Class}}
			}
		}
	}
}

// rate is requests a second, and share the part of them that failed.
func (e callEdge) rate() float64 { return float64(e.Requests) / float64(max(e.Seconds, 1)) }

func (e callEdge) share() float64 { return float64(e.Failed) / float64(max(e.Requests, 1)) }

// The shares of failed calls from which an edge is worth a look, and is bad.
const (
	shareWarn = 0.01
	shareBad  = 0.05
)

// sign is how the calls of an edge do.
func (e callEdge) sign() sign {
	switch {
	case e.Requests == 0:
		return sign{signWaiting.Icon, "declared, not seen", signWaiting.Class}
	case e.share() >= shareBad:
		return sign{signFailed.Icon, "failing", signFailed.Class}
	case e.share() >= shareWarn:
		return sign{signUnknown.Icon, "some fail", "is-warn"}
	}
	return signGood
}

// trouble ranks edges and nodes: the more, the sooner they are shown.
func (s sign) trouble() int {
	return map[string]int{"is-bad": 3, "is-warn": 2, "is-run": 1}[s.Class]
}

// order sorts calls: failing ones first, then by how many there are.
func (g *callGraph) order() {
	slices.SortFunc(g.Calls, func(a, b callEdge) int {
		return cmp.Or(cmp.Compare(b.sign().trouble(), a.sign().trouble()), cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
}

// around is a node with those that call it or are called by it, and all calls
// between these.
func (g callGraph) around(id string) callGraph {
	near := map[string]bool{id: true}
	for _, e := range g.Calls {
		if e.From == id || e.To == id {
			near[e.From], near[e.To] = true, true
		}
	}
	out := callGraph{Nodes: maps.Clone(g.Nodes)}
	maps.DeleteFunc(out.Nodes, func(id string, _ callNode) bool { return !near[id] })
	for _, e := range g.Calls {
		if near[e.From] && near[e.To] {
			out.Calls = append(out.Calls, e)
		}
	}
	return out
}

// capped is the graph with at most so many nodes: those in trouble and those with
// the most requests stay, and the others are drawn as one for each column.
func (g callGraph) capped(most int) callGraph {
	if len(g.Nodes) <= most {
		return g
	}
	requests, worst := map[string]uint64{}, map[string]int{}
	for _, e := range g.Calls {
		for _, id := range []string{e.From, e.To} {
			requests[id] += e.Requests
			worst[id] = max(worst[id], e.sign().trouble())
		}
	}
	order := slices.SortedFunc(maps.Values(g.Nodes), func(a, b callNode) int {
		return cmp.Or(cmp.Compare(max(b.Sign.trouble(), worst[b.ID]), max(a.Sign.trouble(), worst[a.ID])), cmp.Compare(requests[b.ID], requests[a.ID]), cmp.Compare(a.ID, b.ID))
	})
	group := g.groups()
	out, as := newCallGraph(), map[string]string{}
	for i, n := range order {
		if i < most-maxGraphGroups {
			out.Nodes[n.ID], as[n.ID] = n, n.ID
			continue
		}
		id := fmt.Sprintf("more/%d", group[n.ID])
		more := out.Nodes[id]
		more.ID, more.Members = id, more.Members+1
		more.Name = "and " + grouped(more.Members) + " more"
		out.Nodes[id], as[n.ID] = more, id
	}
	for _, e := range g.Calls {
		from, to := as[e.From], as[e.To]
		if from == to && from != e.From {
			continue // among those that are drawn as one
		}
		c := out.call(from, to)
		c.Requests, c.Failed, c.Seconds, c.Declared = c.Requests+e.Requests, c.Failed+e.Failed, max(c.Seconds, e.Seconds), c.Declared || e.Declared
	}
	return out
}

// groups gives each node the number of its group: that of its column, or of a few
// columns side by side if there are many.
func (g callGraph) groups() map[string]int {
	columns, err := layered.Columns(g.shape(0, 0))
	if err != nil {
		return nil // each edge has its nodes: all are one group then
	}
	last := 0
	for _, c := range columns {
		last = max(last, c)
	}
	for id, c := range columns {
		columns[id] = c * maxGraphGroups / max(maxGraphGroups, last+1)
	}
	return columns
}

// shape is the graph as it is laid out, each node of one size.
func (g callGraph) shape(width, height float64) layered.Graph {
	var out layered.Graph
	for id := range g.Nodes {
		out.Nodes = append(out.Nodes, layered.Node{ID: id, Width: width, Height: height})
	}
	for _, e := range g.Calls {
		out.Edges = append(out.Edges, layered.Edge{From: e.From, To: e.To})
	}
	return out
}

// sentence says what a graph shows.
func (g callGraph) sentence(env string) string {
	services, observed, failing := 0, 0, 0
	var worst callEdge
	for id := range g.Nodes {
		if id != outsideNode {
			services++
		}
	}
	for _, e := range g.Calls {
		if e.Requests > 0 {
			observed++
		}
		if e.sign().trouble() > 1 {
			failing++
			if e.share() > worst.share() {
				worst = e
			}
		}
	}
	text := fmt.Sprintf("%s in %s, %s seen between them", plural(services, "service"), env, plural(observed, "connection"))
	if failing == 0 {
		return text + ", none of them failing."
	}
	return fmt.Sprintf("%s, %d of them failing; worst from %s to %s, where %s fail.", text, failing, g.Nodes[worst.From].Name, g.Nodes[worst.To].Name, percent(worst.share()))
}
