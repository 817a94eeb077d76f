package rtu_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// fuzzed reads what a far end does from bytes: for each request a list of
// moves, each a kind, a delay and, for raw bytes, a length and the bytes.
type fuzzed struct{ p []byte }

func (f *fuzzed) byte() (b byte) {
	if len(f.p) > 0 {
		b, f.p = f.p[0], f.p[1:]
	}
	return b
}

func (f *fuzzed) answer(_ int, q []byte) (s steps) {
	after := time.Duration(0)
	for range f.byte() % 5 {
		kind := f.byte()
		after += time.Duration(f.byte()) * time.Duration(f.byte()%16) * ms
		reply := right(q)
		switch kind % 9 {
		case 0:
			s = append(s, at(after, reply))
		case 1:
			n := min(int(f.byte()%64), len(f.p))
			s = append(s, at(after, f.p[:n]))
			f.p = f.p[n:]
		case 2:
			s = append(s, at(after, q))
		case 3:
			s = append(s, at(after, reply[:int(f.byte())%len(reply)]))
		case 4:
			reply[int(f.byte())%len(reply)] ^= f.byte()
			s = append(s, at(after, reply))
		case 5:
			s = append(s, at(after, modbustest.Exception(q, f.byte())))
		case 6:
			s = append(s, at(after, rtu.AppendReadRequest(nil, 1+f.byte()%2, 3, uint16(f.byte()), 1+uint16(f.byte()%2))))
		case 7:
			s = append(s, at(after, withAddress(q, f.byte())))
		case 8:
			s = append(s, modbustest.Step{At: after, Unplug: context.DeadlineExceeded})
		}
	}
	return s
}

// heard keeps what came, to know an accepted frame again.
type heard struct {
	*modbustest.MasterEnd
	all []byte
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.MasterEnd.Read(p)
	h.all = append(h.all, p[:n]...)
	return n, err
}

func (h *heard) ReadAvailable(p []byte) (int, error) {
	n, err := h.MasterEnd.ReadAvailable(p)
	h.all = append(h.all, p[:n]...)
	return n, err
}

// FuzzExchange: whatever comes and whenever, each request ends within its
// bounds, and what is accepted has the form of its reply and came on the line.
func FuzzExchange(f *testing.F) {
	f.Add(true, []byte{1, 0, 5, 1})
	f.Add(false, []byte{0, 2, 0, 200, 2, 0, 100, 1, 1, 0, 5, 1})                 // late behind the next
	f.Add(true, []byte{2, 2, 0, 0, 0, 5, 1, 2, 0, 5, 1, 0, 20, 1})               // echo, a copy
	f.Add(false, []byte{2, 6, 1, 1, 0, 9, 0, 0, 200, 2, 1, 5, 250, 12, 2, 1, 0}) // another master, late refusal
	f.Add(true, []byte{3, 3, 2, 1, 4, 4, 9, 3, 7, 1, 1, 7, 5, 1, 9, 1, 8, 1, 1})
	f.Fuzz(func(t *testing.T, isCareful bool, script []byte) {
		synctest.Test(t, func(t *testing.T) {
			master, slave := modbustest.NewWire()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			far := &fuzzed{p: script}
			go func() { modbustest.Serve(ctx, slave, far.answer); close(done) }()
			cfg := careful
			cfg.Careful = isCareful
			line, port := rtu.NewTransporter(cfg), &heard{MasterEnd: master}
			line.Attach(port)
			for i := range 6 {
				request := rtu.AppendReadRequest(nil, 1, 3, uint16(10*i), 1+uint16(i%2))
				for _, send := range []func(context.Context, []byte) ([]byte, error){line.SendContext, line.Resend} {
					start := time.Now()
					reply, err := send(t.Context(), request)
					// A debt of up to 10 s, other masters', a reply that has begun, twice.
					if took := time.Since(start); took > 30*time.Second {
						t.Fatalf("request %d took %v", i, took)
					}
					if err != nil {
						continue
					}
					if reply[0] != 1 || reply[1] != 3 || len(reply) != rtu.ReplyLen(3, 1+i%2) || !rtu.ValidCRC(reply) || !bytes.Contains(port.all, reply) {
						t.Fatalf("request %d: accepted % x", i, reply)
					}
					break
				}
			}
			cancel()
			<-done
			master.Close()
		})
	})
}
