package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// deployOptions are the flags of deploy.
type deployOptions struct {
	service, version string
	from             string
	set, unset       []string
	env              string
	strategy         string
	weights          []string
	hold             time.Duration
	held             bool // hold was named
	twin, approve    bool
	reason, commit   string
	detach, dryRun   bool
	breakGlass       bool
	timeout          time.Duration
}

func (s *session) deploy() *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use: "deploy SERVICE [VERSION]", Short: "Deliver a change of code or configuration, and watch it", Args: between(1, 2),
		Long: "Takes the code from --from, else from the service's folder of versions, else from its\n" +
			"folder, and carries it through the environments in order. With --set or --unset alone\n" +
			"the code that runs is kept and only configuration changes.\n\n" +
			"Ctrl-C stops watching, not the change. Exit codes: slipway help exit-codes",
		Example: "  slipway deploy payment v2\n" +
			"  slipway deploy payment v2 --from ./build --reason \"fixes rounding\"\n" +
			"  slipway deploy payment --set FEE=2 --unset OLD_FEE\n" +
			"  slipway deploy shop v4 --strategy blue-green --approve\n" +
			"  slipway deploy shop v4 --env prod --canary 10,50 --hold 30s\n" +
			"  slipway deploy shop v4 --env prod --break-glass --reason \"prod is on fire\"\n" +
			"  slipway deploy payment v2 --dry-run -o json",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.service = args[0]
			if len(args) > 1 {
				o.version = args[1]
			}
			o.held = cmd.Flags().Changed("hold")
			return s.runDeploy(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "folder or file that holds the code")
	f.StringArrayVar(&o.set, "set", nil, "configuration for this release, KEY=VALUE; may be repeated")
	f.StringArrayVar(&o.unset, "unset", nil, "configuration left out of this release; may be repeated")
	f.StringVar(&o.env, "env", "", "this environment alone")
	f.StringVar(&o.strategy, "strategy", "", "canary, blue-green, rolling or recreate, instead of slipway.yaml's")
	f.StringSliceVar(&o.weights, "canary", nil, "steps of a canary in percent, such as 10,50; 100 follows by itself")
	f.DurationVar(&o.hold, "hold", 10*time.Second, "least time at each step of --canary")
	f.BoolVar(&o.twin, "twin", false, "run fresh instances of the stable release beside the new ones while it is judged")
	f.BoolVar(&o.approve, "approve", false, "wait for a person at each step of a canary, or before the switch of blue-green")
	f.StringVar(&o.reason, "reason", "", "why, for the ledger")
	f.StringVar(&o.commit, "commit", "", "commit that it was built from, for the ledger")
	f.BoolVar(&o.breakGlass, "break-glass", false, "enter --env out of order; needs --reason, which the ledger keeps")
	f.BoolVar(&o.detach, "detach", false, "submit, and do not watch")
	f.DurationVar(&o.timeout, "timeout", 0, "stop watching after this time and exit with 5; the change goes on")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would happen, and change nothing")
	s.completeFlag(cmd, "env", s.environmentNames)
	s.completeFlag(cmd, "strategy", fixed("canary", "blue-green", "rolling", "recreate"))
	return cmd
}

func (s *session) runDeploy(ctx context.Context, o deployOptions) error {
	sub, err := o.submission()
	if err != nil {
		return err
	}
	api, err := s.api()
	if err != nil {
		return err
	}
	p, _, err := api.Project(ctx)
	if err != nil {
		return err
	}
	svc, ok := p.Service(o.service)
	if !ok {
		return delivery.Unknown(delivery.CodeUnknownService, "service", o.service, p.ServiceNames(), "slipway status")
	}
	path, err := o.code(svc, s.Dir)
	if err != nil {
		return err
	}
	if path != "" {
		if sub.Bundle, err = s.upload(ctx, api, path); err != nil {
			return err
		}
	}
	done, err := api.Submit(ctx, sub)
	if err != nil {
		return err
	}
	s.talk(s.preface(done, o.dryRun))
	if o.dryRun || o.detach {
		return s.show(done, func() string { return s.submitted(done, o) }, func() []string { return []string{fmt.Sprint(done.Change.ID)} })
	}
	return s.follow(ctx, &follower{api: api, out: s.Stderr, id: done.Change.ID, timeout: o.timeout, quiet: s.format != "table" && !s.look.live})
}

