package uplink

import (
	"fmt"
	"slices"
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

// What connections end with is left out for a while if it was the first to its
// topic on two of them; what had answers before is not to blame.
func TestSaidWhenConnectionsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		cuts  int // connections that end so
		at    int // with that PUBLISH, of which the first is the birth
		heard bool
	}{
		"after answers":        {4, 4, true},
		"with the first of it": {2, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := faultBroker(t, append(slices.Repeat([]uplinktest.Fault{{DropAfter: tt.at}}, tt.cuts), uplinktest.Fault{})...)
			q := newTestQueue(t, 0)
			u, _ := run(t, Config{Servers: []string{"mqtt://" + b.Addr()},
				Birth: func(int) []Message { return []Message{{Topic: "s", Payload: []byte("birth"), Retain: true}} }}, q, nil, nil)
			came := func(conn int, topic, text string) func([]uplinktest.Received, int, int) bool {
				return func(got []uplinktest.Received, _, _ int) bool {
					return slices.ContainsFunc(got, func(r uplinktest.Received) bool {
						return r.Conn == conn && r.Topic == topic && r.Payload == text
					})
				}
			}
			for conn := range tt.cuts {
				waitFor(t, b, "a birth", came(conn, "s", "birth"))
				for i := range tt.at - 1 {
					u.Say(Message{Topic: "r", Payload: fmt.Append(nil, i)})
					waitFor(t, b, "what is said", came(conn, "r", fmt.Sprint(i)))
				}
			}
			waitFor(t, b, "a birth", came(tt.cuts, "s", "birth"))
			u.Say(Message{Topic: "r", Payload: []byte("last")})
			q.add(1)
			q.wait(1)
			if heard := came(tt.cuts, "r", "last")(b.Received(), 0, 0); heard != tt.heard {
				t.Errorf("the last of it came: %v", heard)
			}
		})
	}
}
