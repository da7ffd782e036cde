package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// counted is a page that says which look at it this is.
func counted(looks *int) show {
	return func(context.Context, request) (page, error) {
		*looks++
		return page{Name: "empty", View: empty{Title: fmt.Sprint("look ", *looks)}}, nil
	}
}

// asks is a request for a page of somebody with that access.
func asks(path string, a delivery.Access) request {
	return request{Request: httptest.NewRequest(http.MethodGet, path, nil), Who: delivery.Who{Name: "ann", Access: a}}
}

// Those who follow a page share its looks; who loads it sees what is now, and so does
// the stream that is opened next.
func TestSharedLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		w := &Web{every: lookTime}
		now, lately := w.forAll(counted(&looks))
		for i, c := range []struct {
			path   string
			access delivery.Access
			look   look
			wait   time.Duration
			want   string
		}{
			{"/changes/1", delivery.Reader, lately, 0, "look 1"},
			{"/changes/1", delivery.Reader, lately, 100 * time.Millisecond, "look 1"},
			{"/changes/1", delivery.Admin, lately, 0, "look 2"},
			{"/changes/1?env=prod", delivery.Reader, lately, 0, "look 3"},
			{"/changes/1", delivery.Reader, now, 0, "look 4"},
			{"/changes/1", delivery.Reader, now, 0, "look 5"},
			{"/changes/1", delivery.Reader, lately, 0, "look 5"},
			{"/changes/1", delivery.Reader, lately, time.Second, "look 6"},
		} {
			time.Sleep(c.wait)
			s := c.look(t.Context(), asks(c.path, c.access))
			if s.err != nil || !strings.Contains(string(s.main), c.want) {
				t.Errorf("look %d = %q, %v, want %s", i, s.main, s.err, c.want)
			}
		}
	})
}

// slow is a page that takes until it is let go.
func slow(looks *int, begun chan<- struct{}, letGo <-chan struct{}) show {
	return func(ctx context.Context, _ request) (page, error) {
		*looks++
		begun <- struct{}{}
		<-letGo
		return page{Name: "empty", View: empty{Title: fmt.Sprint("look ", *looks)}}, ctx.Err()
	}
}

// Whoever took the look may leave, and those who wait see what it saw; whoever waits
// may leave, and does not wait for it. Neither is an error of the server.
func TestLookIsNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		looks, begun, letGo := 0, make(chan struct{}), make(chan struct{})
		w := &Web{every: lookTime, d: Deps{Log: slog.New(slog.NewTextHandler(&said, nil))}}
		_, lately := w.forAll(slow(&looks, begun, letGo))
		first, leave := context.WithCancel(t.Context())
		seen := make(chan *sight, 10)
		watch := func(ctx context.Context) { seen <- lately(ctx, asks("/", delivery.Reader)) }
		go watch(first)
		<-begun
		leave()
		hurried, hurry := context.WithCancel(t.Context())
		go watch(hurried)
		for range 5 {
			go watch(t.Context())
		}
		synctest.Wait()
		hurry()
		s := <-seen
		if !errors.Is(s.err, context.Canceled) {
			t.Errorf("who left is shown %q, %v", s.main, s.err)
		}
		if told := w.troubleOf(hurried, s.err); told.Status != http.StatusInternalServerError || said.Len() > 0 {
			t.Errorf("%+v; the log says %s", told, said.String())
		}
		close(letGo)
		for range 6 {
			if s := <-seen; s.err != nil || !strings.Contains(string(s.main), "look 1") {
				t.Errorf("who stayed is shown %q, %v", s.main, s.err)
			}
		}
		if looks != 1 {
			t.Errorf("%d looks were taken, want 1", looks)
		}
	})
}

// Many who load a page at once cost two looks: the one under way when they came is
// not for them, for it may not see what they have done.
func TestLoadsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, begun, letGo := 0, make(chan struct{}, 10), make(chan struct{})
		w := &Web{every: lookTime}
		now, _ := w.forAll(slow(&looks, begun, letGo))
		seen := make(chan *sight, 100)
		load := func() { seen <- now(t.Context(), asks("/", delivery.Reader)) }
		go load()
		<-begun
		for range 99 {
			go load()
		}
		synctest.Wait()
		close(letGo)
		of := map[template.HTML]int{}
		for range 100 {
			of[(<-seen).main]++
		}
		if looks != 2 || len(of) != 2 {
			t.Errorf("%d looks, shown %v", looks, of)
		}
	})
}

// A look that fails is told to all who wait, and to the log once; one that panics is
// told as well. The next one is taken afresh.
func TestLooksThatFail(t *testing.T) {
	var said bytes.Buffer
	w := &Web{d: Deps{Log: slog.New(slog.NewTextHandler(&said, nil))}} // no look is shared for longer than it takes
	fails := func(err error) look {
		now, _ := w.forAll(func(context.Context, request) (page, error) { return page{}, err })
		return now
	}
	q := asks("/", delivery.Reader)
	for range 3 {
		w.troubleOf(t.Context(), fails(errors.New("the disk is gone"))(t.Context(), q).err)
	}
	if n := strings.Count(said.String(), "the disk is gone"); n != 3 {
		t.Errorf("3 looks are %d times in the log: %s", n, said.String())
	}
	said.Reset()
	for _, err := range []error{delivery.Invalid("page", "is no number"), &delivery.Refusal{Code: delivery.CodeUnknownService, Why: "no"}, delivery.ErrNotFound} {
		if got := fails(err)(t.Context(), q).err; !errors.Is(got, err) || said.Len() > 0 {
			t.Errorf("%v is told as %v; the log says %s", err, got, said.String())
		}
	}
	bad, _ := w.forAll(func(context.Context, request) (page, error) { panic("a bug") })
	func() {
		defer func() {
			if recover() == nil {
				t.Error("who took the look does not know of the panic")
			}
		}()
		bad(t.Context(), q)
	}()
	looks := 0
	good, _ := w.forAll(counted(&looks))
	if s := good(t.Context(), q); s.err != nil || looks != 1 {
		t.Errorf("after a panic: %v, %d looks", s.err, looks)
	}
}

