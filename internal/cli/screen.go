package cli

import (
	"fmt"
	"io"
	"strings"
)

// screen is a block of lines that is drawn again in its place. It knows only
// plain ANSI: up, clear the line, clear what is below.
type screen struct {
	out   io.Writer
	width int
	tall  int // lines of the block that is on the screen
}

// draw puts lines in the place of the block before.
func (s *screen) draw(lines []string) {
	var b strings.Builder
	s.home(&b)
	for _, line := range lines {
		b.WriteString("\x1b[2K" + fit(line, s.width-1) + "\n")
	}
	b.WriteString("\x1b[J")
	s.tall = len(lines)
	s.write(b.String())
}

// above prints a line that stays, above the block.
func (s *screen) above(line string) {
	var b strings.Builder
	s.home(&b)
	if s.tall > 0 {
		b.WriteString("\x1b[J")
	}
	b.WriteString(line + "\n")
	s.tall = 0
	s.write(b.String())
}

func (s *screen) home(b *strings.Builder) {
	if s.tall > 0 {
		fmt.Fprintf(b, "\r\x1b[%dA", s.tall)
	}
}

// done leaves the block where it is.
func (s *screen) done() { s.tall = 0 }

func (s *screen) write(text string) { _, _ = io.WriteString(s.out, text) } // a terminal that is gone cannot be told
