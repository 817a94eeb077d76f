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
	changed := func(q []byte) []byte { return modbustest.Reply(q, 0x7000|uint16(q[3])) } // the register counts
	refused := func(q []byte) []byte { return modbustest.Exception(q, 2) }
	orRefused := func(q []byte) []byte {
		if q[3] == 10 {
			return refused(q)
		}
		return right(q)
	}
	failed := func(q []byte) []byte { return modbustest.Exception(q, 4) }
	for _, c := range []struct {
		name   string
		asked  []ask
		answer func(q []byte) []steps // to each request in turn
	}{
		{"a damaged late reply", []ask{{10, 1, false}, {20, 1, false}, {30, 1, false}}, func(q []byte) []steps {
			return []steps{nil, {at(100*ms, damaged(right(q))), at(550*ms, right(q))}, {at(290*ms, right(q))}}
		}},
		{"one of three replies to a request sent twice", []ask{{10, 1, false}, {10, 1, true}, {20, 1, false}, {30, 1, false}}, func(q []byte) []steps {
			twice := append(right(q), right(q)...)
			return []steps{{at(424*ms, twice)}, {at(486*ms, right(q))}, {at(470*ms, right(q))}, {at(200*ms, right(q))}}
		}},
		// The refusal of register 10 comes while it is asked for again, when
		// only register 20 is owed in another shape.
		{"a late exception", []ask{{10, 4, false}, {20, 1, false}, {10, 4, true}, {30, 1, false}}, func(q []byte) []steps {
			return []steps{{at(650*ms, refused(q))}, {at(650*ms, right(q))}, {at(360*ms, refused(q))}, {at(290*ms, right(q))}}
		}},
		// Register 20 is answered twice by what register 10 was refused with, as
		// register 5 was; both its own answers are still to come.
		{"the same refusal twice, while others are owed", []ask{{5, 1, false}, {10, 4, false}, {10, 4, true}, {20, 1, false}, {30, 1, false}, {40, 1, false}}, func(q []byte) []steps {
			return []steps{{at(5*ms, refused(q))}, {at(680*ms, refused(q))}, {at(690*ms, refused(q))}, {at(420*ms, right(q))}, {at(250*ms, changed(q))}, {at(200*ms, right(q))}, {at(20*ms, right(q))}}
		}},
		// The same of a unit that has been late: what it owed of register 10 seems
		// paid by the reply to register 50, which it did not answer in order.
		{"the same refusal twice, of a unit that has been late", []ask{{5, 1, false}, {1, 2, false}, {10, 4, false}, {10, 4, true}, {50, 3, false}, {20, 1, false}, {30, 1, false}, {40, 1, false}}, func(q []byte) []steps {
			return []steps{{at(5*ms, refused(q))}, {at(310*ms, right(q))}, {at(710*ms, refused(q))}, {at(700*ms, refused(q))}, {at(5*ms, right(q))}, {at(500*ms, right(q))}, {at(250*ms, right(q))}, {at(200*ms, right(q))}, {at(20*ms, right(q))}}
		}},
		// The same where the line repeats frames: register 5's refusal comes four times.
		{"the same refusal twice, on a line that repeats", []ask{{5, 1, false}, {1, 2, false}, {20, 1, false}, {30, 1, false}, {40, 1, false}}, func(q []byte) []steps {
			return []steps{{at(5*ms, refused(q))}, {at(10*ms, refused(q)), at(30*ms, right(q))}, {at(10*ms, refused(q)), at(290*ms, right(q))}, {at(10*ms, refused(q)), at(260*ms, changed(q))}, {at(290*ms, right(q))}, {at(20*ms, right(q))}}
		}},
		// Register 10's refusal comes twice, the second time to the second asking,
		// whose own reply comes while register 20 is asked for.
		{"a copy of a refusal, to the same request", []ask{{10, 1, false}, {10, 1, true}, {20, 1, false}, {30, 1, false}, {40, 1, false}}, func(q []byte) []steps {
			return []steps{{at(24*ms, refused(q)), at(28*ms, refused(q))}, {at(20*ms, failed(q))}, {at(25*ms, right(q))}, {at(20*ms, right(q))}, {at(20*ms, right(q))}}
		}},
		// The same with the own reply so late that the request goes out a third time.
		{"a copy of a refusal, long before the reply", []ask{{10, 1, false}, {10, 1, true}, {20, 1, false}, {30, 1, false}, {40, 1, false}}, func(q []byte) []steps {
			return []steps{{at(24*ms, refused(q)), at(28*ms, refused(q))}, {at(150*ms, failed(q))}, {at(170*ms, orRefused(q))}, {at(25*ms, right(q))}, {at(20*ms, right(q))}, {at(20*ms, right(q))}}
		}},
		{"a copy of acknowledge, to the same request", []ask{{10, 1, false}, {10, 1, true}, {20, 1, false}, {30, 1, false}, {40, 1, false}}, func(q []byte) []steps {
			busy := modbustest.Exception(q, 5)
			return []steps{{at(24*ms, busy), at(28*ms, busy)}, {at(20*ms, right(q))}, {at(25*ms, right(q))}, {at(20*ms, right(q))}, {at(20*ms, right(q))}}
		}},
		// A value is right whichever reply it is, but then one is still to come.
		{"a copy of a value, to the same request", []ask{{5, 1, false}, {10, 1, false}, {10, 1, true}, {20, 1, false}, {30, 1, false}}, func(q []byte) []steps {
			return []steps{{at(5*ms, right(q), right(q))}, {at(5*ms, right(q)), at(12*ms, right(q))}, {at(30*ms, changed(q))}, {at(25*ms, right(q))}, {at(20*ms, right(q))}}
		}},
		// The first copy on a line is of a late reply; the second reply comes later still.
		{"a copy of a late reply, to a request sent twice", []ask{{10, 1, false}, {10, 1, true}, {20, 1, false}, {30, 1, false}}, func(q []byte) []steps {
			return []steps{{at(700*ms, right(q)), at(714*ms, right(q))}, {at(550*ms, changed(q))}, {at(280*ms, right(q))}, {at(20*ms, right(q))}}
		}},
		// The same, while the second asking is in progress.
		{"a copy of a late reply, to the second asking", []ask{{10, 1, false}, {10, 1, true}, {20, 1, false}, {30, 1, false}}, func(q []byte) []steps {
			return []steps{{at(320*ms, right(q)), at(334*ms, right(q))}, {at(150*ms, changed(q))}, {at(280*ms, right(q))}, {at(20*ms, right(q))}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			values := 0
			answer := func(n int, q []byte) steps {
				if all := c.answer(q); n < len(all) {
					return all[n]
				}
				return nil
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
					if values++; !bytes.Equal(reply, right(request)) && !bytes.Equal(reply, changed(request)) {
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
