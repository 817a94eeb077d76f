package dbc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"fieldferry/bus/can"
)

// benchDatabase has 40 messages of 6 signals of the usual kinds.
func benchDatabase(t testing.TB) *Database {
	var b bytes.Buffer
	for i := range 40 {
		fmt.Fprintf(&b, "BO_ %d Message%d: 8 N\n", 256+i, i)
		b.WriteString(` SG_ Speed : 0|16@1+ (0.125,0) [0|0] "rpm" N
 SG_ Temperature : 16|8@1+ (1,-40) [0|0] "degC" N
 SG_ Mode : 24|2@1+ (1,0) [0|0] "" N
 SG_ Torque : 39|12@0- (0.5,0) [0|0] "Nm" N
 SG_ Flow : 48|12@1+ (0.01,0) [0|0] "l/min" N
 SG_ Alive : 60|4@1+ (1,0) [0|0] "" N
`)
		fmt.Fprintf(&b, "VAL_ %d Mode 0 \"Off\" 1 \"Starting\" 2 \"Running\" 3 \"Stopping\" ;\n", 256+i)
	}
	file, diagnostics := Parse("bench.dbc", b.Bytes(), Options{})
	if len(diagnostics) > 0 {
		t.Fatal(diagnostics)
	}
	db, _ := NewDatabase(MatchAuto, file)
	return db
}

// benchLog is a log of n frames, nine of ten described.
func benchLog(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for i := range n {
		f := can.Frame{Time: 1436509052_000000000 + int64(i)*120_000, ID: 256 + r.Uint32N(44), Len: 8}
		for j := range 8 {
			f.Data[j] = byte(r.Uint32())
		}
		b = can.AppendLog(b, f, "can0")
	}
	return b
}

func BenchmarkDecode(b *testing.B) {
	m := benchDatabase(b).Lookup(256, false)
	data := []byte{0x40, 0x19, 0x55, 0x02, 0x66, 0x70, 0xF5, 0xFF}
	var values []Value
	b.ReportAllocs()
	for b.Loop() {
		values = m.Decode(data, values[:0])
	}
}

func BenchmarkAppendSignals(b *testing.B) {
	m := benchDatabase(b).Lookup(256, false)
	values := m.Decode([]byte{0x40, 0x19, 0x55, 0x02, 0x66, 0x70, 0xF5, 0xFF}, nil)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = AppendSignals(out[:0], values)
	}
}

// BenchmarkDecodeFrame does with a frame all that is done to send it: it finds
// the message, decodes, and prints.
func BenchmarkDecodeFrame(b *testing.B) {
	db := benchDatabase(b)
	data := []byte{0x40, 0x19, 0x55, 0x02, 0x66, 0x70, 0xF5, 0xFF}
	var values []Value
	var out []byte
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		i++
		m := db.Lookup(256+i%40, false)
		values = m.Decode(data, values[:0])
		out = AppendSignals(db.AppendName(out[:0], m, m.ID), values)
	}
}

func BenchmarkLookup(b *testing.B) {
	db := benchDatabase(b)
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		i++
		db.Lookup(256+i&63, false)
	}
}

const benchFrames = 100_000

// BenchmarkLog measures the decode verb against reading the log alone.
func BenchmarkLog(b *testing.B) {
	log := benchLog(benchFrames)
	b.Run("decode", func(b *testing.B) {
		d := NewDecoder(benchDatabase(b))
		b.SetBytes(int64(len(log)))
		b.ReportAllocs()
		for b.Loop() {
			if err := d.Decode(bytes.NewReader(log), io.Discard); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchFrames, "ns/line")
	})
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(log)))
		b.ReportAllocs()
		var l logLine
		for b.Loop() {
			for rest := log; len(rest) > 0; {
				i := bytes.IndexByte(rest, '\n')
				if err := l.parse(rest[:i]); err != nil {
					b.Fatal(err)
				}
				rest = rest[i+1:]
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchFrames, "ns/line")
	})
	b.Run("logreader", func(b *testing.B) {
		b.SetBytes(int64(len(log)))
		r := can.NewLogReader(nil)
		for b.Loop() {
			r.Reset(bytes.NewReader(log))
			var f can.Frame
			for {
				if _, err := r.Next(&f); err == io.EOF {
					break
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchFrames, "ns/line")
	})
}

// BenchmarkPython decodes the log of BenchmarkLog with a Python program, for
// comparison in one run: see decode.py.
func BenchmarkPython(b *testing.B) {
	python, err := exec.LookPath("python3")
	if err != nil {
		b.Skip("python3 is not installed")
	}
	messages := make(map[string]any)
	for _, m := range benchDatabase(b).Messages() {
		var signals []any
		for _, s := range m.Signals {
			labels := make(map[string]string)
			for _, l := range s.Labels {
				labels[fmt.Sprint(l.Raw)] = l.Text
			}
			signals = append(signals, []any{s.Name, s.Start, s.Length, s.BigEndian, s.Signed, s.Factor, s.Offset, labels})
		}
		messages[fmt.Sprint(m.ID)] = []any{m.Name, signals}
	}
	description, err := json.Marshal(messages)
	if err != nil {
		b.Fatal(err)
	}
	log := benchLog(benchFrames)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		cmd := exec.Command(python, "testdata/decode.py", string(description))
		cmd.Stdin = bytes.NewReader(log)
		cmd.Stderr = os.Stderr
		var out countLines
		cmd.Stdout = &out
		if err := cmd.Run(); err != nil || out != benchFrames {
			b.Fatal(err, out)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchFrames, "ns/line")
}

type countLines int

func (c *countLines) Write(p []byte) (int, error) {
	*c += countLines(bytes.Count(p, []byte("\n")))
	return len(p), nil
}

func BenchmarkParse(b *testing.B) {
	var src bytes.Buffer
	for i := range 2000 {
		fmt.Fprintf(&src, "BO_ %d Message%d: 8 N\n", i, i)
		for j := range 8 {
			fmt.Fprintf(&src, " SG_ Signal%d : %d|8@1+ (0.1,-40) [0|0] \"V\" N\n", j, j*8)
		}
		fmt.Fprintf(&src, "VAL_ %d Signal3 0 \"Off\" 1 \"On\" ;\n", i)
	}
	b.SetBytes(int64(src.Len()))
	b.ReportAllocs()
	for b.Loop() {
		Parse("bench.dbc", src.Bytes(), Options{})
	}
}