// What is remembered has a bound, whatever is asked for, and makes room.
func TestGlancesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		w := &Web{every: lookTime}
		now, _ := w.forAll(counted(&looks))
		for i := range 2 * maxGlances {
			now(t.Context(), asks(fmt.Sprint("/?q=", i), delivery.Reader))
		}
		now(t.Context(), asks("/?q="+strings.Repeat("x", maxAddress), delivery.Reader))
		if looks != 2*maxGlances+1 || len(w.glances.of) != maxGlances {
			t.Errorf("%d looks, of which %d are remembered", looks, len(w.glances.of))
		}
		time.Sleep(glanceTime)
		now(t.Context(), asks("/", delivery.Reader))
		if len(w.glances.of) != 1 {
			t.Errorf("%d are remembered when nobody asks any more", len(w.glances.of))
		}
	})
}

// overheard is the answer to one who follows a page, until it was sent.
type overheard struct {
	bytes.Buffer

	header http.Header
	sends  int
	leave  func()
}

func (o *overheard) Header() http.Header { return o.header }
func (o *overheard) WriteHeader(int)     {}

// Flush ends a message: the first says the build, the second shows the page.
func (o *overheard) Flush() {
	if o.sends++; o.sends == 2 {
		o.leave()
	}
}

// follow returns the first thing that the stream of a page shows.
func (p *person) follow(path string) string {
	p.t.Helper()
	ctx, leave := context.WithCancel(p.t.Context())
	defer leave()
	r := httptest.NewRequest(http.MethodGet, path, nil).WithContext(ctx)
	r.Header.Set("Accept", "text/event-stream")
	r.Host, r.RemoteAddr = "127.0.0.1:7500", "127.0.0.1:40000"
	for _, c := range p.cookies {
		r.AddCookie(c)
	}
	out := &overheard{header: http.Header{}, leave: leave}
	p.pages.ServeHTTP(out, r)
	return out.String()
}

// livePaths are the pages that many follow.
func livePaths() []string {
	return []string{"/", "/changes", "/changes/3", "/services", "/services/cart", "/environments", "/graph", "/numbers"}
}

// buttons is what somebody can do on a page, and why they cannot.
var buttons = regexp.MustCompile(`href="/act/[^"]*"|<span class="why"[^>]*>[^<]*`)

// People who look at one page at the same time are each shown what they are shown when
// they are alone: their buttons, and nobody else's name.
func TestEachIsShownTheirOwn(t *testing.T) {
	h := build(t).harbor()
	h.rollout(h.deploy("cart", "v2"), "prod", "it is under way", func(r delivery.Rollout) bool { return r.State.Active() })
	h.halt()
	people := map[string]*person{"": h.anyone(), "owner": h.inPublic(testToken)}
	for name, role := range map[string]delivery.Access{"rita": delivery.Reader, "ron": delivery.Reader, "dora": delivery.Deployer, "dean": delivery.Deployer} {
		people[name] = h.inPublic(h.token(name, role))
	}
	for _, path := range livePaths() {
		var all sync.WaitGroup
		for name, p := range people {
			alone := *p
			alone.pages = h.open(true)
			want := buttons.FindAllString(alone.get(path).want(http.StatusOK).Body, -1)
			if pressed := slices.ContainsFunc(want, func(b string) bool { return strings.HasPrefix(b, "href") }); pressed && (name == "" || name[0] == 'r') {
				t.Errorf("%s, %s: who may only read may %q", name, path, want)
			}
			for range 3 {
				p := &person{t: t, pages: p.pages, cookies: maps.Clone(p.cookies)} // in a window of its own
				all.Go(func() {
					for way, got := range map[string]string{"page": p.get(path).Body, "stream": p.follow(path)} {
						if has := buttons.FindAllString(got, -1); !slices.Equal(has, want) {
							t.Errorf("%s, %s of %s: %q, want %q", name, way, path, has, want)
						}
						if signed := strings.Contains(got, "<summary>"+name); signed != (way == "page") && name != "" {
							t.Errorf("%s, %s of %s: it says who is signed in: %v", name, way, path, signed)
						}
						for other := range people {
							if other != name && other != "" && strings.Contains(got, ">"+other) {
								t.Errorf("%s, %s of %s: it names %s", name, way, path, other)
							}
						}
					}
				})
			}
		}
		all.Wait()
	}
}

// inPublic is signed in where anybody may read.
func (h *house) inPublic(token string) *person {
	h.t.Helper()
	p := h.signedIn(token)
	p.pages = h.public
	return p
}
