package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// NewToken is a token that was made, with what opens it.
type NewToken struct {
	Token  delivery.Token `json:"token"`
	Secret string         `json:"secret"`
}

// Caller is who asks, and what lets them in.
type Caller struct {
	delivery.Who
	Via string `json:"via"` // owner, token, session or public
}

// SignInLink is where a browser is signed in, once.
type SignInLink struct {
	Path string    `json:"path"` // below Base
	Ends time.Time `json:"ends"`
}

// CreateToken makes a named token; the zero time for ends is never.
func (c *Client) CreateToken(ctx context.Context, name string, access delivery.Access, ends time.Time) (NewToken, error) {
	in := struct {
		Name   string          `json:"name"`
		Access delivery.Access `json:"access"`
		Ends   time.Time       `json:"ends,omitzero"`
	}{name, access, ends}
	var out NewToken
	err := c.Do(ctx, http.MethodPost, "/tokens", in, &out)
	return out, err
}

// RevokeToken takes a named token back.
func (c *Client) RevokeToken(ctx context.Context, name string) (delivery.Token, error) {
	var out delivery.Token
	err := c.Do(ctx, http.MethodPost, "/tokens/"+url.PathEscape(name)+"/revoke", struct{}{}, &out)
	return out, err
}

// SignInLink asks for a link that signs a browser in.
func (c *Client) SignInLink(ctx context.Context) (SignInLink, error) {
	var out SignInLink
	err := c.Do(ctx, http.MethodPost, "/sign-in-links", struct{}{}, &out)
	return out, err
}
