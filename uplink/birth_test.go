package uplink

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// A client says of itself what it says in the form that it has: whether the
// broker keeps it, with which QoS, with which properties. So does the check that
// the broker lets it publish.
func TestBirthsAreMessagesLikeOthers(t *testing.T) {
	about := &Properties{ContentType: "application/x", Expiry: time.Minute, User: [][2]string{{"k", "v"}}}
	for _, p := range []Protocol{Protocol311, Protocol5} {
		b := faultBroker(t)
		q := newTestQueue(t, 1)
		u, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, Verify: true,
			Will: &Message{Topic: "death", Payload: []byte("lost"), Properties: about},
			Birth: func(int) []Message {
				return []Message{
					{Topic: "birth", Payload: []byte("node"), Properties: about},
					{Topic: "birth/device", Payload: []byte("device"), Once: true},
					{Topic: "status", Payload: []byte("online"), Retain: true},
				}
			},
			Goodbye: func() []Message {
				// Not Once: that may be lost with the end of the connection.
				return []Message{{Topic: "death", Payload: []byte("stopped"), Properties: about}}
			},
		}, q, nil, nil)
		q.wait(1)
		u.Announce(func(int) Message {
			return Message{Topic: "birth", Payload: []byte("again"), Once: true, Properties: about}
		})
		waitFor(t, b, "it was announced", func(got []uplinktest.Received, _, _ int) bool { return len(got) == 5 })
		stop()
		waitFor(t, b, "the goodbye came", func(got []uplinktest.Received, _, _ int) bool { return len(got) == 6 })
		var got []string
		for _, r := range b.Received() {
			got = append(got, fmt.Sprintf("%s=%s %v %d %s %s", r.Topic, r.Payload, r.Retain, r.QoS, r.ContentType, r.Properties))
		}
		says := map[Protocol]string{Protocol311: " ", Protocol5: "application/x expiry=60 k=v"}[p]
		data := map[Protocol]string{Protocol311: " ", Protocol5: contentType + " "}[p]
		want := []string{
			"birth=node false 1 " + says, "birth/device=device false 0  ", "status=online true 1  ",
			"test/topic=message 0 false 1 " + data, "birth=again false 0 " + says, "death=stopped false 1 " + says,
		}
		if !slices.Equal(got, want) {
			t.Errorf("published\n got %q\nwant %q", got, want)
		}
		c := b.Connects()[0]
		if will := fmt.Sprintf("%v %d %s %s", c.WillRetain, c.WillQoS, c.WillContentType, c.WillProperties); will != "false 1 "+says {
			t.Errorf("the last will is %q", will)
		}
		if v := b.Violations(); len(v) > 0 {
			t.Error(v)
		}
	}
}
