package wire

// Response is the head of an answer. Its slices lie in the buffer that was parsed.
type Response struct {
	Head
	Status  int    // 100 to 999
	Reason  []byte // may be empty
	Upgrade bool   // the connection speaks another protocol behind this head: 101, or CONNECT was granted
}

// Interim says whether another answer follows (RFC 9110, 15.2).
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }

// Parse reads the head of the answer to a request with the given method at the
// start of b. It returns as Request.Parse does, and errors of status 502.
func (r *Response) Parse(b []byte, method string, limit Limits) (int, error) {
	n, err := r.parse(b, method, limit.orDefaults())
	if err != nil {
		return 0, refuse(badGateway, err.Error())
	}
	return n, nil
}

func (r *Response) parse(b []byte, method string, limit Limits) (int, error) {
	full := len(b) >= limit.Head
	if full {
		b = b[:limit.Head]
	}
	r.reset()
	*r = Response{Head: r.Head}
	end, err := 0, error(nil)
	at, err := r.line(b)
	if at > 0 {
		end, err = r.readFields(b, at, limit.Fields)
	}
	if err == nil && end == 0 && full {
		return 0, refuse(badGateway, whyLargeHead)
	}
	if end == 0 {
		return 0, err
	}
	if err := r.finish(method); err != nil {
		return 0, err
	}
	return end, nil
}

// line reads the status line and returns where the fields begin. The space
// before an empty reason may be missing, as many servers have it.
func (r *Response) line(b []byte) (int, error) {
	const line = "HTTP/1.1 200"
	for i := range min(len(b), len(line)) {
		c := b[i]
		switch {
		case c == line[i], i == 7 && c == '0', i >= 9 && '0' <= c && c <= '9':
		case i == 5 && '0' <= c && c <= '9', i == 7 && '0' <= c && c <= '9':
			return 0, refuse(badGateway, whyVersion)
		default:
			return 0, refuse(badGateway, whyStatusLine)
		}
	}
	if len(b) <= len(line) {
		return 0, nil
	}
	r.Minor = int(b[7] - '0')
	r.Status = int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0')
	at := len(line)
	if r.Status < 100 || b[at] != ' ' && b[at] != '\r' && b[at] != '\n' {
		return 0, refuse(badGateway, whyStatusLine)
	}
	if b[at] == ' ' {
		at++
	}
	end := control(b, at)
	if end == len(b) {
		return 0, nil
	}
	r.Reason = b[at:end:end]
	return lineEnd(b, end)
}

// finish checks the head as a whole and finds how the body ends (RFC 9112, 6.3).
func (r *Response) finish(method string) error {
	if err := r.frame(); err != nil {
		return err
	}
	coded, counted := r.Has(KindTransferEncoding), r.Has(KindContentLength)
	switch {
	case r.Status == 101, method == "CONNECT" && r.Status/100 == 2:
		r.Upgrade = true
	case method == "HEAD", r.Status == 304:
	case r.Status < 200, r.Status == 204:
		// A sender that says there is a body may send one; nobody would read it.
		r.Close = r.Close || coded || r.length > 0
	case coded:
		r.Length = Chunked
	case counted:
		r.Length = r.length
	default:
		r.Length, r.Close = UntilClose, true
	}
	return nil
}
