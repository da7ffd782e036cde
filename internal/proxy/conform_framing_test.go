package proxy_test

import (
	"fmt"
	"strings"
)

// hidden is the request that a smuggler wants to get past a front. No case
// sends it as a request, so no upstream may ever see it as one.
const hidden = "GET /hidden HTTP/1.1\r\nHost: t\r\nX-Hidden: 1\r\n\r\n"

// Outcomes that many cases share.
const (
	refused     = "400; closed | nothing"
	unsupported = "501; closed | nothing" // a transfer coding
	either      = refused + otherwise + unsupported
	passedGet   = "200 /a; open | GET /a"
	passedHello = `200 /a; open | POST /a "hello"`
)

// sends returns a case that makes one write.
func sends(name, bytes, want string) conformCase {
	return conformCase{name: name, sends: []string{bytes}, want: want}
}

// post is a request with its framing fields and what follows the head.
func post(fields, rest string) string {
	return "POST /a HTTP/1.1\r\nHost: t\r\n" + fields + "\r\n" + rest
}

// lengthCases are about Content-Length alone.
func lengthCases() []conformCase {
	var all []conformCase
	for _, v := range []struct{ name, value, want string }{
		{"plain", "5", passedHello},
		{"spaces around", "   5  ", passedHello},
		{"tabs around", "\t5\t", passedHello},
		{"leading zeros", "0005", passedHello},
		{"plus", "+5", refused},
		{"minus", "-5", refused},
		{"minus zero", "-0", refused},
		{"hex", "0x5", refused},
		{"decimal point", "5.0", refused},
		{"exponent", "5e0", refused},
		{"underscore", "0_5", refused},
		{"inner space", "5 5", refused},
		{"comma same", "5, 5", refused},
		{"comma same tight", "5,5", refused},
		{"comma different", "5, 6", refused},
		{"comma empty", "5,", refused},
		{"empty", "", refused},
		{"word", "five", refused},
		{"quoted", `"5"`, refused},
		{"vertical tab", "\v5", refused},
		{"form feed", "5\f", refused},
		{"no-break space", "\u00a05", refused},
		{"arabic digit", "\u0665", refused},
		{"above 2^63", "9223372036854775808", refused},
		{"above 2^64", "18446744073709551621", refused},
		{"hundred digits", strings.Repeat("9", 100), refused},
		{"semicolon", "5;q=1", refused},
	} {
		all = append(all, sends(v.name, post("Content-Length: "+v.value+"\r\n", "hello"), v.want))
	}
	for _, v := range []struct{ name, fields, want string }{
		{"twice same", "Content-Length: 5\r\nContent-Length: 5\r\n", refused},
		{"twice different", "Content-Length: 5\r\nContent-Length: 0\r\n", refused},
		{"twice different, short first", "Content-Length: 0\r\nContent-Length: 5\r\n", refused},
		{"twice, one empty", "Content-Length: 5\r\nContent-Length:\r\n", refused},
		{"twice, other case", "Content-Length: 5\r\ncontent-length: 0\r\n", refused},
		{"twice, same number", "Content-Length: 5\r\nContent-Length: 05\r\n", refused},
		{"three", "Content-Length: 5\r\nX-A: b\r\nContent-Length: 5\r\nContent-Length: 5\r\n", refused},
		{"lower case", "content-length: 5\r\n", passedHello},
		{"upper case", "CONTENT-LENGTH: 5\r\n", passedHello},
		{"underscore name", "Content_Length: 5\r\nContent-Length: 5\r\n", passedHello},
	} {
		all = append(all, sends(v.name, post(v.fields, "hello"), v.want))
	}
	all = append(all,
		sends("hidden in the body", post(fmt.Sprintf("Content-Length: %d\r\n", len(hidden)), hidden), fmt.Sprintf("200 /a; open | POST /a %q", hidden)),
		sends("hidden behind a zero", post("Content-Length: 0\r\nContent-Length: "+fmt.Sprint(len(hidden))+"\r\n", hidden), refused),
		sends("GET with a body", "GET /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello", `200 /a; open | GET /a "hello"`),
		sends("HTTP/1.0 twice different", "POST /a HTTP/1.0\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", refused),
	)
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "M-SEARCH"} {
		all = append(all, sends(method+" with a body", method+" /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello", fmt.Sprintf("200 /a; open | %s /a \"hello\"", method)))
	}
	return all
}

