package dbc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestLimits: each limit ends in a fatal diagnostic that names it.
func TestLimits(t *testing.T) {
	message := func(n int) string { return strings.Repeat("BO_ 1 A: 8 N\n", n) }
	messages := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "BO_ %d A: 8 N\n", i)
		}
		return b.String()
	}
	signals := func(n int) string { return message(1) + strings.Repeat(" SG_ S : 0|1@1+ (1,0) [0|0] \"\" N\n", n) }
	labels := func(n int) string { return signals(1) + "VAL_ 1 S " + strings.Repeat(`0 "x" `, n) + ";\n" }
	ranges := func(n int) string { return signals(1) + "SG_MUL_VAL_ 1 S S " + strings.Repeat("0-1 ", n) + ";\n" }
	o := Options{MaxSize: 5000, MaxMessages: 10, MaxSignals: 20, MaxDetails: 60}
	const count = "more than 10 messages (or nodes), 20 signals, or 60 value descriptions and other details"
	for _, test := range []struct{ source, want string }{
		{messages(10), ""}, {messages(11), count},
		{signals(20), ""}, {signals(21), count},
		{labels(58), ""}, {labels(59), count},
		{ranges(58), ""}, {ranges(59), count},
		{messages(1) + strings.Repeat(" ", 4986), ""},
		{messages(1) + strings.Repeat(" ", 5000), "a.dbc: larger than 5000 bytes"},
	} {
		file, diagnostics := Parse("a.dbc", []byte(test.source), o)
		got := ""
		if err := Err(diagnostics, false); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%.40q: %q, want %q", test.source, got, test.want)
		}
		if got != "" && len(file.Messages) > 0 {
			t.Errorf("%.40q: messages in spite of a fatal diagnostic", test.source)
		}
	}
}

func TestDiagnosticsLimit(t *testing.T) {
	_, diagnostics := Parse("a.dbc", []byte("BO_ 1 A: 1 N\n"+strings.Repeat("BO_ x\n", 50)), Options{MaxDiagnostics: 7})
	if len(diagnostics) != 8 || diagnostics[7].String() != "a.dbc: 43 more problems are not listed" {
		t.Error(diagnostics)
	}
}

// TestMultiplexerLimits: more multiplexers than a message may have, and a
// chain of them, are left out and named.
func TestMultiplexerLimits(t *testing.T) {
	var chain strings.Builder
	chain.WriteString("BO_ 1 A: 64 N\n SG_ S0 M : 0|1@1+ (1,0) [0|0] \"\" N\n")
	for i := 1; i < 100; i++ {
		fmt.Fprintf(&chain, " SG_ S%d m1M : %d|1@1+ (1,0) [0|0] \"\" N\n", i, i)
	}
	for i := 1; i < 100; i++ {
		fmt.Fprintf(&chain, "SG_MUL_VAL_ 1 S%d S%d 1-1;\n", i, i-1)
	}
	file, diagnostics := Parse("a.dbc", []byte(chain.String()), Options{})
	if n := len(file.Messages[0].Signals); n != maxMultiplexers+1 || len(diagnostics) != 99-maxMultiplexers {
		t.Errorf("%d signals, %d diagnostics: %v", n, len(diagnostics), diagnostics)
	}
	values := file.Messages[0].Decode(bytes.Repeat([]byte{0xFF}, 64), nil)
	if len(values) != maxMultiplexers+1 {
		t.Errorf("%d values", len(values))
	}
}

