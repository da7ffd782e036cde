// Package access says who asks and what they may do: by the token of the API, or
// by the session that a browser opened with one. It is asked by the API and by the
// pages alike, and knows no routes. Its own tests judge it.
package access
