package demo

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// buildCart makes the service that adds up a basket: GET /basket?item=tea&item=tea.
func buildCart(s *service, _ func(string) string) error {
	s.ops = map[string]operation{"GET /basket": addUp}
	return nil
}

func addUp(ctx context.Context, v *visit) (reply, error) {
	counts := map[string]int{}
	for _, item := range v.in.URL.Query()["item"] {
		counts[item]++
	}
	if len(counts) == 0 {
		return nil, &failure{status: http.StatusBadRequest, message: "item: name at least one"}
	}
	items := slices.Sorted(maps.Keys(counts))
	prices, err := v.prices(ctx, items)
	if err != nil {
		return nil, err
	}
	lines, total := []reply{}, 0
	for _, item := range items {
		cents := prices[item] * counts[item]
		lines = append(lines, reply{"item": item, "count": counts[item], "cents": cents})
		total += cents
	}
	return reply{"lines": lines, "total_cents": total}, nil
}

// prices asks the pricing service for the price of each item, in cents.
func (v *visit) prices(ctx context.Context, items []string) (map[string]int, error) {
	var out struct {
		Prices map[string]int `json:"prices"`
	}
	if err := v.call(ctx, ask{callee: "pricing", path: "/prices", query: url.Values{"item": items}}, &out); err != nil {
		return nil, err
	}
	for _, item := range items {
		if _, ok := out.Prices[item]; !ok {
			return nil, &failure{http.StatusBadGateway, "pricing: its answer has no price for " + item, cause{"pricing", v.callees["pricing"]}}
		}
	}
	return out.Prices, nil
}
