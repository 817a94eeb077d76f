package uplink

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

func births(int) []Message {
	return []Message{{Topic: "test/status", Payload: []byte("online"), Retain: true}}
}

func TestRefusedForEverIsParkedInOrder(t *testing.T) {
	for _, code := range []byte{0x95, 0x99} {
		b := faultBroker(t, uplinktest.Fault{Reason: code, ReasonText: "message 7"}) // 7, 70 to 79
		q := newTestQueue(t, 100)
		u, stop := run(t, Config{Protocol: Protocol5, Servers: []string{"mqtt://" + b.Addr()}}, q, nil, nil)
		q.wait(100)
		stop()
		if len(q.refused) != 11 || !strings.HasPrefix(q.refused[0], "message 7: ") || !strings.HasPrefix(q.refused[1], "message 70: ") {
			t.Errorf("code %#x: refused %q", code, q.refused)
		}
		if s := u.Stats(); s.Refused != 11 || s.Acked != 89 || s.Connects != 1 {
			t.Errorf("code %#x: stats %+v", code, s)
		}
	}
}

// 0x10 says that nobody has subscribed: the message was taken all the same.
func TestNoSubscribersIsNoRefusal(t *testing.T) {
	b := faultBroker(t, uplinktest.Fault{Reason: 0x10})
	q := newTestQueue(t, 10)
	u, stop := run(t, Config{Protocol: Protocol5, Servers: []string{"mqtt://" + b.Addr()}}, q, nil, nil)
	q.wait(10)
	stop()
	if s := u.Stats(); s.Acked != 10 || s.Refused != 0 || s.Connects != 1 {
		t.Errorf("stats %+v", s)
	}
}

// An access rule, a quota, a topic or a broker's bad day can pass: the message
// is handed back as such, and the others go on.
func TestRefusedForNow(t *testing.T) {
	for _, code := range []byte{0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0xEE} {
		t.Run(fmt.Sprintf("0x%02X", code), func(t *testing.T) {
			t.Parallel()
			b := faultBroker(t, uplinktest.Fault{Reason: code, ReasonText: "message 5"})
			q := newTestQueue(t, 20)
			u, stop := run(t, Config{Protocol: Protocol5, Servers: []string{"mqtt://" + b.Addr()}}, q, nil, nil)
			q.wait(20)
			stop()
			if s := u.Stats(); len(q.refused) != 1 || q.final > 0 || s.Connects != 1 || s.Acked != 19 || s.Refused != 1 {
				t.Errorf("refused %q, %d for ever; stats %+v", q.refused, q.final, s)
			}
		})
	}
}

