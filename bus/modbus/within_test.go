package modbus

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// strict is a device that has the registers of its configuration and no others,
// and refuses what cuts a value in two.
type strict struct {
	begins, has [4]map[int]bool // by function - 1
	gap         int
}

func newStrict(d Device) *strict {
	s := &strict{gap: d.MaxGap}
	for i := range d.Registers {
		r := &d.Registers[i]
		f := r.Table.Function() - 1
		if s.has[f] == nil {
			s.has[f], s.begins[f] = map[int]bool{}, map[int]bool{}
		}
		s.begins[f][int(r.Address)] = true
		for k := range r.Width() {
			s.has[f][int(r.Address)+k] = true
		}
	}
	return s
}

// beyond reports whether a request begins or ends with what is not configured, or
// reads across more of that than it may.
func (s *strict) beyond(q []byte) bool {
	has, first, n := s.has[q[1]-1], int(binary.BigEndian.Uint16(q[2:])), int(binary.BigEndian.Uint16(q[4:]))
	for a, unused := first, 0; a < first+n; a++ {
		if unused++; has[a] {
			unused = 0
		}
		if unused > s.gap || unused > 0 && (a == first || a == first+n-1) {
			return true
		}
	}
	return false
}

func (s *strict) answer(q []byte) []byte {
	f, first, n := q[1]-1, int(binary.BigEndian.Uint16(q[2:])), int(binary.BigEndian.Uint16(q[4:]))
	inner := s.has[f][first+n] && !s.begins[f][first+n]
	if !s.begins[f][first] || inner {
		return modbustest.Exception(q, 2)
	}
	data := make([]byte, rtu.ByteCount(q[1], n))
	for i := 0; i+1 < len(data); i += 2 {
		binary.BigEndian.PutUint16(data[i:], uint16(first+i/2))
	}
	return rtu.AppendCRC(append([]byte{q[0], q[1], byte(len(data))}, data...))
}

// Nothing is asked for beyond what is configured, also after replies that did not
// come or came late, and what is asked only to learn whether one is still owed is
// not counted among the refusals of the device. All is read soon afterwards.
func TestNothingIsReadBeyondTheConfiguration(t *testing.T) {
	long := func(table Table, at ...int) (list []Register) {
		for _, a := range at {
			list = append(list, Register{Name: fmt.Sprint(table, a), Table: table, Address: uint16(a), Type: Uint32})
		}
		return list
	}
	bits := func(at ...int) (list []Register) {
		for _, a := range at {
			list = append(list, Register{Name: fmt.Sprint("c", a), Table: Coil, Address: uint16(a), Type: Bool})
		}
		return list
	}
	text := append(long(Holding, 0), Register{Name: "text", Address: 100, Type: String, Length: 10})
	for name, registers := range map[string][]Register{
		"a pair and a text": text,
		"two pairs":         long(Holding, 0, 100),
		"pairs in a row":    long(Holding, 0, 2, 4, 100),
		"single":            registers(7, 70),
		"two tables":        append(long(Holding, 0, 100), long(Input, 0, 2)...),
		"bits":              append(bits(0, 1, 2, 100), registers(7)...),
		"gaps":              append(long(Holding, 0), registers(5, 9, 40)...),
	} {
		for seed := range uint64(20) {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start, free, chance := time.Now(), time.Now(), rand.New(rand.NewPCG(seed, 1))
					d := Device{Name: "d", UnitID: 1, MaxGap: 4, Registers: registers}
					far := newStrict(d)
					var served sync.WaitGroup
					line, err := newLine(LineConfig{Name: "l", Port: "memory", Retries: int(seed % 2), Devices: []Device{d}}, Endpoint{}, discard, func(context.Context) (rtu.Port, error) {
						master, end := modbustest.NewWire()
						served.Go(func() {
							modbustest.Serve(t.Context(), end, func(_ int, q []byte) []modbustest.Step {
								if far.beyond(q) {
									t.Errorf("%v: asked % x", time.Since(start), q)
								}
								now, took := time.Now(), 5*ms
								switch since := time.Since(start); {
								case since > 30*time.Second:
								case seed < 4 && since > 5*time.Second && since < 7200*ms, seed >= 4 && chance.IntN(4) == 0:
									return nil
								case seed >= 4 && chance.IntN(4) == 0:
									took = time.Duration(300+chance.IntN(1500)) * ms
								}
								free = now.Add(max(took, free.Sub(now)+20*ms)) // a unit answers in order
								return []modbustest.Step{{At: free.Sub(now), Send: far.answer(q)}}
							})
						})
						return master, nil
					})
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), 110*time.Second)
					defer cancel()
					b := &book{}
					if err := line.Run(ctx, b); err != nil {
						t.Fatal(err)
					}
					served.Wait()
					if u := line.Units()[0]; len(u.Exceptions) > 0 {
						t.Errorf("exceptions %v", u.Exceptions)
					}
					for _, r := range b.readings {
						if since := r.Time.Sub(start); len(r.Failures) > 0 && (since > 95*time.Second || seed < 4 && since > 12*time.Second) {
							t.Errorf("%v: %v", since, r.Failures)
						}
					}
				})
			})
		}
	}
}
