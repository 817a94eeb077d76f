package config

import (
	"fmt"

	"github.com/goccy/go-yaml/token"
)

// The parser's time and memory grow with the square of these, so they are
// bounded before it runs.
const (
	maxDepth = 32  // nested lists and maps; the deepest key stands at 9
	maxWidth = 200 // keys in one map
)

// guard walks the tokens before they are parsed. It refuses what fieldferry's
// YAML does not have, and what would make parsing expensive.
type guard struct {
	l      *loader
	ok     bool
	refuse int     // problems reported so far
	seen   bool    // content came already: a document header begins a second one
	open   []scope // enclosing lists and maps
	line   int     // of the last token
	dashes int     // "-" in a row on that line
}

// scope is an open map or list: a flow one, or a block map at a column.
type scope struct {
	_ [0]func() // nobody compares them: saves the code for it

	flow bool
	seq  bool
	col  int
	keys int
}

// notYAML says why a token is refused that YAML knows and fieldferry does not.
var notYAML = map[token.Type][2]string{
	token.TagType:        {"tags are not accepted", "remove it"},
	token.AnchorType:     {"anchors are not accepted", "write the value out where it is needed"},
	token.AliasType:      {"aliases are not accepted", "write the value out; text that begins with * needs quotes"},
	token.MergeKeyType:   {"merge keys are not accepted", "write the keys out"},
	token.MappingKeyType: {"the ? form of a key is not accepted", "write key: value; text that begins with ? needs quotes"},
	token.DirectiveType:  {"YAML directives are not accepted", "remove it; text that begins with % needs quotes"},
}

// checkTokens reports at most a screenful and says whether parsing is safe.
func (l *loader) checkTokens(tokens token.Tokens) bool {
	g := guard{l: l, ok: true}
	for _, t := range tokens {
		if !g.token(t) || g.refuse >= 20 {
			return false
		}
	}
	return g.ok
}

func (g *guard) fail(t *token.Token, what, fix string) bool {
	g.l.failAt(place{t.Position.Line, t.Position.Column}, "", what, fix)
	g.ok = false
	g.refuse++
	return false
}

// token returns false when nothing after t is worth looking at.
func (g *guard) token(t *token.Token) bool {
	if t.Type == token.InvalidType {
		return g.fail(t, t.Error, "correct the YAML")
	}
	if no, bad := notYAML[t.Type]; bad {
		g.fail(t, no[0], no[1])
		return t.Type != token.DirectiveType // what follows is its arguments
	}
	switch t.Type {
	case token.CommentType, token.DocumentEndType:
		return true
	case token.DocumentHeaderType:
		if g.seen {
			return g.fail(t, "a second document begins", "keep everything in one document, or remove the ---")
		}
		return true
	}
	g.seen = true
	return g.structure(t)
}

func (g *guard) structure(t *token.Token) bool {
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		g.open = append(g.open, scope{flow: true, seq: t.Type == token.SequenceStartType})
	case token.SequenceEndType, token.MappingEndType:
		if n := len(g.open); n > 0 && g.open[n-1].flow {
			g.open = g.open[:n-1]
		}
	case token.CollectEntryType:
		return g.key(t)
	case token.MappingValueType:
		if n := len(g.open); n > 0 && g.open[n-1].flow {
			break
		}
		col := t.Position.Column
		if t.Prev != nil && t.Prev.Position.Line == t.Position.Line {
			col = t.Prev.Position.Column
		}
		g.close(col)
		if n := len(g.open); n == 0 || g.open[n-1].col != col {
			g.open = append(g.open, scope{col: col})
		}
		return g.depth(t) && g.key(t)
	case token.SequenceEntryType:
		g.close(t.Position.Column)
		return g.dash(t)
	}
	return g.depth(t)
}

// close ends the block maps right of col.
func (g *guard) close(col int) {
	for n := len(g.open); n > 0 && !g.open[n-1].flow && g.open[n-1].col > col; n = len(g.open) {
		g.open = g.open[:n-1]
	}
}

func (g *guard) key(t *token.Token) bool {
	n := len(g.open)
	if n == 0 || g.open[n-1].seq {
		return true
	}
	if g.open[n-1].keys++; g.open[n-1].keys > maxWidth {
		return g.fail(t, fmt.Sprintf("more than %d keys in one map", maxWidth), "this is not a configuration of fieldferry")
	}
	return true
}

func (g *guard) dash(t *token.Token) bool {
	if t.Position.Line != g.line {
		g.line, g.dashes = t.Position.Line, 0
	}
	if g.dashes++; g.dashes > maxDepth {
		return g.tooDeep(t)
	}
	return g.depth(t)
}

func (g *guard) depth(t *token.Token) bool {
	if len(g.open) > maxDepth {
		return g.tooDeep(t)
	}
	return true
}

func (g *guard) tooDeep(t *token.Token) bool {
	return g.fail(t, fmt.Sprintf("nested deeper than %d levels", maxDepth), "this is not a configuration of fieldferry")
}
