package gateway

import (
	"fmt"
	"testing"

	"fieldferry/bus"
	"fieldferry/gateway/alarm"
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
