package native

import (
	"fmt"

	"fieldferry/bus/modbus"
	"fieldferry/gateway/record"
)

// Version is the "v" member of every envelope.
const Version = 1

// Encoder turns bodies into the JSON of records. It is not safe for
// concurrent use; its zero value is ready.
type Encoder struct {
	// Clock corrects times; nil: none is corrected.
	Clock Clock
	Late  bool // records say that live ones may have overtaken them: "late":true

	stamp   stamper
	reading modbus.Reading // scratch
}

// end ends a record, with what is to be said of its time.
func (e *Encoder) end(dst []byte, mark string) []byte {
	dst = append(dst, mark...)
	if e.Late {
		dst = append(dst, `,"late":true`...)
	}
	return append(dst, '}')
}

// AppendRecord appends one record as a JSON object. Time is in nanoseconds
// since 1970. Frames are decoded by d, which may be nil. An unreadable body
// appends nothing and returns [record.ErrBody].
func (e *Encoder) AppendRecord(dst []byte, seq uint64, time int64, body []byte, d *Decoding) ([]byte, error) {
	mark := ""
	if o, rest, ok := record.CutOrigin(body); ok {
		body = rest
		time, mark = e.right(o, time)
	}
	had := len(dst)
	var err error
	switch t := record.Of(body); t {
	case record.TypeFrame, record.TypeLimited:
		f, err := record.ParseFrame(body)
		if err != nil {
			return dst, err
		}
		dst = appendFrameJSON(e.head(dst, seq, time, `","type":"can","id":"`), &f, d)
	case record.TypePacket:
		dst, err = appendPacketJSON(e.head(dst, seq, time, `","type":"can","id":"`), body, d)
	case record.TypeReading:
		dst, err = e.appendReading(e.head(dst, seq, time, `","type":"modbus",`), body)
	case record.TypeEvent:
		dst, err = appendEvent(e.head(dst, seq, time, `","type":"event",`), body)
	case record.TypeAudit:
		dst, err = appendAudit(e.head(dst, seq, time, `","type":"audit",`), body)
	case record.TypeCommand:
		dst, err = appendCommand(e.head(dst, seq, time, `","type":"command",`), body)
	default:
		members := wordOf(t)
		if members == "" {
			return dst, fmt.Errorf("%w: type %q", record.ErrBody, byte(t))
		}
		dst = append(e.head(dst, seq, time, members), record.Members(body)...)
	}
	if err != nil {
		return dst[:had], err
	}
	return e.end(dst, mark), nil
}

// wordOf begins the record of a body that consists of JSON members; it is empty
// for other types.
func wordOf(t record.Type) string {
	switch t {
	case record.TypeHealth:
		return `","type":"health",`
	case record.TypeOldReading:
		return `","type":"modbus",`
	case record.TypeOldEvent:
		return `","type":"event",`
	case record.TypeOldAudit:
		return `","type":"audit",`
	}
	return ""
}

// head appends the number and the time of a record, and the rest of its head
// from the quote that ends the time.
func (e *Encoder) head(dst []byte, seq uint64, time int64, rest string) []byte {
	dst = append(dst, `{"seq":`...)
	dst = appendUint(dst, seq)
	dst = e.stamp.append(append(dst, ','), time)
	return append(dst, rest...)
}

// AppendLoss appends a loss record: the sequence numbers from to to, both
// included, will not come.
func (e *Encoder) AppendLoss(dst []byte, from, to uint64, time int64, reason string) []byte {
	dst = e.stamp.append(append(dst, '{'), time)
	dst = append(dst, `","type":"loss","from":`...)
	dst = appendUint(dst, from)
	dst = append(dst, `,"to":`...)
	dst = appendUint(dst, to)
	dst = append(dst, `,"count":`...)
	dst = appendUint(dst, to-from+1)
	dst = append(dst, `,"reason":`...)
	dst = appendString(dst, reason)
	mark := ""
	if e.Clock != nil && e.Clock.Suspect(time) {
		mark = markUnsynced
	}
	return e.end(dst, mark)
}

// Envelope is the head of one message.
type Envelope struct {
	Gateway string
	Session uint64
	Source  string
	Seq     uint64 // of the first record
	Count   int    // records in the message
}

// MaxOverhead bounds what an envelope adds to its records, in bytes, beside
// the lengths of the gateway's and the source's names.
const MaxOverhead = 128

// Append appends the whole message around records, which are JSON objects
// joined by commas.
func (v Envelope) Append(dst, records []byte) []byte {
	dst = append(dst, `{"v":`...)
	dst = appendUint(dst, Version)
	dst = append(dst, `,"gateway":`...)
	dst = appendString(dst, v.Gateway)
	dst = append(dst, `,"session":`...)
	dst = appendUint(dst, v.Session)
	dst = append(dst, `,"source":`...)
	dst = appendString(dst, v.Source)
	dst = append(dst, `,"seq":`...)
	dst = appendUint(dst, v.Seq)
	dst = append(dst, `,"count":`...)
	dst = appendUint(dst, uint64(v.Count))
	dst = append(dst, `,"records":[`...)
	dst = append(dst, records...)
	return append(dst, ']', '}')
}