// hostile are texts that make a careless parser search the same bytes again
// and again, or keep more than it was given.
func hostile(n int) map[string][]byte {
	repeat := func(s string) []byte { return bytes.Repeat([]byte(s), n/len(s)+1)[:n] }
	with := func(head, s string) []byte { return append([]byte(head), repeat(s)...) }
	const message = "BO_ 1 A: 64 N\n SG_ S : 0|32@1+ (1,0) [0|0] \"\" N\n"
	all := make([]byte, n)
	for i := range all {
		all[i] = byte(i * 7)
	}
	return map[string][]byte{
		"all bytes":            all,
		"NULs":                 make([]byte, n),
		"NULs behind a head":   with("VERSION \"\"\n", "\x00"),
		"quotes":               repeat(`"`),
		"escaped quotes":       repeat(`\"`),
		"open comments":        repeat("CM_ \"\n"),
		"escaped comments":     repeat("CM_ \\\"\n"),
		"escaped texts":        repeat("CM_ \"\\\"\n"),
		"one open comment":     with("CM_ \"", "CM_ x\n"),
		"spaces behind quotes": with(message, "CM_ BO_ 1 \"x\n\n\"                                                  x\n"),
		"one line":             repeat("BO_ 1 A: 8 N SG_ S : 0|1@1+ (1,0) [0|0] \"\" N "),
		"one word":             repeat("a"),
		"keywords":             repeat("BO_ SG_ CM_ VAL_ "),
		"keyword lines":        repeat("BO_\nSG_\nVAL_\nBA_\n"),
		"open labels":          with(message, "VAL_ 1 S 0 \"a\n"),
		"open attributes":      repeat("BA_ \"VFrameFormat\" BO_ 1 \"\n"),
		"node names":           with("BU_:", " a"),
		"receivers":            with(message, "SG_ S:0|1@1+(1,0)[0|0]\"\" "+strings.Repeat("x,", 1000)+"\n"),
		"signals":              with(message, "SG_ S:0|1@1+(1,0)\n"),
		"long factors":         with(message, "SG_ S:0|1@1+(0."+strings.Repeat("3", 380)+",0)\n"),
		"huge exponents":       with(message, "SG_ S:0|1@1+(1e-999999,1E-99999)\n"),
		"table in each signal": append(with("VAL_TABLE_ T ", "1 \"\" ")[:n/2], repeat("\nVAL_ 1 S T;")[:n/2]...),
		"wide ranges":          with(message, "SG_MUL_VAL_ 1 S S 0-18446744073709551615;\n"),
		"NS_":                  with("NS_ :", " CM_"),
		"slashes":              repeat("//"),
		"semicolons":           repeat(";"),
		"brackets":             repeat("("),
		"C1":                   with(message+"CM_ BO_ 1 \"", "\x80"),
		"tabs":                 with(message, "\n\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t"),
	}
}

// TestHostile: no text makes parsing panic, or last: were its time to grow with
// the square of the length, this would not end.
func TestHostile(t *testing.T) {
	n := 1 << 18
	if testing.Short() {
		n = 1 << 16
	}
	for name, data := range hostile(n) {
		t.Run(name, func(t *testing.T) {
			file, diagnostics := Parse("hostile.dbc", data, Options{})
			checkFile(t, file, diagnostics)
		})
	}
}

