package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

type object = map[string]any

// Set is all schemas of a directory.
type Set struct{ files map[string]object }

// known are the keywords that are compared, and those that only explain.
var known = []string{"$schema", "title", "description", "$defs", "$ref", "type", "const", "enum", "pattern", "minimum", "maximum",
	"properties", "required", "additionalProperties", "items", "anyOf", "allOf", "if", "then"}

// Open reads the schemas of a directory. A keyword that the comparison does not
// know is an error: it would be passed over in silence.
func Open(dir string) (*Set, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no schema in %s: %w", dir, err)
	}
	s := &Set{files: map[string]object{}}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var o object
		if err := json.Unmarshal(b, &o); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if err := keywords(o); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		s.files[filepath.Base(path)] = o
	}
	return s, nil
}

func keywords(o object) error {
	for word, v := range o {
		if !slices.Contains(known, word) {
			return fmt.Errorf("the keyword %q is not compared", word)
		}
		var below []any
		switch word {
		case "properties", "$defs":
			below = slices.Collect(maps.Values(v.(object)))
		case "anyOf", "allOf":
			below = v.([]any)
		case "items", "if", "then", "additionalProperties":
			below = []any{v}
		}
		for _, b := range below {
			if err := keywords(b.(object)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Check compares a JSON text with a schema, strictly.
func (s *Set) Check(file string, text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	root := s.files[file]
	if root == nil {
		return fmt.Errorf("no schema %s", file)
	}
	c := checker{s, file}
	return c.check(root, v, "")
}

// checker compares with one file; a $ref without a file is in the same.
type checker struct {
	set  *Set
	file string
}

func (c checker) check(o object, v any, at string) error {
	if ref, ok := o["$ref"].(string); ok {
		return c.follow(ref, v, at)
	}
	if err := c.plain(o, v, at); err != nil {
		return err
	}
	named := false // a branch has said which members there are
	for _, each := range list(o["allOf"]) {
		branch := each.(object)
		if c.check(branch["if"].(object), v, at) != nil {
			continue
		}
		named = true
		if err := c.check(branch["then"].(object), v, at); err != nil {
			return err
		}
	}
	if o["allOf"] != nil && !named {
		return fmt.Errorf("%s: no schema is for %v", at, v.(object)["type"])
	}
	if alternatives := list(o["anyOf"]); alternatives != nil {
		var err error
		for _, each := range alternatives {
			if err = c.check(each.(object), v, at); err == nil {
				return nil
			}
		}
		return err
	}
	switch v := v.(type) {
	case object:
		return c.members(o, v, at)
	case []any:
		if items, ok := o["items"].(object); ok {
			for i, item := range v {
				if err := c.check(items, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c checker) follow(ref string, v any, at string) error {
	file, path, _ := strings.Cut(ref, "#")
	if file != "" {
		c.file = file
	}
	o := c.set.files[c.file]
	if name, ok := strings.CutPrefix(path, "/$defs/"); ok && o != nil {
		o, _ = o["$defs"].(object)[name].(object)
	}
	if o == nil {
		return fmt.Errorf("%s: %s leads nowhere", at, ref)
	}
	return c.check(o, v, at)
}

func (c checker) members(o, v object, at string) error {
	for _, name := range list(o["required"]) {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	properties, closed := o["properties"].(object)
	for name, member := range v {
		if p, ok := properties[name].(object); ok {
			if err := c.check(p, member, at+"."+name); err != nil {
				return err
			}
		} else if a, ok := o["additionalProperties"].(object); ok {
			if err := c.check(a, member, at+"."+name); err != nil {
				return err
			}
		} else if closed && len(properties) > 1 && o["allOf"] == nil {
			return fmt.Errorf("%s: the schema does not name %q", at, name)
		}
	}
	return nil
}

func list(v any) []any { l, _ := v.([]any); return l }

// plain compares what looks at a value alone.
func (c checker) plain(o object, v any, at string) error {
	if t := o["type"]; t != nil {
		words := list(t)
		if words == nil {
			words = []any{t}
		}
		if !slices.ContainsFunc(words, func(w any) bool { return is(w.(string), v) }) {
			return fmt.Errorf("%s: %v is not of the type %v", at, v, t)
		}
	}
	if want, ok := o["const"]; ok && !same(want, v) {
		return fmt.Errorf("%s: %v is not %v", at, v, want)
	}
	if words := list(o["enum"]); words != nil && !slices.ContainsFunc(words, func(w any) bool { return same(w, v) }) {
		return fmt.Errorf("%s: %v is none of %v", at, v, words)
	}
	if pattern, ok := o["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v.(string)) {
		return fmt.Errorf("%s: %v does not match %s", at, v, pattern)
	}
	if n, ok := v.(json.Number); ok {
		f, err := n.Float64()
		low, hasLow := o["minimum"].(float64)
		high, hasHigh := o["maximum"].(float64)
		if err != nil || hasLow && f < low || hasHigh && f > high {
			return fmt.Errorf("%s: %v is out of range", at, v)
		}
	}
	return nil
}

func same(want, v any) bool {
	if n, ok := v.(json.Number); ok {
		f, err := n.Float64()
		return err == nil && want == f
	}
	return reflect.DeepEqual(want, v)
}

func is(word string, v any) bool {
	switch v := v.(type) {
	case nil:
		return word == "null"
	case bool:
		return word == "boolean"
	case string:
		return word == "string"
	case json.Number:
		return word == "number" || word == "integer" && !strings.ContainsAny(v.String(), ".eE")
	case []any:
		return word == "array"
	default:
		return word == "object"
	}
}
