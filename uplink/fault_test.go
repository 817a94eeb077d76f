package uplink

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// honest makes q fail the test when a message is reported that the broker has
// not acknowledged.
func honest(q *testQueue, b *uplinktest.FaultBroker) {
	q.onAcked = func(m Message) {
		if !b.Acked(string(m.Payload)) {
			q.t.Errorf("message %d was reported as acknowledged, but the broker sent no PUBACK for it", m.Token)
		}
	}
}

// protocols runs a test for every version of MQTT.
func protocols(t *testing.T, test func(t *testing.T, p Protocol)) {
	t.Helper()
	t.Run("mqtt 3.1.1", func(t *testing.T) { test(t, Protocol311) })
	t.Run("mqtt 5", func(t *testing.T) { test(t, Protocol5) })
}

// The worst broker: it takes everything, acknowledges nothing and hangs up.
func TestNothingIsAckedWithoutPuback(t *testing.T) {
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t, uplinktest.Fault{Ack: uplinktest.AckNever, DropAfter: 7})
		q := newTestQueue(t, 20)
		honest(q, b)
		u, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, InFlight: 10}, q, nil, nil)
		waitFor(t, b, "10 connections came and went", func(_ []uplinktest.Received, connects, _ int) bool { return connects > 10 })
		stop()
		acked, most, rewinds := q.counts()
		if acked != 0 {
			t.Errorf("%d messages were reported as acknowledged by a broker that acknowledges nothing", acked)
		}
		if most > 10 || b.MaxUnacked() > 10 {
			t.Errorf("in flight: %d handed out, %d at the broker; the window is 10", most, b.MaxUnacked())
		}
		if rewinds < 10 {
			t.Errorf("Rewind was called %d times on more than 10 sessions", rewinds)
		}
		if s := u.Stats(); s.Acked != 0 || s.InFlight != 0 || s.Connected {
			t.Errorf("stats after the end: %+v", s)
		}
		for _, r := range b.Received() {
			if r.Dup || r.QoS != 1 {
				t.Fatalf("a new session must send anew with QoS 1, got %+v", r)
			}
		}
	})
}

func TestFaultyBrokers(t *testing.T) {
	protocols(t, func(t *testing.T, p Protocol) {
		const window = 16
		none := uplinktest.Fault{}
		tests := []struct {
			name   string
			faults []uplinktest.Fault
			reason Reason // of the first loss; ReasonUnknown: there is none
			tweak  func(*Config)
		}{
			{"none", []uplinktest.Fault{none}, ReasonUnknown, nil},
			{"acknowledges twice", []uplinktest.Fault{{Ack: uplinktest.AckTwice}}, ReasonUnknown, nil},
			{"acknowledges out of order", []uplinktest.Fault{{Ack: uplinktest.AckReversed}}, ReasonUnknown, nil},
			{"acknowledges unknown ids", []uplinktest.Fault{{Ack: uplinktest.AckUnknown}}, ReasonUnknown, nil},
			{"acknowledges by other packets", []uplinktest.Fault{{Ack: uplinktest.AckOther}, none}, ReasonProtocol, nil},
			{"drops after one", []uplinktest.Fault{{DropAfter: 1}, none}, ReasonLost, nil},
			{"drops again and again", []uplinktest.Fault{{DropAfter: 3}, {DropAfter: 30}, {DropAfter: 1}, {DropAfter: 9}, none}, ReasonLost, nil},
			{"drops while acknowledging out of order", []uplinktest.Fault{{Ack: uplinktest.AckReversed, DropAfter: 11}, none}, ReasonLost, nil},
			{"never acknowledges", []uplinktest.Fault{{Ack: uplinktest.AckNever}, none}, ReasonAckTimeout,
				func(c *Config) { c.AckTimeout = 50 * time.Millisecond }},
			{"sends garbage", []uplinktest.Fault{{GarbageAt: 5, Garbage: []byte("\xff\xfe\xfd garbage")}, none}, ReasonProtocol, nil},
			{"sends a huge length", []uplinktest.Fault{{GarbageAt: 5, Garbage: []byte("\x40\xff\xff\xff\x7f")}, none}, ReasonProtocol, nil},
			{"sends an endless length", []uplinktest.Fault{{GarbageAt: 5, Garbage: []byte("\x40\xff\xff\xff\xff\xff\x7f")}, none}, ReasonProtocol, nil},
			{"sends a short PUBACK", []uplinktest.Fault{{GarbageAt: 1, Garbage: []byte("\x40\x01\x00")}, none}, ReasonProtocol, nil},
			{"sends a PUBREC", []uplinktest.Fault{{GarbageAt: 1, Garbage: []byte("\x50\x02\x00\x01")}, none}, ReasonProtocol, nil},
			{"sends PUBACKs with broken properties", []uplinktest.Fault{{GarbageAt: 3, Garbage: []byte("\x40\x06\x00\x03\x00\x02\xff\xff")}, none}, ReasonProtocol, nil},
			{"sends AUTH", []uplinktest.Fault{{GarbageAt: 3, Garbage: []byte("\xf0\x00")}, none}, ReasonProtocol, nil},
			{"becomes half open", []uplinktest.Fault{{HalfOpen: 20}, none}, ReasonAckTimeout,
				func(c *Config) { c.AckTimeout = 50 * time.Millisecond }},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				b := faultBroker(t, tt.faults...)
				q := newTestQueue(t, 200)
				honest(q, b)
				cfg := Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, InFlight: window}
				if tt.tweak != nil {
					tt.tweak(&cfg)
				}
				obs := newEvents()
				_, stop := run(t, cfg, q, obs, nil)
				q.wait(200)
				stop()
				if tt.reason != ReasonUnknown {
					if e := obs.lost(t); e.Reason != tt.reason {
						t.Errorf("first loss: %v (%v), want reason %v", e.Reason, e, tt.reason)
					}
				}
				checkRecord(t, b, 200, window)
			})
		}
	})
}