func TestAnnouncedLimitsAreKept(t *testing.T) {
	b := faultBroker(t, uplinktest.Fault{Ack: uplinktest.AckReversed, ReceiveMaximum: 4, MaximumPacket: 2000, NoRetain: true})
	q := newTestQueue(t, 100)
	q.msgs[50].Payload = []byte(strings.Repeat("x", 2000))
	_, stop := run(t, Config{Protocol: Protocol5, Servers: []string{"mqtt://" + b.Addr()}, Birth: births}, q, nil, nil)
	q.wait(100)
	stop()
	if v := b.Violations(); len(v) > 0 {
		t.Errorf("the client broke the broker's limits: %q", v)
	}
	if len(q.refused) != 1 || !strings.HasSuffix(q.refused[0], ": too_large") {
		t.Errorf("refused %.50q, want the one that is too large", q.refused)
	}
	if q.limits[0] <= 0 || q.limits[0] >= 2000 {
		t.Errorf("the queue was told a limit of %d", q.limits[0])
	}
	if n := len(b.Connects()); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestServerKeepAliveCounts(t *testing.T) {
	t.Parallel()
	b := faultBroker(t, uplinktest.Fault{ServerKeepAlive: 1, IgnorePings: true}, uplinktest.Fault{})
	obs := newEvents()
	_, stop := run(t, Config{Protocol: Protocol5, Servers: []string{"mqtt://" + b.Addr()}, KeepAlive: time.Hour}, newTestQueue(t, 1), obs, nil)
	if e := obs.lost(t); e.Reason != ReasonKeepAlive {
		t.Errorf("lost by %v, want %v", e, ReasonKeepAlive)
	}
	stop()
}

func TestConnackAndDisconnectCodes(t *testing.T) {
	tests := []struct {
		name   string
		fault  uplinktest.Fault
		reason Reason
		slow   bool
	}{
		{"bad user", uplinktest.Fault{Refuse: 0x86}, ReasonUser, true},
		{"not authorised", uplinktest.Fault{Refuse: 0x87}, ReasonUser, true},
		{"banned", uplinktest.Fault{Refuse: 0x8A}, ReasonUser, true},
		{"client id", uplinktest.Fault{Refuse: 0x85}, ReasonClientID, true},
		{"version", uplinktest.Fault{Refuse: 0x84}, ReasonVersion, true},
		{"MQTT 3.1.1's version", uplinktest.Fault{Connack: []byte{0x20, 2, 0, 1}}, ReasonVersion, true},
		{"unavailable", uplinktest.Fault{Refuse: 0x88}, ReasonUnavailable, false},
		{"busy", uplinktest.Fault{Refuse: 0x89}, ReasonUnavailable, false},
		{"use another server", uplinktest.Fault{Refuse: 0x9C}, ReasonMoved, false},
		{"connection rate", uplinktest.Fault{Refuse: 0x9F}, ReasonThrottled, true},
		{"quota", uplinktest.Fault{Refuse: 0x97}, ReasonThrottled, true},
		{"unspecified", uplinktest.Fault{Refuse: 0x80}, ReasonRefused, false},
		{"malformed", uplinktest.Fault{Refuse: 0x81}, ReasonProtocol, false},
		{"protocol error", uplinktest.Fault{Refuse: 0x82}, ReasonProtocol, false},
		{"implementation specific", uplinktest.Fault{Refuse: 0x83}, ReasonRefused, false},
		{"authentication method", uplinktest.Fault{Refuse: 0x8C}, ReasonUser, true},
		{"the will's topic", uplinktest.Fault{Refuse: 0x90}, ReasonRefused, false},
		{"too large a CONNECT", uplinktest.Fault{Refuse: 0x95}, ReasonRefused, false},
		{"the will's payload", uplinktest.Fault{Refuse: 0x99}, ReasonRefused, false},
		{"no retained will", uplinktest.Fault{Refuse: 0x9A}, ReasonRefused, false},
		{"the will's QoS", uplinktest.Fault{Refuse: 0x9B}, ReasonQoS, true},
		{"server moved", uplinktest.Fault{Refuse: 0x9D}, ReasonMoved, false},
		{"an unknown code", uplinktest.Fault{Refuse: 0xFF}, ReasonRefused, false},
		{"a code that is no error", uplinktest.Fault{Refuse: 0x05}, ReasonProtocol, false},
		{"no QoS 1", uplinktest.Fault{MaximumQoS0: true}, ReasonQoS, true},
		{"an authentication method", uplinktest.Fault{Connack: []byte("\x20\x09\x00\x00\x06\x15\x00\x03abc")}, ReasonUnknown, false},
		{"broken properties", uplinktest.Fault{Connack: []byte("\x20\x05\x00\x00\x02\xff\xff")}, ReasonProtocol, false},
		{"taken over", uplinktest.Fault{Disconnect: 0x8E, DisconnectAt: 1}, ReasonTakenOver, true},
		{"shutting down", uplinktest.Fault{Disconnect: 0x8B, DisconnectAt: 1}, ReasonUnavailable, false},
		{"rate too high", uplinktest.Fault{Disconnect: 0x96, DisconnectAt: 1}, ReasonThrottled, true},
		{"too large", uplinktest.Fault{Disconnect: 0x95, DisconnectAt: 1}, ReasonTooLarge, false},
		{"not authorised any more", uplinktest.Fault{Disconnect: 0x87, DisconnectAt: 1}, ReasonDenied, true},
		{"normal", uplinktest.Fault{Disconnect: 0x04, DisconnectAt: 1}, ReasonGoodbye, false},
		{"malformed packet", uplinktest.Fault{Disconnect: 0x81, DisconnectAt: 1}, ReasonProtocol, false},
		{"busy now", uplinktest.Fault{Disconnect: 0x89, DisconnectAt: 1}, ReasonUnavailable, false},
		{"keep alive", uplinktest.Fault{Disconnect: 0x8D, DisconnectAt: 1}, ReasonKeepAlive, false},
		{"receive maximum", uplinktest.Fault{Disconnect: 0x93, DisconnectAt: 1}, ReasonProtocol, false},
		{"quota used up", uplinktest.Fault{Disconnect: 0x97, DisconnectAt: 1}, ReasonThrottled, true},
		{"too many connections", uplinktest.Fault{Disconnect: 0x9F, DisconnectAt: 1}, ReasonThrottled, true},
		{"an unknown goodbye", uplinktest.Fault{Disconnect: 0xFE, DisconnectAt: 1}, ReasonGoodbye, false},
		{"administrative action", uplinktest.Fault{Disconnect: 0x98, DisconnectAt: 1}, ReasonGoodbye, false},
		{"moved", uplinktest.Fault{Disconnect: 0x9D, DisconnectAt: 1}, ReasonMoved, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := faultBroker(t, tt.fault, uplinktest.Fault{})
			obs := newEvents()
			q := newTestQueue(t, 3)
			_, stop := run(t, Config{Protocol: Protocol5, Servers: []string{"mqtt://" + b.Addr()}}, q, obs, nil)
			if tt.reason != ReasonUnknown {
				if e := obs.lost(t); e.Reason != tt.reason || e.Slow() != tt.slow {
					t.Errorf("got %v (slow %v): %v; want %v (%v)", e.Reason, e.Slow(), e, tt.reason, tt.slow)
				}
				q.wait(3)
			}
			stop()
		})
	}
}

