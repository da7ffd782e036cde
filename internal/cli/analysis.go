package cli

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
)

func (s *session) analysis() *cobra.Command {
	cmd := &cobra.Command{
		Use: "analysis", Short: "What a release is judged by, how, and how soon", Args: none, RunE: groupOnly,
		SuggestFor: []string{"judge", "verdict", "metrics", "replay"},
		Example:    "  slipway analysis explain 7\n  slipway analysis plan payment --env prod\n  slipway analysis replay 7",
	}
	cmd.AddCommand(s.analysisExplain(), s.analysisPlan(), s.analysisReplay())
	return cmd
}

func (s *session) analysisExplain() *cobra.Command {
	return &cobra.Command{
		Use: "explain CHANGE|SERVICE", Short: "The verdict on a change, check by check", Args: between(1, 1),
		Long: "For each environment: what was found and what follows from it, the estimates of both\n" +
			"releases, an interval of their difference that holds however often one looks, the\n" +
			"evidence against the release and for it, what was left out and why, and the margins.\n" +
			"A service means what is under way for it, or the last change.",
		Example:           "  slipway analysis explain 7\n  slipway analysis explain payment\n  slipway analysis explain 7 -o json",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, t, err := s.changeOf(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			all, raw, err := client.Read[client.List[control.Explained]](cmd.Context(), api, fmt.Sprintf("/changes/%d/analysis", t.change))
			if err != nil {
				return err
			}
			return s.show(raw, func() string { return s.explained(all.Items, t.env) }, func() []string {
				var names []string
				for _, e := range all.Items {
					names = append(names, string(e.Rollout))
				}
				return names
			})
		},
	}
}

func (s *session) analysisPlan() *cobra.Command {
	var env string
	cmd := &cobra.Command{
		Use: "plan SERVICE", Short: "How soon a regression would be seen, before the deploy", Args: between(1, 1),
		Long: "Reckons with the traffic of the last ten minutes: how long, in the median, until the\n" +
			"judge sees more errors or slower answers at each step, how many callers they reach by\n" +
			"then, and how long until a healthy release is proven no worse.",
		Example:           "  slipway analysis plan payment\n  slipway analysis plan payment --env staging -o json",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			path := "/services/" + url.PathEscape(args[0]) + "/analysis/plan"
			if env != "" {
				path += "?env=" + url.QueryEscape(env)
			}
			f, raw, err := client.Read[control.Forecast](cmd.Context(), api, path)
			if err != nil {
				return err
			}
			return s.show(raw, func() string { return s.forecast(f) }, func() []string { return []string{f.Env} })
		},
	}
	cmd.Flags().StringVar(&env, "env", "", "the environment meant (default: the last one)")
	s.completeFlag(cmd, "env", s.environmentNames)
	return cmd
}

func (s *session) analysisReplay() *cobra.Command {
	return &cobra.Command{
		Use: "replay CHANGE|SERVICE", Short: "Judge what is on tape again, and compare", Args: between(1, 1),
		Long: "Everything that the judge was told is kept as long as the change. Exits with 0 if the\n" +
			"same data give the same verdict, to the last bit, and with 1 if anything differs; each\n" +
			"field that does is named. Other rules of another version of Slipway are told too.",
		Example:           "  slipway analysis replay 7\n  slipway analysis replay payment -o json",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, t, err := s.changeOf(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			all, raw, err := client.Read[client.List[control.Replayed]](cmd.Context(), api, fmt.Sprintf("/changes/%d/analysis/replay", t.change))
			if err != nil {
				return err
			}
			code := exitDone
			var names []string
			for _, r := range all.Items {
				names = append(names, string(r.Rollout))
				if !r.Same {
					code = exitFailed
				}
			}
			if err := s.show(raw, func() string { return s.replayed(all.Items) }, func() []string { return names }); err != nil {
				return err
			}
			return ended(code)
		},
	}
}
