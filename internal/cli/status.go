package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func (s *session) status() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: "status", Short: "What runs where, and what can be deployed right now", Args: none,
		Example: "  slipway status\n  slipway status --watch\n  slipway status -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			if watch && s.look.live && s.format == "table" {
				return s.watchBoard(cmd.Context(), api)
			}
			return s.showBoard(cmd.Context(), api)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "draw it again every second, on a terminal")
	return cmd
}

func (s *session) showBoard(ctx context.Context, api *client.Client) error {
	board, raw, err := client.Read[delivery.Board](ctx, api, "/status")
	if err != nil {
		return err
	}
	return s.show(raw, func() string { return s.board(board) }, func() []string {
		var names []string
		for _, row := range board.Services {
			names = append(names, row.Service)
		}
		return names
	})
}

// watchBoard draws the board again and again until a person has seen enough.
func (s *session) watchBoard(ctx context.Context, api *client.Client) error {
	screen := screen{out: s.Stdout, width: s.look.width}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	api.Patience = awayLimit
	for {
		board, err := api.Board(ctx)
		if ctx.Err() != nil {
			return ended(exitInterrupted)
		}
		if err != nil {
			return err
		}
		screen.draw(strings.Split(strings.TrimSuffix(s.board(board), "\n"), "\n"))
		select {
		case <-ctx.Done():
			return ended(exitInterrupted)
		case <-tick.C:
		}
	}
}

// board lays out what runs where, one row a service.
func (s *session) board(b delivery.Board) string {
	l := s.look
	head := []string{"SERVICE"}
	head = append(head, b.Environments...)
	rows := [][]string{append(head, "DEPLOYABLE NOW")}
	for i := range rows[0] {
		rows[0][i] = l.faint(rows[0][i])
	}
	for _, r := range b.Services {
		row := []string{r.Service}
		for _, c := range r.Cells {
			row = append(row, s.cell(c))
		}
		sentence := r.Sentence
		if !r.Now {
			sentence = l.in(toneWarn, sentence)
		}
		rows = append(rows, append(row, sentence))
	}
	var text strings.Builder
	text.WriteString(grid("  ", rows))
	for _, r := range b.Services {
		for _, c := range r.Cells {
			if f := c.Flight; f != nil && f.Waiting != nil && f.Waiting.On == "incident" {
				fmt.Fprintf(&text, "  %s %s in %s: %s\n%s", l.bad("✖"), r.Service, c.Env, printable(f.Waiting.What), next("slipway why "+r.Service))
			}
		}
	}
	for _, t := range b.Trouble {
		fmt.Fprintf(&text, "  %s %s\n%s", l.bad("✖"), t, next("slipway doctor"))
	}
	fmt.Fprintf(&text, "  %s\n", deployable(b))
	return text.String()
}

func deployable(b delivery.Board) string {
	all := len(b.Services)
	switch {
	case all == 0:
		return "there is no service yet"
	case b.Deployable == all && all == 1:
		return "it can be deployed right now."
	case b.Deployable == all:
		return fmt.Sprintf("all %d services can be deployed right now.", all)
	}
	return fmt.Sprintf("%d of %s can be deployed right now.", b.Deployable, plural(all, "service"))
}

// cell says one service in one environment: what is stable, what is under way,
// what is wrong.
func (s *session) cell(c delivery.Cell) string {
	l := s.look
	text := c.Version
	if text == "" {
		text = l.faint("–")
	}
	if c.Version != "" && c.Healthy < c.Want {
		text += fmt.Sprintf(" %s %d/%d", l.bad("✖"), c.Healthy, c.Want)
	}
	switch f := c.Flight; {
	case f != nil && f.Weight > 0 && f.State != delivery.Soaking:
		text += fmt.Sprintf(" %s %s %s", l.sign(signAt(f.State, f.Waiting)), f.Version, f.Weight)
	case f != nil:
		text += fmt.Sprintf(" %s %s %s", l.sign(signAt(f.State, f.Waiting)), f.Version, f.State)
	case c.Held != nil && c.Held.Kind == delivery.Pinned:
		text += " " + l.sign(signBlocked) + " held"
	case c.Held != nil:
		text += " " + l.sign(signBack) + " " + c.Held.Version + " held"
	}
	return text
}
