package uplink

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fieldferry/uplink/mqtt"
	"fieldferry/uplink/uplinktest"
)

// proveAll is a configuration that proves topics, for the given broker.
func proveAll(p Protocol, addr string) Config {
	return Config{Protocol: p, Servers: []string{"mqtt://" + addr}, Birth: births, Verify: true, VerifyTopics: true}
}

// quickProofs is as patient as a loaded machine needs it.
func quickProofs(u *Uplink) {
	u.time.Confirm, u.time.prove, u.time.rest = 3*time.Second, 20*time.Millisecond, 20*time.Millisecond
}

// to spreads the messages of a queue over topics.
func (q *testQueue) to(topics ...string) {
	for i := range q.msgs {
		q.msgs[i].Topic = topics[i%len(topics)]
	}
}

// What the rules of mosquitto deny, and what they do not let be read, is named;
// all is sent. Under MQTT 5 its answers say it, and there is no subscription.
func TestMosquittoProvesTopics(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		dir := readableDir(t)
		acl := file(t, dir, "acl", []byte("topic readwrite test/status\ntopic readwrite test/good\ntopic write test/blind\n"))
		m := newMosquitto(t, "acl_file "+acl)
		q, obs := newTestQueue(t, 0), newEvents()
		topics := []string{"test/good", "test/blind", "test/denied"}
		if p == Protocol5 {
			topics = topics[:2]
		}
		_, stop := run(t, proveAll(p, m.addr), q, obs, quickProofs)
		if p == Protocol5 {
			q.feed(topics, func() bool { return len(q.msgs) > 30 })
			stop()
			if len(obs.unproved) > 0 {
				t.Errorf("named: %v", obs.unproved)
			}
			return
		}
		q.feed(topics, func() bool { return obs.why("test/blind") != "" && obs.why("test/denied") != "" })
		// Who writes the rules corrects them.
		file(t, dir, "acl", []byte("topic readwrite test/#\n"))
		m.restart()
		q.feed(topics, func() bool { return obs.why("test/blind")+obs.why("test/denied")+obs.why("test/good") == "" })
		stop()
	})
}

// feed adds a message for each topic and waits for them, again and again.
func (q *testQueue) feed(topics []string, done func() bool) {
	q.t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			q.t.Fatalf("not even after %d messages", len(q.msgs))
		}
		q.mu.Lock()
		for _, topic := range topics {
			i := len(q.msgs)
			q.msgs = append(q.msgs, Message{Topic: topic, Payload: fmt.Appendf(nil, "message %d", i), Token: uint64(i + 1)})
		}
		n := len(q.msgs)
		q.change()
		q.mu.Unlock()
		q.wait(n)
	}
}

// Whatever a broker does about subscriptions, everything is delivered, and
// what is not proved has its name told with the right reason.
func TestProofs(t *testing.T) {
	t.Parallel()
	all := []string{"test/a", "test/b"}
	for name, tt := range map[string]struct {
		faults []uplinktest.Fault
		reason map[string]error // by topic
	}{
		"echo":           {[]uplinktest.Fault{{}}, nil},
		"one swallowed":  {[]uplinktest.Fault{{SwallowTopics: "test/b"}}, map[string]error{"test/b": mqtt.ErrProofMissing}},
		"refused":        {[]uplinktest.Fault{{RefuseSubscribe: true}}, map[string]error{"test/a": mqtt.ErrProofRefused, "test/b": mqtt.ErrProofRefused}},
		"not answered":   {[]uplinktest.Fault{{IgnoreSubscribes: true}}, map[string]error{"test/a": mqtt.ErrProofSilent, "test/b": mqtt.ErrProofSilent}},
		"echo, reversed": {[]uplinktest.Fault{{Ack: uplinktest.AckReversed}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := faultBroker(t, tt.faults...)
			q, obs := newTestQueue(t, 60), newEvents()
			honest(q, b)
			q.to(all...)
			u, stop := run(t, proveAll(Protocol311, b.Addr()), q, obs, func(u *Uplink) {
				quickProofs(u)
				u.time.prove = time.Hour
			})
			q.wait(60)
			obs.waitUnproved(t, func(of map[string]string) bool {
				for topic, why := range tt.reason {
					if of[topic] != why.Error() {
						return false
					}
				}
				return true
			})
			stop()
			if len(obs.unproved) != len(tt.reason) {
				t.Errorf("named: %v", obs.unproved)
			}
			if s := u.Stats(); s.Connects != 1 || s.Failures != 0 {
				t.Errorf("stats: %+v", s)
			}
			asked, _ := b.Subscribed()
			for _, topic := range all {
				if n := len(slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return s != topic })); n > 1 {
					t.Errorf("%s was subscribed to %d times", topic, n)
				}
			}
		})
	}
}

