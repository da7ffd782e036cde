package web

import (
	"context"
	"fmt"
	"net/http"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// previewCard says where a release under way can be looked at before callers get it.
// No link leads there: a browser sends the header of no link, so that one would show
// what callers get. Who may see the page need not have the right that the header is,
// so its value is in the answer to who asks for it, and there alone.
type previewCard struct {
	control.Preview

	Command string
	Sign    action // why it cannot be signed now, if it cannot
}

// previewOf is the card of a rollout; nil where there is nothing to look at.
func (w *Web) previewOf(ctx context.Context, who delivery.Who, r delivery.Rollout) (*previewCard, error) {
	p, there, err := w.d.Loop.PreviewPlace(ctx, r)
	if err != nil || !there {
		return nil, err
	}
	return &previewCard{
		Preview: p, Command: fmt.Sprintf("slipway preview %s %s --env %s", delivery.Shell(p.Service), delivery.Shell(p.Version), delivery.Shell(p.Env)),
		Sign: action{Label: "Sign a header", Why: mayNot(who), ID: "why-preview-" + idOf(p.Env)},
	}, nil
}

// signPreview signs a header and shows it: in the answer to this request alone.
func (w *Web) signPreview(rw http.ResponseWriter, r *http.Request) {
	who, ok := w.admitForm(rw, r, delivery.Deployer)
	if !ok {
		return
	}
	p, err := w.d.Loop.Preview(r.Context(), control.PreviewRequest{Service: r.PostForm.Get("service"), Version: r.PostForm.Get("version"), Env: r.PostForm.Get("env"), By: who.Name})
	if err != nil {
		w.refuse(rw, r, who, err)
		return
	}
	w.write(rw, r, http.StatusOK, frame{page: page{Tab: "changes", Title: "Preview of " + p.Service + " " + p.Version, Name: "preview", View: p}, Who: who})
}
