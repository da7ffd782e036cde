// Package browsertest drives a real Chromium for tests of pages: it opens them,
// clicks, types, and asks axe what people with other eyes and hands trip over. It
// knows no page, and only tests may import it.
package browsertest
