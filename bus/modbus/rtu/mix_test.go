package rtu_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// mixed answers with a fault picked by chance. A slave answers in order, so
// what is late holds up what comes after it.
type mixed struct {
	rnd  *rand.Rand
	free time.Time // when the slave has sent all it owes
}

func (m *mixed) answer(_ int, q []byte) (s steps) {
	now := time.Now()
	think := time.Duration(2+m.rnd.IntN(60)) * ms
	reply := right(q)
	if m.rnd.IntN(8) == 0 {
		think = time.Duration(m.rnd.IntN(2200)) * ms
	}
	send := func(p ...[]byte) {
		at := max(think, m.free.Sub(now)+2*ms)
		m.free = now.Add(at)
		s = append(s, modbustest.Step{At: at, Send: bytes.Join(p, nil)})
	}
	other := rtu.AppendReadRequest(nil, byte(1+m.rnd.IntN(2)), 3, uint16(500+m.rnd.IntN(100)), uint16(1+m.rnd.IntN(2)))
	switch m.rnd.IntN(16) {
	case 0: // no reply
	case 1:
		send(damaged(reply))
	case 2:
		send(reply[:1+m.rnd.IntN(len(reply)-1)])
	case 3:
		send(q)
		send(reply)
	case 4:
		send(damaged(q), reply)
	case 5:
		noise := make([]byte, m.rnd.IntN(12))
		for i := range noise {
			noise[i] = byte(m.rnd.Uint32())
		}
		send(noise, reply)
	case 6:
		send(reply, reply)
	case 7: // a copy, soon
		send(reply)
		think += time.Duration(m.rnd.IntN(45)) * ms
		send(reply)
	case 8:
		send(modbustest.Exception(q, byte(m.rnd.IntN(256))))
	case 9:
		send(fromUnit(9, q))
		think += 5 * ms
		send(reply)
	case 10: // byte by byte
		for _, b := range reply {
			send([]byte{b})
			think += time.Duration(m.rnd.IntN(30)) * ms
		}
	case 11: // another master asks, and is answered
		send(reply)
		think += time.Duration(m.rnd.IntN(20)) * ms
		send(other)
		think += time.Duration(5+m.rnd.IntN(200)) * ms
		send(right(other))
	default:
		send(reply)
	}
	return s
}

// TestNoMixOfFaultsYieldsAWrongValue reads through whatever chance brings, as
// the verbs ask and as the daemon asks.
func TestNoMixOfFaultsYieldsAWrongValue(t *testing.T) {
	rounds := uint64(200)
	if testing.Short() {
		rounds = 20
	}
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				master, slave := modbustest.NewWire()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				m := &mixed{rnd: rand.New(rand.NewPCG(seed, 7))}
				go func() { modbustest.Serve(ctx, slave, m.answer); close(done) }()
				cfg := careful
				cfg.Careful = seed%2 == 0
				line := rtu.NewTransporter(cfg)
				line.Attach(master)
				rnd := rand.New(rand.NewPCG(seed, 8))
				values := 0
				for i := range 60 {
					unit, address, count := byte(1+rnd.IntN(2)), uint16(rnd.IntN(400)), uint16(1+rnd.IntN(2))
					request := rtu.AppendReadRequest(nil, unit, 3, address, count)
					start := time.Now()
					reply, err := line.Send(request)
					first := time.Since(start)
					if err != nil && rnd.IntN(2) == 0 {
						reply, err = line.Resend(t.Context(), request)
					}
					if err == nil {
						values++
						if !bytes.Equal(reply, right(request)) {
							t.Fatalf("request %d for %d of unit %d: WRONG VALUE % x", i, address, unit, reply)
						}
					}
					if again := time.Since(start) - first; max(first, again) > 15*time.Second {
						t.Errorf("request %d took %v, and %v again", i, first, again)
					}
				}
				if values < 20 {
					t.Errorf("only %d values of 60", values)
				}
				cancel()
				<-done
				master.Close()
			})
		})
	}
}
