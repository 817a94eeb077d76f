package modbustest

import (
	"bytes"
	"testing"

	"fieldferry/bus/modbus/rtu"
)

// FuzzFramer: whatever a master sends in whatever pieces, what is found are
// frames with a right CRC, a request behind it is found, and what is kept is
// bounded.
func FuzzFramer(f *testing.F) {
	f.Add([]byte{1, 3, 0}, uint8(1))
	f.Add([]byte{1, 16, 0, 0, 0, 200, 255}, uint8(3))
	f.Add(bytes.Repeat([]byte{1, 15}, 200), uint8(9))
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		var framer requestFramer
		found := 0
		push := func(p []byte) {
			for len(p) > 0 {
				n := min(len(p), max(int(piece), 1))
				framer.push(p[:n], func(request []byte) {
					found++
					if !rtu.ValidCRC(request) || len(request) > rtu.MaxADU {
						t.Fatalf("found % x", request)
					}
				})
				p = p[n:]
			}
		}
		push(in)
		if len(framer.buf) > rtu.MaxADU {
			t.Fatalf("%d bytes are kept", len(framer.buf))
		}
		push(make([]byte, 2*rtu.MaxADU)) // ends whatever had begun
		before := found
		push(rtu.AppendReadRequest(nil, 1, 3, 0, 1))
		push(rtu.AppendReadRequest(nil, 1, 3, 0, 1))
		if found == before {
			t.Fatal("the request behind it was not found")
		}
	})
}

// FuzzUnit: a unit answers any request with a right frame or not at all.
func FuzzUnit(f *testing.F) {
	f.Add([]byte{1, 3, 0, 0, 0, 2})
	f.Add([]byte{1, 16, 0, 0, 0, 1, 2, 0, 7})
	f.Add([]byte{1, 15, 0, 0, 0, 9, 2, 1, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		var framer requestFramer
		u := &Unit{Holding: map[uint16]uint16{0: 1, 1: 2}, Input: map[uint16]uint16{0: 1}, Coils: map[uint16]bool{0: true}, Discrete: map[uint16]bool{}}
		framer.push(rtu.AppendCRC(bytes.Clone(in)), func(request []byte) {
			if reply := u.reply(request); !rtu.ValidCRC(reply) || len(reply) > rtu.MaxADU || reply[0] != request[0] {
				t.Fatalf("% x answered by % x", request, reply)
			}
		})
	})
}
