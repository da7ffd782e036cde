package server

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Asker is who asks. The token says that they may; the name is for the ledger.
// Like every struct that inputs share, it is exported for huma to see into it.
type Asker struct {
	User string `header:"Slipway-User" doc:"who asks, for the ledger; at most 64 printable characters, else \"api\""`
}

// by returns the name for the ledger.
func (a Asker) by() string {
	if a.User == "" || utf8.RuneCountInString(a.User) > 64 || !utf8.ValidString(a.User) {
		return "api"
	}
	for _, c := range a.User {
		if !unicode.IsPrint(c) {
			return "api"
		}
	}
	return a.User
}

// maxSaid is how long a name, a reason or another word of a person may be, in bytes.
const maxSaid = 2000

// said is one text of a person, and the field it came in.
type said struct{ field, text string }

// plain refuses texts that would spoil the terminal they are printed on later.
func plain(texts ...said) error {
	for _, t := range texts {
		if len(t.text) > maxSaid {
			return delivery.Invalid(t.field, fmt.Sprintf("is %d bytes long; at most %d are kept", len(t.text), maxSaid))
		}
		if strings.ContainsFunc(t.text, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
			return delivery.Invalid(t.field, "holds a control character")
		}
	}
	return nil
}