// upload gives the files at path to the server.
func (s *session) upload(ctx context.Context, api *client.Client, path string) (delivery.Digest, error) {
	d, err := api.Upload(ctx, path)
	if err != nil {
		return "", fmt.Errorf("upload of %s: %w", path, err)
	}
	return d, nil
}

// submission turns the flags into what the API takes.
func (o deployOptions) submission() (control.Submission, error) {
	sub := control.Submission{
		Service: o.service, Version: o.version, Unset: o.unset, Env: o.env, Reason: o.reason, Commit: o.commit, DryRun: o.dryRun, BreakGlass: o.breakGlass,
	}
	if err := o.sensible(); err != nil {
		return sub, err
	}
	for _, pair := range o.set {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return sub, delivery.InvalidNext("--set", fmt.Sprintf("%q is not KEY=VALUE", pair), "slipway deploy "+o.service+" --set KEY=VALUE")
		}
		if sub.Set == nil {
			sub.Set = map[string]string{}
		}
		sub.Set[key] = value
	}
	if o.strategy == "" && len(o.weights) == 0 && !o.twin && !o.approve {
		return sub, nil
	}
	sub.Strategy = &delivery.Override{Kind: delivery.StrategyKind(o.strategy), Twin: o.twin, Approve: o.approve}
	for _, text := range o.weights {
		w, err := weight(text)
		if err != nil {
			return sub, err
		}
		sub.Strategy.Steps = append(sub.Strategy.Steps, delivery.StepSpec{Weight: w, Hold: o.hold, Proven: w < delivery.Full, Max: 10 * time.Minute})
	}
	if n := len(sub.Strategy.Steps); n > 0 {
		if sub.Strategy.Kind == "" {
			sub.Strategy.Kind = delivery.Canary
		}
		if sub.Strategy.Steps[n-1].Weight < delivery.Full {
			sub.Strategy.Steps = append(sub.Strategy.Steps, delivery.StepSpec{Weight: delivery.Full, Hold: o.hold})
		}
	}
	return sub, sub.Strategy.Validate()
}

// sensible refuses flags that make no sense together or at all.
func (o deployOptions) sensible() error {
	switch {
	case o.timeout < 0:
		return delivery.InvalidNext("--timeout", o.timeout.String()+" is less than no time", "slipway deploy "+shell(o.service)+" --timeout 10m")
	case o.hold < 0:
		return delivery.InvalidNext("--hold", o.hold.String()+" is less than no time", "slipway deploy "+shell(o.service)+" --canary 10,50 --hold 30s")
	case o.breakGlass && strings.TrimSpace(o.reason) == "":
		return delivery.InvalidNext("--break-glass", "needs a reason, which the ledger keeps", o.command()+" --reason \"…\"")
	}
	return nil
}

// command is the command line that these options came from, without --dry-run.
func (o deployOptions) command() string {
	words := []string{"slipway", "deploy", shell(o.service)}
	if o.version != "" {
		words = append(words, shell(o.version))
	}
	add := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				words = append(words, flag, shell(v))
			}
		}
	}
	add("--from", o.from)
	add("--set", o.set...)
	add("--unset", o.unset...)
	add("--env", o.env)
	add("--strategy", o.strategy)
	add("--canary", strings.Join(o.weights, ","))
	if o.held {
		add("--hold", o.hold.String())
	}
	if o.twin {
		words = append(words, "--twin")
	}
	if o.approve {
		words = append(words, "--approve")
	}
	add("--reason", o.reason)
	add("--commit", o.commit)
	if o.breakGlass {
		words = append(words, "--break-glass")
	}
	if o.detach {
		words = append(words, "--detach")
	}
	if o.timeout > 0 {
		add("--timeout", o.timeout.String())
	}
	return strings.Join(words, " ")
}

// weight reads a share of the traffic in percent: "10", "0.5", "10%".
func weight(text string) (delivery.Weight, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "%")), 64)
	if err != nil || !(v >= 0.01 && v <= 100) {
		return 0, delivery.InvalidNext("--canary", fmt.Sprintf("%q is no share of the traffic in percent from 0.01 to 100", text), "--canary 10,50")
	}
	return delivery.Weight(v*100 + 0.5), nil
}

