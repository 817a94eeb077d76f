package dbc

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"fieldferry/bus/can"
)

var update = flag.Bool("update", false, "record the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFiles compares what each file of testdata describes, what is wrong with
// it, and what its log decodes to, with what was recorded.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.dbc")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			file, diagnostics, err := ParseFile(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			base := strings.TrimSuffix(path, ".dbc")
			golden(t, base+".golden", dump(file, diagnostics))
			log, err := os.Open(base + ".log")
			if os.IsNotExist(err) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			db, conflicts := NewDatabase(MatchAuto, file)
			if len(conflicts) > 0 {
				t.Errorf("conflicts of one file: %v", conflicts)
			}
			var out bytes.Buffer
			d := NewDecoder(db)
			d.Malformed = func(e *can.LineError) { fmt.Fprintln(&out, "malformed", e) }
			// Malformed lines are written at once: keep the order by going line by line.
			if err := d.Decode(&lineReader{data: read(t, base+".log")}, &out); err != nil {
				t.Fatal(err)
			}
			golden(t, base+".jsonl", out.Bytes())
		})
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// lineReader reads one line at a time.
type lineReader struct{ data []byte }

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := bytes.IndexByte(r.data, '\n') + 1
	if n == 0 {
		n = len(r.data)
	}
	n = copy(p, r.data[:n])
	r.data = r.data[n:]
	return n, nil
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if !utf8.Valid(got) {
		t.Errorf("%s: not valid UTF-8", path)
	}
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := read(t, path)
	if bytes.Equal(got, want) {
		return
	}
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		switch {
		case i >= len(g):
			t.Errorf("%s:%d: missing %q", path, i+1, w[i])
		case i >= len(w):
			t.Errorf("%s:%d: unexpected %q", path, i+1, g[i])
		case g[i] != w[i]:
			t.Errorf("%s:%d:\n got  %q\n want %q", path, i+1, g[i], w[i])
		}
	}
}

// dump writes all of a file that users see.
func dump(f *File, diagnostics []Diagnostic) []byte {
	var b bytes.Buffer
	for _, d := range diagnostics {
		d.File = filepath.Base(d.File)
		fmt.Fprintf(&b, "%s: %s\n", d.Severity, d)
	}
	fmt.Fprintf(&b, "version %q comment %q protocol %q nodes %q\n", f.Version, f.Comment, f.Protocol, f.Nodes)
	for _, m := range f.Messages {
		fmt.Fprintf(&b, "\n%s %s %s size %d sender %q cycle %v j1939 %v comment %q\n", formatID(m), m.Name, m.Symbol, m.Size, m.Sender,
			m.CycleTime, m.J1939, m.Comment)
		for i := range m.Signals {
			dumpSignal(&b, &m.Signals[i])
		}
	}
	return b.Bytes()
}

func dumpSignal(b *bytes.Buffer, s *Signal) {
	order, sign := "little", "unsigned"
	if s.BigEndian {
		order = "big"
	}
	if s.Signed {
		sign = "signed"
	}
	fmt.Fprintf(b, "  %s %s %d|%d %s %s type %d (%v,%v) [%v|%v] %q to %q", s.Name, s.Symbol, s.Start, s.Length, order, sign, s.Type,
		s.Factor, s.Offset, s.Min, s.Max, s.Unit, s.Receivers)
	if s.HasInitial {
		fmt.Fprintf(b, " initial %v", s.Initial)
	}
	if s.Multiplexes {
		b.WriteString(" multiplexes")
	}
	if s.Multiplexer != nil {
		fmt.Fprintf(b, " when %s in %v", s.Multiplexer.Name, s.When)
	}
	for _, l := range s.Labels {
		fmt.Fprintf(b, " %d=%q", l.Raw, l.Text)
	}
	if s.Comment != "" {
		fmt.Fprintf(b, " comment %q", s.Comment)
	}
	b.WriteByte('\n')
}
