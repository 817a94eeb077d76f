package gateway

import (
	"cmp"
	"time"

	"fieldferry/bus"
)

// How many topics have an alarm of their own; the alarm account remembers
// every subject.
const (
	maxDenied   = 64
	maxUnproved = 16
)

// furtherTopics is the subject of the alarm for all others.
const furtherTopics = "further topics"

// topicAlarm is an alarm whose subjects are topics. It belongs to the
// goroutine of the uplink.
type topicAlarm struct {
	code     string
	most     int             // subjects
	subjects map[string]bool // that have had an alarm
	further  map[string]bool // for which it holds now, under the common alarm
}

func newTopicAlarm(code string, most int) topicAlarm {
	return topicAlarm{code: code, most: most, subjects: map[string]bool{}, further: map[string]bool{}}
}

func (d *topicAlarm) subject(topic string) string {
	if topic != "" && (d.subjects[topic] || len(d.subjects) < d.most) {
		d.subjects[topic] = true
		return topic
	}
	return furtherTopics
}

// raised is the event that it holds for a topic.
func (d *topicAlarm) raised(topic, reason string) bus.Event {
	subject := d.subject(topic)
	if subject == furtherTopics {
		d.further[topic] = true
	}
	return bus.Event{Time: time.Now(), Code: d.code, Subject: subject, State: bus.Raised,
		Detail: map[string]any{"topic": cmp.Or(topic, furtherTopics), "reason": reason}}
}

// cleared is the event that it does not hold any more, if there is one.
func (d *topicAlarm) cleared(topic string) (e bus.Event, is bool) {
	if !d.subjects[topic] && !d.further[topic] {
		return e, false
	}
	subject := d.subject(topic)
	if subject == furtherTopics {
		if delete(d.further, topic); len(d.further) > 0 {
			return e, false
		}
	}
	return bus.Event{Time: time.Now(), Code: d.code, Subject: subject, State: bus.Cleared}, true
}
