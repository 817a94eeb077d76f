package uplink

import (
	"fmt"
	"testing"

	"fieldferry/uplink/uplinktest"
)

// What is announced reaches the broker although the queue has nothing to say,
// and does not get in the way of what the queue says; without a connection it
// is dropped, because the births say the same.
func TestAnnounce(t *testing.T) {
	for _, p := range []Protocol{Protocol311, Protocol5} {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			b := faultBroker(t)
			q := newTestQueue(t, 0)
			u, _ := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, InFlight: 2,
				Birth: func(int) []Message { return []Message{{Topic: "s", Payload: []byte("birth"), Retain: true}} }}, q, nil, func(u *Uplink) {
				u.Announce(func(int) Message { return Message{Topic: "s", Payload: []byte("too early"), Retain: true} })
			})
			seen := func(payload string) {
				t.Helper()
				waitFor(t, b, "the broker has "+payload, func(got []uplinktest.Received, _, _ int) bool {
					for _, r := range got {
						if r.Payload == payload {
							return r.Retain && r.QoS == 1 && r.Topic == "s"
						}
					}
					return false
				})
			}
			seen("birth")
			for i := range 20 {
				if i%5 == 0 {
					q.add(10)
				}
				text := fmt.Sprint("news ", i)
				u.Announce(func(int) Message { return Message{Topic: "s", Payload: []byte(text), Retain: true} })
				seen(text)
			}
			q.wait(40)
			for _, r := range b.Received() {
				if r.Payload == "too early" {
					t.Error("what was announced before the birth was published after it")
				}
			}
			if v := b.Violations(); len(v) > 0 {
				t.Error(v)
			}
		})
	}
}
