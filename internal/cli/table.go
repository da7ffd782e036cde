package cli

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// columns is how many columns text takes on a terminal. Colour takes none.
func columns(text string) int {
	n := 0
	for text != "" {
		if skip := escape(text); skip > 0 {
			text = text[skip:]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		n += cells(r)
		text = text[size:]
	}
	return n
}

// wide lists the ranges of Unicode that take two columns (East Asian Width W
// and F), as far as they are met in names and in our own glyphs.
var wide = [][2]rune{
	{0x1100, 0x115f},
	{0x23e9, 0x23ec},
	{0x26d4, 0x26d4},
	{0x2e80, 0x303e},
	{0x3041, 0xa4cf},
	{0xac00, 0xd7a3},
	{0xf900, 0xfaff},
	{0xfe30, 0xfe6f},
	{0xff00, 0xff60},
	{0xffe0, 0xffe6},
	{0x1f300, 0x1faff},
	{0x20000, 0x3fffd},
}

func cells(r rune) int {
	switch {
	case r < 0x20 || r == 0x7f || r >= 0x300 && r <= 0x36f || r == 0x200b || r == 0xfe0f:
		return 0
	case r < 0x1100:
		return 1
	}
	for _, w := range wide {
		if r >= w[0] && r <= w[1] {
			return 2
		}
	}
	return 1
}

// fit cuts text to width columns. What is cut off ends in "…", and colour that
// was begun is ended.
func fit(text string, width int) string {
	if columns(text) <= width {
		return text
	}
	var b strings.Builder
	left, coloured := width-1, false
	for text != "" {
		if skip := escape(text); skip > 0 {
			b.WriteString(text[:skip])
			coloured, text = true, text[skip:]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		if left -= cells(r); left < 0 {
			break
		}
		b.WriteRune(r)
		text = text[size:]
	}
	b.WriteString("…")
	if coloured {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// overflows says whether a line of text is wider than the terminal, if it goes to one.
func (l look) overflows(text string) bool {
	return l.live && slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool { return columns(line) > l.width })
}

// lines breaks text between words where the terminal ends, if it goes to one. A
// word that is longer stays whole.
func (l look) lines(text string, indent int) []string {
	if !l.live || columns(text)+indent <= l.width {
		return []string{text}
	}
	var out []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case indent+columns(line)+1+columns(word) > l.width:
			out, line = append(out, line), word
		default:
			line += " " + word
		}
	}
	return append(out, line)
}

// pad fills text with blanks to width columns.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-columns(text)))
}

// grid lays out rows in columns that are as wide as their widest cell, two
// blanks apart, each line after indent. The last cell of a row is as long as it
// likes; a row of one cell widens no column.
func grid(indent string, rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row[:max(0, len(row)-1)] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columns(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		line.WriteString(indent)
		for i, cell := range row {
			if i < len(row)-1 {
				cell = pad(cell, widths[i]) + "  "
			}
			line.WriteString(cell)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// bar draws how far something is, from 0 to 1, in n cells.
func bar(share float64, n int) string {
	full := int(min(1, max(0, share))*float64(n) + 0.5)
	return "▕" + strings.Repeat("█", full) + strings.Repeat("░", n-full) + "▏"
}
