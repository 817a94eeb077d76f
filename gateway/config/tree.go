package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

type kind uint8

const (
	nothing kind = iota // a key without value, an empty list item, ~
	scalar
	list
	object
)

// node is a value of the file. The parser's own tree is left behind as soon
// as it was read: it is large, and its scalars are typed too generously.
type node struct {
	kind     kind
	at       place
	set      bool   // given by an override, not by the file
	text     string // scalar: as written, without quotes
	quoted   bool   // scalar: in quotes or a block
	expanded bool   // scalar: a variable was put in
	bad      bool   // a problem has been reported; say no more
	items    []*node
	fields   []field
}

type field struct {
	_ [0]func() // nobody compares them: saves the code for it

	key   string
	at    place
	set   bool
	value *node
}

// parse turns text into a tree; nil when there is none.
func (l *loader) parse(text string) (root *node) {
	defer func() {
		// The parser is not ours and the text is anybody's.
		if r := recover(); r != nil {
			l.failAt(place{1, 1}, "", fmt.Sprintf("the YAML parser gave up: %v", r), "simplify the file")
			root = nil
		}
	}()
	tokens := lexer.Tokenize(text)
	if !l.checkTokens(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.syntax(text, err)
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return l.convert(doc.Body)
		}
	}
	return &node{kind: nothing, at: place{1, 1}}
}

// parserError is what the parser's errors are. The package that exports the
// type would bring its encoder and decoder along.
type parserError interface {
	error
	GetToken() *token.Token
	GetMessage() string
}

// syntax reports the parser's error without its excerpt of the source, which
// may show a secret.
func (l *loader) syntax(text string, err error) {
	at, what, fix := place{1, 1}, "not YAML", "correct the YAML here or just above"
	var ye parserError
	if errors.As(err, &ye) {
		what = ye.GetMessage()
		if t := ye.GetToken(); t != nil {
			at = place{t.Position.Line, t.Position.Column}
		}
	}
	lines := strings.Split(text, "\n")
	if at.line <= len(lines) && strings.Contains(lines[at.line-1], "${") {
		fix = `inside { } and [ ] put "${VAR}" in quotes`
	}
	l.failAt(at, "", what, fix)
}

func (l *loader) convert(n ast.Node) *node {
	t := n.GetToken()
	out := &node{at: place{t.Position.Line, t.Position.Column}}
	switch v := n.(type) {
	case *ast.NullNode:
		out.kind = nothing
	case *ast.StringNode:
		out.kind, out.text = scalar, v.Value
		out.quoted = t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
	case *ast.LiteralNode:
		out.kind, out.text, out.quoted = scalar, v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NanNode, *ast.InfinityNode:
		out.kind, out.text = scalar, t.Value
	case *ast.SequenceNode:
		out.kind = list
		for _, item := range v.Values {
			out.items = append(out.items, l.convert(item))
		}
	case *ast.MappingNode:
		out.kind = object
		for _, kv := range v.Values {
			out.fields = append(out.fields, l.convertField(kv))
		}
		if !v.IsFlowStyle && len(out.fields) > 0 {
			out.at = out.fields[0].at // the parser points at the first colon
		}
	case *ast.MappingValueNode:
		out.kind, out.fields = object, []field{l.convertField(v)}
		out.at = out.fields[0].at
	default:
		l.failAt(out.at, "", fmt.Sprintf("%s is not accepted here", n.Type()), "write a plain value")
		out.bad = true
	}
	return out
}

func (l *loader) convertField(kv *ast.MappingValueNode) field {
	t := kv.Key.GetToken()
	return field{
		key:   t.Value,
		at:    place{t.Position.Line, t.Position.Column},
		value: l.convert(kv.Value),
	}
}
