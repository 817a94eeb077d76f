package record

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"fieldferry/bus"
)

func appendUint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }
func appendInt(dst []byte, v int64) []byte   { return binary.AppendVarint(dst, v) }

// Event is an event of a bus or of the gateway with what the account of alarms
// adds to it. The zero value of an addition leaves it out.
type Event struct {
	bus.Event
	ID       uint64    // the same for what is raised and what is cleared
	Severity string    // one word
	Since    time.Time // when it began, if not at Time
	Again    bool      // was raised under this id before the gateway started
	Flapping bool      // comes and goes: it stays raised until it has been gone for a while
	Times    uint64    // how often it happened, if more than once
}

// The first byte of an event's facts: its state, and what it has besides.
const (
	stateMask  = 0x03
	isAgain    = 0x04
	isFlapping = 0x08
	hasSince   = 0x10
)

// AppendEvent appends the body of an event, but its time:
//
//	byte    state and marks
//	text    code, subject, severity
//	number  id, times
//	number  since: signed, nanoseconds since 1970; if there is one
//	text    detail: a JSON object, or empty
func AppendEvent(dst []byte, e *Event) []byte {
	marks := byte(e.State) & stateMask
	if e.Again {
		marks |= isAgain
	}
	if e.Flapping {
		marks |= isFlapping
	}
	if !e.Since.IsZero() {
		marks |= hasSince
	}
	dst = append(dst, byte(TypeEvent), marks)
	dst = appendText(appendText(appendText(dst, e.Code), e.Subject), e.Severity)
	dst = appendUint(appendUint(dst, e.ID), e.Times)
	if marks&hasSince != 0 {
		dst = appendInt(dst, e.Since.UnixNano())
	}
	if len(e.Detail) == 0 {
		return appendText(dst, "")
	}
	detail, err := json.Marshal(e.Detail)
	if err != nil { // a detail that JSON cannot hold must not cost the event
		detail, _ = json.Marshal(map[string]string{"detail": fmt.Sprint(e.Detail)})
	}
	return append(appendUint(dst, uint64(len(detail))), detail...)
}

// ParseEvent is the inverse of [AppendEvent], but for the time. The detail is
// JSON, part of the body, and not in e.Detail.
func ParseEvent(body []byte, e *Event) (detail []byte, err error) {
	r := reader{rest: body[1:]}
	marks := r.byte()
	*e = Event{Again: marks&isAgain != 0, Flapping: marks&isFlapping != 0}
	e.State = bus.State(marks & stateMask)
	e.Code, e.Subject, e.Severity = r.text(), r.text(), r.text()
	e.ID, e.Times = r.uint(), r.uint()
	if marks&hasSince != 0 {
		e.Since = time.Unix(0, r.int()).UTC()
	}
	n := r.count()
	if r.err == nil && n != len(r.rest) {
		r.err = fmt.Errorf("%w: %d bytes behind an event", ErrBody, len(r.rest)-n)
	}
	return r.rest, r.err
}
