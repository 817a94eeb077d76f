package dbc

import (
	"fmt"
	"strings"
	"testing"
)

func parse(t testing.TB, name, source string) *File {
	t.Helper()
	f, diagnostics := Parse(name, []byte(source), Options{})
	for _, d := range diagnostics {
		if d.Severity > Warning {
			t.Fatal(d)
		}
	}
	return f
}

func TestLookup(t *testing.T) {
	const j1939 = `BA_ "ProtocolType" "J1939";`
	source := func(ids ...uint32) string {
		var b strings.Builder
		for _, id := range ids {
			fmt.Fprintf(&b, "BO_ %d M%X: 8 N\n", id, id)
		}
		return b.String()
	}
	const ext = 1 << 31
	std := source(0x123, ext|0x123, 0x7FF, 0)
	groups := source(ext|0x0CF00400, ext|0x0CF004FE, ext|0x18EF1122, 0x100) + j1939
	for _, test := range []struct {
		source   string
		match    Match
		id       uint32
		extended bool
		want     string
	}{
		{std, MatchAuto, 0x123, false, "M123"},
		{std, MatchAuto, 0x123, true, "M80000123"},
		{std, MatchAuto, 0x7FF, true, ""},
		{std, MatchAuto, 0, false, "M0"},
		{std, MatchAuto, 0x800, false, ""},
		{std, MatchAuto, 0xFFFFFFFF, false, ""},
		{groups, MatchAuto, 0x0CF00400, true, "M8CF00400"},
		{groups, MatchAuto, 0x18F00400, true, "M8CF00400"},
		{groups, MatchAuto, 0x18F00417, true, "M8CF004FE"},
		{groups, MatchAuto, 0x18F00517, true, ""},
		{groups, MatchAuto, 0x1CEF5566, true, "M98EF1122"},
		{groups, MatchAuto, 0x100, false, "M100"},
		{groups, MatchID, 0x18F00400, true, ""},
		{groups, MatchID, 0x0CF00400, true, "M8CF00400"},
		{std, MatchPGN, 0x18000142, true, "M80000123"},
	} {
		db, conflicts := NewDatabase(test.match, parse(t, "a.dbc", test.source))
		if len(conflicts) > 0 {
			t.Fatal(conflicts)
		}
		got := ""
		if m := db.Lookup(test.id, test.extended); m != nil {
			got = m.Name
		}
		if got != test.want {
			t.Errorf("match %d, %X extended %v: %q, want %q", test.match, test.id, test.extended, got, test.want)
		}
	}
}

func TestConflicts(t *testing.T) {
	const a = "BO_ 1 A: 8 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\nBO_ 2 B: 8 N\nVAL_ 1 S 0 \"x\" ;\n"
	for _, test := range []struct{ name, second, want string }{
		{"the same", a, ""},
		{"another id", strings.ReplaceAll(a, "_ 1 ", "_ 2147483649 "), ""},
		{"another name", strings.Replace(a, "1 A", "1 C", 1), "second.dbc:1:1: message C (001) is described differently by first.dbc:1 as A: that one counts; leave out one of them"},
		{"another layout", strings.Replace(a, "0|8@1", "7|8@0", 1), "second.dbc:1:1: message A (001) is described differently by first.dbc:1 as A: that one counts; leave out one of them"},
		{"another label", strings.Replace(a, `"x"`, `"y"`, 1), "second.dbc:1:1: message A (001) is described differently by first.dbc:1 as A: that one counts; leave out one of them"},
		{"further down", strings.Replace(a, "2 B", "2 D", 1), "second.dbc:3:1: message D (002) is described differently by first.dbc:3 as B: that one counts; leave out one of them"},
	} {
		db, conflicts := NewDatabase(MatchAuto, parse(t, "first.dbc", a), parse(t, "second.dbc", test.second))
		got := ""
		for _, d := range conflicts {
			got += d.String()
		}
		if got != test.want {
			t.Errorf("%s:\n got  %s\n want %s", test.name, got, test.want)
		}
		if m := db.Lookup(1, false); m.Name != "A" || db.Messages()[0] != m {
			t.Errorf("%s: the first file does not count", test.name)
		}
	}
}

func TestErr(t *testing.T) {
	_, warning := Parse("a.dbc", []byte("BO_ 1 A: 1 N\nCM_ BO_ 2 \"x\";\n"), Options{})
	_, faulty := Parse("a.dbc", []byte("BO_ 1 A: 1 N\nBO_ 1 B: 1 N\nBO_ x\n"), Options{})
	_, fatal := Parse("a.dbc", nil, Options{})
	for _, test := range []struct {
		diagnostics []Diagnostic
		strict      bool
		want        string
	}{
		{nil, true, ""},
		{warning, true, ""},
		{faulty, false, ""},
		{faulty, true, "a.dbc:2:5: message B has the id of message A: it is left out; give each message its own id (and 1 more errors)"},
		{fatal, false, `a.dbc: no DBC statement found; give a file that begins like VERSION "" ... BO_ 100 Name: 8 Node`},
	} {
		got := ""
		if err := Err(test.diagnostics, test.strict); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("strict %v: %q, want %q", test.strict, got, test.want)
		}
	}
}
