package rtu_test

import (
	"bytes"
	"testing"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// What pays or forgives the wrong debt lets a late value come under another
// register's name. Each case is what a slow unit sent, as the daemon asks.
func TestNothingElsePaysADebt(t *testing.T) {
	type ask struct {
		address, count uint16
		again          bool
	}
	for _, c := range []struct {
		name   string
		asked  []ask
		answer func(n int, q []byte) steps
	}{
		{"a damaged late reply", []ask{{10, 1, false}, {20, 1, false}, {30, 1, false}}, func(n int, q []byte) steps {
			return []steps{nil, {at(100*ms, damaged(right(q))), at(550*ms, right(q))}, {at(290*ms, right(q))}}[n]
		}},
		{"one of three replies to a request sent twice", []ask{{10, 1, false}, {10, 1, true}, {20, 1, false}, {30, 1, false}}, func(n int, q []byte) steps {
			twice := append(right(q), right(q)...)
			return []steps{{at(424*ms, twice)}, {at(486*ms, right(q))}, {at(470*ms, right(q))}, {at(200*ms, right(q))}}[n]
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			values := 0
			answer := func(n int, q []byte) steps {
				if n >= len(c.asked) {
					return nil
				}
				return c.answer(n, q)
			}
			onWire(t, rtu.Config{Mode: mode, Timeout: timeout}, answer, func(t *testing.T, line *rtu.Transporter, _ *modbustest.SlaveEnd) {
				for _, a := range c.asked {
					request := rtu.AppendReadRequest(nil, 1, 3, a.address, a.count)
					send := line.Send
					if a.again {
						send = func(p []byte) ([]byte, error) { return line.Resend(t.Context(), p) }
					}
					reply, err := send(request)
					if err != nil {
						continue
					}
					if values++; !bytes.Equal(reply, right(request)) {
						t.Errorf("register %d: WRONG VALUE % x", a.address, reply)
					}
				}
			})
			if values == 0 {
				t.Error("no value")
			}
		})
	}
}
