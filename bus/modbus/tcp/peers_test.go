package tcp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/modbus/tcp"
)

const ms = time.Millisecond

// peer is a transporter and its far end in memory.
type peer struct {
	*tcp.Transporter
	port *modbustest.MasterEnd
	said []string
}

func newPeer(t *testing.T, cfg rtu.Config, opts tcp.Options, answer func(n int, q modbustest.TCPRequest) []modbustest.Step) *peer {
	if cfg.Timeout == 0 {
		cfg.Timeout = 300 * ms
	}
	p := &peer{}
	opts.Notice = func(text string) { p.said = append(p.said, text) }
	var far *modbustest.SlaveEnd
	p.port, far = modbustest.NewWire()
	go modbustest.ServeMBAP(t.Context(), far, answer)
	p.Transporter = tcp.NewTransporter(cfg, opts)
	p.Attach(p.port)
	return p
}

// read asks for one register; an answer must be its address.
func (p *peer) read(t *testing.T, unit byte, address uint16) error {
	t.Helper()
	request := rtu.AppendReadRequest(nil, unit, 3, address, 1)
	got, err := p.SendContext(t.Context(), request)
	if err == nil && !bytes.Equal(got, modbustest.Reply(request, address)) {
		t.Fatalf("WRONG VALUE % x of register %d", got, address)
	}
	return err
}

func right(q modbustest.TCPRequest) []byte {
	return q.Frame(modbustest.Reply(q.RTU(), uint16(q.PDU[1])<<8|uint16(q.PDU[2])))
}

func soon(p ...[]byte) (steps []modbustest.Step) {
	for i, b := range p {
		steps = append(steps, modbustest.Step{At: time.Duration(1+i) * ms, Send: b})
	}
	return steps
}

// The transaction id names the request: a reply in the name of the far end
// itself is taken, one of another unit only if that is allowed.
func TestUnitOfAReply(t *testing.T) {
	for _, c := range []struct {
		named byte
		any   bool
		taken bool
	}{{1, false, true}, {0, false, true}, {255, false, true}, {7, false, false}, {7, true, true}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t, rtu.Config{}, tcp.Options{AnyUnit: c.any}, func(_ int, q modbustest.TCPRequest) []modbustest.Step {
				return soon(with(right(q), func(p []byte) { p[6] = c.named }))
			})
			for range 3 {
				err := p.read(t, 1, 5)
				if (err == nil) != c.taken || err != nil && !strings.Contains(err.Error(), "any_reply_unit") {
					t.Errorf("unit %d: %v", c.named, err)
				}
			}
			if want := c.taken && c.named != 1; len(p.said) != map[bool]int{true: 1}[want] {
				t.Errorf("unit %d: %q", c.named, p.said)
			}
			p.port.Close()
		})
	}
}

// Transaction id 0 is named in the error, and taken if that is allowed.
func TestTransactionZero(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t, rtu.Config{}, tcp.Options{AnyTransaction: allowed}, func(_ int, q modbustest.TCPRequest) []modbustest.Step {
				q.ID = 0
				return soon(right(q))
			})
			for range 2 {
				err := p.read(t, 1, 5)
				if (err == nil) != allowed || err != nil && !strings.Contains(err.Error(), "reply with transaction id 0; if ") {
					t.Errorf("allowed %v: %v", allowed, err)
				}
			}
			if allowed && len(p.said) != 1 || p.Stale() {
				t.Errorf("allowed %v: said %q, stale %v", allowed, p.said, p.Stale())
			}
			p.port.Close()
		})
	}
}

// After a request without a reply such a connection must be replaced, as the
// late reply would be taken for the next one's.
func TestTransactionZeroLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, rtu.Config{}, tcp.Options{AnyTransaction: true}, func(_ int, q modbustest.TCPRequest) []modbustest.Step {
			q.ID = 0
			return []modbustest.Step{{At: 400 * ms, Send: right(q)}}
		})
		if err := p.read(t, 1, 5); !errors.As(err, new(*rtu.TimeoutError)) || !p.Stale() {
			t.Errorf("%v, stale %v", err, p.Stale())
		}
		_ = p.read(t, 1, 6) // fails in read if it is taken
		p.port.Close()
	})
}

// What stands behind a reply is dropped before the next request, also when it
// comes only after that was sent.
func TestBytesBehindAReply(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps func(n int, q modbustest.TCPRequest) []modbustest.Step
	}{
		{"checksum", func(_ int, q modbustest.TCPRequest) []modbustest.Step { return soon(append(right(q), 0x12, 0x34)) }},
		{"checksum of zeros", func(_ int, q modbustest.TCPRequest) []modbustest.Step { return soon(append(right(q), 0, 0)) }},
		{"checksum before the next", func(n int, q modbustest.TCPRequest) []modbustest.Step {
			return soon(append([]byte{0, 0x34}[:min(2*n, 2)], right(q)...))
		}},
		{"in pieces", func(n int, q modbustest.TCPRequest) []modbustest.Step {
			r := append([]byte{9, 8}[:min(2*n, 2)], right(q)...)
			return soon(r[:1], r[1:3], r[3:8], r[8:])
		}},
		{"the reply twice", func(_ int, q modbustest.TCPRequest) []modbustest.Step { return soon(append(right(q), right(q)...)) }},
		{"much", func(_ int, q modbustest.TCPRequest) []modbustest.Step {
			return soon(append(right(q), bytes.Repeat([]byte("junk"), 300)...))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t, rtu.Config{Turnaround: 20 * ms}, tcp.Options{}, c.steps)
				for a := range uint16(50) {
					if err := p.read(t, 1, a); err != nil {
						t.Fatalf("request %d: %v", a, err)
					}
				}
				p.port.Close()
			})
		})
	}
}

