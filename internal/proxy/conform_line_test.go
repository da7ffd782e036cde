package proxy_test

import (
	"fmt"
	"strings"
)

// lineCases are about how lines end and what stands between them.
func lineCases() []conformCase {
	var all []conformCase
	for _, c := range []struct{ name, bytes, want string }{
		{"CRLF", "GET /a HTTP/1.1\r\nHost: t\r\n\r\n", passedGet},
		{"all LF", "GET /a HTTP/1.1\nHost: t\n\n", refused},
		{"LF after the request line", "GET /a HTTP/1.1\nHost: t\r\n\r\n", refused},
		{"LF after a field", "GET /a HTTP/1.1\r\nHost: t\nX-A: b\r\n\r\n", refused},
		{"LF after the last field", "GET /a HTTP/1.1\r\nHost: t\n\r\n", refused},
		{"LF as the empty line", "GET /a HTTP/1.1\r\nHost: t\r\n\n", refused},
		{"LF LF hides a request", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\n\n" + hidden, refused},
		{"CR LF CR hides a request", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\r\n\r" + hidden, refused},
		{"CR as the empty line", "GET /a HTTP/1.1\r\nHost: t\r\n\r\r\n", refused},
		{"all CR", "GET /a HTTP/1.1\rHost: t\r\r", refused},
		{"CR within the request line", "GET /a\r HTTP/1.1\r\nHost: t\r\n\r\n", refused},
		{"CR CR LF after the request line", "GET /a HTTP/1.1\r\r\nHost: t\r\n\r\n", refused},
		{"CR CR LF after a field", "GET /a HTTP/1.1\r\nHost: t\r\r\n\r\n", refused},
		{"CR within a value", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\rc\r\n\r\n", refused},
		{"CR at the start of a value", "GET /a HTTP/1.1\r\nHost: t\r\nX-A:\rb\r\n\r\n", refused},
		{"CR within a name", "GET /a HTTP/1.1\r\nHost: t\r\nX\r-A: b\r\n\r\n", refused},
		{"fold by space", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\r\n c\r\n\r\n", refused},
		{"fold by tab", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\r\n\tc\r\n\r\n", refused},
		{"fold of nothing", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\r\n \r\n\r\n", refused},
		{"fold after LF", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\n c\r\n\r\n", refused},
		{"fold of Host", "GET /a HTTP/1.1\r\nHost: t\r\n .evil\r\n\r\n", refused},
		{"fold of a length", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n 5\r\n\r\nhello", refused},
		{"fold adds a digit", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n 0\r\n\r\nhello", refused},
		{"space before the first field", "GET /a HTTP/1.1\r\n Host: t\r\n\r\n", refused},
		{"tab before the first field", "GET /a HTTP/1.1\r\n\tHost: t\r\n\r\n", refused},
		{"space line first", "GET /a HTTP/1.1\r\n \r\nHost: t\r\n\r\n", refused},
		{"space before the request line", " GET /a HTTP/1.1\r\nHost: t\r\n\r\n", refused},
		{"NUL before the request line", "\x00GET /a HTTP/1.1\r\nHost: t\r\n\r\n", refused},
		{"BOM before the request line", "\ufeffGET /a HTTP/1.1\r\nHost: t\r\n\r\n", refused},
		{"LF before the request line", "\nGET /a HTTP/1.1\r\nHost: t\r\n\r\n", refused},
		{"CR before the request line", "\rGET /a HTTP/1.1\r\nHost: t\r\n\r\n", refused},
		{"a hundred empty lines first", strings.Repeat("\r\n", 100) + "GET /a HTTP/1.1\r\nHost: t\r\n\r\n", refused},
		{"empty line first", "\r\nGET /a HTTP/1.1\r\nHost: t\r\n\r\n", passedGet},
		{"empty line after a POST", post("Content-Length: 5\r\n", "hello\r\n") + "GET /b HTTP/1.1\r\nHost: t\r\n\r\n", `200 /a, 200 /b; open | POST /a "hello", GET /b`},
		{"spare bytes after a POST", post("Content-Length: 5\r\n", "helloX") + "GET /b HTTP/1.1\r\nHost: t\r\n\r\n", `200 /a, 200 /b; open | POST /a "hello", XGET /b`},
		{"no field", "GET /a HTTP/1.1\r\n\r\n", refused},
		{"no field in 1.0", "GET /a HTTP/1.0\r\n\r\n", "200 /a; closed | GET /a @"},
	} {
		all = append(all, sends(c.name, c.bytes, c.want))
	}
	return all
}

// fieldCases are about single fields: their names, their values, and the ones
// that must be there.
func fieldCases() []conformCase {
	var all []conformCase
	get := func(fields string) string { return "GET /a HTTP/1.1\r\nHost: t\r\n" + fields + "\r\n" }
	for _, c := range []struct{ name, line, want string }{
		{"plain", "X-A: b", passedGet},
		{"no value", "X-A:", passedGet},
		{"every token character", "!#$%&'*+-.^_`|~09azAZ: b", passedGet},
		{"colons in the value", "X-A: b:c:d", passedGet},
		{"high bytes in the value", "X-A: \xe4\xf6\xfc", passedGet},
		{"UTF-8 in the value", "X-A: \u00e4\u2603", passedGet},
		{"tab in the value", "X-A: b\tc", passedGet},
		{"no colon", "X-A", refused},
		{"empty name", ": b", refused},
		{"only a colon", ":", refused},
		{"space before colon", "X-A : b", refused},
		{"tab before colon", "X-A\t: b", refused},
		{"space in the name", "X A: b", refused},
		{"high byte in the name", "X-\xe4: b", refused},
		{"NUL in the name", "X-\x00A: b", refused},
		{"control in the name", "X-\x01A: b", refused},
		{"DEL in the name", "X-\x7fA: b", refused},
		{"NUL in the value", "X-A: b\x00c", refused},
		{"control in the value", "X-A: b\x01c", refused},
		{"escape in the value", "X-A: b\x1bc", refused},
		{"DEL in the value", "X-A: b\x7fc", refused},
		{"vertical tab in the value", "X-A: b\vc", refused},
	} {
		all = append(all, sends(c.name, get(c.line+"\r\n"), c.want))
	}
	for _, r := range `"(),/;<=>?@[\]{}` {
		all = append(all, sends(fmt.Sprintf("name with %q", r), get(fmt.Sprintf("X%cA: b\r\n", r)), refused))
	}
	for _, c := range []struct{ name, fields, want string }{
		{"port", "Host: t:80\r\n", "200 /a; open | GET /a @t:80"},
		{"IPv6", "Host: [::1]:80\r\n", "200 /a; open | GET /a @[::1]:80"},
		{"upper case", "Host: Shop.Example\r\n", "200 /a; open | GET /a @Shop.Example"},
		{"lower name", "host: t\r\n", passedGet},
		{"missing", "X-A: b\r\n", refused},
		{"twice same", "Host: t\r\nHost: t\r\n", refused},
		{"twice different", "Host: t\r\nHost: evil\r\n", refused},
		{"twice, other case", "Host: t\r\nhOsT: evil\r\n", refused},
		{"space within", "Host: a b\r\n", refused},
		{"slash", "Host: a/b\r\n", refused},
		{"user", "Host: u@a\r\n", refused},
		{"NUL", "Host: a\x00b\r\n", refused},
		{"high byte", "Host: \xe4\r\n", refused},
		{"question mark", "Host: a?b\r\n", refused},
		{"hash", "Host: a#b\r\n", refused},
		{"backslash", "Host: a\\b\r\n", refused},
		{"quote", "Host: a\"b\r\n", refused},
		{"angle", "Host: <a>\r\n", refused},
		{"space before colon", "Host : t\r\n", refused},
		{"second behind a fold", "Host: t\r\nX-A: b\r\n Host: evil\r\n", refused},
		{"port of letters", "Host: a:bc\r\n", refused},
		{"list", "Host: a,b\r\n", "200 /a; open | GET /a @a,b"},
		{"escape", "Host: a%41\r\n", refused},
		{"underscore", "Host: a_b\r\n", "200 /a; open | GET /a @a_b"},
		{"trailing dot", "Host: a.\r\n", "200 /a; open | GET /a @a."},
		{"zone", "Host: [fe80::1%25eth0]\r\n", refused},
		{"open bracket", "Host: [::1\r\n", refused},
		{"tab within", "Host: a\tb\r\n", refused},
	} {
		all = append(all, sends("host/"+c.name, "GET /a HTTP/1.1\r\n"+c.fields+"\r\n", c.want))
	}
	return all
}

// targetCases are about the request line.
func targetCases() []conformCase {
	var all []conformCase
	line := func(s string) string { return s + "\r\nHost: t\r\n\r\n" }
	for _, c := range []struct{ name, line, want string }{
		{"query", "GET /a?b=c&d HTTP/1.1", "200 /a?b=c&d; open | GET /a?b=c&d"},
		{"empty query", "GET /a? HTTP/1.1", "200 /a?; open | GET /a?"},
		{"escaped slash", "GET /a%2Fb HTTP/1.1", "200 /a%2Fb; open | GET /a%2Fb"},
		{"escaped lower", "GET /a%2fb HTTP/1.1", "200 /a%2fb; open | GET /a%2fb"},
		{"escaped letter", "GET /%61 HTTP/1.1", "200 /%61; open | GET /%61"},
		{"escaped CRLF", "GET /a%0d%0ab HTTP/1.1", "200 /a%0d%0ab; open | GET /a%0d%0ab"},
		{"escaped NUL", "GET /a%00 HTTP/1.1", "200 /a%00; open | GET /a%00"},
		{"dots", "GET /a/../b/./c HTTP/1.1", "200 /a/../b/./c; open | GET /a/../b/./c"},
		{"double slash", "GET //a//b HTTP/1.1", "200 //a//b; open | GET //a//b"},
		{"semicolon", "GET /a;b?c;d HTTP/1.1", "200 /a;b?c;d; open | GET /a;b?c;d"},
		{"plain delimiters", "GET /!$&'()*+,;=:@-._~ HTTP/1.1", "200 /!$&'()*+,;=:@-._~; open | GET /!$&'()*+,;=:@-._~"},
		{"broken escape", "GET /a%zz HTTP/1.1", refused},
		{"half an escape", "GET /a%2 HTTP/1.1", refused},
		{"broken escape in the query", "GET /a?b=%zz HTTP/1.1", "200 /a?b=%zz; open | GET /a?b=%zz"},
		{"fragment", "GET /a#b HTTP/1.1", refused},
		{"quote", "GET /a\"b HTTP/1.1", `200 /a"b; open | GET /a"b or 200 /a%22b; open | GET /a%22b`},
		{"angle", "GET /<a> HTTP/1.1", "200 /<a>; open | GET /<a> or 200 /%3Ca%3E; open | GET /%3Ca%3E"},
		{"high byte", "GET /\xe4 HTTP/1.1", "200 /%E4; open | GET /%E4 or 200 /\\xe4; open | GET /\\xe4"},
		{"UTF-8", "GET /\u00e4 HTTP/1.1", "200 /%C3%A4; open | GET /%C3%A4 or 200 /\\xc3\\xa4; open | GET /\\xc3\\xa4"},
		{"NUL", "GET /a\x00b HTTP/1.1", refused},
		{"DEL", "GET /a\x7fb HTTP/1.1", refused},
		{"tab", "GET /a\tb HTTP/1.1", refused},
		{"no slash", "GET a HTTP/1.1", refused},
		{"empty target", "GET  HTTP/1.1", refused},
		{"two spaces", "GET  /a HTTP/1.1", refused},
		{"two spaces before the version", "GET /a  HTTP/1.1", refused},
		{"tabs between", "GET\t/a\tHTTP/1.1", refused},
		{"space after the version", "GET /a HTTP/1.1 ", refused},
		{"four words", "GET /a b HTTP/1.1", refused},
		{"hidden in the line", "GET /a HTTP/1.1 HTTP/1.1", refused},
		{"absolute", "GET http://t/a HTTP/1.1", passedGet},
		{"absolute, other host", "GET http://real/a HTTP/1.1", "200 /a; open | GET /a @real"},
		{"absolute with a port", "GET http://real:81/a?b HTTP/1.1", "200 /a?b; open | GET /a?b @real:81"},
		{"absolute without a path", "GET http://t HTTP/1.1", "200 /; open | GET /"},
		{"absolute with only a query", "GET http://t?b HTTP/1.1", "200 /?b; open | GET /?b"},
		{"absolute https", "GET https://t/a HTTP/1.1", passedGet},
		{"absolute, user", "GET http://u:p@t/a HTTP/1.1", refused},
		{"absolute, no host", "GET http:///a HTTP/1.1", refused},
		{"absolute, broken host", "GET http://a b/a HTTP/1.1", refused},
		{"other scheme", "GET ftp://t/a HTTP/1.1", refused},
		{"authority form", "GET t:80 HTTP/1.1", refused},
		{"CONNECT to a path", "CONNECT /a HTTP/1.1", refused},
		{"OPTIONS *", "OPTIONS * HTTP/1.1", "200 *; open | OPTIONS *"},
		{"GET *", "GET * HTTP/1.1", refused},
		{"own method", "BREW /a HTTP/1.1", "200 /a; open | BREW /a"},
		{"lower method", "get /a HTTP/1.1", "200 /a; open | get /a"},
		{"method of all token characters", "!#$%&'*+-.^_`|~09azAZ /a HTTP/1.1", "200 /a; open | !#$%&'*+-.^_`|~09azAZ /a"},
		{"method with a slash", "G/T /a HTTP/1.1", refused},
		{"method with a colon", "GET: /a HTTP/1.1", refused},
		{"method with a high byte", "G\xe4T /a HTTP/1.1", refused},
		{"no method", " /a HTTP/1.1", refused},
		{"HTTP/0.9", "GET /a", refused},
		{"HTTP/1.2", "GET /a HTTP/1.2", "505; closed | nothing"},
		{"HTTP/1.10", "GET /a HTTP/1.10", refused},
		{"HTTP/1.01", "GET /a HTTP/1.01", refused},
		{"HTTP/01.1", "GET /a HTTP/01.1", "505; closed | nothing" + otherwise + refused},
		{"HTTP/1", "GET /a HTTP/1", refused},
		{"HTTP/1.", "GET /a HTTP/1.", refused},
		{"HTTP/1.x", "GET /a HTTP/1.x", refused},
		{"HTTP/+1.1", "GET /a HTTP/+1.1", refused},
		{"HTTP/2.0", "GET /a HTTP/2.0", "505; closed | nothing"},
		{"HTTP/3.0", "GET /a HTTP/3.0", "505; closed | nothing"},
		{"HTTP/0.9 by name", "GET /a HTTP/0.9", "505; closed | nothing"},
		{"lower version", "GET /a http/1.1", refused},
		{"other protocol", "GET /a ICY/1.1", refused},
		{"no protocol", "GET /a /1.1", refused},
		{"garbage", "\x16\x03\x01\x02\x00\x01", refused},
		{"a word", "hello", refused},
		{"an answer", "HTTP/1.1 200 OK", refused},
	} {
		all = append(all, sends(c.name, line(c.line), c.want))
	}
	for _, c := range []struct{ name, fields, want string }{
		{"HTTP/1.0", "Host: t\r\n", "200 /a; closed | GET /a"},
		{"HTTP/1.0 kept alive", "Host: t\r\nConnection: keep-alive\r\n", passedGet},
		{"HTTP/1.0 kept alive in capitals", "Host: t\r\nConnection: Keep-Alive\r\n", passedGet},
		{"HTTP/1.0 two hosts", "Host: t\r\nHost: evil\r\n", refused},
	} {
		all = append(all, sends(c.name, "GET /a HTTP/1.0\r\n"+c.fields+"\r\n", c.want))
	}
	all = append(all,
		conformCase{name: "CONNECT", want: "405; closed | nothing", talk: func(c *caller) {
			c.send("CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\n\r\n")
			c.next("CONNECT")
			c.leave()
		}},
		sends("absolute without Host", "GET http://t/a HTTP/1.1\r\n\r\n", refused),
		sends("HTTP/1.1 close", "GET /a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"+hidden, "200 /a; closed | GET /a"),
		sends("HTTP/1.1 close among others", "GET /a HTTP/1.1\r\nHost: t\r\nConnection: x, Close\r\n\r\n"+hidden, "200 /a; closed | GET /a"),
	)
	return all
}