// Without a check at connect, a broker of MQTT 3.1.1 acknowledges what its
// access rules throw away.
func TestDeniedIsFoundOut(t *testing.T) {
	bad := uplinktest.Fault{Swallow: true}
	b := faultBroker(t, bad, bad, uplinktest.Fault{})
	q := newTestQueue(t, 20)
	obs := newEvents()
	_, stop := run(t, Config{Servers: []string{"mqtt://" + b.Addr()}, Birth: births, Verify: true}, q, obs,
		func(u *Uplink) { u.time.Confirm = 200 * time.Millisecond })
	for range 2 {
		if ev := obs.next(t); ev.connected {
			t.Error("reported as connected although nothing can be published")
		} else if e, ok := ev.err.(*Error); !ok || e.Reason != ReasonDenied || !e.Slow() { //nolint:errorlint // the contract says: is one
			t.Errorf("got %v, want %v, tried again slowly", ev.err, ReasonDenied)
		}
	}
	q.wait(20)
	stop()
	for i, r := range b.Received() {
		if r.Conn < 2 && r.Topic != "test/status" {
			t.Errorf("message %d, %s, was given to a broker that throws it away", i, r.Payload)
		}
	}
	if obs.accepted.Load() == 0 {
		t.Error("the observer was not told that publishing works again")
	}
}

// Under MQTT 5 the answer to each message says it.
func TestADeniedBirthHoldsNothingUp(t *testing.T) {
	for _, code := range []byte{0x80, 0x83, 0x87, 0x90, 0x91, 0x95, 0x97, 0x99} {
		b := faultBroker(t, uplinktest.Fault{Reason: code, ReasonText: "online"})
		q := newTestQueue(t, 20)
		obs := newEvents()
		u, stop := run(t, Config{Protocol: Protocol5, Servers: []string{"mqtt://" + b.Addr()}, Birth: births, Verify: true}, q, obs, nil)
		q.wait(20)
		stop()
		if s := u.Stats(); s.Acked != 20 || s.Connects != 1 {
			t.Errorf("code %#x: stats %+v", code, s)
		}
		if why, _ := obs.said("test/status"); why == "" {
			t.Errorf("code %#x: nobody was told", code)
		}
	}
}

