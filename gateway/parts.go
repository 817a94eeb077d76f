package gateway

import (
	"encoding/json"
	"fmt"

	"fieldferry/gateway/alarm"
	"fieldferry/gateway/source"
	"fieldferry/gateway/topic"
	"fieldferry/uplink"
)

// maxRetained is how large a message of the gateway about itself may be
// whatever the broker and the configuration allow.
const maxRetained = 64 << 10

// metaPart is one of the messages that what is known of a source is split
// into, when it does not fit into the meta message.
type metaPart struct {
	V       int    `json:"v"`
	Gateway string `json:"gateway"`
	Session uint64 `json:"session"`
	Source  string `json:"source"`
	Part    int    `json:"part"` // from 1 on
	Parts   int    `json:"parts"`

	Messages []source.Message `json:"messages,omitempty"`
	Devices  []source.Device  `json:"devices,omitempty"`
	Alarms   []alarmMeta      `json:"alarms,omitempty"`
}

// room is how many bytes a retained message may have, given what the broker
// takes of topic and payload; 0: any.
func (g *Gateway) room(topic string, most int) int {
	room := min(maxRetained, int(g.cfg.Uplink.Batch.MaxBytes))
	if most > 0 {
		room = min(room, most-len(topic))
	}
	return room
}

// meta are the retained messages that say what the gateway reads: one, or as
// many as the size limit asks for. Those of a larger split of before are
// cleared.
func (g *Gateway) meta(most int) []uplink.Message {
	topic := g.root + "/meta"
	m := g.wholeMeta()
	list := []uplink.Message{g.retained(topic, m)}
	if len(list[0].Payload) > g.room(topic, most) {
		list = g.splitMeta(m, most)
	}
	topics := make([]string, len(list))
	for i, r := range list {
		topics[i] = r.Topic
	}
	for _, stale := range g.parts.replace(topics) {
		list = append(list, uplink.Message{Topic: stale, Retain: true, Expendable: true})
	}
	return list
}

// splitMeta is the meta message with what fits into it, and the parts.
func (g *Gateway) splitMeta(m *meta, most int) []uplink.Message {
	topic := g.root + "/meta"
	var parts []uplink.Message
	omitted := 0
	for i, s := range m.Sources {
		list, n := g.partsOf(s.Source, most, func(room int) ([]metaPart, int) {
			parts, n := partsOf(s.Messages, signalsOf, withSignals, room, func(p *metaPart, l []source.Message) { p.Messages = l })
			more, m := partsOf(s.Devices, valuesOf, withValues, room, func(p *metaPart, l []source.Device) { p.Devices = l })
			return append(parts, more...), n + m
		})
		s.Messages, s.Omitted, s.Parts = nil, n, len(list)
		if s.Devices != nil {
			s.Devices = []source.Device{}
		}
		m.Sources[i] = s
		parts, omitted = append(parts, list...), omitted+n
	}
	list, n := g.partsOf(selfSource, most, func(room int) ([]metaPart, int) {
		return partsOf([]alarmsMeta{m.Alarms}, alarmsMeta.items, alarmsMeta.with, room, func(p *metaPart, l []alarmsMeta) { p.Alarms = l[0] })
	})
	m.Alarms, m.AlarmParts = nil, len(list)
	parts, omitted = append(parts, list...), omitted+n
	head := g.retained(topic, m)
	for len(head.Payload) > g.room(topic, most) && len(m.Sources) > 0 {
		n := (len(m.Sources) + 1) / 2
		m.Sources, m.SourcesOmitted = m.Sources[:len(m.Sources)-n], m.SourcesOmitted+n
		head = g.retained(topic, m)
	}
	switch least := most > 0 && len(topic)+len(head.Payload) > most; {
	case least:
		g.denied(topic, tooSmall(most))
		return nil
	case (omitted > 0 || m.SourcesOmitted > 0) && !g.parts.short:
		g.parts.short = true
		g.log.Warn("the meta message is not complete: the broker, or batch.max_bytes, allows too little",
			"bytes", g.room(topic, most), "omitted", omitted, "sources_omitted", m.SourcesOmitted)
	}
	return append([]uplink.Message{head}, parts...)
}

