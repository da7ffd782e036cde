package manifest

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on what is read. The parser takes time that grows with the square of
// the tokens and a stack that grows with the depth, so both are counted first.
const (
	maxSource = 1 << 20 // bytes
	maxTokens = 40_000
	maxDepth  = 50     // of nesting
	maxValues = 50_000 // after aliases are followed
)

// kind is what a node holds.
type kind string

// The kinds, in the words that people are told.
const (
	mapping kind = "a mapping"
	list    kind = "a list"
	text    kind = "text"
	whole   kind = "a whole number"
	decimal kind = "a decimal number"
	truth   kind = "true or false"
	nothing kind = "nothing"
)

// node is one value of a document. Aliases share the node they point to, so a
// document is a graph without cycles.
type node struct {
	kind  kind
	text  string // scalars, as they are written, without quotes
	at    position
	pairs []pair  // mapping
	items []*node // list
}

// pair is one key of a mapping with its value.
type pair struct {
	key   string
	at    position
	value *node
}

// field returns the value of key in a mapping, or nil.
func (n *node) field(key string) *node {
	if n == nil {
		return nil
	}
	for _, p := range n.pairs {
		if p.key == key && p.value.kind != nothing {
			return p.value
		}
	}
	return nil
}

// show names a node to a person.
func (n *node) show() string {
	switch n.kind {
	case mapping, list, nothing:
		return string(n.kind)
	case text:
		return fmt.Sprintf("%q", clip(n.text))
	case whole, decimal, truth:
	}
	return clip(n.text)
}

func clip(s string) string {
	if utf8.RuneCountInString(s) > 40 {
		return string([]rune(s)[:40]) + "…"
	}
	return s
}

// read turns the source into a tree. What stops it is noted in r, and nil
// returned; smaller mistakes are noted and read past.
func read(r *report, src string) (root *node) {
	if len(src) > maxSource {
		r.add(position{1, 1}, "", fmt.Sprintf("the file has %d bytes; %d are allowed", len(src), maxSource), "keep data out of it")
		return nil
	}
	if !utf8.ValidString(src) {
		r.add(invalidAt(src), "", "this is not UTF-8 text", "save the file as UTF-8")
		return nil
	}
	// A fault in the parser is a fault in this file's reading, never the end of the process.
	defer func() {
		if fault := recover(); fault != nil {
			r.add(position{1, 1}, "", "this is not YAML that can be read", "look for unbalanced quotes, brackets or indentation")
			root = nil
		}
	}()
	tokens := lexer.Tokenize(src)
	if !bounded(r, tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntax(err)
		return nil
	}
	b := builder{r: r, anchors: map[string]*node{}}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil {
			r.add(start(doc.Body), "", "there is a second document here", "keep one project in one file: remove the --- and what follows")
			return nil
		}
		root = b.node(doc.Body)
	}
	return root
}

// invalidAt returns where s stops being UTF-8.
func invalidAt(s string) position {
	at := position{1, 1}
	for i, c := range s {
		if c == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)) {
			break
		}
		at.column++
		if c == '\n' {
			at = position{at.line + 1, 1}
		}
	}
	return at
}

// bounded refuses what the parser could choke on.
func bounded(r *report, tokens token.Tokens) bool {
	depth, line, marks := 0, 0, 0
	for i, t := range tokens {
		at := position{t.Position.Line, t.Position.Column}
		if i >= maxTokens {
			r.add(at, "", "the file is too long", fmt.Sprintf("keep it under %d words and marks", maxTokens))
			return false
		}
		if at.line != line {
			line, marks = at.line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth = max(0, depth-1)
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			marks++ // a block can nest many times within one line: "- - - -"
		}
		if depth > maxDepth || depth == 0 && marks > maxDepth || t.Position.IndentLevel > maxDepth {
			r.add(at, "", fmt.Sprintf("this is nested deeper than %d levels", maxDepth), "flatten it")
			return false
		}
	}
	return true
}

// syntax notes an error of the parser.
func (r *report) syntax(err error) {
	at, why := position{1, 1}, err.Error()
	if e, ok := errors.AsType[yaml.Error](err); ok {
		why = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			at = position{t.Position.Line, t.Position.Column}
		}
	}
	why, _, _ = strings.Cut(why, "\n")
	r.add(at, "", "this is not YAML: "+why, "mend the indentation, quotes or brackets here or just above")
}

