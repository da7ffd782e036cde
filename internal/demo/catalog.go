package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// buildCatalog makes the Go twin of assets/catalog/server.js: GET /items lists
// items.json of the bundle with the price of each.
func buildCatalog(s *service, _ func(string) string) error {
	var goods []good
	if err := s.read("items.json", &goods); err != nil {
		return err
	}
	s.ops = map[string]operation{"GET /items": func(ctx context.Context, v *visit) (reply, error) {
		names := make([]string, len(goods))
		for i, g := range goods {
			names[i] = g.Item
		}
		prices, err := v.prices(ctx, names)
		if err != nil {
			return nil, err
		}
		priced := make([]good, len(goods))
		for i, g := range goods {
			priced[i] = good{g.Item, g.Title, prices[g.Item]}
		}
		return reply{"items": priced}, nil
	}}
	return nil
}

// buildPricing makes the Go twin of assets/pricing/main.py: GET /prices?item=tea
// looks up prices.json of the bundle.
func buildPricing(s *service, _ func(string) string) error {
	var known map[string]int
	if err := s.read("prices.json", &known); err != nil {
		return err
	}
	empties := newEven()
	s.ops = map[string]operation{"GET /prices": func(_ context.Context, v *visit) (reply, error) {
		prices := map[string]int{}
		for _, item := range v.in.URL.Query()["item"] {
			cents, ok := known[item]
			if !ok {
				return nil, &failure{status: http.StatusNotFound, message: "no price for " + item}
			}
			prices[item] = cents
		}
		if empties.next(s.how.Empty) {
			clear(prices)
		}
		return reply{"prices": prices}, nil
	}}
	return nil
}

// read decodes a JSON file of the bundle.
func (s *service) read(name string, into any) error {
	b, err := os.ReadFile(filepath.Join(s.bundle, name))
	if err != nil {
		return fmt.Errorf("demo: serve %s: %w", s.name, err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("demo: %s: %w", name, err)
	}
	return nil
}
