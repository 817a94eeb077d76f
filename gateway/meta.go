package gateway

import (
	"fieldferry/gateway/payload/native"
	"fieldferry/gateway/source"
)

// meta is what the gateway reads.
type meta struct {
	V       int          `json:"v"`
	Gateway string       `json:"gateway"`
	Session uint64       `json:"session"`
	Sources []sourceMeta `json:"sources"`

	Alarms     []alarmMeta `json:"alarms,omitempty"`      // what can be raised
	AlarmParts int         `json:"alarm_parts,omitempty"` // messages it is in, {root}/meta/gateway and so on

	SourcesOmitted int `json:"sources_omitted,omitempty"`
}

type alarmMeta struct {
	_ [0]func() // nobody compares them: saves the code for it

	Code     string `json:"code"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Text     string `json:"text"` // what it means, and what to do
}

// sourceMeta is what the meta message says of a source.
type sourceMeta struct {
	source.Description
	Parts   int `json:"parts,omitempty"`   // messages that the rest is in, {root}/meta/{source} and so on
	Omitted int `json:"omitted,omitempty"` // of messages and devices, as they are too large alone
}

// wholeMeta is all there is to say.
func (g *Gateway) wholeMeta() *meta {
	m := &meta{V: native.Version, Gateway: g.cfg.Gateway.ID, Session: g.buffer.Stats().Session, Sources: []sourceMeta{}, Alarms: alarmTable()}
	for _, s := range g.sources {
		m.Sources = append(m.Sources, sourceMeta{Description: s.Describe()})
	}
	return m
}
