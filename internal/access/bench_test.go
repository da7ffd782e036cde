package access

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// BenchmarkEnter is what each request pays to be let in, beside nothing: the owner's
// token is compared, a named one and a session are read from the store.
func BenchmarkEnter(b *testing.B) {
	st, err := store.Open(b.Context(), filepath.Join(b.TempDir(), "store.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	g := New(Deps{Root: rootToken, Addr: testAddr, Store: st})
	_, secret, err := g.Create(b.Context(), NewToken{Name: "ci", Access: delivery.Deployer, By: "ann"})
	if err != nil {
		b.Fatal(err)
	}
	rec := httptest.NewRecorder()
	if _, err := g.SignIn(rec, httptest.NewRequest(http.MethodPost, "http://"+testAddr+"/sign-in", nil), secret); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		show func(r *http.Request)
	}{
		{"owner", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+rootToken) }},
		{"token", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }},
		{"session", func(r *http.Request) { r.AddCookie(rec.Result().Cookies()[0]) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "http://"+testAddr+"/", nil)
			c.show(r)
			b.ReportAllocs()
			for b.Loop() {
				if p, err := g.Enter(httptest.NewRecorder(), r); err != nil || p.Via == ViaNothing {
					b.Fatal(p, err)
				}
			}
		})
	}
}
