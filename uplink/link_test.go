package uplink

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// linked is a broker of the tests behind a link, and what a subscriber beside
// the broker gets.
func linked(t testing.TB, s uplinktest.Shape) (*uplinktest.Link, *inbox) {
	t.Helper()
	b := embeddedBroker(t, uplinktest.Transport{})
	in := newInbox()
	if err := b.Subscribe("test/#", func(_ string, p []byte) { in.put(p) }); err != nil {
		t.Fatal(err)
	}
	l, err := uplinktest.NewLink(b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	l.Shape(s)
	return l, in
}

// Whatever the link does, everything arrives, and in the end in order.
func TestLinks(t *testing.T) {
	tests := []struct {
		name  string
		shape uplinktest.Shape
		cfg   Config
		bad   func(l *uplinktest.Link, q *testQueue) // what happens to the link; may be nil
	}{
		{"200 ms round trip", uplinktest.Shape{Delay: 100 * time.Millisecond}, Config{Verify: true}, nil},
		{"cut again and again", uplinktest.Shape{}, Config{}, func(l *uplinktest.Link, q *testQueue) {
			for n := 200; n <= 800; n += 200 {
				q.wait(n)
				l.Cut()
				l.Restore()
			}
		}},
		{"a NAT that forgets", uplinktest.Shape{}, Config{KeepAlive: time.Second, AckTimeout: time.Second}, func(l *uplinktest.Link, q *testQueue) {
			for n := 300; n <= 600; n += 300 {
				q.wait(n)
				l.Forget()
			}
		}},
		{"slow", uplinktest.Shape{Rate: 50_000, Delay: 50 * time.Millisecond}, Config{KeepAlive: time.Second}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			protocols(t, func(t *testing.T, p Protocol) {
				t.Parallel()
				l, in := linked(t, tt.shape)
				q := newTestQueue(t, 1000)
				cfg := tt.cfg
				cfg.Protocol, cfg.Servers, cfg.Birth = p, []string{"mqtt://" + l.Addr()}, births
				u, stop := run(t, cfg, q, nil, nil)
				if tt.bad != nil {
					tt.bad(l, q)
				}
				q.wait(1000)
				if missing := in.wait(1000); len(missing) > 0 {
					t.Errorf("%d messages never came, the first is %q", len(missing), missing[0])
				}
				stop()
				if s := u.Stats(); tt.bad == nil && s.Connects != 1 || s.Refused != 0 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

// Messages that take longer than the keep alive to send: at 2 kB/s and 30 s a
// message of 64 KiB does, here the same in small.
func TestALinkSlowerThanTheKeepAlive(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 s of real time, and a machine that keeps up with it")
	}
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		t.Parallel()
		l, in := linked(t, uplinktest.Shape{Rate: 40_000})
		q := newTestQueue(t, 5)
		for i := range q.msgs {
			q.msgs[i].Payload = append(q.msgs[i].Payload, make([]byte, 64_000)...) // 1.6 s each, and several in the kernel
		}
		obs := newEvents()
		_, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + l.Addr()}, KeepAlive: 2 * time.Second, AckTimeout: 12 * time.Second, Birth: births}, q, obs, nil)
		q.wait(5)
		stop()
		in.mu.Lock()
		defer in.mu.Unlock()
		if len(in.got) != 5+1 { // and the birth
			t.Errorf("%d different messages came", len(in.got))
		}
		for len(obs.ch) > 0 { // the broker's own patience may end on a loaded machine
			var e *Error
			if ev := obs.next(t); errors.As(ev.err, &e) && e.Reason == ReasonKeepAlive {
				t.Errorf("a connection that worked was given up: %v", e)
			}
		}
	})
}

// BenchmarkLink is what the uplink gets through links of several round trips,
// by how many messages may be in flight and how many CAN records of 130 bytes
// are in one. It reports records a second.
func BenchmarkLink(b *testing.B) {
	for _, p := range []Protocol{Protocol311, Protocol5} {
		for _, rtt := range []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond} {
			for _, c := range []struct{ window, batch int }{{1, 100}, {10, 100}, {DefaultInFlight, 100}, {DefaultInFlight, 10}, {DefaultInFlight, 1}} {
				b.Run(fmt.Sprintf("mqtt=%s/rtt=%v/window=%d/batch=%d", map[Protocol]string{Protocol311: "3.1.1", Protocol5: "5"}[p], rtt, c.window, c.batch), func(b *testing.B) {
					l, _ := linked(b, uplinktest.Shape{Delay: rtt / 2})
					q := newPumpQueue(b.N, recordSize*c.batch)
					before := cpuTime()
					_, stop := run(b, Config{Protocol: p, Servers: []string{"mqtt://" + l.Addr()}, InFlight: c.window}, q, nil, nil)
					<-q.done
					b.StopTimer()
					records := float64(c.batch) * float64(b.N)
					b.ReportMetric(records/b.Elapsed().Seconds(), "records/s")
					b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/records, "cpu-ns/record")
					stop()
				})
			}
		}
	}
}

// recordSize is what a CAN record takes as JSON.
const recordSize = 130