func TestABrokerWithoutSubscribeRights(t *testing.T) {
	for name, fault := range map[string]uplinktest.Fault{
		"refuses":   {RefuseSubscribe: true},
		"is silent": {IgnoreSubscribes: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := faultBroker(t, fault, uplinktest.Fault{})
			q := newTestQueue(t, 5)
			obs := newEvents()
			_, stop := run(t, Config{Servers: []string{"mqtt://" + b.Addr()}, Birth: births, Verify: true}, q, obs,
				func(u *Uplink) { u.time.Confirm = 200 * time.Millisecond })
			q.wait(5)
			stop()
			// Neither can be checked, and each is given the benefit of the doubt.
			if got := len(b.Connects()); got != 1 {
				t.Errorf("%d connections, want 1", got)
			}
		})
	}
}

// A message that ends every connection is given up, and the queue goes on.
func TestPoisonIsParked(t *testing.T) {
	protocols(t, func(t *testing.T, p Protocol) {
		t.Parallel()
		b := faultBroker(t, uplinktest.Fault{Poison: "message 13"})
		q := newTestQueue(t, 30)
		honest(q, b)
		u, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, Birth: births}, q, nil,
			func(u *Uplink) { u.suspect.shortest = 50 * time.Millisecond })
		q.wait(30)
		stop()
		if len(q.refused) != 1 || !strings.HasPrefix(q.refused[0], "message 13: ") {
			t.Errorf("given up: %q, want message 13 only", q.refused)
		}
		if s := u.Stats(); s.Connects > 15 || s.Refused != 1 {
			t.Errorf("stats %+v", s)
		}
		for i := range 30 {
			if i != 13 && !b.Acked(fmt.Sprintf("message %d", i)) {
				t.Errorf("the broker never acknowledged message %d", i)
			}
		}
	})
}

// A birth that ends every connection is made smaller, and then left out.
func TestABirthThatEndsEveryConnection(t *testing.T) {
	protocols(t, func(t *testing.T, p Protocol) {
		t.Parallel()
		b := faultBroker(t, uplinktest.Fault{Poison: "xxxxxxxxxx"})
		q := newTestQueue(t, 20)
		obs := newEvents()
		var asked []int
		birth := func(most int) []Message {
			asked = append(asked, most)
			meta := Message{Topic: "test/meta", Payload: []byte(strings.Repeat("x", 2000)), Retain: true}
			if most > 0 {
				meta.Payload = meta.Payload[:most-len(meta.Topic)]
			}
			return append(births(most), meta)
		}
		_, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, Birth: birth, Verify: true}, q, obs, nil)
		q.wait(20)
		stop()
		if len(q.refused) > 0 || len(asked) > 8 || asked[len(asked)-1] == 0 {
			t.Errorf("refused %q; births of %v bytes", q.refused, asked)
		}
		if why, _ := obs.said("test/meta"); why == "" {
			t.Error("nobody was told")
		}
		if why, is := obs.said("test/status"); why != "" || !is {
			t.Errorf("the status: %q, %v", why, is)
		}
	})
}

// A topic that ends every connection is found out although other topics get
// through, and nothing but it is handed back.
func TestATopicThatEndsEveryConnection(t *testing.T) {
	protocols(t, func(t *testing.T, p Protocol) {
		t.Parallel()
		b := faultBroker(t, uplinktest.Fault{PoisonTopic: "test/bad"})
		q := newTestQueue(t, 30)
		q.holds = true
		for i := range q.msgs {
			if i%3 == 1 {
				q.msgs[i].Topic = "test/bad"
			}
		}
		honest(q, b)
		u, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, Birth: births}, q, nil,
			func(u *Uplink) { u.suspect.shortest = 20 * time.Millisecond })
		q.wait(21) // of the ten to the bad topic the first was handed back, and the others held
		stop()
		if len(q.refused) != 1 || q.final > 0 || !strings.HasPrefix(q.refused[0], "message 1: ") {
			t.Errorf("handed back: %q, %d for ever", q.refused, q.final)
		}
		if s := u.Stats(); s.Connects > 20 {
			t.Errorf("%d connections", s.Connects)
		}
	})
}
