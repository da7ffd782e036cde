package demo

import (
	"context"
	_ "embed"
	"encoding/json"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	basketCookie = "basket"
	basketLimit  = 20 // items
)

//go:embed assets/shop.html
var shopPage string

// basket is what the cart service makes of a list of items. No service keeps
// one: it travels in the shopper's cookie, so that any instance of any version
// can answer the next request.
type basket struct {
	Lines []struct {
		Item  string `json:"item"`
		Count int    `json:"count"`
		Cents int    `json:"cents"`
	} `json:"lines"`
	TotalCents int `json:"total_cents"`
}

// good is one thing on sale.
type good struct {
	Item  string `json:"item"`
	Title string `json:"title"`
	Cents int    `json:"cents"`
}

// buildShop makes the public face: GET / lists, POST /cart adds, POST /checkout pays.
func buildShop(s *service, _ func(string) string) error {
	page, err := template.New("shop").Funcs(template.FuncMap{"euro": euro}).Parse(shopPage)
	if err != nil {
		return err
	}
	s.ops = map[string]operation{"GET /": list, "POST /cart": add, "POST /checkout": checkout}
	s.page = func(w http.ResponseWriter, r *http.Request, status int, out reply) {
		if r.URL.Path == "/cart" && status == http.StatusOK {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		if err := page.Execute(w, out); err != nil {
			s.log.Error("page cut off", "error", err)
		}
	}
	return nil
}

func list(ctx context.Context, v *visit) (reply, error) {
	var catalog struct {
		Items []good `json:"items"`
	}
	if err := v.call(ctx, ask{callee: "catalog", path: "/items"}, &catalog); err != nil {
		return nil, err
	}
	out := reply{"items": catalog.Items}
	if items := carried(v.in); len(items) > 0 {
		b, err := v.price(ctx, items)
		if err != nil {
			return nil, err
		}
		out["basket"] = b
	}
	return out, nil
}

func add(ctx context.Context, v *visit) (reply, error) {
	item, err := wanted(v.in)
	if err != nil {
		return nil, err
	}
	items := append(carried(v.in), item)
	if len(items) > basketLimit {
		return nil, &failure{status: http.StatusConflict, message: "the basket is full; check out first"}
	}
	b, err := v.price(ctx, items)
	if err != nil {
		return nil, err
	}
	v.carry(items)
	return reply{"basket": b}, nil
}

func checkout(ctx context.Context, v *visit) (reply, error) {
	items := carried(v.in)
	if len(items) == 0 {
		return nil, &failure{status: http.StatusConflict, message: "the basket is empty"}
	}
	b, err := v.price(ctx, items)
	if err != nil {
		return nil, err
	}
	var paid struct {
		Cents   int    `json:"charged_cents"`
		Receipt string `json:"receipt"`
	}
	if err := v.call(ctx, ask{callee: "payment", path: "/charge", body: reply{"cents": b.TotalCents}}, &paid); err != nil {
		return nil, err
	}
	v.carry(nil)
	return reply{"paid_cents": paid.Cents, "receipt": paid.Receipt}, nil
}

func (v *visit) price(ctx context.Context, items []string) (basket, error) {
	var b basket
	err := v.call(ctx, ask{callee: "cart", path: "/basket", query: url.Values{"item": items}}, &b)
	return b, err
}

// euro prints cents as people write them.
func euro(cents int) string {
	s := strconv.Itoa(cents % 100)
	if len(s) == 1 {
		s = "0" + s
	}
	return strconv.Itoa(cents/100) + "." + s + " €"
}

// carried returns the items in the shopper's cookie.
func carried(r *http.Request) []string {
	c, err := r.Cookie(basketCookie)
	if err != nil || c.Value == "" {
		return nil
	}
	return strings.Split(c.Value, ".")
}

func (v *visit) carry(items []string) {
	c := http.Cookie{Name: basketCookie, Value: strings.Join(items, "."), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if len(items) == 0 {
		c.MaxAge = -1
	}
	v.header.Add("Set-Cookie", c.String())
}

// wanted returns the item of a JSON body or a form.
func wanted(r *http.Request) (string, error) {
	var in struct {
		Item string `json:"item"`
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/json" {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return "", &failure{status: http.StatusBadRequest, message: "body: " + err.Error()}
		}
	} else {
		in.Item = r.PostFormValue("item")
	}
	if in.Item == "" || strings.ContainsFunc(in.Item, func(c rune) bool { return c < 'a' || c > 'z' }) {
		return "", &failure{status: http.StatusBadRequest, message: "item: must be a word of the letters a to z"}
	}
	return in.Item, nil
}
