// Package topic names the MQTT topics of a gateway: a template of the
// configuration, filled with what a record is about.
package topic

import (
	"fmt"
	"strings"
)

// Template is a topic with variables in braces.
type Template struct {
	parts    []part
	byRecord bool // some variable differs between the records of one source
}

type part struct {
	_ [0]func() // nobody compares them: saves the code for it

	literal  string
	variable string // "gateway", "source", "device", "id", "name"; empty: a literal
}

// Parse reads a template like "fieldferry/{gateway}/{source}".
func Parse(s string) (Template, error) {
	var t Template
	for rest := s; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			t.parts = append(t.parts, part{literal: rest})
			break
		}
		if open > 0 {
			t.parts = append(t.parts, part{literal: rest[:open]})
		}
		end := strings.IndexByte(rest[open:], '}')
		if end < 0 {
			return t, fmt.Errorf("topic %q: a brace is not closed", s)
		}
		switch v := rest[open+1 : open+end]; v {
		case "device", "id", "name":
			t.byRecord = true
			fallthrough
		case "gateway", "source":
			t.parts = append(t.parts, part{variable: v})
		default:
			return t, fmt.Errorf("topic %q: unknown variable {%s}", s, v)
		}
		rest = rest[open+end+1:]
	}
	return t, nil
}

// Keys are what a template may name of a record besides its source.
type Keys struct {
	Device string // Modbus device, else empty
	ID     string // CAN arbitration id in hex, else empty
	Name   string // of the message or device, else empty
}

// ByRecord reports whether records of one source can have different topics.
func (t Template) ByRecord() bool { return t.byRecord }

// Render fills the template. A variable that a record has no value for becomes
// "_": an event, for example, has no arbitration id.
func (t Template) Render(gateway, source string, k Keys) string {
	var b strings.Builder
	for _, p := range t.parts {
		switch p.variable {
		case "":
			b.WriteString(p.literal)
		case "gateway":
			b.WriteString(Level(gateway))
		case "source":
			b.WriteString(Level(source))
		case "device":
			b.WriteString(Level(k.Device))
		case "id":
			b.WriteString(Level(k.ID))
		case "name":
			b.WriteString(Level(k.Name))
		}
	}
	return b.String()
}

// Root is what all topics of a gateway begin with: the levels before the
// first that varies.
func (t Template) Root(gateway string) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.variable == "gateway" {
			b.WriteString(Level(gateway))
		} else if p.variable != "" {
			break
		}
		b.WriteString(p.literal)
	}
	root := b.String()
	if !strings.HasSuffix(root, "/") { // the last level is unfinished
		root = root[:strings.LastIndexByte(root, '/')+1]
	}
	if root = strings.TrimSuffix(root, "/"); root == "" {
		return "fieldferry/" + Level(gateway)
	}
	return root
}

// Level makes a name fit for one level of a topic (MQTT 3.1.1, 4.7).
func Level(name string) string {
	if name == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if r == '/' || r == '+' || r == '#' || r < 0x20 || r == 0x7f {
			return '_'
		}
		return r
	}, name)
}
