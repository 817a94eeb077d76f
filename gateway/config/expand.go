package config

import (
	"fmt"
	"strings"
)

// expandAll puts variables into every scalar below v. Keys are left alone.
func (v value) expandAll() {
	switch v.n.kind {
	case scalar:
		v.expand()
	case list:
		for i, n := range v.n.items {
			value{v.l, fmt.Sprintf("%s[%d]", v.path, i), n, true}.expandAll()
		}
	case object:
		for _, f := range v.n.fields {
			value{v.l, join(v.path, printable(f.key)), f.value, true}.expandAll()
		}
	}
}

func (v value) expand() {
	if !strings.Contains(v.n.text, "${") {
		return
	}
	text, what, fix := expand(v.n.text, v.l.opts.Getenv)
	if what != "" {
		v.fail(what, fix)
		v.n.bad = true
		return
	}
	v.n.expanded = text != strings.ReplaceAll(v.n.text, "$${", "${")
	v.n.text = text
}

// maxExpanded bounds a text after its variables were put in.
const maxExpanded = 64 << 10

// expand replaces ${VAR} and ${VAR:-default}; as in a shell, the default also
// stands for an empty variable. $${ is a literal ${. What is put in is not
// expanded again.
func expand(text string, getenv func(string) (string, bool)) (out, what, fix string) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if escaped, ok := strings.CutSuffix(before, "$"); ok && found {
			b.WriteString(escaped + "${")
			text = rest
			continue
		}
		b.WriteString(before)
		if !found {
			return b.String(), "", ""
		}
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", "${ without }", "close it, or write $${ for a literal ${"
		}
		name, def, hasDefault := strings.Cut(inner, ":-")
		if !isVariable(name) {
			return "", fmt.Sprintf("${%s} names no variable", printable(name)), "write ${NAME} or ${NAME:-default}, or $${ for a literal ${"
		}
		val, ok := getenv(name)
		if hasDefault && val == "" {
			val, ok = def, true
		}
		if !ok {
			return "", fmt.Sprintf("the environment variable %s is not set", name), fmt.Sprintf("set it, or write ${%s:-default}", name)
		}
		b.WriteString(val)
		if b.Len() > maxExpanded {
			return "", fmt.Sprintf("with %s it is longer than %s", name, bytesText(maxExpanded)), "set the variable to what belongs here"
		}
		text = after
	}
}

func isVariable(name string) bool {
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}
