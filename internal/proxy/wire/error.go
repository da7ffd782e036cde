package wire

// Error is a message that breaks a rule.
type Error struct {
	Status int    // to answer a request with; 502 when it is an answer that broke the rule
	Reason string // which rule, for people; it never quotes the message
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

func refuse(status int, reason string) error { return &Error{Status: status, Reason: reason} }

// Statuses, as numbers: this package does not import net/http.
const (
	badRequest   = 400
	tooLong      = 414
	tooLarge     = 431
	unknown      = 501
	badGateway   = 502
	notSupported = 505
)

// The rules, one reason each. Tests know them by name.
const (
	whyBareLF         = "a line ends with LF alone, not CR LF"
	whyBareCR         = "a CR is not followed by LF"
	whyControl        = "a header value has a control character"
	whyFold           = "a header line begins with white space"
	whySpaceColon     = "there is white space between a header name and its colon"
	whyName           = "a header name is empty or has a character that is no token's"
	whyNoColon        = "a header line has no colon"
	whyManyFields     = "there are too many header fields"
	whyLargeHead      = "the head is too large"
	whyManyOptions    = "Connection names too many fields"
	whyLengthTwice    = "there is more than one Content-Length"
	whyLengthNumber   = "Content-Length is not a plain decimal number below 2^63"
	whyCodingTwice    = "there is more than one Transfer-Encoding"
	whyCoding         = "Transfer-Encoding is not chunked alone"
	whyCodingOld      = "HTTP/1.0 has no Transfer-Encoding"
	whyBothLengths    = "there are both Content-Length and Transfer-Encoding"
	whyMethod         = "the method is empty or has a character that is no token's"
	whyTarget         = "the target has a character that is no URI's, or is empty"
	whyFragment       = "the target has a fragment"
	whyEscape         = "the path has a % that is not followed by two hexadecimal digits"
	whyForm           = "the target is neither a path nor an http URI"
	whyAsterisk       = "the target * is for OPTIONS only"
	whyAuthority      = "the target of CONNECT is not host:port"
	whyLongTarget     = "the request line is too long"
	whyVersionMissing = "the request line has no HTTP version"
	whyVersion        = "the version is neither HTTP/1.1 nor HTTP/1.0"
	whyHostMissing    = "there is no Host"
	whyHostTwice      = "there is more than one Host"
	whyHost           = "the host is not a name or an address with an optional port"
	whyStatusLine     = "the status line is not a version, three digits and a reason"
	whyChunkSize      = "a chunk size is not 1 to 16 hexadecimal digits below 2^63"
	whyChunkLine      = "a chunk size is not followed by CR LF or an extension"
	whyChunkEnd       = "a chunk is not followed by CR LF"
	whyExtension      = "a chunk extension is too long or has a control character"
	whyExtensions     = "the chunks carry more extensions than data"
	whyTrailers       = "the trailer section is too large"
)