func tooSmall(most int) string {
	return fmt.Sprintf("the least there is to say does not fit into the %d bytes the broker takes", most)
}

// partsOf makes the messages of a source.
func (g *Gateway) partsOf(name string, most int, split func(room int) ([]metaPart, int)) ([]uplink.Message, int) {
	first := g.root + "/meta/" + topic.Level(name)
	const digits = 6 // of a part's number, in the topic and twice in the payload
	head := metaPart{V: 1, Gateway: g.cfg.Gateway.ID, Session: g.buffer.Stats().Session, Source: name}
	list, omitted := split(g.room(first, most) - sizeOf(head) - len(`,"messages":[]`) - 3*digits)
	out := make([]uplink.Message, len(list))
	for i, p := range list {
		p.V, p.Gateway, p.Session, p.Source, p.Part, p.Parts = head.V, head.Gateway, head.Session, name, i+1, len(list)
		at := first
		if i > 0 {
			at = fmt.Sprintf("%s/%d", first, i+1)
		}
		out[i] = g.retained(at, p)
	}
	return out, omitted
}

// partsOf shares the items of groups out to parts of at most so many bytes. A
// group can be in several of them. An item that fits into none is left out,
// and counted.
func partsOf[G, I any](groups []G, items func(G) []I, with func(G, []I) G, room int, set func(*metaPart, []G)) (parts []metaPart, omitted int) {
	var now []G
	used := 0
	flush := func() {
		if len(now) > 0 {
			var p metaPart
			set(&p, now)
			parts = append(parts, p)
		}
		now, used = nil, 0
	}
	for _, group := range groups {
		head := sizeOf(with(group, []I{})) + 1
		all := items(group)
		if len(all) == 0 {
			if head > room {
				omitted++
				continue
			}
			if used+head > room {
				flush()
			}
			now, used = append(now, group), used+head
			continue
		}
		from, begun := 0, false
		put := func(to int) {
			if begun && from < to {
				now = append(now, with(group, all[from:to]))
			}
			from, begun = to, false
		}
		for i := range all {
			size := sizeOf(all[i]) + 1
			if head+size > room {
				put(i)
				from = i + 1
				omitted++
				continue
			}
			if begun && used+size > room || !begun && used+head+size > room {
				put(i)
				flush()
			}
			if !begun {
				begun, used = true, used+head
			}
			used += size
		}
		put(len(all))
	}
	flush()
	return parts, omitted
}

// sizeOf is how many bytes v has as JSON.
func sizeOf(v any) int {
	b, err := json.Marshal(v)
	if err != nil { // plain structs of strings and numbers
		panic(fmt.Sprintf("gateway: %T cannot be JSON: %v", v, err))
	}
	return len(b)
}

func signalsOf(m source.Message) []source.Signal { return m.Signals }

func withSignals(m source.Message, s []source.Signal) source.Message {
	m.Signals = s
	return m
}

func valuesOf(d source.Device) []source.Value { return d.Values }

func withValues(d source.Device, v []source.Value) source.Device {
	d.Values = v
	return d
}

// alarmsMeta is the table of alarms, which is split like the messages of a source.
type alarmsMeta []alarmMeta

func (a alarmsMeta) items() []alarmMeta { return a }

func (alarmsMeta) with(l []alarmMeta) alarmsMeta { return l }

func alarmTable() (list alarmsMeta) {
	for _, c := range alarm.Table {
		list = append(list, alarmMeta{Code: c.Code, Severity: c.Severity.String(), Title: c.Title, Text: c.Text + " " + c.Help})
	}
	return list
}
