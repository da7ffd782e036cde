// Package access says who asks and what they may do: by the owner's token, by a
// named one, or by the session that a browser opened with one of them. It is asked
// by the API and by the pages alike, and knows no routes. Its own tests judge it.
package access