// start returns where a node begins.
func start(n ast.Node) position {
	switch x := n.(type) {
	case *ast.MappingNode:
		if !x.IsFlowStyle && len(x.Values) > 0 {
			return start(x.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return start(x.Key)
	}
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{t.Position.Line, t.Position.Column}
}

// builder turns the parser's tree into ours.
type builder struct {
	r       *report
	anchors map[string]*node
	merges  int // keys taken over by merging
}

func (b *builder) node(n ast.Node) *node {
	at := start(n)
	switch x := n.(type) {
	case *ast.MappingNode:
		return b.mapping(at, x.Values)
	case *ast.MappingValueNode:
		return b.mapping(at, []*ast.MappingValueNode{x})
	case *ast.SequenceNode:
		out := &node{kind: list, at: at}
		for _, v := range x.Values {
			out.items = append(out.items, b.node(v))
		}
		return out
	case *ast.AnchorNode:
		v := b.node(x.Value)
		b.anchors[x.Name.GetToken().Value] = v
		return v
	case *ast.AliasNode:
		name := x.Value.GetToken().Value
		if v, ok := b.anchors[name]; ok {
			return v
		}
		b.r.add(at, "", fmt.Sprintf("there is no anchor &%s above this", clip(name)), "write &"+clip(name)+" in front of the value to repeat, before this line")
		return &node{kind: nothing, at: at}
	case *ast.TagNode:
		b.r.add(at, "", "tags are not used in this file", "remove it; put quotes around a value to make it text")
		return &node{kind: nothing, at: at}
	case *ast.LiteralNode:
		return &node{kind: text, text: x.Value.Value, at: at}
	case *ast.NullNode, nil:
		return &node{kind: nothing, at: at}
	}
	return scalar(n, at)
}

func scalar(n ast.Node, at position) *node {
	out := &node{kind: text, at: at}
	if t := n.GetToken(); t != nil {
		out.text = t.Value
	}
	switch n.(type) {
	case *ast.IntegerNode:
		out.kind = whole
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind = decimal
	case *ast.BoolNode:
		out.kind = truth
	}
	return out
}

// mapping reads keys in order. What is merged in (<<) gives way to keys that
// are written out, and an earlier merge to none after it.
func (b *builder) mapping(at position, values []*ast.MappingValueNode) *node {
	out := &node{kind: mapping, at: at}
	has := map[string]bool{}
	var merged []*node
	for _, v := range values {
		where := start(v.Key)
		if v.Key.IsMergeKey() {
			merged = append(merged, b.merged(v.Value)...)
			continue
		}
		key, ok := keyText(v.Key)
		if !ok {
			b.r.add(where, "", "a key must be a plain word", "write the key as text")
			continue
		}
		value := b.node(v.Value)
		if value.kind == nothing {
			value = &node{kind: nothing, at: where}
		}
		if has[key] {
			b.r.add(where, "", fmt.Sprintf("%q is said twice here", clip(key)), "keep one of the two")
			continue
		}
		has[key] = true
		out.pairs = append(out.pairs, pair{key, where, value})
	}
	for _, m := range merged {
		for _, p := range m.pairs {
			if b.merges++; b.merges > maxValues {
				b.r.add(at, "", fmt.Sprintf("merge keys unfold to more than %d values", maxValues), "write the values out, or merge less")
				return out
			}
			if !has[p.key] {
				has[p.key] = true
				out.pairs = append(out.pairs, p)
			}
		}
	}
	return out
}

// merged returns the mappings that a merge key names.
func (b *builder) merged(n ast.Node) []*node {
	v := b.node(n)
	from := []*node{v}
	if v.kind == list {
		from = v.items
	}
	var out []*node
	for _, m := range from {
		if m.kind == nothing {
			continue
		}
		if m.kind != mapping {
			b.r.add(v.at, "", "<< merges mappings, this is "+m.show(), "name an anchor of a mapping: <<: *name")
			continue
		}
		out = append(out, m)
	}
	return out
}

// keyText returns the text of a key. Keys such as 5 or true are read as text.
func keyText(k ast.MapKeyNode) (string, bool) {
	var n ast.Node = k
	if x, ok := n.(*ast.MappingKeyNode); ok {
		n = x.Value
	}
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return n.GetToken().Value, true
	}
	return "", false
}
