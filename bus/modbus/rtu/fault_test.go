package rtu_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

const (
	ms      = time.Millisecond
	timeout = 300 * ms
)

var mode = rtu.Mode{BaudRate: 19200, DataBits: 8, Parity: 'E', StopBits: 1}

// ask is one request of a case: two registers of unit 1 unless it says otherwise.
type ask struct {
	address, count uint16
	pause          time.Duration // before the request
	// want is what the request must yield: values of the address asked for, or
	// one of the errors below.
	want error
	// orValue also allows the right value where an error is wanted.
	orValue bool
}

var (
	isTimeout   = &rtu.TimeoutError{}
	isCRC       = &rtu.CRCError{}
	isMismatch  = &rtu.MismatchError{}
	isBusy      = &rtu.BusyError{}
	isException = &rtu.ExceptionError{}
	isLost      = &rtu.PortLostError{}
)

func sameKind(err, want error) bool {
	switch want.(type) {
	case *rtu.TimeoutError:
		var e *rtu.TimeoutError
		return errors.As(err, &e)
	case *rtu.CRCError:
		var e *rtu.CRCError
		return errors.As(err, &e)
	case *rtu.MismatchError:
		var e *rtu.MismatchError
		return errors.As(err, &e)
	case *rtu.BusyError:
		var e *rtu.BusyError
		return errors.As(err, &e)
	case *rtu.ExceptionError:
		var e *rtu.ExceptionError
		return errors.As(err, &e)
	case *rtu.PortLostError:
		var e *rtu.PortLostError
		return errors.As(err, &e)
	}
	return false
}

// right is the right reply: each register holds its address and the unit.
func right(request []byte) []byte {
	address := binary.BigEndian.Uint16(request[2:])
	count := binary.BigEndian.Uint16(request[4:])
	words := make([]uint16, count)
	for i := range words {
		words[i] = (address+uint16(i))<<4 | uint16(request[0])
	}
	return modbustest.Reply(request, words...)
}

func at(d time.Duration, p ...[]byte) modbustest.Step {
	return modbustest.Step{At: d, Send: bytes.Join(p, nil)}
}

type steps = []modbustest.Step

func damaged(p []byte) []byte {
	p = bytes.Clone(p)
	p[len(p)-3] ^= 0x10
	return p
}

func swapped(p []byte) []byte {
	p = bytes.Clone(p)
	n := len(p)
	p[n-1], p[n-2] = p[n-2], p[n-1]
	return p
}

func fromUnit(unit byte, request []byte) []byte {
	r := bytes.Clone(request)
	r[0] = unit
	return right(r)
}

func withCount(request []byte, n int) []byte {
	r := bytes.Clone(request)
	r[5] = byte(n)
	return right(r)
}

// spread sends p byte by byte with a gap.
func spread(p []byte, gap time.Duration) (s steps) {
	for i := range p {
		s = append(s, at(time.Duration(i)*gap, p[i:i+1]))
	}
	return s
}

func babble(n int, gap time.Duration) (s steps) {
	for i := range n {
		s = append(s, at(time.Duration(i)*gap, bytes.Repeat([]byte{0x55}, 8)))
	}
	return s
}

// two asks for the registers at 10 and then at 20: replies of the same shape.
func two(first error) []ask { return []ask{{address: 10, want: first}, {address: 20}} }