// code finds the folder or file that holds the code: --from, else the folder of
// that version, else the service's own folder. It is "" when nothing is to be
// uploaded, because only configuration changes or the server may know the version.
func (o deployOptions) code(svc delivery.Service, dir string) (string, error) {
	if o.from != "" {
		path := o.from
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if _, err := os.Stat(path); err != nil {
			return "", delivery.InvalidNext("--from", "there is nothing at "+path, "build it first, or name another folder or file")
		}
		return path, nil
	}
	if o.version == "" && len(o.set)+len(o.unset) > 0 {
		return "", nil
	}
	if svc.Versions == "" {
		return svc.Dir, nil
	}
	if o.version == "" {
		versions, _ := artifact.Versions(svc.Versions) // the refusal names the folder's versions, if there are any
		return "", delivery.InvalidNext("version", svc.Name+" keeps one folder per version, so one has to be named: "+strings.Join(versions, ", "), "slipway deploy "+svc.Name+" VERSION")
	}
	if !filepath.IsLocal(o.version) {
		return "", nil // the server says what it thinks of such a name
	}
	path := filepath.Join(svc.Versions, o.version)
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return path, err
}

// preface says what was accepted: the change, its way, and what of the
// configuration differs.
func (s *session) preface(done control.Submitted, dry bool) string {
	l, rel := s.look, done.Release
	title := fmt.Sprintf("change #%d", done.Change.ID)
	if dry {
		title = "would be a change"
	}
	versions := rel.Version
	if done.Before != nil {
		versions = done.Before.Version + " → " + rel.Version
	}
	var kinds []string
	for _, k := range done.Change.Kinds {
		kinds = append(kinds, string(k))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  %s  %s %s   %s   by %s\n", l.strong(title), rel.Service, versions, strings.Join(kinds, " and "), youOr(done.Change.By, s.person()))
	fmt.Fprintf(&b, "  plan     %s\n", way(done.Plans))
	if done.Before != nil {
		for _, line := range configDiff(*done.Before, rel) {
			fmt.Fprintf(&b, "  config   %s\n", line)
		}
	}
	for _, note := range done.Notes {
		fmt.Fprintf(&b, "  note     %s\n", note)
	}
	return b.String()
}

// way says the environments in order and the steps in the last one.
func way(plans []control.EnvPlan) string {
	if len(plans) == 0 {
		return "nothing"
	}
	var envs []string
	for i, p := range plans {
		name := p.Env
		if i > 0 && p.Promote == delivery.Manual {
			name += " (by hand)"
		}
		envs = append(envs, name)
	}
	last := plans[len(plans)-1].Plan
	steps := []string{string(last.Strategy)}
	for _, step := range last.Steps {
		if step.Do == delivery.DoWeight {
			steps = append(steps, step.Weight.String())
		}
	}
	return strings.Join(envs, " → ") + "   " + strings.Join(steps, " ")
}

// configDiff says what differs in the configuration of two releases.
func configDiff(from, to delivery.Release) []string {
	lines := mapDiff(from.Config, to.Config, "")
	envs := maps.Clone(from.ConfigIn)
	if envs == nil {
		envs = map[string]map[string]string{}
	}
	maps.Copy(envs, to.ConfigIn)
	for _, env := range slices.Sorted(maps.Keys(envs)) {
		lines = append(lines, mapDiff(from.ConfigIn[env], to.ConfigIn[env], "   in "+env)...)
	}
	return lines
}

func mapDiff(from, to map[string]string, where string) []string {
	keys := map[string]bool{}
	for k := range from {
		keys[k] = true
	}
	for k := range to {
		keys[k] = true
	}
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		a, was := from[k]
		b, is := to[k]
		switch {
		case was && is && a != b:
			lines = append(lines, fmt.Sprintf("%s  %s → %s%s", k, printable(a), printable(b), where))
		case was && !is:
			lines = append(lines, fmt.Sprintf("%s  %s → (unset)%s", k, printable(a), where))
		case is && !was:
			lines = append(lines, fmt.Sprintf("%s  (unset) → %s%s", k, printable(b), where))
		}
	}
	return lines
}

// submitted says what comes after a deploy that is not watched.
func (s *session) submitted(done control.Submitted, o deployOptions) string {
	if o.dryRun {
		return "  " + s.look.sign(signWaits) + " nothing was changed\n" + next(o.command())
	}
	id := done.Change.ID
	return fmt.Sprintf("  %s change #%d is on its way\n%s", s.look.sign(signRuns), id, next(fmt.Sprintf("slipway watch %d", id), fmt.Sprintf("slipway abort %d", id)))
}