// checkRecord checks what the broker got: every message acknowledged at least
// once, in order on each connection, never more in flight than the window.
func checkRecord(t *testing.T, b *uplinktest.FaultBroker, n, window int) {
	t.Helper()
	last := make(map[int]int)
	for _, r := range b.Received() {
		var i int
		if _, err := fmt.Sscanf(r.Payload, "message %d", &i); err != nil {
			t.Fatalf("the broker got %q", r.Payload)
		}
		if before, ok := last[r.Conn]; ok && i != before+1 {
			t.Errorf("connection %d: message %d came after %d", r.Conn, i, before)
		}
		last[r.Conn] = i
	}
	for i := range n {
		if !b.Acked(fmt.Sprintf("message %d", i)) {
			t.Errorf("the broker never acknowledged message %d", i)
		}
	}
	if most := b.MaxUnacked(); most > window {
		t.Errorf("%d messages were in flight, the window is %d", most, window)
	}
}

func TestLateAcks(t *testing.T) {
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t, uplinktest.Fault{Ack: uplinktest.AckLate})
		q := newTestQueue(t, 25)
		honest(q, b)
		u, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, InFlight: 10}, q, nil, nil)
		for sent := 10; sent <= 25; sent = min(sent+10, 25) {
			waitFor(t, b, fmt.Sprintf("%d messages came", sent), func(got []uplinktest.Received, _, _ int) bool { return len(got) >= sent })
			if got := len(b.Received()); got != sent {
				t.Fatalf("%d messages came, the window allows %d", got, sent)
			}
			if acked, _, _ := q.counts(); acked != sent-10 && sent != 25 {
				t.Fatalf("%d messages were reported as acknowledged, want %d", acked, sent-10)
			}
			if s := u.Stats(); s.InFlight == 0 {
				t.Error("stats say that nothing is in flight")
			}
			b.Release()
			q.wait(sent)
			if sent == 25 {
				break
			}
		}
		stop()
		if got := len(b.Received()); got != 25 {
			t.Errorf("%d messages came, want 25 without repetition", got)
		}
	})
}

// A connection that takes no bytes any more must be given up although nothing
// fails: the peer's kernel still acknowledges, or nobody does.
func TestHalfOpenWithFullBuffers(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t, uplinktest.Fault{HalfOpen: 1}, uplinktest.Fault{})
		q := newTestQueue(t, 0)
		big := make([]byte, 1<<20)
		for i := range 40 {
			q.msgs = append(q.msgs, Message{Topic: "test/big", Payload: big, Token: uint64(i + 1)})
		}
		obs := newEvents()
		_, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, InFlight: 40}, q, obs,
			func(u *Uplink) { u.time.Write = 100 * time.Millisecond })
		if e := obs.lost(t); e.Reason != ReasonWriteTimeout {
			t.Errorf("lost by %v, want %v", e, ReasonWriteTimeout)
		}
		q.wait(40)
		stop()
	})
}

func TestKeepAliveFindsSilentBroker(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t, uplinktest.Fault{IgnorePings: true}, uplinktest.Fault{})
		q := newTestQueue(t, 1)
		obs := newEvents()
		_, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, KeepAlive: time.Second}, q, obs, nil)
		if e := obs.lost(t); e.Reason != ReasonKeepAlive {
			t.Errorf("lost by %v, want %v", e, ReasonKeepAlive)
		}
		stop()
	})
}

// Stopping must be prompt whatever the broker does.
func TestStopIsPrompt(t *testing.T) {
	protocols(t, func(t *testing.T, p Protocol) {
		for name, fault := range map[string]uplinktest.Fault{
			"no CONNACK":   {NoConnack: true},
			"never acks":   {Ack: uplinktest.AckNever},
			"half open":    {HalfOpen: 1},
			"idle":         {},
			"refused":      {Refuse: 0x85},
			"keeps losing": {DropAfter: 1},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := faultBroker(t, fault)
				q := newTestQueue(t, 30)
				_, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, AckTimeout: time.Hour}, q, nil, func(u *Uplink) {
					u.time.Connect = time.Hour
					u.time.Write = time.Hour
					u.time.retryMin, u.time.retryMax = time.Hour, time.Hour
				})
				waitFor(t, b, "it connected", func(_ []uplinktest.Received, connects, _ int) bool { return connects > 0 })
				stop() // fails the test if it takes longer than patience, far below an hour
			})
		}
	})
}

// A broker that sends what nobody asked for, megabytes of it before every
// acknowledgement: it is read past, and takes no memory.
func TestNoiseTakesNoMemory(t *testing.T) {
	const messages, size = 40, 4 << 20
	noise := append([]byte{0x30, 0x80, 0x80, 0x80, 0x02}, make([]byte, size)...) // PUBLISH with QoS 0
	noise = append(noise, 0xD0, 0)                                               // and a PINGRESP
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t, uplinktest.Fault{Noise: noise})
		q := newTestQueue(t, messages)
		honest(q, b)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		u, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}}, q, nil, nil)
		q.wait(messages)
		stop()
		runtime.ReadMemStats(&after)
		if s := u.Stats(); s.Connects != 1 || s.Failures != 0 || s.BytesDown < messages*size {
			t.Errorf("stats %+v", s)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > size {
			t.Errorf("%d bytes were allocated for %d bytes of noise", got, messages*size)
		}
	})
}
