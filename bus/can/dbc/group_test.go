package dbc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestGroups: which of the messages of one parameter group describes a frame.
func TestGroups(t *testing.T) {
	// A message is written as its id; its name is that id.
	for _, c := range []struct {
		name, messages string
		frames         map[string]string
		problems       []string // what the diagnostics say, in part
	}{
		{"the destination, whoever sends", "18EF1234 18EF5634", map[string]string{
			"18EF1234": "18EF1234", "0CEF5634": "18EF5634", "0CEF5635": "18EF5634", "18EF9934": "18EF1234", "18EFFF34": "18EF1234"},
			[]string{"PGN EF00 means different things by its addresses, and nothing for all others: 18EF1234 counts"}},
		{"the pair, the destination, the source, all", "18EFFFFE 18EFFF34 18EF56FE 18EF5634", map[string]string{
			"0CEF5634": "18EF5634", "0CEF5601": "18EF56FE", "0CEF0134": "18EFFF34", "0CEF0101": "18EFFFFE", "0CEFFF34": "18EFFF34", "0CEFFF01": "18EFFFFE"}, nil},
		{"in another order", "18EF5634 18EF56FE 18EFFF34 18EFFFFE", map[string]string{
			"0CEF5634": "18EF5634", "0CEF5601": "18EF56FE", "0CEF0134": "18EFFF34", "0CEF0101": "18EFFFFE", "0CEFFF34": "18EFFF34"}, nil},
		{"the destination goes before the source", "18EFFF34 18EF56FE", map[string]string{"0CEF5634": "18EF56FE", "0CEF0134": "18EFFF34", "0CEF0101": "18EF56FE"},
			[]string{"PGN EF00 means different things"}},
		{"any destination, written as FE", "18EFFEFE 18EF5634", map[string]string{"18EF0101": "18EFFEFE", "18EF5601": "18EF5634"}, nil},
		{"the source, where nothing is said of the destination", "18EF1210 18EF1311", map[string]string{"18EF9911": "18EF1311", "18EF9910": "18EF1210", "18EF9999": "18EF1210"},
			[]string{"PGN EF00 means different things"}},
		{"two senders to one destination", "18EFFFFE 18EF5610 18EF5611", map[string]string{"0CEF5611": "18EF5611", "0CEF5612": "18EF5610", "0CEF0110": "18EFFFFE"},
			[]string{"PGN EF00 to 56 means different things by its addresses, and nothing for all others: 18EF5610 counts"}},
		{"of PDU2 only the source counts", "18FFBF17 18FFBF11", map[string]string{"0CFFBF11": "18FFBF11", "0CFFBF17": "18FFBF17", "0CFFBF20": "18FFBF17"},
			[]string{"PGN FFBF means different things"}},
		{"of PDU2 with one for all", "18FFBF17 18FFBFFE", map[string]string{"0CFFBF17": "18FFBF17", "0CFFBF20": "18FFBFFE"}, nil},
		{"the exact id goes first", "18EFFFFE 1CEF5634 18EF5634", map[string]string{"1CEF5634": "1CEF5634", "18EF5634": "18EF5634", "0CEF5634": "1CEF5634"},
			[]string{"message 18EF5634 (PGN EF00, source 34, destination 56) is described differently by g.dbc:3 as 1CEF5634: that one counts, but for frames of exactly the id 18EF5634"}},
	} {
		var b strings.Builder
		for i, m := range strings.Fields(c.messages) {
			var id uint32
			fmt.Sscanf(m, "%X", &id)
			fmt.Fprintf(&b, "BO_ %d %s: 8 N\n SG_ S : %d|8@1+ (1,0) [0|0] \"\" N\n", id|1<<31, m, i)
		}
		db, conflicts := NewDatabase(MatchAuto, parse(t, "g.dbc", b.String()+isJ))
		for frame, want := range c.frames {
			var id uint32
			fmt.Sscanf(frame, "%X", &id)
			if m := db.Lookup(id, true); m == nil || m.Name != want {
				t.Errorf("%s: %s is %+v, want %s", c.name, frame, m, want)
			}
			if m := db.LookupPacket(id&^(7<<26) | 3<<26); m == nil || m.Name != want && !strings.Contains(c.name, "exact") {
				t.Errorf("%s: the long message %s is %+v, want %s", c.name, frame, m, want)
			}
		}
		var said []string
		for _, d := range conflicts {
			said = append(said, d.String())
		}
		if len(said) != len(c.problems) || !slices.ContainsFunc(said, func(s string) bool { return len(c.problems) > 0 && strings.Contains(s, c.problems[0]) }) && len(said) > 0 {
			t.Errorf("%s:\n got  %q\n want %q", c.name, said, c.problems)
		}
	}
}

// TestGroupConflicts: messages that differ in their priority alone are one to
// J1939, in one file and over two.
func TestGroupConflicts(t *testing.T) {
	a := "BO_ 2566844926 EngA: 8 E\n SG_ TempA : 0|8@1+ (1,-40) [0|0] \"C\" X\n"
	b := "BO_ 2365518334 EngB: 8 E\n SG_ SpeedB : 0|16@1+ (0.1,0) [0|0] \"rpm\" X\n"
	const same = "message EngB (PGN FEF1, source FE) is described differently by a.dbc:1 as EngA: that one counts"
	for _, c := range []struct {
		match   Match
		sources []string
		want    string
	}{
		{MatchAuto, []string{a + isJ, b + isJ}, "b.dbc:1:1: " + same},
		{MatchAuto, []string{a + b + isJ}, "a.dbc:3:1: " + same},
		{MatchPGN, []string{a, b}, "b.dbc:1:1: " + same},
		{MatchAuto, []string{a + isJ, strings.ReplaceAll(a, "2566844926", "2365518334") + isJ}, ""},
		{MatchID, []string{a + isJ, b + isJ}, ""},
		{MatchAuto, []string{a, b}, ""},
	} {
		lines, problems := decodeText(t, c.match, "18FEF100#1027 0CFEF100#1027", c.sources...)
		if c.want == "" && len(problems) > 0 || c.want != "" && (len(problems) != 1 || !strings.HasPrefix(problems[0], c.want)) {
			t.Errorf("match %d: %q, want %s", c.match, problems, c.want)
		}
		if c.want != "" && lines[1] != `"name":"EngA","pgn":65265,"sa":0,"signals":{"TempA":-24}` {
			t.Errorf("match %d: %s", c.match, lines[1])
		}
	}
}
