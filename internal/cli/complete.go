package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// completeTime bounds what a press of the tab key may take.
const completeTime = time.Second

// known asks the server for the project; without one nothing is completed.
func (s *session) known(ctx context.Context) delivery.Project {
	ctx, stop := context.WithTimeout(ctx, completeTime)
	defer stop()
	api, err := s.api()
	if err != nil {
		return delivery.Project{}
	}
	api.Patience = 0
	p, _, err := api.Project(ctx)
	if err != nil {
		return delivery.Project{}
	}
	return p
}

// completeService completes the first argument.
func (s *session) completeService(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.known(cmd.Context()).ServiceNames(), cobra.ShellCompDirectiveNoFileComp
}

func (s *session) environmentNames(ctx context.Context) []string {
	return s.known(ctx).EnvironmentNames()
}

// fixed completes words that are always the same.
func fixed(words ...string) func(context.Context) []string {
	return func(context.Context) []string { return words }
}

func (s *session) completeFlag(cmd *cobra.Command, flag string, words func(context.Context) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return words(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic("cli: completion of a flag that is not there: " + err.Error()) // a bug, found by the first test that builds the commands
	}
}