// A reply that was there before its request is not its answer, whatever
// transaction id it foresees.
func TestReplyBeforeItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, rtu.Config{Turnaround: 10 * ms}, tcp.Options{}, func(n int, q modbustest.TCPRequest) []modbustest.Step {
			if n > 0 {
				return nil
			}
			var ahead []byte
			for id := range uint16(1000) { // those a counter would come to
				next := q
				next.ID = q.ID + 1 + id
				ahead = append(ahead, with(right(next), func(p []byte) { p[len(p)-1] = 99 })...)
			}
			return soon(right(q), ahead)
		})
		if err := p.read(t, 1, 5); err != nil {
			t.Fatal(err)
		}
		if err := p.read(t, 1, 6); !errors.As(err, new(*rtu.TimeoutError)) {
			t.Errorf("%v", err)
		}
		p.port.Close()
	})
}

// Transaction ids cannot be foreseen.
func TestTransactionIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ids []uint16
		p := newPeer(t, rtu.Config{}, tcp.Options{}, func(_ int, q modbustest.TCPRequest) []modbustest.Step {
			ids = append(ids, q.ID)
			return soon(right(q))
		})
		follow := 0
		for range 100 {
			if err := p.read(t, 1, 5); err != nil {
				t.Fatal(err)
			}
		}
		for i, id := range ids[1:] {
			if id == ids[i]+1 {
				follow++
			}
			if id == 0 {
				t.Error("transaction id 0")
			}
		}
		if follow > 3 {
			t.Errorf("%d of 100 transaction ids follow the one before", follow)
		}
		p.port.Close()
	})
}

// A far end that floods the line with what nobody asked for is given up,
// whether that comes in a pause that is kept or was there before.
func TestFlood(t *testing.T) {
	for _, turnaround := range []time.Duration{0, 10 * ms} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t, rtu.Config{Turnaround: turnaround}, tcp.Options{}, func(_ int, q modbustest.TCPRequest) []modbustest.Step {
				return soon(right(q), bytes.Repeat(right(q), 20_000))
			})
			if err := p.read(t, 1, 5); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * ms)
			if err := p.read(t, 1, 5); !errors.As(err, new(*rtu.PortLostError)) {
				t.Errorf("turnaround %v: %v", turnaround, err)
			}
			p.port.Close()
		})
	}
}

// The turnaround is kept between a reply, or a timeout, and the next request.
func TestTurnaround(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last time.Time
		p := newPeer(t, rtu.Config{Turnaround: 150 * ms}, tcp.Options{}, func(n int, q modbustest.TCPRequest) []modbustest.Step {
			if pause := time.Since(last); !last.IsZero() && pause < 149*ms {
				t.Errorf("request %d after %v", n, pause)
			}
			last = time.Now().Add(ms)
			if n%3 == 2 {
				return nil
			}
			return soon(right(q))
		})
		for a := range uint16(9) {
			_ = p.read(t, 1, a)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*ms)
		defer cancel()
		start := time.Now()
		if _, err := p.SendContext(ctx, rtu.AppendReadRequest(nil, 1, 3, 5, 1)); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 25*ms {
			t.Errorf("the end of the context: %v after %v", err, time.Since(start))
		}
		p.port.Close()
	})
}

// A far end that is busy with one unit is given time for the next; the reply
// to an earlier try answers the request as well; nobody waits for ever.
func TestBusyFarEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway := &modbustest.Gateway{Timeout: 3 * time.Second}
		p := newPeer(t, rtu.Config{}, tcp.Options{}, func(_ int, q modbustest.TCPRequest) []modbustest.Step {
			if q.Unit == 9 {
				return gateway.Steps(q, nil, 0)
			}
			return gateway.Steps(q, modbustest.Reply(q.RTU(), uint16(q.PDU[2])), 50*ms)
		})
		for i := range 5 {
			if err := p.read(t, 9, 5); !errors.As(err, new(*rtu.TimeoutError)) {
				t.Errorf("%v", err)
			}
			if err := p.read(t, 1, 5); err != nil {
				t.Errorf("try %d: %v", i, err)
			}
		}
		if took := p.Slowest(9); took > 0 {
			t.Errorf("the gateway's refusal counts as the unit's answer after %v", took)
		}
		p.port.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, rtu.Config{}, tcp.Options{}, func(int, modbustest.TCPRequest) []modbustest.Step { return nil })
		start := time.Now()
		for u := range byte(20) {
			_ = p.read(t, u+1, 5)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("20 units that do not answer took %v", took)
		}
		p.port.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, rtu.Config{}, tcp.Options{}, func(n int, q modbustest.TCPRequest) []modbustest.Step {
			return []modbustest.Step{{At: 450 * ms, Send: right(q)}}
		})
		request := rtu.AppendReadRequest(nil, 1, 3, 5, 1)
		_, err := p.SendContext(t.Context(), request)
		got, again := p.Resend(t.Context(), request)
		if err == nil || again != nil || !bytes.Equal(got, modbustest.Reply(request, 5)) {
			t.Errorf("%v, then %v", err, again)
		}
		other := rtu.AppendReadRequest(nil, 1, 3, 6, 1) // the second reply is still to come
		if got, err := p.Resend(t.Context(), other); err == nil && !bytes.Equal(got, modbustest.Reply(other, 6)) {
			t.Errorf("WRONG VALUE % x", got)
		}
		if s := fmt.Sprint(p.Slowest(1)); s != "450ms" {
			t.Errorf("slowest %s", s)
		}
		p.port.Close()
	})
}
