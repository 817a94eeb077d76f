package uplink

import (
	"fmt"
	"testing"

	"fieldferry/uplink/uplinktest"
)

// What is said beside the queue reaches the broker, not retained, with its
// properties, although the queue has nothing to say; without a connection it is
// dropped, and so is what the broker would not take.
func TestSay(t *testing.T) {
	for _, p := range []Protocol{Protocol311, Protocol5} {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			b := faultBroker(t)
			q := newTestQueue(t, 0)
			u, _ := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, InFlight: 2,
				Birth: func(int) []Message { return []Message{{Topic: "s", Payload: []byte("birth"), Retain: true}} }}, q, nil, func(u *Uplink) {
				if u.Say(Message{Topic: "r", Payload: []byte("too early")}) {
					t.Error("there is no connection, and it is taken")
				}
			})
			waitFor(t, b, "a birth", func(got []uplinktest.Received, _, _ int) bool { return len(got) > 0 })
			if u.Say(Message{Topic: "r/#", Payload: []byte("nowhere")}) {
				t.Error("a topic with a wildcard is taken")
			}
			for i := range 20 {
				if i%5 == 0 {
					q.add(10)
				}
				text := fmt.Sprint("result ", i)
				if !u.Say(Message{Topic: "r", Payload: []byte(text), Properties: &Properties{Correlation: []byte{byte(i)}}}) {
					t.Fatal("there is a connection, and it is not taken")
				}
				waitFor(t, b, text, func(got []uplinktest.Received, _, _ int) bool {
					for _, r := range got {
						if r.Payload == text {
							return !r.Retain && r.QoS == 1 && r.Topic == "r"
						}
					}
					return false
				})
			}
			q.wait(40)
			if v := b.Violations(); len(v) > 0 {
				t.Error(v)
			}
		})
	}
}