var faults = []struct {
	name   string
	answer func(n int, request []byte) steps
	asks   []ask
}{
	{"right", func(_ int, q []byte) steps { return steps{at(5*ms, right(q))} }, two(nil)},
	{"no reply", first(nil), two(isTimeout)},
	{"CRC error", first(func(q []byte) steps { return steps{at(5*ms, damaged(right(q)))} }), two(isCRC)},
	{"CRC swapped", first(func(q []byte) steps { return steps{at(5*ms, swapped(right(q)))} }), two(isCRC)},
	{"CRC error then right", first(func(q []byte) steps { return steps{at(5*ms, damaged(right(q)), right(q))} }), two(nil)},
	{"truncated to 1", truncated(1), two(isTimeout)},
	{"truncated to 2", truncated(2), two(isTimeout)},
	{"truncated to 3", truncated(3), two(isTimeout)},
	{"truncated to 5", truncated(5), two(isTimeout)},
	{"truncated to n-1", truncated(8), two(isTimeout)},
	{"wrong unit", first(func(q []byte) steps { return steps{at(5*ms, fromUnit(2, q))} }), two(isMismatch)},
	{"wrong unit then right", first(func(q []byte) steps { return steps{at(5*ms, fromUnit(2, q)), at(30*ms, right(q))} }), two(nil)},
	{"wrong unit then right in one piece", first(func(q []byte) steps { return steps{at(5*ms, fromUnit(2, q), right(q))} }), two(nil)},
	{"wrong function", first(func(q []byte) steps {
		r := bytes.Clone(q)
		r[1] = 4
		return steps{at(5*ms, right(r))}
	}), two(isMismatch)},
	{"fewer registers", first(func(q []byte) steps { return steps{at(5*ms, withCount(q, 1))} }), two(isMismatch)},
	{"more registers", first(func(q []byte) steps { return steps{at(5*ms, withCount(q, 3))} }), two(isMismatch)},
	{"126 registers", first(func(q []byte) steps { return steps{at(5*ms, withCount(q, 126))} }), two(isMismatch)},
	{"odd byte count", first(func(q []byte) steps { return steps{at(5*ms, rtu.AppendCRC([]byte{1, 3, 3, 0, 1, 2}))} }), two(isMismatch)},
	{"zero byte count", first(func(q []byte) steps { return steps{at(5*ms, rtu.AppendCRC([]byte{1, 3, 0}))} }), two(isMismatch)},
	{"byte count that lies", first(func(q []byte) steps { return steps{at(5*ms, rtu.AppendCRC([]byte{1, 3, 4, 0, 1}))} }), two(isTimeout)},
	{"wrong count then right", first(func(q []byte) steps { return steps{at(5*ms, withCount(q, 1)), at(40*ms, right(q))} }), two(nil)},
	{"exception 2", first(func(q []byte) steps { return steps{at(5*ms, modbustest.Exception(q, 2))} }), two(isException)},
	{"exception 0", first(func(q []byte) steps { return steps{at(5*ms, modbustest.Exception(q, 0))} }), two(isException)},
	{"exception 255", first(func(q []byte) steps { return steps{at(5*ms, modbustest.Exception(q, 255))} }), two(isException)},
	{"exception split 4+1", first(func(q []byte) steps {
		e := modbustest.Exception(q, 2)
		return steps{at(5*ms, e[:4]), at(25*ms, e[4:])}
	}), two(isException)},
	{"exception split in bytes", first(func(q []byte) steps { return spread(modbustest.Exception(q, 4), 5*ms) }), two(isException)},
	{"exception with bad CRC", first(func(q []byte) steps { return steps{at(5*ms, damaged(modbustest.Exception(q, 2)))} }), two(isCRC)},
	{"exception of another function", first(func(q []byte) steps {
		return steps{at(5*ms, rtu.AppendCRC([]byte{1, 0x84, 2}))}
	}), two(isMismatch)},
	{"exception of another unit then right", first(func(q []byte) steps {
		return steps{at(5*ms, rtu.AppendCRC([]byte{2, 0x83, 2}), right(q))}
	}), two(nil)},
	{"echo and reply", all(func(q []byte) steps { return steps{at(0, q), at(10*ms, right(q))} }), two(nil)},
	{"echo and reply in one piece", all(func(q []byte) steps { return steps{at(10*ms, q, right(q))} }), two(nil)},
	{"echo and exception", first(func(q []byte) steps { return steps{at(0, q), at(10*ms, modbustest.Exception(q, 2))} }), two(isException)},
	{"echo damaged", all(func(q []byte) steps { return steps{at(0, damaged(q)), at(10*ms, right(q))} }), two(nil)},
	{"echo cut", all(func(q []byte) steps { return steps{at(0, q[:5]), at(10*ms, right(q))} }), two(nil)},
	{"echo alone", first(func(q []byte) steps { return steps{at(0, q)} }), two(isTimeout)},
	{"noise before", all(func(q []byte) steps { return steps{at(2*ms, []byte{0, 0xFF, 1, 3}), at(10*ms, right(q))} }), two(nil)},
	{"one byte of noise before", all(func(q []byte) steps { return steps{at(2*ms, []byte{0}, right(q))} }), two(nil)},
	{"noise that looks like a beginning", all(func(q []byte) steps { return steps{at(2*ms, right(q)[:6], right(q))} }), two(nil)},
	{"noise after", all(func(q []byte) steps { return steps{at(5*ms, right(q), []byte{1, 3, 4, 9, 9})} }), two(nil)},
	{"noise long after", all(func(q []byte) steps { return steps{at(5*ms, right(q)), at(7*ms, []byte{1, 3, 4, 9, 9})} }), two(nil)},
	{"noise within", first(func(q []byte) steps {
		r := right(q)
		return steps{at(5*ms, r[:4], []byte{0x7F}, r[4:])}
	}), two(isCRC)},
	{"gaps of 5 ms", all(func(q []byte) steps { return spread(right(q), 5*ms) }), two(nil)},
	{"gaps of 30 ms", all(func(q []byte) steps { return spread(right(q), 30*ms) }), two(nil)},
	{"gaps of 50 ms beyond the deadline", all(func(q []byte) steps { return spread(right(q), 50*ms) }), two(nil)},
	{"one byte each 250 ms", first(func(q []byte) steps { return spread(right(q), 250*ms) }), two(isTimeout)},
	{"duplicate at once", all(func(q []byte) steps { return steps{at(5*ms, right(q), right(q))} }), two(nil)},
	{"duplicate after 3 ms", all(func(q []byte) steps { return steps{at(5*ms, right(q)), at(8*ms, right(q))} }), two(nil)},
	{"duplicate after 20 ms", all(func(q []byte) steps { return steps{at(25*ms, right(q)), at(45*ms, right(q))} }), two(nil)},
	{"two devices of one unit id", first(func(q []byte) steps { return steps{at(5*ms, right(q), withAddress(q, 99))} }), two(isMismatch)},
	{"two devices garbled", first(func(q []byte) steps {
		p := right(q)
		for i := range p {
			p[i] &= 0xA5
		}
		return steps{at(5*ms, p)}
	}), two(isMismatch)},
	{"another master", first(func(q []byte) steps {
		other := rtu.AppendReadRequest(nil, 1, 3, 500, 2)
		return steps{at(5*ms, other), at(20*ms, right(other))}
	}), two(isMismatch)},
	{"another master, another unit", all(func(q []byte) steps {
		other := rtu.AppendReadRequest(nil, 7, 3, 500, 2)
		return steps{at(5*ms, other), at(20*ms, right(other)), at(40*ms, right(q))}
	}), two(nil)},
	{"late, before the next request", first(func(q []byte) steps { return steps{at(310*ms, right(q))} }), two(isTimeout)},
	{"late by half a second", first(func(q []byte) steps { return steps{at(800*ms, right(q))} }), two(isTimeout)},
	{"late by two seconds", first(func(q []byte) steps { return steps{at(2000*ms, right(q))} }), two(isTimeout)},
	{"late, after the next request", lateAfterNext(), []ask{{address: 10, want: isTimeout}, {address: 20, want: isMismatch}, {address: 20}}},
	{"late, another shape", first(func(q []byte) steps { return steps{at(400*ms, right(q))} }), []ask{{address: 10, count: 3, want: isTimeout}, {address: 20}}},
	{"late, another shape after the next request", func(n int, q []byte) steps {
		if n == 0 {
			return nil
		}
		return steps{at(5*ms, modbustest.Reply(q, 1, 2, 3)), at(30*ms, right(q))}
	}, []ask{{address: 10, count: 3, want: isTimeout}, {address: 20}}},
	{"late exception", first(func(q []byte) steps { return steps{at(400*ms, modbustest.Exception(q, 2))} }), two(isTimeout)},
	{"slow slave, 0.5 s", all(func(q []byte) steps { return steps{at(500*ms, right(q))} }), []ask{
		{address: 10, want: isTimeout}, {address: 20, want: isTimeout}, {address: 30, want: isTimeout}, {address: 10, want: isTimeout, orValue: true}, {address: 20, want: isTimeout, orValue: true},
	}},
	{"slow slave, 2 s", all(func(q []byte) steps { return steps{at(2*time.Second, right(q))} }), []ask{
		{address: 10, want: isTimeout}, {address: 20, want: isTimeout}, {address: 10, want: isTimeout, orValue: true}, {address: 30, want: isTimeout, orValue: true},
	}},
	{"babble for a while", first(func(q []byte) steps { return babble(25, 10*ms) }), two(isMismatch)},
	{"babble on into the next request", first(func(q []byte) steps { return babble(45, 10*ms) }), two(isMismatch)},
	{"babble for ever", first(func(q []byte) steps { return babble(400, 10*ms) }), []ask{{address: 10, want: isMismatch}, {address: 20, want: isBusy}, {address: 20, want: isBusy}, {address: 20, pause: 5 * time.Second}}},
	{"unplug before the reply", first(func(q []byte) steps { return steps{{At: 10 * ms, Unplug: syscall.EIO}} }), []ask{{address: 10, want: isLost}, {address: 20, want: isLost}}},
	{"unplug within the reply", first(func(q []byte) steps { return steps{at(5*ms, right(q)[:4]), {At: 10 * ms, Unplug: syscall.ENODEV}} }), []ask{{address: 10, want: isLost}}},
	{"unplug after the reply", first(func(q []byte) steps { return steps{at(5*ms, right(q)), {At: 10 * ms, Unplug: io.EOF}} }), []ask{{address: 10}, {address: 20, pause: 20 * ms, want: isLost}}},
}

