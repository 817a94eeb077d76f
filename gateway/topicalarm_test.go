package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/live"
	"fieldferry/gateway/record"
	"fieldferry/uplink"
)

// However many topics there are, a bounded number of subjects has an alarm, and
// the common one lasts as long as it holds for any of the others.
func TestTopicAlarm(t *testing.T) {
	a := newTopicAlarm(alarm.UplinkUnproved, maxUnproved)
	topic := func(i int) string { return fmt.Sprintf("t/%d", i) }
	subjects := map[string]bool{}
	for i := range 3 * maxUnproved {
		e := a.raised(topic(i), "why")
		if e.Code != alarm.UplinkUnproved || e.State != bus.Raised {
			t.Fatalf("%+v", e)
		}
		subjects[e.Subject] = true
	}
	if len(subjects) != maxUnproved+1 || !subjects[furtherTopics] {
		t.Errorf("subjects: %v", subjects)
	}
	if _, is := a.cleared("never/raised"); is {
		t.Error("an alarm that was not raised was cleared")
	}
	if e, is := a.cleared(topic(0)); !is || e.Subject != topic(0) || e.State != bus.Cleared {
		t.Errorf("%+v, %v", e, is)
	}
	for i := maxUnproved; i < 3*maxUnproved; i++ {
		e, is := a.cleared(topic(i))
		if last := i == 3*maxUnproved-1; is != last || last && e.Subject != furtherTopics {
			t.Errorf("topic %d: %+v, %v", i, e, is)
		}
	}
}

// One topic that is refused is not an outage while another source is delivered;
// nothing that is let through is.
func TestOneDeniedTopicIsNoOutage(t *testing.T) {
	withBench(t, manyValues(1)+"can: [{interface: \"sim:ramp\", name: engine}]\n", func(b *bench) {
		b.Connected("mqtt://broker")
		var o observer
		refused := "fieldferry/gw/line1"
		deliver := func() *live.Snapshot {
			for _, name := range []string{"engine", "line1"} {
				b.buffer.Source(name).Append(time.Now().UnixNano(), record.AppendFrame(nil, &can.Frame{ID: 1}))
			}
			for ctx, stop := context.WithTimeout(b.t.Context(), time.Minute); ; {
				m, err := b.outbox.Next(ctx)
				if err != nil {
					stop()
					break
				}
				if strings.HasPrefix(m.Topic, refused) {
					b.outbox.Refused(m, uplink.Verdict{Reason: "not authorised"})
				} else {
					b.outbox.Acked(m)
				}
			}
			b.pass(time.Second)
			s := o.picture(b.Gateway, time.Now())
			s.Uplink.Connected = true
			b.look.Publish(s)
			return s
		}
		b.pass(time.Second)
		for range 5 {
			if s := deliver(); s.State != live.Attention || s.Uplink.Denied || !strings.HasPrefix(s.Sentence, "The broker does not take fieldferry/gw/line1; ") {
				t.Errorf("%s %q, denied %v", s.State, s.Sentence, s.Uplink.Denied)
			}
		}
		refused = "fieldferry/gw/"
		deliver()
		if s := deliver(); s.State != live.Outage || !s.Uplink.Denied || !strings.HasPrefix(s.Sentence, "The broker does not let the gateway publish; ") {
			t.Errorf("%s %q, denied %v", s.State, s.Sentence, s.Uplink.Denied)
		}
		refused = "none"
		for range 10 {
			deliver()
		}
		if s := deliver(); s.Uplink.Denied || len(s.Uplink.DeniedTopics)+len(s.Uplink.Held) != 0 {
			t.Errorf("%s %q, %+v", s.State, s.Sentence, s.Uplink)
		}
	})
}
