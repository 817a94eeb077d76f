package config

import (
	"maps"
	"slices"
	"sort"
	"strings"
)

// Setting is one key of a configuration as it is in effect.
type Setting struct {
	Key     string `json:"key"` // as in [Problem].Path
	Value   string `json:"value"`
	Default bool   `json:"default,omitempty"` // the configuration does not have it
}

// Effective are the keys of a configuration as they are in effect: with what
// overrides them, with variables put in, and with the defaults of those keys that
// it does not have. Secrets are not shown.
func Effective(name string, text []byte, opts Options) (list []Setting) {
	l := newLoader(name, opts)
	l.usual = map[string]string{}
	root := l.tree(text)
	if root == nil {
		return nil
	}
	for _, s := range opts.Set {
		l.override(root, s)
	}
	l.config(value{l, "", root, true}) // puts in variables, and asks for every key
	root.scalars("", func(path string, n *node) {
		delete(l.usual, path)
		if isSecret(path, n.text) {
			list = append(list, Setting{Key: path, Value: hiddenIn(n.text)})
			return
		}
		list = append(list, Setting{Key: path, Value: n.text})
	})
	for _, path := range slices.Sorted(maps.Keys(l.usual)) {
		list = append(list, Setting{Key: path, Value: l.usual[path], Default: true})
	}
	sort.SliceStable(list, func(i, j int) bool { return topKey(list[i].Key) < topKey(list[j].Key) })
	return list
}

func topKey(key string) string {
	if cut := strings.IndexAny(key, ".["); cut >= 0 {
		return key[:cut]
	}
	return key
}

// hiddenIn hides a secret, and of an address the secret part only.
func hiddenIn(text string) string {
	if shown := userinfo().ReplaceAllString(text, "${1}"+hidden+"@"); shown != text {
		return shown
	}
	return hidden
}

// usual reports whether the default of a key is to be noted.
func (v value) usual() bool { return v.l != nil && v.l.usual != nil && !v.has }
