package web

import (
	"context"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// boardView is what runs where, and what can be deployed right now.
type boardView struct {
	delivery.Board
}

func (w *Web) board(ctx context.Context, _ request) (page, error) {
	b, err := w.d.Loop.Board(ctx)
	if err != nil {
		return page{}, err
	}
	return page{Tab: "board", Title: "Board", Name: "board", View: boardView{b}, Live: true}, nil
}
