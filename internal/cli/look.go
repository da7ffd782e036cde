package cli

// look is how things are shown: with colour or without, and how wide.
type look struct {
	colour bool
	live   bool // redraw in place, and ask questions
	width  int  // columns
}

// lookOf decides how a run looks. Colour needs a terminal and nobody who asked
// for none; a terminal that cannot move its cursor is none.
func lookOf(e Env) look {
	width, tty := 0, false
	if e.Terminal != nil {
		width, tty = e.Terminal()
	}
	if width < 20 {
		width = 100
	}
	dumb := e.Vars("TERM") == "dumb"
	return look{
		colour: tty && !dumb && e.Vars("NO_COLOR") == "",
		live:   tty && !dumb && (e.Vars("CI") == "" || e.Vars("CI") == "false"),
		width:  width,
	}
}

// The tones of the vocabulary. A tone never stands without its glyph or word.
const (
	toneGood   = "32"
	toneBad    = "31"
	toneWarn   = "33"
	toneRun    = "34"
	toneCanary = "38;5;208" // orange and grey can be told apart by everyone
	toneFaint  = "2"
	toneStrong = "1"
)

func (l look) in(tone, text string) string {
	if !l.colour || text == "" {
		return text
	}
	return "\x1b[" + tone + "m" + text + "\x1b[0m"
}

func (l look) good(text string) string   { return l.in(toneGood, text) }
func (l look) bad(text string) string    { return l.in(toneBad, text) }
func (l look) faint(text string) string  { return l.in(toneFaint, text) }
func (l look) strong(text string) string { return l.in(toneStrong, text) }
