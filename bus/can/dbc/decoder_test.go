package dbc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"fieldferry/bus/can"
)

func decoderFor(t testing.TB, path string) *Decoder {
	t.Helper()
	f, _ := Parse(path, read(t, path), Options{})
	db, _ := NewDatabase(MatchAuto, f)
	return NewDecoder(db)
}

// chunkReader gives random parts, as a pipe does.
type chunkReader struct {
	data []byte
	r    *rand.Rand
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+c.r.IntN(100))], c.data)
	c.data = c.data[n:]
	return n, nil
}

// TestDecoderChunks: how the log arrives does not matter.
func TestDecoderChunks(t *testing.T) {
	logs, _ := filepath.Glob("testdata/*.log")
	r := rand.New(rand.NewPCG(5, 5))
	for _, path := range logs {
		db := strings.TrimSuffix(path, ".log") + ".dbc"
		log := read(t, path)
		var want, got bytes.Buffer
		whole := decoderFor(t, db)
		if err := whole.Decode(bytes.NewReader(log), &want); err != nil {
			t.Fatal(err)
		}
		parts := decoderFor(t, db)
		if err := parts.Decode(&chunkReader{log, r}, &got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) || whole.Stats() != parts.Stats() {
			t.Errorf("%s: differs when read in parts: %+v %+v", path, whole.Stats(), parts.Stats())
		}
		for line := range bytes.Lines(want.Bytes()) {
			if !json.Valid(line) {
				t.Errorf("%s: not JSON: %s", path, line)
			}
		}
		if s := whole.Stats(); s.Frames+s.Packets != int64(bytes.Count(want.Bytes(), []byte("\n"))) {
			t.Errorf("%s: %+v, but %d lines written", path, s, bytes.Count(want.Bytes(), []byte("\n")))
		}
	}
}

// TestDecoderLongLines: a line of any length is one fault in bounded memory.
func TestDecoderLongLines(t *testing.T) {
	for _, n := range []int{can.MaxLogLine, readSize - 1, readSize, readSize + 1, 3*readSize + 5} {
		d := decoderFor(t, "testdata/basic.dbc")
		var bad []string
		d.Malformed = func(e *can.LineError) { bad = append(bad, e.Error()) }
		log := strings.Repeat("x", n+1) + "\n(1.0) can0 123#00\n" + strings.Repeat("y", n+1)
		var out bytes.Buffer
		if err := d.Decode(strings.NewReader(log), &out); err != nil {
			t.Fatal(err)
		}
		if want := `{"ts":1.0,"bus":"can0","id":"123","name":"EngineData","signals":{}}` + "\n"; out.String() != want {
			t.Errorf("%d bytes: %s", n, &out)
		}
		if len(bad) != 2 || bad[0] != "line 1: longer than 1024 bytes" || bad[1] != "line 3: longer than 1024 bytes" {
			t.Errorf("%d bytes: %q", n, bad)
		}
	}
}

// TestDecoderLive: what was read is written before more is waited for.
func TestDecoderLive(t *testing.T) {
	logIn, logOut := io.Pipe()
	jsonIn, jsonOut := io.Pipe()
	done := make(chan error)
	go func() {
		err := decoderFor(t, "testdata/basic.dbc").Decode(logIn, jsonOut)
		jsonOut.Close()
		done <- err
	}()
	buf := make([]byte, 4096)
	for range 3 {
		if _, err := logOut.Write([]byte("(1.0) can0 124#00\n(2.0) can")); err != nil {
			t.Fatal(err)
		}
		n, err := jsonIn.Read(buf)
		if err != nil || !bytes.HasSuffix(buf[:n], []byte(`"id":"124","data":"00"}`+"\n")) {
			t.Fatalf("%q %v", buf[:n], err)
		}
		if _, err := logOut.Write([]byte("0 124#00\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := jsonIn.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	logOut.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestDecoderErrors(t *testing.T) {
	broken := errors.New("broken")
	d := decoderFor(t, "testdata/basic.dbc")
	log := "(1.0) can0 124#00\n"
	if err := d.Decode(io.MultiReader(strings.NewReader(log), iotest.ErrReader(broken)), io.Discard); !errors.Is(err, broken) {
		t.Errorf("reading: %v", err)
	}
	_, w := io.Pipe()
	w.CloseWithError(broken)
	r, w := io.Pipe()
	r.CloseWithError(broken)
	if err := d.Decode(strings.NewReader(log), w); !errors.Is(err, broken) {
		t.Errorf("writing: %v", err)
	}
}

// TestAllocations: nothing is allocated for a frame.
func TestAllocations(t *testing.T) {
	for _, name := range []string{"basic", "multiplex", "numbers", "fd", "j1939", "text"} {
		d := decoderFor(t, "testdata/"+name+".dbc")
		lines := bytes.Split(read(t, "testdata/"+name+".log"), []byte("\n"))
		run := func() {
			for _, line := range lines {
				d.frame(line)
			}
			d.out = d.out[:0]
		}
		run()
		if n := testing.AllocsPerRun(50, run); n != 0 {
			t.Errorf("%s: %v allocations for %d lines", name, n, len(lines))
		}
	}
}

// TestLogAgainstCan compares lines of candump -l with the reading of the bus
// package.
func TestLogAgainstCan(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	const alphabet = "0123456789ABCDEFabcdef#R_ TX-()."
	for range 20_000 {
		f := can.Frame{Time: r.Int64N(1e18) / 1000 * 1000, ID: r.Uint32N(0x800), Len: uint8(r.IntN(9))}
		switch r.IntN(5) {
		case 0:
			f.ID, f.Flags = r.Uint32N(1<<29), can.Extended
		case 1:
			f.Flags, f.Len = can.FD|can.Flags(r.IntN(2))*can.BitRateSwitch|can.Flags(r.IntN(2))*can.ErrorState, uint8(r.IntN(65))
		case 2:
			f.Flags = can.Remote
		case 3:
			f.ID, f.Flags = r.Uint32N(1<<29), can.ErrorFrame
		}
		copy(f.Data[:], randomBytes(r, len(f.Payload())))
		line := can.AppendLog(nil, f, "can0")
		if r.IntN(2) == 0 {
			line[r.IntN(len(line)-1)] = alphabet[r.IntN(len(alphabet))]
		}
		want, _, errWant := can.ParseLogLine(line)
		var l logLine
		err := l.parse(line)
		if errWant != nil {
			// Times of any form, and what candump shows, are read here alone.
			if err == nil && !errors.Is(errWant, can.ErrLogTime) {
				t.Errorf("%s: accepted, but is %v", line, errWant)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		got := can.Frame{Time: l.time(), ID: l.id &^ errorFlag, Flags: l.flags, Len: uint8(l.length), Data: l.data}
		if got != want {
			t.Errorf("%s:\n got  %+v\n want %+v", line, got, want)
		}
	}
}

func FuzzLog(f *testing.F) {
	logs, _ := filepath.Glob("testdata/*.log")
	for _, path := range logs {
		f.Add(read(f, path))
	}
	file, _ := Parse("j1939.dbc", append(read(f, "testdata/j1939.dbc"), read(f, "testdata/basic.dbc")...), Options{})
	db, _ := NewDatabase(MatchAuto, file)
	f.Fuzz(func(t *testing.T, log []byte) {
		var out bytes.Buffer
		d := NewDecoder(db)
		if err := d.Decode(bytes.NewReader(log), &out); err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(out.Bytes()) {
			if !json.Valid(line) {
				t.Fatalf("not JSON: %q", line)
			}
		}
	})
}