// Some brokers end the connection of who subscribes to what it may not: that
// must not stop what was delivered before.
func TestProofsWithABrokerThatHangsUp(t *testing.T) {
	t.Parallel()
	b := faultBroker(t, uplinktest.Fault{CutSubscribes: "topic"})
	q, obs := newTestQueue(t, 20), newEvents()
	honest(q, b)
	u, stop := run(t, proveAll(Protocol311, b.Addr()), q, obs, func(u *Uplink) {
		u.proofs.rest.strikes = 1 // the pause after the first is a minute
	})
	q.wait(20)
	stop()
	if obs.unproved[""] != errProofEnds.Error() || len(obs.unproved) != 1 {
		t.Errorf("named: %v", obs.unproved)
	}
	if s := u.Stats(); s.Failures != 1 {
		t.Errorf("stats: %+v", s)
	}
}

// Without VerifyTopics nothing but the own status is subscribed to, and under
// MQTT 5 nothing at all.
func TestNoSubscriptionsBesides(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		for _, topics := range []bool{false, true} {
			b := faultBroker(t)
			q := newTestQueue(t, 20)
			cfg := proveAll(p, b.Addr())
			cfg.VerifyTopics = topics
			_, stop := run(t, cfg, q, nil, nil)
			q.wait(20)
			stop()
			want := []string{"test/status"}
			switch {
			case p == Protocol5:
				want = nil
			case topics:
				want = append(want, "test/topic")
			}
			if asked, _ := b.Subscribed(); !slices.Equal(asked, want) {
				t.Errorf("topics %v: subscribed to %q, want %q", topics, asked, want)
			}
		}
	})
}

// Thousands of topics cost a bounded number of subscriptions and of names.
func TestProofsOfManyTopics(t *testing.T) {
	t.Parallel()
	b := faultBroker(t)
	const n = 2*maxTopics + 100
	q, obs := newTestQueue(t, n), newEvents()
	for i := range q.msgs {
		q.msgs[i].Topic = fmt.Sprintf("test/%d", i)
	}
	honest(q, b)
	u, stop := run(t, proveAll(Protocol311, b.Addr()), q, obs, nil)
	q.wait(n)
	stop()
	if len(u.proofs.next) > maxTopics+maxProofs || len(u.proofs.cut) > 0 {
		t.Errorf("%d topics are remembered", len(u.proofs.next))
	}
	asked, most := b.Subscribed()
	if most > maxProofs+1 || len(asked) < 100 {
		t.Errorf("%d subscriptions, %d at a time", len(asked), most)
	}
	delete(obs.unproved, "")
	if len(obs.unproved) > 0 {
		t.Errorf("named: %v", obs.unproved)
	}
}

// A connection that ends in the middle of a proof proves nothing and names
// nothing, unless it does so again where the broker has acknowledged.
func TestProofCutShort(t *testing.T) {
	t.Parallel()
	b := faultBroker(t, uplinktest.Fault{DropAfter: 2}, uplinktest.Fault{Ack: uplinktest.AckLate}, uplinktest.Fault{})
	q, obs := newTestQueue(t, 1), newEvents()
	_, stop := run(t, proveAll(Protocol311, b.Addr()), q, obs, nil)
	waitFor(t, b, "it connects again", func(_ []uplinktest.Received, connects, _ int) bool { return connects == 2 })
	b.Release()
	waitFor(t, b, "all came", func(got []uplinktest.Received, _, _ int) bool { return len(got) >= 3 })
	stop()
	if len(obs.unproved) > 0 {
		t.Errorf("named: %v", obs.unproved)
	}
}

func TestRestAfterStrikes(t *testing.T) {
	x, now := newProofs(), time.Unix(1e9, 0)
	if x.rest.strike(now, time.Minute) || x.due("a", now.Add(59*time.Second)) || !x.due("a", now.Add(time.Minute)) {
		t.Error("the first strike rests for a minute, and says nothing")
	}
	if !x.rest.strike(now, time.Minute) || x.due("a", now.Add(59*time.Minute)) || !x.due("a", now.Add(time.Hour)) {
		t.Error("the second rests for an hour, and says so")
	}
	for range 100 {
		x.rest.strike(now, time.Minute)
	}
	if !x.due("a", now.Add(longestRest)) {
		t.Error("the rest has no end")
	}
}
