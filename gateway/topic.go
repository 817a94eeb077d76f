package gateway

import (
	"fmt"
	"strings"

	"fieldferry/gateway/payload"
)

// topicTemplate is the topic of the data, with variables in braces.
type topicTemplate struct {
	parts     []topicPart
	perRecord bool // some variable differs between the records of one source
}

type topicPart struct {
	literal  string
	variable string // "gateway", "source", "device", "id", "name"; empty: a literal
}

// parseTopic reads a template like "fieldferry/{gateway}/{source}".
func parseTopic(s string) (topicTemplate, error) {
	var t topicTemplate
	for rest := s; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			t.parts = append(t.parts, topicPart{literal: rest})
			break
		}
		if open > 0 {
			t.parts = append(t.parts, topicPart{literal: rest[:open]})
		}
		end := strings.IndexByte(rest[open:], '}')
		if end < 0 {
			return t, fmt.Errorf("topic %q: a brace is not closed", s)
		}
		switch v := rest[open+1 : open+end]; v {
		case "device", "id", "name":
			t.perRecord = true
			fallthrough
		case "gateway", "source":
			t.parts = append(t.parts, topicPart{variable: v})
		default:
			return t, fmt.Errorf("topic %q: unknown variable {%s}", s, v)
		}
		rest = rest[open+end+1:]
	}
	return t, nil
}

// render fills the template. A variable a record has no value for becomes
// "_": an event, for instance, has no arbitration id.
func (t topicTemplate) render(gateway, source string, k payload.Keys) string {
	var b strings.Builder
	for _, p := range t.parts {
		switch p.variable {
		case "":
			b.WriteString(p.literal)
		case "gateway":
			b.WriteString(topicLevel(gateway))
		case "source":
			b.WriteString(topicLevel(source))
		case "device":
			b.WriteString(topicLevel(k.Device))
		case "id":
			b.WriteString(topicLevel(k.ID))
		case "name":
			b.WriteString(topicLevel(k.Name))
		}
	}
	return b.String()
}

// root is what all topics of a gateway begin with: the levels before the
// first that varies.
func (t topicTemplate) root(gateway string) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.variable == "gateway" {
			b.WriteString(topicLevel(gateway))
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
		return "fieldferry/" + topicLevel(gateway)
	}
	return root
}

// topicLevel makes a name fit for one level of a topic (MQTT 3.1.1, 4.7).
func topicLevel(name string) string {
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
