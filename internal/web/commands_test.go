package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// into asks for what goes into an element of a page that is there.
func (p *person) into(target, path string) *reply {
	p.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("HX-Request", "true")
	r.Header.Set("HX-Target", target)
	return p.ask(r)
}

// What is looked for is found by the words of the page and of the command line
// alike, and only by who may do it.
func TestCommands(t *testing.T) {
	h := build(t).harbor()
	admin, reader := h.admin(), h.anyone()
	for _, c := range []struct {
		who       *person
		query     string
		want, not string
	}{
		{admin, "", "slipway status", "Deploy cart"},
		{admin, "ship", "Nothing is called that", ""},
		{admin, "cart", `data-href="/services/cart"`, "payment"},
		{admin, "roll cart prod", `data-href="/act/rollback?env=prod&amp;service=cart" data-dialog`, "staging"},
		{admin, "slipway rollback cart", "slipway rollback cart --env prod", "Hold"},
		{admin, "CART PROMOTE", "Promote cart to prod…", "Roll back"},
		{admin, "#2", `data-href="/changes/2"`, "change #1<"},
		{admin, "theme dark", `data-theme="dark"`, "light"},
		{admin, `<script>alert(1)</script>`, "Nothing is called that", "<script"},
		{reader, "cart", `data-href="/services/cart"`, "/act/"},
		{reader, "rollback", "Nothing is called that", ""},
	} {
		got := c.who.into("ul#choices", "/commands?q="+strings.NewReplacer(" ", "+", "#", "%23", "<", "%3C", ">", "%3E").Replace(c.query)).want(http.StatusOK).Body
		if !strings.Contains(got, c.want) {
			t.Errorf("%q finds\n%s\nwant %q in it", c.query, got, c.want)
		}
		if c.not != "" && strings.Contains(got, c.not) {
			t.Errorf("%q finds\n%s\nwant no %q in it", c.query, got, c.not)
		}
	}
}

// One address is a page of links, the dialog and the list in it.
func TestCommandsThreeWays(t *testing.T) {
	admin := build(t).harbor().admin()
	whole, dialog, list := admin.get("/commands?q=cart").Body, admin.into("dialog#dialog", "/commands?q=cart").Body, admin.into("ul#choices", "/commands?q=cart").Body
	if !strings.Contains(whole, "<!doctype html>") || !strings.Contains(whole, `<a class="choice" href="/services/cart">`) {
		t.Errorf("the page is\n%s", whole)
	}
	if strings.Contains(dialog, "<html") || !strings.Contains(dialog, `role="combobox"`) || !strings.Contains(dialog, `role="option"`) {
		t.Errorf("the dialog is\n%s", dialog)
	}
	if strings.Contains(list, "combobox") || !strings.HasPrefix(strings.TrimSpace(list), "<li") {
		t.Errorf("the list is\n%s", list)
	}
	if got := h1s(admin.get("/keys").Body); got != 1 {
		t.Errorf("the page of keys has %d h1, want 1", got)
	}
}

func h1s(body string) int { return strings.Count(body, "<h1") }
