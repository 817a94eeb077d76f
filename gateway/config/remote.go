package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Remote says what of the configuration may be changed from afar; the zero
// value: nothing.
type Remote struct {
	Mode  RemoteMode
	Allow []string // sections, of [Sections]
}

// RemoteMode is what the broker hears of the configuration, and what is heard of
// the broker.
type RemoteMode string

// The modes; the zero value is RemoteOff.
const (
	RemoteOff    RemoteMode = ""
	RemoteReport RemoteMode = "report" // which configuration runs is published
	RemoteApply  RemoteMode = "apply"  // and another one is taken
)

// Sections are what may be allowed to change from afar, or not.
var Sections = []string{"gateway", "can", "modbus", "buffer", "uplink", "web", "commands", "remote_config"}

// remoteDefault are those sections that cannot lock anybody out.
var remoteDefault = []string{"can", "modbus"}

func (l *loader) remote(v value) Remote {
	if !v.has {
		return Remote{}
	}
	f := v.fields("mode", "allow")
	r := Remote{Mode: RemoteMode(f.at("mode").choice("off", "report", "apply"))}
	if r.Mode == "off" {
		r.Mode = RemoteOff
	}
	allow := f.at("allow")
	for _, item := range allow.list() {
		switch name := item.text(""); {
		case name == "": // reported
		case !slices.Contains(Sections, name):
			item.choice(Sections...)
		case slices.Contains(r.Allow, name):
			item.fail(shown(name)+" is there twice", "remove one of them")
		default:
			r.Allow = append(r.Allow, name)
		}
	}
	if !allow.has {
		r.Allow = remoteDefault
	}
	f.unused("mode", "mode: apply", "allow")
	slices.Sort(r.Allow)
	return r
}

// checkRemote warns of what is allowed and can nevertheless not be done.
func (l *loader) checkRemote(v value, cfg *Config) {
	if cfg.Remote.Mode != RemoteApply || !v.is(object) {
		return
	}
	at := v.fields("mode", "allow").at("allow")
	if len(cfg.Commands.Signers) > 0 {
		return
	}
	if slices.Contains(cfg.Remote.Allow, "commands") {
		at.warn("commands change from afar only by a signed document, and commands.signers names nobody", "add a signer, or remove commands from the list")
	}
	if slices.Contains(cfg.Remote.Allow, "uplink") || slices.Contains(cfg.Remote.Allow, "remote_config") {
		at.warn("whoever can publish to the topic config/desired can send this gateway and its credentials to a broker of theirs", "name keys under commands.signers, or remove uplink and remote_config from the list")
	}
}

// Changed are the sections that differ between two configurations, in the order
// of [Sections].
func (c *Config) Changed(other *Config) (names []string) {
	for i, pair := range [][2]any{
		{c.Gateway, other.Gateway},
		{c.CAN, other.CAN},
		{c.Modbus, other.Modbus},
		{c.Buffer, other.Buffer},
		{c.Uplink, other.Uplink},
		{c.Web, other.Web},
		{c.Commands, other.Commands},
		{c.Remote, other.Remote},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			names = append(names, Sections[i])
		}
	}
	return names
}

var (
	wholeSecret = lazily(`(?i)pass|pwd|secret|token|credential|api_?key|key_pem|\.headers`)
	reference   = lazily(`\$\{[^}]*\}`)
	password    = lazily(`://[^/\s@]*:([^/\s]*)@`)
)

// Afar says what a configuration that comes from afar has and must not have: a
// secret as it is, since everybody who reads the broker would have it; and a
// variable outside of secrets that the configuration which runs does not use
// there, since its value would be published in a name or a topic. In one that
// nobody has signed a variable is no new secret either: see [Config.NewSecrets].
func Afar(name string, text, running []byte, signed bool) []Problem {
	known := map[string]bool{}
	scan(name, running, func(_ *loader, path string, n *node, secret bool) {
		for _, ref := range reference().FindAllString(n.text, -1) {
			known[ref] = known[ref] || !secret
			known[path+ref] = secret
		}
	})
	var problems []Problem
	scan(name, text, func(l *loader, path string, n *node, secret bool) {
		refs := reference().FindAllString(n.text, -1)
		switch {
		case secret && (len(refs) == 0 || strings.Contains(n.text, ":-")):
			l.failAt(n.at, path, "is a secret as it is, and comes from afar", "put it into a file at the gateway and name that (..._file), or write ${VARIABLE}")
		default:
			for _, ref := range refs {
				if secret && !signed && !known[path+ref] {
					l.failAt(n.at, path, newSecret, newSecretFix)
				}
				if !secret && !known[ref] {
					l.failAt(n.at, path, "the variable "+printable(ref)+" is used here, and not in what runs", "write the value itself; a configuration from afar uses new variables for secrets only")
				}
			}
		}
		problems = l.settled()
	})
	return problems
}

// What an unsigned document with another secret than there is hears: whoever holds
// the broker could have it sent to a server of theirs, in clear.
const (
	newSecret    = "is a secret that the configuration which runs does not name here, and the document is not signed"
	newSecretFix = "name it at the gateway first, or sign the document (commands.signers)"
)

// NewSecrets says which files with a secret a configuration names that the one which
// runs does not name at the same place.
func (c *Config) NewSecrets(runs *Config) (list []Problem) {
	for _, f := range c.files {
		same := func(o File) bool { return o.Kind == FileSecret && o.Key == f.Key && o.Path == f.Path }
		if f.Kind == FileSecret && !slices.ContainsFunc(runs.files, same) {
			list = append(list, c.Problem(f.Key, newSecret, newSecretFix, false))
		}
	}
	return list
}

// Secretive reports whether a configuration has a secret in its text.
func Secretive(text []byte) (is bool) {
	scan("", text, func(_ *loader, _ string, n *node, secret bool) {
		is = is || secret && (!reference().MatchString(n.text) || strings.Contains(n.text, ":-"))
	})
	return is
}

// scan shows every scalar of a text, and whether it is a place of a secret. It
// reads no file and puts in no variable.
func scan(name string, text []byte, each func(l *loader, path string, n *node, secret bool)) {
	l := newLoader(name, Options{})
	root := l.tree(text)
	l.problems = nil
	if root != nil {
		root.scalars("", func(path string, n *node) { each(l, path, n, isSecret(path, n.text)) })
	}
}

// isSecret reports whether the value at a path is, or has in it, a secret.
func isSecret(path, text string) bool {
	key := path
	if cut := strings.LastIndexByte(path, '.'); cut >= 0 && !strings.Contains(path, ".headers") {
		key = path[cut:]
	}
	switch {
	case strings.HasSuffix(path, "_file") || strings.HasSuffix(path, ".file"):
		return false
	case text != "" && wholeSecret().MatchString(key):
		return true
	}
	return password().MatchString(text)
}

func (n *node) scalars(path string, each func(string, *node)) {
	switch n.kind {
	case scalar:
		each(path, n)
	case list:
		for i, item := range n.items {
			item.scalars(fmt.Sprintf("%s[%d]", path, i), each)
		}
	case object:
		for _, f := range n.fields {
			f.value.scalars(join(path, printable(f.key)), each)
		}
	}
}
