package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"sort"
)

// added are the lists that every file of a configuration may add entries to.
var added = []string{"can", "modbus", "commands.points"}

// tree parses a configuration, and puts the keys of all its files together. It
// returns nil when one of them is wrong.
func (l *loader) tree(data []byte) *node {
	l.sections = split(data)
	for i := range l.sections {
		l.sections[i].inline = l.site != nil && !l.site.has(l.sections[i].name)
	}
	if len(l.sections) == 1 {
		return l.parseSection(data)
	}
	if !l.checkMarks(data) || !l.checkSections() {
		return nil
	}
	roots, whole := make([]*node, len(l.sections)), true
	for i := range l.sections {
		if roots[i] = l.sectionTree(&l.sections[i]); roots[i] == nil {
			whole = false
		}
	}
	if !whole {
		return nil
	}
	order := make([]int, 0, len(roots))
	for i := range roots[1:] {
		order = append(order, i+1)
	}
	sort.SliceStable(order, func(a, b int) bool { return l.sections[order[a]].name < l.sections[order[b]].name })
	for _, i := range order {
		if root := roots[i]; root.kind != nothing { // everything in it is a comment
			l.merge(roots[0], root, "")
		}
	}
	return roots[0]
}

func (l *loader) parseSection(data []byte) *node {
	text, ok := l.normalize(data)
	if !ok {
		return nil
	}
	return l.parse(text)
}

// checkSections refuses names that a file of the folder cannot have.
func (l *loader) checkSections() bool {
	ok, seen := true, map[string]bool{}
	for _, s := range l.sections[1:] {
		switch {
		case !dropInName().MatchString(s.name):
			l.failAt(place{s.before, 1}, "", printable(DropInFolder+"/"+s.name)+" is not the name of a file there", "name it with letters, digits, . - and _, and .yaml at the end")
			ok = false
		case seen[s.name]:
			l.failAt(place{s.before, 1}, "", DropInFolder+"/"+s.name+" is here twice", "join the two parts")
			ok = false
		}
		seen[s.name] = true
	}
	return ok
}

// sectionTree parses one of several files. Its lines are those of the whole text.
func (l *loader) sectionTree(s *section) *node {
	sub := &loader{file: l.file, opts: l.opts}
	root := sub.parseSection(s.text)
	for _, p := range sub.problems {
		p.Line += s.before
		l.problems = append(l.problems, p)
	}
	if root != nil && s.name != "" && root.kind != object && root.kind != nothing {
		l.failAt(place{s.before + 1, 1}, "", "the top level is not keys", "begin with a key of the configuration, such as modbus:")
		return nil
	}
	if root != nil {
		root.move(s.before)
	}
	return root
}

// move adds lines to the places of n and all below it.
func (n *node) move(lines int) {
	n.at.line += lines
	for _, item := range n.items {
		item.move(lines)
	}
	for i := range n.fields {
		n.fields[i].at.line += lines
		n.fields[i].value.move(lines)
	}
}

// merge adds what another file has to a map: keys that the map does not have,
// and entries of the lists that are added to. A key that both give is a problem:
// neither overrides the other.
func (l *loader) merge(into, from *node, path string) {
	if into.kind == nothing && path == "" {
		*into = node{kind: object, at: from.at}
	}
	if into.kind != object { // reported where it is read
		return
	}
	given := into.fields
	for _, fd := range from.fields {
		at := slices.IndexFunc(given, func(g field) bool { return g.key == fd.key })
		if at < 0 {
			into.fields = append(into.fields, fd)
			continue
		}
		key, was := join(path, printable(fd.key)), given[at]
		switch {
		case was.value.kind == object && fd.value.kind == object:
			l.merge(was.value, fd.value, key)
		case was.value.kind == list && fd.value.kind == list && slices.Contains(added, key):
			was.value.items = append(was.value.items, fd.value.items...)
		default:
			l.failAt(fd.at, key, fmt.Sprintf("is given in two files, first %s", l.sections.where(l.file, was.at.line)), "remove one of them: no file overrides another")
		}
	}
	if len(into.fields) > maxWidth {
		l.failAt(from.at, printable(path), fmt.Sprintf("with this file it has more than %d keys", maxWidth), "this is not a configuration of fieldferry")
		into.fields = into.fields[:maxWidth]
	}
}

// settled are the problems of a load, each with the file that has it.
func (l *loader) settled() []Problem {
	list := sorted(l.problems)
	for i := range list {
		list[i] = l.sections.place(l.file, l.folder(), list[i])
	}
	return append(list, l.foreign...)
}

// folder is where the other files of the configuration are.
func (l *loader) folder() string { return filepath.Join(l.dir, DropInFolder) }
