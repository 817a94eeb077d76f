// Package native is fieldferry's own form of its data: the JSON that records have
// on the wire, in envelopes.
//
// # Nouns
//
// An envelope is one MQTT message: a JSON object with records of one source and
// session. A decoding is how the frames of a source are decoded by DBC files
// when they are sent.
//
// # Caveats
//
// The form is what consumers rely on: it changes only by new members, and with
// golden files that show it.
package native

import (
	"fieldferry/buffer"
	"fieldferry/gateway/payload"
	"fieldferry/gateway/topic"
)

// Format is fieldferry's own form: envelopes of JSON records, see docs/payload.md.
// It implements [payload.Format] and is used by one goroutine at a time.
type Format struct {
	gateway   string
	topic     topic.Template
	decodings map[string]*Decoding
	live      Encoder
	late      Encoder
}

// New makes the form of a gateway. Frames of a source are decoded by its
// decoding, if there is one; times are corrected by the clock, which may be nil.
func New(gateway string, t topic.Template, decodings map[string]*Decoding, c Clock) *Format {
	return &Format{gateway: gateway, topic: t, decodings: decodings, live: Encoder{Clock: c}, late: Encoder{Clock: c, Late: true}}
}

// Topic implements [payload.Format].
func (n *Format) Topic(r *buffer.Record) string {
	var k topic.Keys
	if n.topic.ByRecord() {
		k = KeysOf(r.Data, n.decodings[r.Source])
	}
	return n.topic.Render(n.gateway, r.Source, k)
}

// ByRecord implements [payload.Format].
func (n *Format) ByRecord() bool { return n.topic.ByRecord() }

// Append implements [payload.Format].
func (n *Format) Append(dst []byte, it payload.Item) ([]byte, error) {
	e := &n.live
	if it.Late {
		e = &n.late
	}
	had := len(dst)
	if had > 0 {
		dst = append(dst, ',')
	}
	if it.Lost != "" {
		return e.AppendLoss(dst, it.Seq, it.Seq+max(it.Record.Lost, 1)-1, it.Time, it.Lost), nil
	}
	out, err := e.AppendRecord(dst, it.Seq, it.Time, it.Data, n.decodings[it.Source])
	if err != nil {
		return dst[:had], err
	}
	return out, nil
}

// Overhead implements [payload.Format].
func (n *Format) Overhead(source string) int { return MaxOverhead + len(n.gateway) + len(source) }

// Seal implements [payload.Format].
func (n *Format) Seal(h payload.Head, records []byte) []byte {
	head := Envelope{Gateway: n.gateway, Session: h.Session, Source: h.Source, Seq: h.Seq, Count: h.Count}
	return head.Append(make([]byte, 0, len(records)+n.Overhead(h.Source)), records)
}
