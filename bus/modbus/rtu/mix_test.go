package rtu_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
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
	requests, all, wrong := 0, 0, 0
	defer func() { t.Logf("%d requests, %d values, %d wrong", requests, all, wrong) }()
	for seed := range modbustest.ChaosSeeds(200, os.Getenv) {
		requests += 60
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
						all++
						if !bytes.Equal(reply, right(request)) {
							wrong++
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

// sparse refuses every third register below 500.
func sparse(q []byte) []byte {
	first, n := binary.BigEndian.Uint16(q[2:]), binary.BigEndian.Uint16(q[4:])
	for a := first; a < first+n; a++ {
		if a < 500 && a%3 == 2 {
			return modbustest.Exception(q, 2)
		}
	}
	return right(q)
}

// TestNoChaosYieldsAWrongValue asks as the verbs and as the daemon do, some of
// it refused, two devices with slow phases and all faults at once. More runs:
//
//	FIELDFERRY_CHAOS=40000 go test ./bus/modbus/rtu -run 'Chaos|Mix' -v
func TestNoChaosYieldsAWrongValue(t *testing.T) {
	values, wrong, requests := [2]int{}, [2]int{}, 0
	for seed := range modbustest.ChaosSeeds(200, os.Getenv) {
		bad := ""
		requests += 60
		synctest.Test(t, func(t *testing.T) {
			world := modbustest.NewChaos(seed, sparse)
			world.Faults = []int{0, 2, 6, 12}[seed/2%4]
			cfg := careful
			cfg.Careful = seed%2 == 0
			rnd := rand.New(rand.NewPCG(seed, 9))
			master, slave := modbustest.NewWire()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { modbustest.Serve(ctx, slave, world.Answer); close(done) }()
			line := rtu.NewTransporter(cfg)
			line.Attach(master)
			for range 60 {
				request := rtu.AppendReadRequest(nil, byte(1+rnd.IntN(2)), 3, uint16(rnd.IntN(400)), uint16(1+rnd.IntN(2)))
				reply, err := line.Send(request)
				if err != nil && rnd.IntN(2) == 0 {
					reply, err = line.Resend(t.Context(), request)
				}
				if err != nil {
					continue
				}
				values[seed%2]++
				if !bytes.Equal(reply, right(request)) {
					wrong[seed%2]++
					bad = fmt.Sprintf("% x answered by % x", request, reply)
				}
			}
			cancel()
			<-done
			master.Close()
		})
		if bad != "" && wrong[0]+wrong[1] < 10 {
			t.Errorf("seed %d: WRONG VALUE: %s", seed, bad)
		}
	}
	t.Logf("%d requests; verbs: %d values, %d wrong; daemon: %d values, %d wrong", requests, values[0], wrong[0], values[1], wrong[1])
}