func all(answer func(q []byte) steps) func(int, []byte) steps {
	return func(_ int, q []byte) steps { return answer(q) }
}

// first misbehaves once and is right afterwards.
func first(answer func(q []byte) steps) func(int, []byte) steps {
	return func(n int, q []byte) steps {
		switch {
		case n > 0:
			return steps{at(5*ms, right(q))}
		case answer == nil:
			return nil
		}
		return answer(q)
	}
}

func truncated(n int) func(int, []byte) steps {
	return first(func(q []byte) steps { return steps{at(5*ms, right(q)[:n])} })
}

func withAddress(q []byte, address byte) []byte {
	r := bytes.Clone(q)
	r[3] = address
	return right(r)
}

// lateAfterNext answers the first request when the second is there already.
func lateAfterNext() func(int, []byte) steps {
	var missed []byte
	return func(n int, q []byte) steps {
		if n == 0 {
			missed = right(q)
			return nil
		}
		if late := missed; late != nil {
			missed = nil
			return steps{at(5*ms, late), at(30*ms, right(q))}
		}
		return steps{at(5*ms, right(q))}
	}
}

// TestFaults runs every fault against the required outcome. A wrong value is
// never allowed, whatever the outcome is meant to be.
func TestFaults(t *testing.T) {
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				master, slave := modbustest.NewWire()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { modbustest.Serve(ctx, slave, c.answer); close(done) }()
				line := rtu.NewTransporter(rtu.Config{Mode: mode, Timeout: timeout})
				line.Attach(master)
				for i, a := range c.asks {
					time.Sleep(a.pause)
					if a.count == 0 {
						a.count = 2
					}
					check(t, line, i, a)
				}
				cancel()
				<-done
				master.Close()
			})
		})
	}
}

