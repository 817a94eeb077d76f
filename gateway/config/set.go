package config

import (
	"fmt"
	"strconv"
	"strings"
)

// setName stands for the file in problems about overrides.
const setName = "--set"

// rivals are keys that replace each other when an override gives one.
var rivals = map[string]string{"password_file": "password"}

// override puts one "path=value" into the tree under root. List items are
// named by number from 0, as .0 or [0]; the number after the last appends.
func (l *loader) override(root *node, assignment string) {
	path, text, ok := strings.Cut(assignment, "=")
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
	if !ok || len(parts) == 0 || len(parts) > maxDepth {
		// The value is not shown: it may be a secret.
		l.report(place{}, true, "", fmt.Sprintf("%s is not path=value", printable(path)), "write such as uplink.servers.0=mqtt://localhost", false)
		return
	}
	n := l.overrideValue(path, text)
	if n == nil {
		return
	}
	at := root
	for i, part := range parts {
		next, ok := l.step(at, part, path)
		if !ok {
			return
		}
		if i == len(parts)-1 {
			*next = *n
			return
		}
		at = next
	}
}

// overrideValue makes a node of the value of an override: a list or map in
// brackets, or a single value, which needs no quotes.
func (l *loader) overrideValue(path, text string) *node {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
		l.report(place{}, true, printable(path), "the value contains a control character or is not UTF-8", "write one line of text", false)
		return nil
	}
	if strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") {
		// What is no YAML is text, such as the topic {gateway}/{source}.
		sub := &loader{file: setName, opts: l.opts}
		if n := sub.parse(text); n != nil && n.kind != nothing && len(sub.problems) == 0 {
			n.markSet()
			return n
		}
	}
	n := &node{kind: scalar, text: text, set: true}
	if len(text) >= 2 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0] {
		n.text, n.quoted = text[1:len(text)-1], true
	}
	return n
}

func (n *node) markSet() {
	n.set = true
	for _, item := range n.items {
		item.markSet()
	}
	for i := range n.fields {
		n.fields[i].set = true
		n.fields[i].value.markSet()
	}
}

// step returns the node that part names below at, made when it is missing.
func (l *loader) step(at *node, part, path string) (*node, bool) {
	index, err := strconv.Atoi(part)
	if at.kind == nothing {
		at.kind = object
		if err == nil {
			at.kind = list
		}
	}
	switch {
	case at.kind == list && err == nil && index >= 0 && index < len(at.items):
		return at.items[index], true
	case at.kind == list && err == nil && index == len(at.items):
		at.items = append(at.items, &node{set: true})
		return at.items[index], true
	case at.kind == list:
		l.report(place{}, true, printable(path), fmt.Sprintf("%s is not an item of a list of %d", printable(part), len(at.items)), "count items from 0", false)
		return nil, false
	case at.kind == object:
		return at.key(part), true
	}
	l.report(place{}, true, printable(path), fmt.Sprintf("there is no %s below a single value", printable(part)), "correct the path", false)
	return nil, false
}

// key returns the value of a key, under whichever spelling the file has it.
func (n *node) key(key string) *node {
	same := func(k string) string {
		if ours := synonyms.of(k); ours != "" {
			k = ours
		}
		if ours, ok := rivals[k]; ok {
			k = ours
		}
		return k
	}
	for i := range n.fields {
		if f := &n.fields[i]; same(f.key) == same(key) {
			f.key, f.set = key, true
			return f.value
		}
	}
	v := &node{set: true}
	n.fields = append(n.fields, field{key: key, set: true, value: v})
	return v
}
