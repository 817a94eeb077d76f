package config

import (
	"fmt"
	"slices"
	"strings"
)

// loader gathers the problems of one load.
type loader struct {
	file     string // as named in problems
	dir      string // relative paths start here
	opts     Options
	site     *site // what was read; nil: a text
	sections sections
	problems []Problem
	foreign  []Problem // in other files
	files    []File

	templates string           // directory of the site's own device templates
	places    map[string]place // of maps, by key path

	usual map[string]string // defaults of keys that are not there, by path; nil: nobody asks

	repetitions int // of registers, all together
}

func (l *loader) report(at place, set bool, path, what, fix string, warning bool) {
	p := Problem{File: l.file, Line: at.line, Col: at.col, Path: path, What: what, Fix: fix, Warning: warning}
	if set {
		p.File, p.Line, p.Col = setName, 0, 0
	}
	l.problems = append(l.problems, p)
}

func (l *loader) failAt(at place, path, what, fix string) {
	l.report(at, false, path, what, fix, false)
}

// value is a node at a key path, or the lack of one there.
type value struct {
	l    *loader
	path string
	n    *node // never nil; an absent value has the node of the map around it
	has  bool
}

func (v value) fail(what, fix string) {
	if v.n.bad {
		return
	}
	v.l.report(v.n.at, v.n.set, v.path, what, fix, false)
}

func (v value) warn(what, fix string) {
	if v.n.bad {
		return
	}
	v.l.report(v.n.at, v.n.set, v.path, what, fix, true)
}

// where names the place of a value in the message about another one.
func (v value) where() string {
	if v.n.set {
		return "by " + setName
	}
	return v.l.sections.where(v.l.file, v.n.at.line)
}

// public reports whether everybody on the machine may read the file it stands in.
func (v value) public() bool {
	if v.l.site == nil || v.n.expanded || v.n.set {
		return false
	}
	name := v.l.sections.at(v.n.at.line).name
	return slices.ContainsFunc(v.l.site.files, func(f siteFile) bool { return f.name == name && f.public })
}

// is returns true when the value is there and of that kind; when it is there
// and is not, it reports so.
func (v value) is(k kind) bool {
	if !v.has || v.n.bad {
		return false
	}
	if v.n.kind == k {
		return true
	}
	want := map[kind][2]string{
		scalar: {"a single value", "write one value"},
		list:   {"a list", "write [ ... ], or one item a line with a leading -"},
		object: {"keys and values", "write { key: value }, or one key a line, indented"},
	}[k]
	if v.n.kind == nothing {
		v.fail("has no value", want[1]+", or remove the key")
	} else {
		v.fail(want[0]+" is wanted here", want[1])
	}
	v.n.bad = true
	return false
}

// list returns the items of a list, absent or not. Empty items are reported
// and left out.
func (v value) list() []value {
	if !v.is(list) {
		return nil
	}
	items := make([]value, 0, len(v.n.items))
	for i, n := range v.n.items {
		item := value{v.l, fmt.Sprintf("%s[%d]", v.path, i), n, true}
		if n.kind == nothing {
			item.fail("empty list item", "give it a value or remove the -")
			continue
		}
		items = append(items, item)
	}
	return items
}

// fields is a map whose keys have been checked.
type fields struct {
	value
	found map[string]value
}

// at returns the value of a key, present or not.
func (f fields) at(key string) value {
	if v, ok := f.found[key]; ok {
		return v
	}
	return value{f.l, join(f.path, key), f.n, false}
}

// need returns the value of a key and reports when it is not there.
func (f fields) need(key, fix string) value {
	v := f.at(key)
	if !v.has {
		v.fail("is missing", fix)
	}
	return v
}

// unused warns of keys that have no effect, because the one that switches them on
// is not there: who writes them means them.
func (f fields) unused(key, such string, others ...string) {
	for _, other := range others {
		if v := f.at(other); v.has && !f.at(key).has {
			v.warn("has no effect: "+key+" is missing", "add "+such)
			return
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// synonyms are spellings of other programs that are accepted for ours.
var synonyms = words{
	{"baudrate", "baud_rate"},
	{"bytesize", "data_bits"},
	{"stopbits", "stop_bits"},
	{"slave_id", "unit_id"},
	{"slave", "unit_id"},
}

// fields checks that v is a map with no other keys than these, none twice.
// It returns an empty one when it is no map.
func (v value) fields(keys ...string) fields { return v.fieldsTold(keys, keys) }

// fieldsTold is fields where not all keys are told to who has written another.
func (v value) fieldsTold(keys, told []string) fields {
	f := fields{value: v, found: map[string]value{}}
	if !v.is(object) {
		return f
	}
	v.l.places[v.path] = v.n.at
	for _, fd := range v.n.fields {
		v.l.field(f, fd, keys, told)
	}
	return f
}

func (l *loader) field(f fields, fd field, keys, told []string) {
	name := fd.key
	if ours := synonyms.of(name); ours != "" && contains(keys, ours) {
		name = ours
	}
	path := join(f.path, fd.key)
	if !contains(keys, name) {
		l.stranger(f, fd, told)
		return
	}
	if first, ok := f.found[name]; ok {
		what := fmt.Sprintf("is given twice, first %s", first.where())
		if first.path != path {
			what = fmt.Sprintf("says the same as %s %s", lastKey(first.path), first.where())
		}
		l.report(fd.at, fd.set, path, what, "remove one of them", false)
		return
	}
	f.found[name] = value{l, path, fd.value, true}
}

// stranger reports a key that is not known, or that this version cannot do.
func (l *loader) stranger(f fields, fd field, keys []string) {
	path := join(f.path, fd.key)
	if no, ok := findUnavailable(path); ok {
		if no.accept != "" && fd.value.kind == scalar && fd.value.text == no.accept {
			return
		}
		l.report(fd.at, fd.set, path, no.what(), no.fix(), false)
		return
	}
	fix := "the keys here are " + strings.Join(keys, ", ")
	if near := nearest(fd.key, keys); near != "" {
		fix = "did you mean " + near + "?"
	}
	if fd.value.kind == nothing && wholeNumber.MatchString(fd.key) {
		fix = "if it is the rest of a number such as 0,1, write 0.1 with a point"
	}
	l.report(fd.at, fd.set, join(f.path, printable(fd.key)), "unknown key", fix, false)
}

func lastKey(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

func contains(keys []string, key string) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return false
}
