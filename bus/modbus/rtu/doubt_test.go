package rtu_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// onWire runs f on a line whose far end is scripted.
func onWire(t *testing.T, cfg rtu.Config, answer func(int, []byte) steps, f func(*testing.T, *rtu.Transporter, *modbustest.SlaveEnd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		master, slave := modbustest.NewWire()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { modbustest.Serve(ctx, slave, answer); close(done) }()
		line := rtu.NewTransporter(cfg)
		line.Attach(master)
		f(t, line, slave)
		cancel()
		<-done
		master.Close()
	})
}

func read(line *rtu.Transporter, unit byte, address, count uint16) (request, reply []byte, err error) {
	request = rtu.AppendReadRequest(nil, unit, 3, address, count)
	reply, err = line.Send(request)
	return request, reply, err
}

var careful = rtu.Config{Mode: mode, Timeout: timeout, Careful: true}

// A copy that is late by several exchanges is still known as one.
func TestCopiesThatComeLater(t *testing.T) {
	for delay := 5 * ms; delay < 200*ms; delay += 5 * ms {
		onWire(t, careful, all(func(q []byte) steps {
			return steps{at(4*ms, right(q)), at(4*ms+delay, right(q))}
		}), func(t *testing.T, line *rtu.Transporter, _ *modbustest.SlaveEnd) {
			for address := range uint16(25) {
				request, reply, err := read(line, 1, address, 1)
				if err == nil && !bytes.Equal(reply, right(request)) {
					t.Fatalf("copies after %v: register %d: WRONG VALUE % x", delay, address, reply)
				}
				if err != nil && delay < 50*ms && address < 3 {
					t.Errorf("copies after %v: register %d: %v", delay, address, err)
				}
			}
		})
	}
}

// Equal registers are no copies: all are read, and it costs little to be sure.
func TestEqualRegistersAreRead(t *testing.T) {
	for _, refused := range []bool{false, true} {
		onWire(t, careful, all(func(q []byte) steps {
			if refused {
				return steps{at(5*ms, modbustest.Exception(q, 2))}
			}
			return steps{at(5*ms, modbustest.Reply(q, 0))}
		}), func(t *testing.T, line *rtu.Transporter, _ *modbustest.SlaveEnd) {
			for address := range uint16(20) {
				start := time.Now()
				_, _, err := read(line, 1, address, 1)
				if refused && !sameKind(err, isException) || !refused && err != nil {
					t.Errorf("register %d: %v", address, err)
				}
				if took := time.Since(start); took > 100*ms {
					t.Errorf("register %d took %v", address, took)
				}
			}
		})
	}
}

// The request of another master is heard before ours; what its device answers
// then is not for us.
func TestAnotherMastersReplyIsNotOurs(t *testing.T) {
	for _, reply := range []time.Duration{5 * ms, 40 * ms, 250 * ms, 900 * ms, -1} {
		other := rtu.AppendReadRequest(nil, 1, 3, 500, 1)
		start := time.Time{}
		onWire(t, careful, all(func(q []byte) steps { return steps{at(20*ms, right(q))} }),
			func(t *testing.T, line *rtu.Transporter, far *modbustest.SlaveEnd) {
				start = time.Now()
				go func() {
					_, _ = far.Write(other)
					if reply >= 0 {
						time.Sleep(reply)
						_, _ = far.Write(right(other))
					}
				}()
				if err := line.Listen(t.Context(), 10*ms); err != nil {
					t.Fatal(err)
				}
				request, got, err := read(line, 1, 10, 1)
				if err == nil && !bytes.Equal(got, right(request)) {
					t.Fatalf("reply after %v: WRONG VALUE % x", reply, got)
				}
				if err != nil {
					t.Errorf("reply after %v: %v", reply, err)
				}
				if took := time.Since(start); took > 3*time.Second {
					t.Errorf("reply after %v: took %v", reply, took)
				}
				time.Sleep(time.Second)
			})
	}
}

// Another master that never stops does not hold a request for ever.
func TestAnotherMasterThatNeverStops(t *testing.T) {
	onWire(t, careful, all(func(q []byte) steps { return steps{at(20*ms, right(q))} }),
		func(t *testing.T, line *rtu.Transporter, far *modbustest.SlaveEnd) {
			stop := make(chan struct{})
			go func() {
				for n := uint16(0); ; n++ {
					select {
					case <-stop:
						return
					case <-time.After(200 * ms):
						_, _ = far.Write(rtu.AppendReadRequest(nil, 1, 3, n, 1))
					}
				}
			}()
			if err := line.Listen(t.Context(), time.Second); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, _, err := read(line, 1, 10, 1)
			if took := time.Since(start); err == nil || took > 10*time.Second {
				t.Errorf("%v after %v", err, took)
			}
			close(stop)
		})
}

// A request of another shape to the same unit does not spoil ours.
func TestAnotherMastersOtherShape(t *testing.T) {
	onWire(t, careful, all(func(q []byte) steps {
		other := rtu.AppendReadRequest(nil, 1, 3, 500, 3)
		return steps{at(2*ms, other), at(10*ms, right(other)), at(30*ms, right(q))}
	}), func(t *testing.T, line *rtu.Transporter, _ *modbustest.SlaveEnd) {
		if request, got, err := read(line, 1, 10, 1); err != nil || !bytes.Equal(got, right(request)) {
			t.Errorf("% x, %v", got, err)
		}
	})
}

