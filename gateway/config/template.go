package config

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// Templates describe devices of a kind, so that a configuration need not list
// their registers. Each is a YAML file with the keys of a device, written from
// the public document it names.
//
//go:embed templates/*.yaml
var embedded embed.FS

const templateSuffix = ".yaml"

var templateName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Template is a device template that can be named in a configuration.
type Template struct {
	_ [0]func() // nobody compares them: saves the code for it

	Name        string
	Description string
	Source      string // the document it was written from
	Registers   int
	File        string // where it is from; empty for those of fieldferry itself
	Text        string // YAML
}

// Templates lists the templates of a directory, which may be empty for none,
// and those of fieldferry itself that it does not replace, by name. Problems
// are what is wrong with them.
func Templates(dir string) ([]Template, []Problem) {
	names := map[string]bool{}
	entries, _ := fs.ReadDir(embedded, "templates")
	for _, e := range entries {
		names[strings.TrimSuffix(e.Name(), templateSuffix)] = true
	}
	var problems []Problem
	if dir != "" {
		files, err := os.ReadDir(dir)
		if err != nil {
			what, fix := fileTrouble("the templates' directory", err)
			problems = append(problems, Problem{File: dir, What: what, Fix: fix})
		}
		for _, e := range files {
			if name, ok := strings.CutSuffix(e.Name(), templateSuffix); ok && templateName.MatchString(name) {
				names[name] = true
			}
		}
	}
	var list []Template
	for name := range names {
		l := newLoader(name, Options{})
		l.templates = dir
		t, found := l.template(name)
		problems = append(problems, l.problems...)
		if found {
			t.Registers = len(t.root.at("registers").list())
			list = append(list, t.Template)
		}
	}
	sort.SliceStable(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		return strings.Compare(a.Name, b.Name) < 0
	})
	return list, problems
}

// template is a parsed template.
type template struct {
	Template
	root fields
	l    *loader // its problems
}

var templateKeys = append([]string{"description", "source", "registers", "timeout"}, inheritedKeys...)

// template reads a template; found is false when there is none of that name.
func (l *loader) template(name string) (t *template, found bool) {
	if !templateName.MatchString(name) {
		return nil, false
	}
	data, file, err := l.templateText(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	sub := newLoader(file, l.opts)
	t = &template{Template: Template{Name: name, Text: string(data)}, l: sub}
	if file != embeddedPath(name) {
		t.File = file
	}
	if err != nil {
		what, fix := fileTrouble("the template", err)
		sub.failAt(place{1, 1}, "", what, fix)
	} else if text, ok := sub.normalize(data); ok {
		if root := sub.parse(text); root != nil {
			v := value{sub, "", root, true}
			if root.kind != object {
				sub.failAt(place{1, 1}, "", "this is not a template", "write description:, source: and registers:")
			} else {
				t.root = v.fields(templateKeys...)
				t.Description, t.Source = t.root.at("description").label(""), t.root.at("source").label("")
				t.root.need("registers", "list what to read under registers:")
			}
		}
	}
	l.problems = append(l.problems, sub.problems...)
	sub.problems = nil
	return t, true
}

func embeddedPath(name string) string { return "template:" + name }

// templateText finds a template in the configured directory, then among those
// of fieldferry itself.
func (l *loader) templateText(name string) (data []byte, file string, err error) {
	if l.templates != "" {
		file = filepath.Join(l.templates, name+templateSuffix)
		missing := l.opts.Parts != nil && l.copyOf(file) == "" // when the copies were made
		if missing {
			return l.embeddedText(name)
		}
		if data, _, err = l.part("templates", file, maxFileSize); !errors.Is(err, fs.ErrNotExist) {
			return data, file, err
		}
	}
	return l.embeddedText(name)
}

func (l *loader) embeddedText(name string) (data []byte, file string, err error) {
	data, err = embedded.ReadFile("templates/" + name + templateSuffix)
	return data, embeddedPath(name), err
}

// fromTemplate returns the template a device names, nil without one.
func (f fields) fromTemplate() *template {
	v := f.at("template")
	if !v.has {
		return nil
	}
	name := v.text("")
	if name == "" {
		return nil
	}
	t, found := f.l.template(name)
	if !found {
		list, _ := Templates(f.l.templates)
		names := make([]string, len(list))
		for i, t := range list {
			names[i] = t.Name
		}
		fix := "fieldferry modbus templates lists them"
		if near := nearestName(name, names); near != "" {
			fix = "did you mean " + near + "?"
		}
		v.fail(fmt.Sprintf("there is no template %s", shown(name)), fix)
		return nil
	}
	return t
}

// registers returns the template's registers but for those a device has
// itself, by name.
func (t *template) registers(own []value) (list []value) {
	taken := map[string]bool{}
	for _, v := range own {
		for _, fd := range v.n.fields {
			if fd.key == "name" && fd.value.kind == scalar {
				taken[fd.value.text] = true
			}
		}
	}
	for _, v := range t.root.at("registers").list() {
		mine := false
		for _, fd := range v.n.fields {
			mine = mine || fd.key == "name" && taken[fd.value.text]
		}
		if !mine {
			list = append(list, v)
		}
	}
	return list
}