// checkFile checks what holds for any file.
func checkFile(t *testing.T, file *File, diagnostics []Diagnostic) {
	t.Helper()
	for _, d := range diagnostics {
		if !utf8.ValidString(d.String()) {
			t.Fatalf("not valid UTF-8: %q", d)
		}
	}
	if len(diagnostics) > 1002 {
		t.Fatalf("%d diagnostics", len(diagnostics))
	}
	data := bytes.Repeat([]byte{1}, 64)
	var values []Value
	for _, m := range file.Messages {
		if !utf8.ValidString(m.Name) || !utf8.ValidString(m.Comment) {
			t.Fatalf("not valid UTF-8: %q", m.Name)
		}
		values = m.Decode(data, values[:0])
		for i := range m.Signals {
			s := &m.Signals[i]
			if s.Length < 1 || s.Length > 64 || s.lastBit() >= 8*maxMessageSize || !utf8.ValidString(s.Name+s.Unit) {
				t.Fatalf("signal %+v", s)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.dbc")
	for _, path := range files {
		f.Add(read(f, path))
	}
	for _, data := range hostile(300) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, diagnostics := Parse("fuzz.dbc", data, Options{})
		checkFile(t, file, diagnostics)
		db, _ := NewDatabase(MatchPGN, file)
		for _, m := range file.Messages {
			db.Lookup(m.ID, m.Extended)
		}
	})
}

// TestSkipped: whatever unknown statement precedes it, the next statement is
// read. A statement that another tool writes must not take one with it.
func TestSkipped(t *testing.T) {
	const next = "BO_ 100 Next: 1 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\n"
	for _, statement := range []string{
		"SIG_GROUP_ 100 G 1 : A;", "SIG_GROUP_ 100 G 1 : A B\n C;", "BA_DEF_REL_ BU_SG_REL_ \"X\" INT 0 1;", "BA_DEF_DEF_REL_ \"X\" 0;",
		"BA_REL_ \"X\" BU_SG_REL_ N SG_ 100 S 1;", "SGTYPE_ A : 8@1+ (1,0) [0|0] \"\" 0, T;", "FILTER", "FILTER 1", "CAT_DEF_ 1 \"a;b\" 2;",
		"EV_ E: 0 [0|1] \"\" 0 1 DUMMY_NODE_VECTOR0 N;", "ENVVAR_DATA_ E: 10;", "EV_DATA_ E: 10;", "NEW_KIND_ 1 2 3", "NEW_KIND_;", "NEW_KIND_ \"a\nb\";",
		"new kind", "new", "new kind of statement", "BO_TX_BU_ 100 : A,B;", "SIG_TYPE_REF_ 1 2 : 3;", "VERSION \"x\"", "BS_:", "BS_: 500000:1,2", "BS_ :500 : 1 , 2",
		"BU_: a b", "BU_:", "VAL_ Env 0 \"x\";", "VAL_ Env 0 \"x\"", "VAL_TABLE_ T 0 \"x\"", "CM_ \"x\"", "CM_ \"x", "CM_ EV_ e \"x\";", "CM_ XX_ \"x\";", "BA_ \"x\" 1", "BA_ \"x\" 1;",
		"BA_ \"x", "BA_DEF_ \"x\" INT", "BA_DEF_ \"x\" ENUM \"a\",\"b\";", "BA_DEF_ \"x\" ENUM \"a\",\"b", "BA_DEF_DEF_ \"x\"", "SG_MUL_VAL_", "SIG_VALTYPE_ 100 X 1",
		"// comment BO_ 1", "/", "\x00", "BO_ 5", "BO_ 5 A", "BO_ 5 A:", "BO_ 5 A: 8", "BO_ 5 A 8 N", "BO_ A 5: 8 N", "SG_ x", "{", "NS_ :", "NS_ : CM_ BA_", "NS_ :\n\tCM_\n\tBA_\n",
	} {
		for _, newline := range []string{"\n", "\r\n", "\r"} {
			source := strings.ReplaceAll("VERSION \"\"\n"+statement+"\n"+next, "\n", newline)
			file, _ := Parse("a.dbc", []byte(source), Options{})
			i := slices.IndexFunc(file.Messages, func(m *Message) bool { return m.Name == "Next" })
			if i < 0 || len(file.Messages[i].Signals) != 1 {
				t.Errorf("%q took the next statement with it", source)
			}
		}
	}
}

func TestParseFile(t *testing.T) {
	if _, _, err := ParseFile(filepath.Join(t.TempDir(), "missing.dbc"), Options{}); !os.IsNotExist(err) && err == nil {
		t.Error("no error for a file that does not exist")
	}
	if _, _, err := ParseFile(t.TempDir(), Options{}); err == nil {
		t.Error("no error for a directory")
	}
	_, diagnostics, err := ParseFile("/dev/zero", Options{MaxSize: 1 << 16})
	if err != nil || len(diagnostics) != 1 || diagnostics[0].Severity != Fatal {
		t.Errorf("an endless file: %v %v", diagnostics, err)
	}
}

func TestOutOfRange(t *testing.T) {
	m := parse(t, "a.dbc", "BO_ 1 A: 4 N\n SG_ In : 0|8@1+ (1,0) [1|10] \"\" N\n SG_ None : 8|8@1+ (1,0) [0|0] \"\" N\n"+
		" SG_ NaN : 16|8@1+ (1,0) [NaN|NaN] \"\" N\n SG_ Half : 24|8@1+ (0.5,0) [0|10.5] \"\" N\n").Messages[0]
	for _, test := range []struct {
		data byte
		want [4]bool
	}{{0, [4]bool{true, false, false, false}}, {1, [4]bool{}}, {10, [4]bool{}}, {11, [4]bool{true, false, false, false}}, {22, [4]bool{true, false, false, true}}} {
		for i, v := range m.Decode(bytes.Repeat([]byte{test.data}, 4), nil) {
			if v.OutOfRange() != test.want[i] {
				t.Errorf("%s of %d: %v", v.Signal.Name, test.data, v.OutOfRange())
			}
		}
	}
}

// TestManySignals: of a message with too many signals, the first ones count.
func TestManySignals(t *testing.T) {
	var b strings.Builder
	b.WriteString("BO_ 1 A: 8 N\n")
	for i := range maxMessageSignals + 10 {
		fmt.Fprintf(&b, " SG_ S%d : 0|1@1+ (1,0) [0|0] \"\" N\n", i)
	}
	file, diagnostics := Parse("a.dbc", []byte(b.String()), Options{MaxDiagnostics: 1 << 20})
	diagnostics = withoutOverlaps(diagnostics)
	if n := len(file.Messages[0].Signals); n != maxMessageSignals || len(diagnostics) != 2 { // and that no more pairs are compared
		t.Errorf("%d signals, %v", n, diagnostics)
	}
}