func check(t *testing.T, line *rtu.Transporter, i int, a ask) {
	t.Helper()
	request := rtu.AppendReadRequest(nil, 1, rtu.ReadHoldingRegisters, a.address, a.count)
	start := time.Now()
	held := line.Hold(1, rtu.ReadHoldingRegisters, a.address, a.count)
	reply, err := line.Send(request)
	if took := time.Since(start) - held; took > 2*timeout+50*ms {
		t.Errorf("request %d took %v beyond what it was held", i, took)
	}
	if err == nil && !bytes.Equal(reply, right(request)) {
		t.Fatalf("request %d for %d: WRONG VALUE % x", i, a.address, reply)
	}
	switch {
	case a.want == nil && err != nil:
		t.Errorf("request %d: %v, want the value", i, err)
	case a.want != nil && err == nil && !a.orValue:
		t.Errorf("request %d: got the value, want %T", i, a.want)
	case a.want != nil && err != nil && !sameKind(err, a.want):
		t.Errorf("request %d: %T %v, want %T", i, err, err, a.want)
	}
}

// TestLateAtEveryMoment sends the reply to the first of several requests at
// any moment up to three seconds: before, during and after later requests.
func TestLateAtEveryMoment(t *testing.T) {
	for late := 5 * ms; late < 2500*ms; late += 35 * ms {
		for _, think := range []time.Duration{2 * ms, 120 * ms} {
			t.Run(fmt.Sprintf("%v/%v", late, think), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					master, slave := modbustest.NewWire()
					done := make(chan struct{})
					go func() {
						modbustest.Serve(t.Context(), slave, func(n int, q []byte) steps {
							if n == 0 {
								return steps{at(late, right(q))}
							}
							return steps{at(think, right(q))}
						})
						close(done)
					}()
					line := rtu.NewTransporter(rtu.Config{Mode: mode, Timeout: timeout})
					line.Attach(master)
					for i, address := range []uint16{10, 10, 20, 30} {
						request := rtu.AppendReadRequest(nil, 1, 3, address, 2)
						send := line.SendContext
						if i == 1 {
							send = line.Resend
						}
						reply, err := send(t.Context(), request)
						if err == nil && !bytes.Equal(reply, right(request)) {
							t.Fatalf("request %d: WRONG VALUE % x", i, reply)
						}
						if err != nil && i > 0 {
							t.Errorf("request %d: %v", i, err)
						}
					}
					master.Close()
					<-done
				})
			})
		}
	}
}

func TestOtherUnitsDoNotWaitForALateReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		master, slave := modbustest.NewWire()
		done := make(chan struct{})
		go func() {
			modbustest.Serve(t.Context(), slave, func(_ int, q []byte) steps {
				if q[0] == 1 {
					return steps{at(900*ms, right(q))}
				}
				return steps{at(5*ms, right(q))}
			})
			close(done)
		}()
		line := rtu.NewTransporter(rtu.Config{Mode: mode, Timeout: timeout})
		line.Attach(master)
		if _, err := line.Send(rtu.AppendReadRequest(nil, 1, 3, 10, 2)); !sameKind(err, isTimeout) {
			t.Fatal(err)
		}
		for range 100 {
			request := rtu.AppendReadRequest(nil, 2, 3, 20, 2)
			if hold := line.Hold(2, 3, 20, 2); hold != 0 {
				t.Fatalf("unit 2 is held for %v", hold)
			}
			reply, err := line.Send(request)
			if err != nil || !bytes.Equal(reply, right(request)) {
				t.Fatalf("% x, %v", reply, err)
			}
		}
		if line.Owes(1) || line.Slowest(1) < 890*ms {
			t.Errorf("the late reply went unnoticed: owes %v, slowest %v", line.Owes(1), line.Slowest(1))
		}
		master.Close()
		<-done
	})
}

func TestCancelEndsTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		master, _ := modbustest.NewWire()
		line := rtu.NewTransporter(rtu.Config{Mode: mode, Timeout: time.Hour})
		line.Attach(master)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := line.Bind(ctx).Send(rtu.AppendReadRequest(nil, 1, 3, 10, 2))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 1100*ms {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestSilenceBetweenRequests(t *testing.T) {
	for _, c := range []struct {
		baud       int
		turnaround time.Duration
		want       time.Duration
	}{{9600, 0, 4010 * time.Microsecond}, {115200, 0, 1750 * time.Microsecond}, {115200, 5 * ms, 6750 * time.Microsecond}} {
		synctest.Test(t, func(t *testing.T) {
			m := rtu.Mode{BaudRate: c.baud, DataBits: 8, Parity: 'E', StopBits: 1}
			master, slave := modbustest.NewWire()
			var answered, asked time.Time
			done := make(chan struct{})
			go func() {
				modbustest.Serve(t.Context(), slave, func(n int, q []byte) steps {
					asked = time.Now()
					if n == 0 {
						answered = asked.Add(100 * ms)
					}
					return steps{at(100*ms, right(q))}
				})
				close(done)
			}()
			line := rtu.NewTransporter(rtu.Config{Mode: m, Timeout: timeout, Turnaround: c.turnaround})
			line.Attach(master)
			for _, address := range []uint16{1, 2} {
				if _, err := line.Send(rtu.AppendReadRequest(nil, 1, 3, address, 2)); err != nil {
					t.Fatal(err)
				}
			}
			master.Close()
			<-done
			if got := asked.Sub(answered); got < c.want || got > c.want+100*time.Microsecond {
				t.Errorf("%d baud, turnaround %v: silence of %v, want %v", c.baud, c.turnaround, got, c.want)
			}
		})
	}
}
