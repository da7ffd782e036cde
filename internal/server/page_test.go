package server

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// turn reads a list to its end, calling between after each page.
func turn[T any](h *house, path, param string, between func()) []T {
	h.t.Helper()
	var all []T
	for next, pages := "", 0; ; pages++ {
		var p page[T]
		h.get(path + "&" + param + "=" + url.QueryEscape(next)).want(http.StatusOK).into(&p)
		all = append(all, p.Items...)
		if next = p.Next; next == "" {
			return all
		}
		if pages > 1000 {
			h.t.Fatalf("%s never ends", path)
		}
		between()
	}
}

// Every item of a long list is on exactly one page, in order, although new ones
// come while pages are turned.
func TestPaging(t *testing.T) {
	h := build(t).shop()
	const many = 220
	bundle := h.bundle("one")
	n := 0
	submit := func() {
		n++
		if _, err := h.loop.Submit(t.Context(), control.Submission{Service: []string{"cart", "payment"}[n%2], Version: fmt.Sprintf("v%d", n), Bundle: bundle, By: "ann"}); err != nil {
			t.Fatal(err)
		}
	}
	for range many {
		submit()
	}
	for _, limit := range []int{1, 7, 50, 219, 220, 221, 500} {
		sometimes := func() {
			if rand.IntN(10) == 0 {
				submit()
			}
		}
		newest := n
		changes := turn[delivery.Change](h, fmt.Sprintf("/changes?limit=%d", limit), "before", sometimes)
		for i, c := range changes {
			if int(c.ID) != newest-i {
				t.Fatalf("limit %d: item %d is change %d, want %d", limit, i, c.ID, newest-i)
			}
		}
		if len(changes) != newest {
			t.Fatalf("limit %d: %d changes, want %d", limit, len(changes), newest)
		}
	}
	rollouts := turn[delivery.Rollout](h, "/rollouts?limit=30&service=cart", "before", func() {})
	if !slices.IsSortedFunc(rollouts, func(a, b delivery.Rollout) int { return int(b.Seq - a.Seq) }) || len(rollouts) != n/2 {
		t.Errorf("rollouts = %d, want %d of cart, newest first", len(rollouts), n/2)
	}
	up := turn[delivery.Event](h, "/ledger?limit=37", "since", func() {})
	down := turn[delivery.Event](h, "/ledger?limit=41&newest=true", "before", func() {})
	slices.Reverse(down)
	if len(up) != len(down) || len(up) < 2*n {
		t.Fatalf("ledger = %d lines up and %d down", len(up), len(down))
	}
	for i := range up {
		if up[i].Seq != int64(i+1) || down[i].Hash != up[i].Hash {
			t.Fatalf("line %d is %d up and %d down", i+1, up[i].Seq, down[i].Seq)
		}
	}
	var last page[delivery.Change]
	h.get("/changes?before=3").into(&last)
	if len(last.Items) != 2 || last.Items[0].ID != 2 {
		t.Errorf("before=3 = %+v, want changes 2 and 1", last.Items)
	}
}

// A caller that has the answer already is not sent it again.
func TestETag(t *testing.T) {
	h := build(t).shop()
	for _, path := range []string{"/status", "/changes?limit=5"} {
		tag := h.get(path).want(http.StatusOK).Header.Get("ETag")
		if tag == "" {
			t.Fatalf("%s has no ETag", path)
		}
		for _, have := range []string{tag, "*", `"x", ` + tag, strings.TrimPrefix(tag, "W/")} {
			r := h.call(ask{method: "GET", path: path, header: map[string]string{"If-None-Match": have}}).want(http.StatusNotModified)
			if len(r.Body) != 0 || r.Header.Get("ETag") != tag {
				t.Errorf("%s: 304 has %q and ETag %q", path, r.Body, r.Header.Get("ETag"))
			}
		}
		h.call(ask{method: "GET", path: path, header: map[string]string{"If-None-Match": `W/"other"`}}).want(http.StatusOK)
		h.deploy("cart", "v"+path[1:4])
		h.call(ask{method: "GET", path: path, header: map[string]string{"If-None-Match": tag}}).want(http.StatusOK)
	}
}

// A cursor means one place in one direction, and whatever else is sent in its
// place is refused or a plain number; nothing panics.
func TestCursor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Int64Range(1, 1<<60), 0, 20).Draw(t, "list")
		limit := rapid.IntRange(1, 10).Draw(t, "limit")
		way := rapid.SampledFrom([]cursor{before, since}).Draw(t, "way")
		p := cut(slices.Clone(list), limit, way, func(n int64) int64 { return n })
		if len(p.Items) > limit || (p.Next == "") != (len(list) <= limit) {
			t.Fatalf("cut %d at %d = %d items, next %q", len(list), limit, len(p.Items), p.Next)
		}
		if p.Next != "" {
			if n, err := way.read(p.Next); err != nil || n != list[limit-1] {
				t.Fatalf("read(%q) = %d, %v; want %d", p.Next, n, err, list[limit-1])
			}
			other := map[cursor]cursor{before: since, since: before}[way]
			if n, err := other.read(p.Next); err == nil {
				t.Fatalf("%s took the cursor of %s as %d", other, way, n)
			}
		}
		if n, err := way.read(rapid.String().Draw(t, "any")); err == nil && n < 0 {
			t.Fatalf("read = %d", n)
		}
	})
}
