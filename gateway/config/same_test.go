package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/bus/can"
)

// Two files mean the same when only their form differs; what counts is the
// environment, the DBC files and the templates too.
func TestSame(t *testing.T) {
	dir := t.TempDir()
	dbc := func(length string) {
		text := "VERSION \"\"\nBO_ 291 M: 8 E\n SG_ S : 0|" + length + "@1+ (1,0) [0|0] \"\" E\n"
		if err := os.WriteFile(filepath.Join(dir, "a.dbc"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const base = `gateway: {id: gw}
can: [{interface: can0, dbc: a.dbc, filters: ["100:7F0"], limit: {min_interval: 1s}, bitrate: 250000}]
modbus: [{name: l, port: /dev/ttyS9, devices: [{name: d, unit_id: 1, registers: [{name: u, address: 0}]}, {name: e, unit_id: 2, template: eastron-sdm120}]}]
uplink: {servers: ["mqtt://h"], username: u, password: "${P}"}
`
	load := func(text, password string) *Config {
		cfg, problems := Parse(filepath.Join(dir, "f.yaml"), []byte(text), Options{Getenv: func(string) (string, bool) { return password, true }})
		if cfg == nil {
			t.Fatal(problems)
		}
		return cfg
	}
	dbc("8")
	old := load(base, "a")
	for name, c := range map[string]struct {
		text, password, length string
		same                   bool
	}{
		"nothing":    {base, "a", "8", true},
		"a comment":  {"# more\n\n" + base, "a", "8", true},
		"a default":  {strings.Replace(base, "unit_id: 1", "unit_id: 1, interval: 1s", 1), "a", "8", true},
		"a value":    {strings.Replace(base, "unit_id: 1", "unit_id: 9", 1), "a", "8", false},
		"a filter":   {strings.Replace(base, "100:7F0", "101:7F0", 1), "a", "8", false},
		"a bit rate": {strings.Replace(base, "250000", "500000", 1), "a", "8", false},
		"a secret":   {base, "b", "8", false},
		"a DBC file": {base, "a", "16", false},
	} {
		dbc(c.length)
		if now := load(c.text, c.password); now.Same(old) != c.same || old.Same(now) != c.same {
			t.Errorf("%s has changed: same %v, want %v", name, now.Same(old), c.same)
		}
	}
}

// A configuration is the same as itself read again, whatever it says, also when
// a gateway has used the one: else every reload would be a restart.
func TestTheSameReadTwice(t *testing.T) {
	paths, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		used, again := load(t, path, surroundings()), load(t, path, surroundings())
		for i := range used.CAN {
			use(t, &used.CAN[i])
		}
		if !used.Same(again) || !again.Same(used) {
			t.Errorf("%s is another when it is read again", path)
		}
	}
}

// use asks every limit of a bus about frames of every message.
func use(t *testing.T, c *CAN) {
	if _, err := can.New(c.Bus, nil); err != nil {
		t.Fatal(err)
	}
	if c.DBC == nil {
		return
	}
	for _, m := range c.DBC.Messages() {
		last := can.Frame{ID: m.ID, Len: 8}
		if m.Extended {
			last.Flags = can.Extended
		}
		now := last
		now.Data[0], now.Data[4] = 1, 9
		for _, l := range append([]can.MessageLimit{{Limit: c.Bus.Limit}}, c.Bus.Limits...) {
			if l.Limit.Change != nil {
				l.Limit.Change.Changed(&last, &now)
			}
		}
	}
}
