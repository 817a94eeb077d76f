package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A verb that there is not is never success, at whatever depth.
func TestUnknownVerbs(t *testing.T) {
	a := &app{}
	var walk func(path []string)
	walk = func(path []string) {
		c, _, err := a.newRootCommand().Find(path)
		if err != nil {
			t.Fatal(err)
		}
		if !c.HasAvailableSubCommands() {
			return
		}
		for _, args := range [][]string{append(path, "nonsense"), append(path, "--nonsense"), path, append([]string{"help"}, append(path, "nonsense")...),
			append(path[:len(path):len(path)], "nonsense", "--help"), append(path[:len(path):len(path)], "-h", "nonsense")} {
			r := fieldferry(t.Context(), nil, args...)
			if lists := len(args) == len(path) && c.Name() == "commands"; r.code != 2 && !(lists && r.code == 1) { // it asks a daemon
				t.Errorf("%q: code %d\n%s%s", args, r.code, r.stdout, r.stderr)
			}
		}
		for _, sub := range c.Commands() {
			walk(append(path[:len(path):len(path)], sub.Name()))
		}
	}
	walk(nil)
	if r := fieldferry(t.Context(), nil, "modbus", "rea"); !strings.Contains(r.stderr, "did you mean read?") {
		t.Errorf("it said %q", r.stderr)
	}
}

// decode of a file in which no line is a frame fails and says why; an empty
// file is a log of nothing.
func TestDecodeWithoutAFrame(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		code int
		says string
	}{
		"empty.log":  {"", 0, ""},
		"notes.txt":  {"hello\nworld\n", 1, "no frame in it"},
		"trace.blf":  {"LOGG\x90\x00\x00\x00", 1, "can_logconvert"},
		"part.log":   {"(1.5) can0 123#00\nnonsense\n", 0, "line 2: "},
		"trace.asc":  {"date Wed Nov 25 10:00:00 2026\nbase hex  timestamps absolute\n0.01 1 123 Rx d 1 00\n", 0, ""},
		"broken.asc": {"base hex  timestamps absolute\n0.01 1 123 Rx d 1 GG\n", 1, "no frame in it"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := fieldferry(t.Context(), nil, "decode", "--dbc", "demo.dbc", path)
		if r.code != c.code || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%s: code %d, %q; want %d, %q", name, r.code, r.stderr, c.code, c.says)
		}
		if c.code == 1 { // a replay of it fails, too, and check says so before
			if r := fieldferry(t.Context(), nil, "can", "dump", "replay:"+path); r.code != 1 || !strings.Contains(r.stderr, c.says) {
				t.Errorf("dump of %s: code %d, %q", name, r.code, r.stderr)
			}
			cfg := write(t, "c.yaml", "can: [{interface: \"replay:"+path+"\"}]\nbuffer: {path: b}\nuplink: {servers: [\"mqtt://h\"]}\n")
			if r := fieldferry(t.Context(), nil, "check", "-c", cfg); r.code != 2 || !strings.Contains(r.stderr, "can[0].interface: ") {
				t.Errorf("check of %s: code %d, %q", name, r.code, r.stderr)
			}
		}
	}
}

// watch that has seen nothing of a broker, or not all, does not end well; and
// nobody reads a password on the screen.
func TestWatchWithoutABroker(t *testing.T) {
	for _, args := range [][]string{
		{"watch", "--server", "mqtt://anna:geheim@127.0.0.1:1", "--for", "300ms"},
		{"watch", "--server", "mqtt://anna:geheim@127.0.0.1:1", "--for", "300ms", "--json"},
	} {
		r := fieldferry(t.Context(), nil, args...)
		if r.code != 1 || !strings.Contains(r.stderr, "the broker was never reached") || strings.Contains(r.stdout+r.stderr, "geheim") {
			t.Errorf("%q: code %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
	}
	for _, args := range [][]string{
		{"watch", "--server", "mqtt://anna:ge%zzheim@127.0.0.1"}, {"watch", "--server", "mqtts://h", "--cert", "c.pem"},
		{"watch", "--server", "mqtts://h", "--ca", "/nonexistent.pem"}, {"watch", "-c", "/nonexistent.yaml"},
	} {
		r := fieldferry(t.Context(), nil, args...)
		if r.code != 2 || strings.Contains(r.stderr, "heim") {
			t.Errorf("%q: code %d, %q", args, r.code, r.stderr)
		}
	}
}

// The exit code says whether what was watched is whole.
func TestWatchVerdict(t *testing.T) {
	watched := func(o watchOptions, messages ...[]byte) *watcher {
		o.quiet = true
		w := &watcher{out: &strings.Builder{}, err: &strings.Builder{}, opts: o, done: func() {}}
		w.link.now = true
		for _, m := range messages {
			w.message("t", m, false)
		}
		return w
	}
	if err := watched(watchOptions{}, sends(false, 1, 10)).verdict(); err != nil {
		t.Errorf("nothing is missing: %v", err)
	}
	for want, w := range map[string]*watcher{
		"5 records are missing":     watched(watchOptions{}, sends(false, 1, 10), sends(false, 16, 20)),
		"10 of 11 records came":     watched(watchOptions{records: 11}, sends(false, 1, 10)),
		"the account is not exact":  {skipped: 1, link: watchedLink{now: true}},
		"lost and did not come bac": {link: watchedLink{ever: true, reason: os.ErrClosed}},
	} {
		if err := w.verdict(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Where there is more than one gateway, each line says whose it is.
func TestWatchNamesTheGateway(t *testing.T) {
	var out strings.Builder
	w := &watcher{out: &out, err: &strings.Builder{}}
	w.message("t", sends(false, 1, 1), false)
	w.message("t", []byte(strings.Replace(string(sends(false, 1, 1)), `"gw"`, `"gw-2"`, 1)), false)
	w.message("t", sends(false, 2, 2), false)
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[0], "  engine  ") || !strings.Contains(lines[1], "  gw-2/engine") || !strings.Contains(lines[2], "  gw/engine") {
		t.Errorf("%q", lines)
	}
}
