package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// items is a list.
type items[T any] struct {
	Items []T `json:"items"`
}

// listed returns a list that is [] and not null when there is nothing in it.
func listed[T any](all []T) items[T] {
	if all == nil {
		all = []T{}
	}
	return items[T]{all}
}

// page is a part of a long list.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next" doc:"cursor of the next page; empty on the last one"`
}

// Paging is how a caller turns pages.
type Paging struct {
	Limit int `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"most items of one page"`
}

// cut makes a page of a list that was read with one item more than limit. mark
// is what the next page begins after.
func cut[T any](list []T, limit int, c cursor, mark func(T) int64) page[T] {
	out := page[T]{Items: listed(list).Items}
	if len(list) > limit {
		out.Items = list[:limit]
		out.Next = c.write(mark(list[limit-1]))
	}
	return out
}

// cursor is the direction a list is read in.
type cursor string

const (
	before cursor = "before"
	since  cursor = "since"
)

// write makes a cursor of a number.
func (c cursor) write(n int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(string(c) + ":" + strconv.FormatInt(n, 10)))
}

// read returns the number that a cursor of this direction stands for. The
// number itself is taken too: people have it from the list.
func (c cursor) read(s string) (int64, error) {
	text := s
	if b, err := base64.RawURLEncoding.DecodeString(s); err == nil {
		if rest, ok := strings.CutPrefix(string(b), string(c)+":"); ok {
			text = rest
		}
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, delivery.InvalidNext("query."+string(c), "is neither a number nor a cursor of this list", "leave it out to read from the start")
	}
	return n, nil
}

// tagged is an answer that a caller who has it already need not be sent again.
type tagged[T any] struct {
	Status int
	ETag   string `header:"ETag"`
	Body   T
}

// IfNew is what a caller has already.
type IfNew struct {
	IfNoneMatch string `header:"If-None-Match" doc:"ETag of the answer the caller has; the same answer is 304"`
}

// tag returns body, or 304 when the caller has what same says. same is body
// without what differs each time.
func tag[T any](in IfNew, body T, same any) (*tagged[T], error) {
	b, err := json.Marshal(same)
	if err != nil {
		return nil, err
	}
	out := &tagged[T]{Status: http.StatusOK, ETag: `W/"` + delivery.DigestOf(b).Short() + `"`, Body: body}
	for have := range strings.SplitSeq(in.IfNoneMatch, ",") {
		if have = strings.TrimSpace(have); have == "*" || strings.TrimPrefix(have, "W/") == strings.TrimPrefix(out.ETag, "W/") {
			out.Status = http.StatusNotModified
		}
	}
	return out, nil
}

// familiar refuses names that the project does not have. It is asked about a
// filter that found nothing: what is gone from the project may still have a past.
func (s *Server) familiar(ctx context.Context, service, env string) error {
	p, _, err := s.d.Store.Project(ctx)
	if no, ok := errors.AsType[*delivery.Refusal](err); ok && no.Code == delivery.CodeNoProject && service == "" && env == "" {
		return nil
	}
	if err != nil {
		return err
	}
	if _, ok := p.Service(service); service != "" && !ok {
		return delivery.Unknown(delivery.CodeUnknownService, "service", service, p.ServiceNames(), "slipway status")
	}
	if _, ok := p.Environment(env); env != "" && !ok {
		return delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", env, p.EnvironmentNames(), "slipway status")
	}
	return nil
}
