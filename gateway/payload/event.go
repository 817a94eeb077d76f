package payload

import (
	"encoding/json"
	"fmt"
	"time"

	"fieldferry/bus"
)

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

// AppendEvent appends the body of an event.
func AppendEvent(dst []byte, e *Event) []byte {
	dst = append(dst, typeEvent)
	dst = append(dst, `"event":`...)
	dst = appendString(dst, e.Code)
	dst = append(dst, `,"state":`...)
	dst = appendString(dst, e.State.String())
	if e.ID != 0 {
		dst = append(dst, `,"id":`...)
		dst = appendUint(dst, e.ID)
	}
	if e.Subject != "" {
		dst = append(dst, `,"subject":`...)
		dst = appendString(dst, e.Subject)
	}
	if e.Severity != "" {
		dst = append(dst, `,"severity":`...)
		dst = appendString(dst, e.Severity)
	}
	if !e.Since.IsZero() {
		dst = append(dst, `,"since":"`...)
		dst = append(e.Since.UTC().AppendFormat(dst, time.RFC3339Nano), '"')
	}
	if e.Again {
		dst = append(dst, `,"again":true`...)
	}
	if e.Flapping {
		dst = append(dst, `,"flapping":true`...)
	}
	if e.Times > 1 {
		dst = append(dst, `,"times":`...)
		dst = appendUint(dst, e.Times)
	}
	if len(e.Detail) == 0 {
		return dst
	}
	detail, err := json.Marshal(e.Detail)
	if err != nil { // a detail JSON cannot hold must not cost the event
		detail, _ = json.Marshal(map[string]string{"detail": fmt.Sprint(e.Detail)})
	}
	dst = append(dst, `,"detail":`...)
	return append(dst, detail...)
}