// codingCases are Transfer-Encoding in all its disguises: alone, before and
// after a Content-Length that ends the body elsewhere.
func codingCases() []conformCase {
	const body = "5\r\nhello\r\n0\r\n\r\n"
	type coding struct{ name, fields, want string }
	codings := []coding{
		{"plain", "Transfer-Encoding: chunked\r\n", passedHello},
		{"lower name", "transfer-encoding: chunked\r\n", passedHello},
		{"upper value", "Transfer-Encoding: CHUNKED\r\n", passedHello},
		{"mixed value", "Transfer-Encoding: cHuNkEd\r\n", passedHello},
		{"space after", "Transfer-Encoding: chunked \r\n", passedHello},
		{"tab before", "Transfer-Encoding:\tchunked\r\n", passedHello},
		{"tab after", "Transfer-Encoding: chunked\t\r\n", passedHello},
		{"no space", "Transfer-Encoding:chunked\r\n", passedHello},
		{"vertical tab", "Transfer-Encoding: \vchunked\r\n", refused},
		{"vertical tab after", "Transfer-Encoding: chunked\v\r\n", refused},
		{"form feed", "Transfer-Encoding: chunked\f\r\n", refused},
		{"NUL after", "Transfer-Encoding: chunked\x00\r\n", refused},
		{"DEL after", "Transfer-Encoding: chunked\x7f\r\n", refused},
		{"CR within", "Transfer-Encoding: chun\rked\r\n", refused},
		{"CR after", "Transfer-Encoding: chunked\r\r\n", refused},
		{"high byte", "Transfer-Encoding: \xffchunked\r\n", unsupported},
		{"identity", "Transfer-Encoding: identity\r\n", unsupported},
		{"chunked, identity", "Transfer-Encoding: chunked, identity\r\n", unsupported},
		{"identity, chunked", "Transfer-Encoding: identity, chunked\r\n", unsupported},
		{"gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", unsupported},
		{"chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n", unsupported},
		{"chunked,", "Transfer-Encoding: chunked,\r\n", unsupported},
		{", chunked", "Transfer-Encoding: , chunked\r\n", unsupported},
		{"xchunked", "Transfer-Encoding: xchunked\r\n", unsupported},
		{"chunkedx", "Transfer-Encoding: chunkedx\r\n", unsupported},
		{"chunked;q=1", "Transfer-Encoding: chunked;q=1\r\n", unsupported},
		{"quoted", "Transfer-Encoding: \"chunked\"\r\n", unsupported},
		{"empty", "Transfer-Encoding:\r\n", unsupported},
		{"spaces", "Transfer-Encoding:   \r\n", unsupported},
		{"x", "Transfer-Encoding: x\r\n", unsupported},
		{"twice same", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", either},
		{"twice, identity first", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", either},
		{"twice, identity last", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", either},
		{"twice, empty last", "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", either},
		{"twice, other case", "Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n", either},
		{"space before colon", "Transfer-Encoding : chunked\r\n", refused},
		{"tab before colon", "Transfer-Encoding\t: chunked\r\n", refused},
		{"space before name", " Transfer-Encoding: chunked\r\n", refused},
		{"behind a fold", "X-A: b\r\n Transfer-Encoding: chunked\r\n", refused},
		{"folded value", "Transfer-Encoding:\r\n chunked\r\n", either},
		{"folded after", "Transfer-Encoding: chunked\r\n \r\n", either},
		{"behind a CR", "X-A: b\rTransfer-Encoding: chunked\r\n", refused},
		{"behind an LF", "X-A: b\nTransfer-Encoding: chunked\r\n", refused},
		{"ends in LF", "Transfer-Encoding: chunked\n", refused},
		{"NUL in the name", "Transfer\x00-Encoding: chunked\r\n", refused},
		{"high byte in the name", "Transfer-Encoding\xa0: chunked\r\n", refused},
	}
	var all []conformCase
	for _, c := range codings {
		all = append(all, sends("alone/"+c.name, post(c.fields, body), c.want))
	}
	// The hidden request is in the body by the length, behind it by the chunks.
	smuggle := "0\r\n\r\n" + hidden
	length := fmt.Sprintf("Content-Length: %d\r\n", len(smuggle))
	for _, c := range codings {
		want := c.want
		if want == passedHello {
			want = refused // both
		}
		all = append(all,
			sends("after a length/"+c.name, post(length+c.fields, smuggle), want),
			sends("before a length/"+c.name, post(c.fields+length, smuggle), want))
	}
	// Here it is in the body by the chunks, behind it by the length.
	smuggle = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
	for _, c := range codings[:9] {
		want := refused
		all = append(all, sends("with a short length/"+c.name, post("Content-Length: 4\r\n"+c.fields, smuggle), want))
	}
	// What only looks like the field is just another field.
	for _, name := range []string{"Transfer_Encoding", "Transfer-Encodin", "X-Transfer-Encoding", "Transfer.Encoding", "TransferEncoding", "Transfer-Encoding-", "'Transfer-Encoding'"} {
		all = append(all, sends("not it/"+name, post(name+": chunked\r\nContent-Length: 5\r\n", "hello"), passedHello))
	}
	for _, version := range []string{"HTTP/1.0"} {
		all = append(all,
			sends("in "+version, "POST /a "+version+"\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"+body, refused),
			sends("in "+version+" with a length", "POST /a "+version+"\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"+body, refused),
			sends("in "+version+" kept alive", "POST /a "+version+"\r\nHost: t\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"+body, refused))
	}
	all = append(all,
		sends("GET", "GET /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"+body, `200 /a; open | GET /a "hello"`),
		sends("named by Connection", "POST /a HTTP/1.1\r\nHost: t\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n"+body, passedHello),
		sends("length named by Connection", "POST /a HTTP/1.1\r\nHost: t\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello", passedHello),
	)
	return all
}

// chunkCases are bodies in chunks that begin well. What follows the trick is a
// request that must not be seen unless it was sent as one.
func chunkCases() []conformCase {
	const head = "Transfer-Encoding: chunked\r\n"
	const cut = "400; closed | nothing"
	var all []conformCase
	for _, c := range []struct{ name, body, want string }{
		{"one", "5\r\nhello\r\n0\r\n\r\n", passedHello},
		{"several", "1\r\nh\r\n2\r\nel\r\n2\r\nlo\r\n0\r\n\r\n", passedHello},
		{"none", "0\r\n\r\n", "200 /a; open | POST /a"},
		{"upper hex", "A\r\nhellohello\r\n0\r\n\r\n", `200 /a; open | POST /a "hellohello"`},
		{"lower hex", "a\r\nhellohello\r\n0\r\n\r\n", `200 /a; open | POST /a "hellohello"`},
		{"leading zeros", "0005\r\nhello\r\n000\r\n\r\n", passedHello},
		{"extension", "5;a=b\r\nhello\r\n0\r\n\r\n", passedHello},
		{"extension without value", "5;a\r\nhello\r\n0\r\n\r\n", passedHello},
		{"extension quoted", "5;a=\"b\"\r\nhello\r\n0\r\n\r\n", passedHello},
		{"extension quoted semicolon", "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", passedHello},
		{"extension at the end", "5\r\nhello\r\n0;a=b\r\n\r\n", passedHello},
		{"several extensions", "5;a=b;c=d;e\r\nhello\r\n0\r\n\r\n", passedHello},
		{"extension with LF", "5;a\nhello\r\n0\r\n\r\n", cut},
		{"extension with quoted LF", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", cut},
		{"extension with quoted CRLF", "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", cut},
		{"extension with CR", "5;a\rb\r\nhello\r\n0\r\n\r\n", cut},
		{"extension with NUL", "5;a\x00\r\nhello\r\n0\r\n\r\n", cut},
		{"extension of 64 KB", "5;" + strings.Repeat("a", 64<<10) + "\r\nhello\r\n0\r\n\r\n", cut},
		{"space before extension", "5 ;a=b\r\nhello\r\n0\r\n\r\n", cut},
		{"plus", "+5\r\nhello\r\n0\r\n\r\n", cut},
		{"minus", "-5\r\nhello\r\n0\r\n\r\n", cut},
		{"0x", "0x5\r\nhello\r\n0\r\n\r\n", cut},
		{"0X zero", "5\r\nhello\r\n0x0\r\n\r\n", cut},
		{"underscore", "0_5\r\nhello\r\n0\r\n\r\n", cut},
		{"space before", " 5\r\nhello\r\n0\r\n\r\n", cut},
		{"space after", "5 \r\nhello\r\n0\r\n\r\n", cut},
		{"tab after", "5\t\r\nhello\r\n0\r\n\r\n", cut},
		{"inner space", "0 5\r\nhello\r\n0\r\n\r\n", cut},
		{"empty size", "\r\nhello\r\n0\r\n\r\n", cut},
		{"empty size with extension", ";a\r\nhello\r\n0\r\n\r\n", cut},
		{"not hex", "g\r\nhello\r\n0\r\n\r\n", cut},
		{"full-width digit", "\uff15\r\nhello\r\n0\r\n\r\n", cut},
		{"comma", "5,5\r\nhello\r\n0\r\n\r\n", cut},
		{"overflow of 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n", cut},
		{"overflow to zero", "10000000000000000\r\n\r\n", cut},
		{"overflow with leading zeros", "00000000000000005\r\nhello\r\n0\r\n\r\n", cut},
		{"LF after size", "5\nhello\r\n0\r\n\r\n", cut},
		{"CR after size", "5\rhello\r\n0\r\n\r\n", cut},
		{"CR CR LF after size", "5\r\r\nhello\r\n0\r\n\r\n", cut},
		{"LF after data", "5\r\nhello\n0\r\n\r\n", cut},
		{"CR after data", "5\r\nhello\r0\r\n\r\n", cut},
		{"nothing after data", "5\r\nhello0\r\n\r\n", cut},
		{"too much data", "4\r\nhello\r\n0\r\n\r\n", cut},
		{"two spare bytes", "3\r\nhello\r\n0\r\n\r\n", cut},
		{"LF after the end", "5\r\nhello\r\n0\r\n\n", cut},
		{"LF after zero", "5\r\nhello\r\n0\n\r\n", cut},
		{"LF LF at the end", "5\r\nhello\r\n0\n\n", cut},
	} {
		all = append(all, sends(c.name, post(head, c.body), c.want))
		if c.want == cut {
			all = append(all, sends(c.name+", then hidden", post(head, c.body+hidden), cut))
		}
	}
	for _, c := range []struct{ name, trailer, want string }{
		{"one", "X-Sum: 1\r\n", passedHello},
		{"content length", "Content-Length: 60\r\n", passedHello},
		{"transfer encoding", "Transfer-Encoding: chunked\r\n", passedHello},
		{"host", "Host: evil\r\n", passedHello},
		{"connection", "Connection: close\r\n", passedHello},
		{"authorization", "Authorization: Basic eA==\r\n", passedHello},
		{"space before colon", "X-Sum : 1\r\n", cut},
		{"space before name", " X-Sum: 1\r\n", cut},
		{"fold", "X-Sum: 1\r\n 2\r\n", cut},
		{"LF", "X-Sum: 1\n", cut},
		{"CR", "X-Sum: 1\rX-Evil: 2\r\n", cut},
		{"no colon", "X-Sum\r\n", cut},
		{"empty name", ": 1\r\n", cut},
		{"NUL", "X-Sum: \x00\r\n", cut},
		{"of 64 KB", "X-Sum: " + strings.Repeat("a", 64<<10) + "\r\n", "431; closed | nothing or no answer; closed | nothing"},
		{"a request", "GET /hidden HTTP/1.1\r\nHost: t\r\n", cut},
	} {
		all = append(all, sends("trailer/"+c.name, post(head, "5\r\nhello\r\n0\r\n"+c.trailer+"\r\n"), c.want))
	}
	announced := func(names string) string { return "Trailer: " + names + "\r\n" + head }
	all = append(all,
		sends("trailer/announced", post(announced("X-Sum"), "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), `200 /a; open | POST /a "hello" +X-Sum:1`),
		sends("trailer/two announced", post(announced("X-Sum, X-More"), "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"), `200 /a; open | POST /a "hello" +X-More:2 +X-Sum:1`),
		sends("trailer/announced, other came", post(announced("X-Sum"), "5\r\nhello\r\n0\r\nX-Other: 1\r\n\r\n"), `200 /a; open | POST /a "hello" +X-Other:1`),
		sends("trailer/announced, forbidden came", post(announced("X-Sum"), "5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 60\r\n\r\n"), `200 /a; open | POST /a "hello" +X-Sum:1`),
		sends("trailer/announced, none came", post(announced("X-Sum"), "5\r\nhello\r\n0\r\n\r\n"), passedHello),
	)
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Trailer"} {
		all = append(all, sends("trailer/announced "+name, post(announced(name), "5\r\nhello\r\n0\r\n"+name+": 1\r\n\r\n"), refused))
	}
	return all
}
