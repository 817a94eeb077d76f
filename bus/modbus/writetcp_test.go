package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// tcpPlant is a far end of Modbus TCP that holds one register, and does with
// the reply to a write what it is told.
type tcpPlant struct {
	mu     sync.Mutex
	held   uint16
	writes int
	onto   func(conn int, reply []byte) []modbustest.Step // the reply to a write
}

func (p *tcpPlant) answer(conn, _ int, q modbustest.TCPRequest) []modbustest.Step {
	p.mu.Lock()
	defer p.mu.Unlock()
	request := q.RTU()
	if request[1] != rtu.WriteSingleRegister {
		return soon(q.Frame(modbustest.Reply(request, p.held)))
	}
	p.writes++
	p.held = binary.BigEndian.Uint16(request[4:])
	return p.onto(conn, q.Frame(request))
}

// On Modbus TCP, too, what may have reached the far end is not sent again; a
// connection that was closed before is replaced.
func TestWriteOverTCP(t *testing.T) {
	closes := func(int, []byte) []modbustest.Step { return []modbustest.Step{{Unplug: io.EOF}} }
	for name, c := range map[string]struct {
		onto      func(conn int, reply []byte) []modbustest.Step
		uncertain bool
	}{
		"done":                       {func(_ int, reply []byte) []modbustest.Step { return soon(reply) }, false},
		"closed in place of a reply": {closes, true},
		"closed after the reply": {func(_ int, reply []byte) []modbustest.Step {
			return append(soon(reply), modbustest.Step{At: 2 * ms, Unplug: io.EOF})
		}, false},
		"no reply":                     {func(int, []byte) []modbustest.Step { return nil }, true},
		"a late reply":                 {func(_ int, reply []byte) []modbustest.Step { return []modbustest.Step{{At: 1500 * ms, Send: reply}} }, true},
		"another transaction's number": {func(_ int, reply []byte) []modbustest.Step { reply[0] ^= 1; return soon(reply) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plant := &tcpPlant{onto: c.onto}
				ctx, cancel := context.WithCancel(t.Context())
				conns := 0
				line, err := newLine(LineConfig{Name: "line1", Port: "tcp://memory", Retries: 2}, Endpoint{Framing: TCP}, discard, func(context.Context) (rtu.Port, error) {
					conn := conns
					conns++
					master, end := modbustest.NewWire()
					go modbustest.ServeMBAP(ctx, end, func(n int, q modbustest.TCPRequest) []modbustest.Step { return plant.answer(conn, n, q) })
					return master, nil
				})
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					for ctx.Err() == nil {
						_ = line.Run(ctx, &book{})
					}
				}()
				synctest.Wait()
				for i := range uint16(3) {
					if _, err := line.Read(ctx, Query{Unit: 1, Address: 5, Count: 1}); err != nil { // the connection is proved
						t.Fatal(err)
					}
					got, err := line.Write(ctx, Order{Permit: permitted(t, 1, false, 5, 1), Words: give(77 + i), After: true})
					if errors.As(err, new(*UncertainError)) != c.uncertain || (err != nil) != c.uncertain || !got.Sent || !slices.Equal(got.Read, []uint16{77 + i}) {
						t.Errorf("%+v, %v", got, err)
					}
					time.Sleep(10 * time.Second)
				}
				if plant.writes != 3 {
					t.Errorf("3 writes were %d requests", plant.writes)
				}
				cancel()
				<-done
			})
		})
	}
}