// After a timeout the unit first answers what it owes, as late as it likes
// within the next request's timeout.
func TestWhatIsOwedComesFirst(t *testing.T) {
	for gap := 1 * ms; gap < 280*ms; gap += 20 * ms {
		var owed []byte
		onWire(t, careful, func(n int, q []byte) steps {
			if n < 2 {
				owed = append(owed, right(q)...)
				return nil
			}
			if owed == nil {
				return steps{at(5*ms, right(q))}
			}
			s := steps{at(5*ms, owed), at(5*ms+gap, right(q))}
			owed = nil
			return s
		}, func(t *testing.T, line *rtu.Transporter, _ *modbustest.SlaveEnd) {
			for i, address := range []uint16{10, 20, 30, 40} {
				request, got, err := read(line, 1, address, 1)
				if i == 2 && sameKind(err, isMismatch) { // two replies; the next is the only one
					got, err = line.Resend(t.Context(), request)
				}
				if err == nil && !bytes.Equal(got, right(request)) {
					t.Fatalf("gap %v, request %d: WRONG VALUE % x", gap, i, got)
				}
				if i > 1 && err != nil {
					t.Errorf("gap %v, request %d: %v", gap, i, err)
				}
			}
		})
	}
}

// Of two replies after a timeout none is taken, in whatever order they come.
func TestLateBehindTheRightReply(t *testing.T) {
	for _, swap := range []bool{false, true} {
		for gap := 1 * ms; gap < 290*ms; gap += 20 * ms {
			var missed []byte
			onWire(t, careful, func(n int, q []byte) steps {
				switch n {
				case 0:
					missed = right(q)
					return nil
				case 1:
					a, b := missed, right(q)
					if swap {
						a, b = b, a
					}
					return steps{at(5*ms, a), at(5*ms+gap, b)}
				}
				return steps{at(5*ms, right(q))}
			}, func(t *testing.T, line *rtu.Transporter, _ *modbustest.SlaveEnd) {
				for i, address := range []uint16{10, 20, 30} {
					request, got, err := read(line, 1, address, 1)
					if err == nil && !bytes.Equal(got, right(request)) {
						t.Errorf("gap %v, request %d: WRONG VALUE % x", gap, i, got)
					}
					if (err == nil) != (i == 2) {
						t.Errorf("gap %v, request %d: %v", gap, i, err)
					}
				}
			})
		}
	}
}

// An exception shows no address: it may be for the request before.
func TestExceptionOfAnEarlierRequest(t *testing.T) {
	onWire(t, careful, func(n int, q []byte) steps {
		if n == 0 {
			return nil
		}
		return steps{at(5*ms, modbustest.Exception(q, 2)), at(60*ms, right(q))}
	}, func(t *testing.T, line *rtu.Transporter, _ *modbustest.SlaveEnd) {
		if _, _, err := read(line, 1, 10, 4); err == nil {
			t.Error("answered")
		}
		if request, got, err := read(line, 1, 20, 1); err != nil || !bytes.Equal(got, right(request)) {
			t.Errorf("% x, %v", got, err)
		}
	})
}

// A damaged echo is not a damaged reply: the reply may still come.
func TestDamagedEchoLeavesADebt(t *testing.T) {
	onWire(t, careful, func(n int, q []byte) steps {
		if n == 0 { // address 0x0210: at 2 bytes of data the echo looks like a reply
			return steps{at(0, damaged(q)), at(400*ms, right(q))}
		}
		return steps{at(150*ms, right(q))}
	}, func(t *testing.T, line *rtu.Transporter, _ *modbustest.SlaveEnd) {
		if _, _, err := read(line, 1, 0x0210, 1); err == nil {
			t.Error("answered")
		}
		if request, got, err := read(line, 1, 20, 1); err != nil || !bytes.Equal(got, right(request)) {
			t.Errorf("% x, %v", got, err)
		}
	})
}

func TestGapsOf150ms(t *testing.T) {
	onWire(t, careful, all(func(q []byte) steps { return spread(right(q), 150*ms) }),
		func(t *testing.T, line *rtu.Transporter, _ *modbustest.SlaveEnd) {
			for _, address := range []uint16{10, 20} {
				if request, got, err := read(line, 1, address, 1); err != nil || !bytes.Equal(got, right(request)) {
					t.Errorf("% x, %v", got, err)
				}
			}
		})
}

func TestWritesAreRefused(t *testing.T) {
	asked := false
	onWire(t, rtu.Config{Mode: mode, Timeout: timeout}, all(func([]byte) steps { asked = true; return nil }),
		func(t *testing.T, line *rtu.Transporter, _ *modbustest.SlaveEnd) {
			for _, request := range [][]byte{
				{1, 5, 0, 0, 0xFF, 0}, {1, 6, 0, 0, 0, 1}, {1, 15, 0, 0, 0, 1, 1, 1}, {1, 16, 0, 0, 0, 1, 2, 0, 1}, {0, 6, 0, 0, 0, 1},
			} {
				if _, err := line.Send(rtu.AppendCRC(request)); !errors.Is(err, rtu.ErrRequest) {
					t.Errorf("% x: %v", request, err)
				}
			}
		})
	if asked {
		t.Error("a write went out")
	}
}

// Noise that leaves the line quiet for t3.5 but never for longer costs time,
// not values.
func TestNoiseThatNeverEnds(t *testing.T) {
	onWire(t, careful, all(func(q []byte) steps { return steps{at(5*ms, right(q))} }),
		func(t *testing.T, line *rtu.Transporter, far *modbustest.SlaveEnd) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				for ctx.Err() == nil {
					_, _ = far.Write([]byte{0x55})
					time.Sleep(12 * ms)
				}
			}()
			for address := range uint16(5) {
				if request, got, err := read(line, 1, address, 1); err != nil || !bytes.Equal(got, right(request)) {
					t.Errorf("register %d: % x, %v", address, got, err)
				}
			}
			cancel()
			<-done
		})
}
