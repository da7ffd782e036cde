package wire

// Unusual marks what a request has that is legal but rare.
type Unusual uint16

// What can be unusual about a request.
const (
	AbsoluteForm  Unusual = 1 << iota // the target is an http or https URI; Host is its authority
	AuthorityForm                     // CONNECT host:port
	AsteriskForm                      // OPTIONS *
	RawTarget                         // the target has bytes above 0x7f, which should have been escaped
	OldVersion                        // HTTP/1.0
	NoHost                            // Host is empty
	Expects                           // an Expect field
	Upgrades                          // asks to leave HTTP/1.1
	WantsTrailers                     // TE
	HasTrailers                       // announces trailers of its own
)

// Request is the head of a request. Its slices lie in the buffer that was parsed.
type Request struct {
	Head
	Method  []byte
	Target  []byte // as it was sent
	Path    []byte // as it was sent, "/" when an absolute target has none; empty for CONNECT
	Query   []byte // behind the first '?', nil if there is none
	Host    []byte // with its port, as it was sent
	Lead    int    // bytes of empty lines before the request line; net/http would refuse them
	Escaped bool   // Path has a '%'
	Unusual Unusual
}

// Parse reads the head at the start of b and returns its size. While b is only
// the beginning of a head it returns 0 and no error; r is then not to be used.
// Whatever more bytes follow, neither a size nor an error would change. A head
// that is not complete makes progress only by an LF, so a caller need not parse
// again for bytes that have none, up to Limits.Head.
func (r *Request) Parse(b []byte, limit Limits) (int, error) {
	limit = limit.orDefaults()
	full := len(b) >= limit.Head
	if full {
		b = b[:limit.Head]
	}
	r.reset()
	*r = Request{Head: r.Head}
	at, err := r.line(b)
	if err == nil && at == 0 && full {
		return 0, refuse(tooLong, whyLongTarget)
	}
	if at == 0 {
		return 0, err
	}
	end, err := r.readFields(b, at, limit.Fields)
	if err == nil && end == 0 && full {
		return 0, refuse(tooLarge, whyLargeHead)
	}
	if end == 0 {
		return 0, err
	}
	if err := r.finish(); err != nil {
		return 0, err
	}
	return end, nil
}

// maxLead is how many empty lines may come before a request: some clients send
// one behind a body (RFC 9112, 2.2).
const maxLead = 2

// line reads the request line and returns where the fields begin.
func (r *Request) line(b []byte) (int, error) {
	at := 0
	for at < len(b) && b[at] == '\r' && at < 2*maxLead {
		next, err := lineEnd(b, at)
		if next == 0 {
			return 0, err
		}
		at = next
	}
	r.Lead = at
	for at < len(b) && class[b[at]]&isToken != 0 {
		at++
	}
	if at == len(b) {
		return 0, nil
	}
	if b[at] != ' ' || at == r.Lead {
		return 0, refuse(badRequest, whyMethod)
	}
	r.Method = b[r.Lead:at:at]
	at++
	end, err := r.target(b, at)
	if end == 0 {
		return 0, err
	}
	return r.version(b, end)
}

// target finds the end of the target, and the marks in it, and takes it apart.
func (r *Request) target(b []byte, from int) (int, error) {
	at, mark := from, -1
	for ; at < len(b) && b[at] != ' '; at++ {
		c := b[at]
		switch {
		case c == '?':
			if mark < 0 {
				mark = at
			}
		case class[c]&isTarget != 0:
		case c >= 0x80:
			r.Unusual |= RawTarget
		default:
			return 0, badTarget(b, from, at)
		}
	}
	if at == len(b) {
		return 0, nil
	}
	if at == from {
		return 0, refuse(badRequest, whyTarget)
	}
	r.Target = b[from:at:at]
	path := r.Target
	if mark >= 0 {
		path, r.Query = b[from:mark:mark], b[mark+1:at:at]
	}
	if err := r.form(path); err != nil {
		return 0, err
	}
	return at, nil
}

func badTarget(b []byte, from, at int) error {
	switch {
	case b[at] == '#':
		return refuse(badRequest, whyFragment)
	case (b[at] == '\r' || b[at] == '\n') && at > from:
		return refuse(badRequest, whyVersionMissing)
	}
	return refuse(badRequest, whyTarget)
}

// version reads the version behind the space at at, and the end of the line.
func (r *Request) version(b []byte, at int) (int, error) {
	const line = " HTTP/1.1\r\n"
	got := b[at:]
	if len(got) > len(line) {
		got = got[:len(line)]
	}
	for i, c := range got {
		if c == line[i] {
			continue
		}
		switch {
		case i == 8 && c == '0':
			r.Unusual |= OldVersion
		case i == 8 && '0' <= c && c <= '9', i == 6 && '0' <= c && c <= '9':
			return 0, refuse(notSupported, whyVersion)
		case i == 9 && c == '\n':
			return 0, refuse(badRequest, whyBareLF)
		case i == 10:
			return 0, refuse(badRequest, whyBareCR)
		default:
			return 0, refuse(badRequest, whyVersion)
		}
	}
	if len(got) < len(line) {
		return 0, nil
	}
	r.Minor = int(got[8] - '0')
	return at + len(line), nil
}

// finish checks the head as a whole.
func (r *Request) finish() error {
	if err := r.frame(); err != nil {
		return err
	}
	switch {
	case r.Has(KindTransferEncoding):
		r.Length = Chunked
	default:
		r.Length = r.length
	}
	if err := r.host(); err != nil {
		return err
	}
	if r.Has(KindExpect) {
		r.Unusual |= Expects
	}
	if r.upgrading && r.Has(KindUpgrade) {
		r.Unusual |= Upgrades
	}
	if r.Has(KindTE) {
		r.Unusual |= WantsTrailers
	}
	if r.Has(KindTrailer) {
		r.Unusual |= HasTrailers
	}
	return nil
}

// host takes the Host field, which a URI as target overrules (RFC 9112, 3.2.2).
func (r *Request) host() error {
	if !r.Has(KindHost) && r.Minor == 1 {
		return refuse(badRequest, whyHostMissing)
	}
	named := r.First(KindHost)
	if !validHost(named) {
		return refuse(badRequest, whyHost)
	}
	if r.Unusual&(AbsoluteForm|AuthorityForm) == 0 {
		r.Host = named
	}
	if len(r.Host) == 0 {
		r.Unusual |= NoHost
	}
	return nil
}

// Preface says whether a connection that begins with b speaks HTTP/2 without
// having been asked to (RFC 9113, 3.4). Four bytes are enough to know.
func Preface(b []byte) bool { return len(b) >= 4 && string(b[:4]) == "PRI " }
