package web

import (
	"cmp"
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// settingsView is what this Slipway is, and who may do what.
type settingsView struct {
	Facts        []fact
	Findings     []findingRow
	Checks       int // findings in all
	Bad          int // of them that are broken
	Warned       int // of them that could be better
	MoreFindings int // that are not shown, none of them worse
	Project      *projectCard
	Pages        []scrapeRow
	MorePage     int
	NoPage       int // instances that show no metrics, and need not
	Limits       string
	Public       bool
	Rights       []rightRow
	Tokens       *tokensCard // nil of who may not see them
	Licences     []licence
}

// findingRow is one thing that doctor looked at.
type findingRow struct {
	control.Finding

	Sign sign
}

// projectCard is the slipway.yaml in force.
type projectCard struct {
	Name  string
	Said  string    // what the ledger says of it: how many services, what changed
	By    string    // who put it in force
	At    time.Time // zero: the ledger says that too far back
	Lines []sourceLine
	More  int // lines that are not shown
}

// scrapeRow is one page that an instance shows its metrics on.
type scrapeRow struct {
	Service, Env, Instance, URL string
	Sign                        sign
	Why                         string
	Samples                     int
	At                          time.Time
}

// rightRow is one thing that can be asked.
type rightRow struct {
	delivery.Right

	May []bool // for each of the levels of access
}

// licence is what the author of a vendored part allows.
type licence struct{ Name, Text string }

// Bounds of the page.
const (
	maxFindings   = 40
	maxScrapeRows = 40
)

func (w *Web) settings(ctx context.Context, q request) (page, error) {
	v, err := w.settingsOf(ctx, q.Who)
	if err != nil {
		return page{}, err
	}
	return page{Tab: "settings", Title: "Settings", Name: "settings", View: v}, nil
}

func (w *Web) settingsOf(ctx context.Context, who delivery.Who) (settingsView, error) {
	v := settingsView{Limits: access.Limits(), Public: w.d.Guard.Public(), Rights: rightRows(w.d.Rights), Licences: licences()}
	var err error
	if v.Facts, err = w.settingsFacts(ctx); err != nil {
		return v, err
	}
	for _, f := range w.d.Loop.Doctor(ctx) {
		f.What, f.Next = inert(f.What), inert(f.Next)
		row := findingRow{f, signGood}
		switch f.Outcome {
		case control.FindWarn:
			row.Sign = sign{"warning", "could be better", "is-warn"}
			v.Warned++
		case control.FindBad:
			row.Sign = sign{signFailed.Icon, "broken", signFailed.Class}
			v.Bad++
		}
		v.Findings = append(v.Findings, row)
	}
	slices.SortStableFunc(v.Findings, func(a, b findingRow) int { return cmp.Compare(b.Sign.trouble(), a.Sign.trouble()) })
	if v.Checks = len(v.Findings); v.Checks > maxFindings {
		v.Findings, v.MoreFindings = v.Findings[:maxFindings], v.Checks-maxFindings
	}
	if v.Project, err = w.projectCard(ctx); err != nil {
		return v, err
	}
	v.scraped(w.d.Loop)
	if access.Need(who, delivery.Admin) == nil {
		v.Tokens, err = w.tokensCard(ctx)
	}
	return v, err
}

// settingsFacts is what this server is and how it does.
func (w *Web) settingsFacts(ctx context.Context) ([]fact, error) {
	vitals, err := w.d.Loop.Vitals(ctx)
	if err != nil {
		return nil, err
	}
	plane := "answers"
	if !vitals.DataPlane {
		plane = "does not answer"
	}
	return []fact{
		{Name: "Version", Value: "Slipway " + w.d.Version},
		{Name: "Address", Value: w.d.Addr, Class: "mono"},
		{Name: "Up", Value: "since " + clock(w.began) + ", " + ago(time.Now(), w.began)},
		{Name: "Data plane", Value: plane},
		{Name: "Instances", Value: plural(len(vitals.Instances), "instance")},
		{Name: "Under way", Value: plural(len(vitals.Open), "rollout")},
		{Name: "Metrics kept", Value: grouped(vitals.Numbers.Series) + " series of at most " + grouped(vitals.Numbers.Most) + ", about " + grouped(vitals.Numbers.Bytes>>20) + " MiB"},
		{Name: "Metrics refused", Value: refusedText(vitals)},
	}, nil
}

// refusedText says which numbers were not kept, the most first.
func refusedText(v control.Vitals) string {
	const most = 3
	var parts []string
	for i, r := range v.Refused {
		if i == most {
			parts = append(parts, "and "+grouped(len(v.Refused)-most)+" more")
			break
		}
		parts = append(parts, inert(r.Service+" "+r.Name+" ("+r.Why+")"))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, "; ")
}

// projectCard shows the file in force, and what the ledger says of who put it.
func (w *Web) projectCard(ctx context.Context) (*projectCard, error) {
	p, src, err := w.d.Store.Project(ctx)
	if isNoProject(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	card := &projectCard{Name: p.Name}
	card.Lines, card.More = sourceLines(string(src), p)
	line, _, err := w.d.Store.ProjectLine(ctx)
	if err != nil {
		return nil, err
	}
	card.By, card.At, card.Said = inert(line.By), line.At, inert(line.Text)
	return card, nil
}

// scraped lists the pages of metrics, those in trouble first.
func (v *settingsView) scraped(l *control.Loop) {
	for _, s := range l.Pages() {
		if !s.At.IsZero() && !s.Up && s.Guess && !s.Found {
			v.NoPage++
			continue
		}
		if len(v.Pages) == maxScrapeRows {
			v.MorePage++
			continue
		}
		row := scrapeRow{Service: s.Series.Service, Env: s.Series.Env, Instance: s.Series.Instance, URL: s.URL, Why: inert(s.Why), Samples: s.Samples, At: s.At, Sign: signGood}
		switch {
		case s.At.IsZero():
			row.Sign = signWaiting
		case s.Up && s.Why != "":
			row.Sign = sign{signUnknown.Icon, "in part", "is-warn"}
		case s.Up:
		default:
			row.Sign = sign{signFailed.Icon, "does not answer", signFailed.Class}
		}
		v.Pages = append(v.Pages, row)
	}
}

func rightRows(all []delivery.Right) []rightRow {
	out := make([]rightRow, 0, len(all))
	for _, r := range all {
		row := rightRow{Right: r}
		for _, level := range delivery.Accesses() {
			row.May = append(row.May, level.Allows(r.Need))
		}
		out = append(out, row)
	}
	return out
}

// licences reads those of the vendored parts, which are embedded.
func licences() []licence {
	var out []licence
	entries, err := assetFiles.ReadDir("vendored")
	if err != nil {
		return nil // the folder is embedded
	}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".LICENSE" {
			continue
		}
		if text, err := fs.ReadFile(assetFiles, path.Join("vendored", e.Name())); err == nil {
			out = append(out, licence{strings.TrimSuffix(e.Name(), ".LICENSE"), strings.TrimSpace(string(text))})
		}
	}
	return out
}
