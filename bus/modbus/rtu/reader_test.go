package rtu_test

import (
	"bytes"
	"testing"

	"fieldferry/bus/modbus/rtu"
)

func TestCRC(t *testing.T) {
	// The example of Serial Line V1.02, 6.2.2: 02 07 gives 41 12 on the wire.
	if got := rtu.AppendCRC([]byte{2, 7}); !bytes.Equal(got, []byte{2, 7, 0x41, 0x12}) {
		t.Errorf("% x", got)
	}
}

// FuzzReader: whatever arrives in whatever pieces, what is accepted is a frame
// of the right unit, function, length and CRC, which was in the input; and a
// right reply behind noise is found.
func FuzzReader(f *testing.F) {
	request := rtu.AppendReadRequest(nil, 1, 3, 10, 2)
	f.Add([]byte{0, 0xFF}, right(request), uint8(3))
	f.Add(request, right(request), uint8(1))
	f.Add(right(request)[:6], right(request), uint8(7))
	f.Add([]byte{1, 3, 1, 3, 4, 1, 3, 4}, []byte{1, 0x83, 2, 0xC0, 0xF1}, uint8(2))
	f.Fuzz(func(t *testing.T, a, b []byte, piece uint8) {
		for _, function := range []byte{rtu.ReadCoils, rtu.ReadHoldingRegisters, rtu.WriteRegisters} {
			q := rtu.AppendReadRequest(nil, 1, function, 10, 2)
			in := append(bytes.Clone(a), b...)
			var r rtu.Reader
			if err := r.Reset(q); err != nil {
				t.Fatal(err)
			}
			push(&r, in, int(piece))
			for _, frame := range [][]byte{r.First(), r.Last()} {
				if len(frame) == 0 {
					continue
				}
				exception := len(frame) == 5 && frame[1] == function|0x80
				normal := frame[1] == function && len(frame) == rtu.ReplyLen(function, 2)
				if !exception && !normal || frame[0] != 1 || !rtu.ValidCRC(frame) || !bytes.Contains(in, frame) {
					t.Fatalf("accepted % x out of % x", frame, in)
				}
			}
			if r.Verdict(timeout) == nil {
				t.Fatal("no verdict")
			}
		}
		var r rtu.Reader
		if err := r.Reset(request); err != nil {
			t.Fatal(err)
		}
		push(&r, append(bytes.Clone(a), right(request)...), int(piece))
		if n, _ := r.Matches(); n == 0 {
			t.Fatalf("right reply not found behind % x", a)
		}
	})
}

func push(r *rtu.Reader, p []byte, piece int) {
	for len(p) > 0 {
		n := min(len(p), max(piece, 1))
		r.Push(p[:n])
		p = p[n:]
	}
}

func BenchmarkReader(b *testing.B) {
	request := rtu.AppendReadRequest(nil, 1, 3, 0, 10)
	reply := right(request)
	var r rtu.Reader
	b.ReportAllocs()
	for b.Loop() {
		_ = r.Reset(request)
		if !r.Push(reply) {
			b.Fatal("not accepted")
		}
	}
}
