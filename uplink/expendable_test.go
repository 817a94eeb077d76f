package uplink

import (
	"slices"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// withExpendable are births with one nobody misses, until it was dropped.
func withExpendable(obs *events) func(int) []Message {
	return func(most int) []Message {
		list := births(most)
		if len(obs.drops()) == 0 {
			list = append(list, Message{Topic: "former/meta", Retain: true, Expendable: true})
		}
		return list
	}
}

// What is expendable and refused is said to be dropped, and nothing follows.
func TestARefusedExpendableIsDropped(t *testing.T) {
	for _, code := range []byte{0x80, 0x87, 0x90, 0x99} {
		b := faultBroker(t, uplinktest.Fault{Reason: code, ReasonTopic: "former"})
		q := newTestQueue(t, 20)
		obs := newEvents()
		u, stop := run(t, Config{Protocol: Protocol5, Servers: []string{"mqtt://" + b.Addr()}, Birth: withExpendable(obs), Verify: true}, q, obs, nil)
		q.wait(20)
		stop()
		if s := u.Stats(); s.Acked != 20 || s.Connects != 1 || s.Failures != 0 {
			t.Errorf("code %#x: stats %+v", code, s)
		}
		if got := obs.drops(); !slices.Equal(got, []string{"former/meta"}) {
			t.Errorf("code %#x: dropped %q", code, got)
		}
		if _, is := obs.said("former/meta"); is || len(u.report.refusals) != 0 {
			t.Errorf("code %#x: announced %v, logged %v", code, is, u.report.refusals)
		}
	}
}

// With a broker that hangs up on it, two connections are lost and no more.
func TestAnExpendableThatEndsConnectionsIsDropped(t *testing.T) {
	protocols(t, func(t *testing.T, p Protocol) {
		t.Parallel()
		b := faultBroker(t, uplinktest.Fault{PoisonTopic: "former/meta"})
		q := newTestQueue(t, 20)
		obs := newEvents()
		u, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, Birth: withExpendable(obs), Verify: true}, q, obs, nil)
		q.wait(20)
		stop()
		if s := u.Stats(); s.Acked != 20 || s.Failures != 2 {
			t.Errorf("stats %+v", s)
		}
		if got := obs.drops(); !slices.Equal(got, []string{"former/meta"}) {
			t.Errorf("dropped %q", got)
		}
		if _, is := obs.said("former/meta"); is || u.about.isMuted("former/meta", time.Time{}) {
			t.Error("it was announced, or is muted")
		}
	})
}

// What the broker takes is announced. Neither is a connection nor a topic proved
// with it: a broker of MQTT 3.1.1 throws it away without a word.
func TestAnExpendableProvesNothing(t *testing.T) {
	b := faultBroker(t, uplinktest.Fault{SwallowTopics: "former"})
	q := newTestQueue(t, 5)
	obs := newEvents()
	only := func(int) []Message { return []Message{{Topic: "former/meta", Retain: true, Expendable: true}} }
	u, stop := run(t, Config{Servers: []string{"mqtt://" + b.Addr()}, Birth: only, Verify: true, VerifyTopics: true}, q, obs, nil)
	q.wait(5)
	stop()
	if topics, _ := b.Subscribed(); !slices.Equal(topics, []string{"test/topic"}) {
		t.Errorf("subscribed to %q", topics)
	}
	if why, is := obs.said("former/meta"); why != "" || !is || u.Stats().Connects != 1 || u.Stats().Failures != 0 {
		t.Errorf("announced %v %q, stats %+v", is, why, u.Stats())
	}
}
