package web

// empty is what a page or a card says that has nothing to show yet: why, and what
// changes that.
type empty struct {
	Title    string
	Why      string
	Commands []emptyCommand // in their order
	Href     string         // where to go on; "" is nowhere
	LinkText string
}

// emptyCommand is one command line, and what it is for.
type emptyCommand struct{ Text, Command string }

// pager leads to the pages before and after one of a list.
type pager struct {
	Prev, Next string // addresses; "" is none
	Text       string // what is shown: "51 to 100 of 2 500"
}

// fact is a name and a value.
type fact struct {
	Name, Value string
	Href        string // what the value leads to
	Class       string // of the value: "num", "mono"
}
