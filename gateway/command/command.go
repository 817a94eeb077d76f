// Package command does what somebody asks of a bus: once, or not at all.
//
// # Nouns
//
// A point is one thing that may be written, with its limits; nothing else can
// be. An [Actor] asks by a [Request], through a door: MQTT, the page, the
// control socket. A [Target] is the point on its bus. A [Reply] is what became
// of the request: accepted, or one of the final states. The journal is the
// file that remembers requests over a restart. An epoch is a random word of the
// status message: who repeats it has seen the gateway just now.
//
// # Promise
//
// Each request ends in one final state. What has once begun to write is never
// begun again, however often it is sent, also over a restart, kill -9 or power
// cut: the journal is on disk before the bus is touched. A request that is too
// old, or may be, is refused.
//
// # Caveats
//
// The package knows nothing of MQTT, HTTP or sockets: doors only translate.
// [Engine.Take] writes to disk and may take as long as the disk does.
package command

import (
	"context"
	"encoding/json"
	"time"
)

// Door is the way by which somebody asks.
type Door string

// The doors.
const (
	ByMQTT     Door = "mqtt"
	ByWeb      Door = "web"
	ByCLI      Door = "cli"
	ByFallback Door = "fallback" // nobody asks: the gateway itself
)

// Actor is who asks. The door vouches for the name.
type Actor struct {
	_ [0]func() // nobody compares them: saves the code for it

	Who string
	By  Door
}

// State says how far a request came.
type State string

// The states. All but Accepted are final.
const (
	Accepted State = "accepted"
	Done     State = "done"
	Failed   State = "failed"
	Rejected State = "rejected" // nothing was written
	Unknown  State = "unknown"  // it may have been written
)

// Code says why, in one word of a fixed list.
type Code string

// The codes.
const (
	Queued       Code = "queued"
	OK           Code = "ok"
	Unverified   Code = "unverified" // written; nothing was read back, as configured
	Mismatch     Code = "mismatch"   // something else was read back
	Exception    Code = "exception"  // the device refuses
	NoReply      Code = "no_reply"
	Offline      Code = "offline"
	BusOff       Code = "bus_off"
	Interrupted  Code = "interrupted" // the gateway ended between writing and reading back
	Invalid      Code = "invalid"
	Signature    Code = "signature"
	NotAllowed   Code = "not_allowed"
	UnknownPoint Code = "unknown_point"
	Expired      Code = "expired"
	Conflict     Code = "conflict"
	Retained     Code = "retained"
	Range        Code = "range"
	Step         Code = "step"
	Type         Code = "type"
	Rate         Code = "rate"
	Busy         Code = "busy"
	ClockDoubt   Code = "clock"
	Disabled     Code = "disabled"
	Storage      Code = "storage" // the journal cannot be written
)

// status is the number of a code, which is that of HTTP.
func (c Code) status() int {
	switch c {
	case OK, Unverified:
		return 200
	case Queued:
		return 202
	case Invalid:
		return 400
	case Signature:
		return 401
	case NotAllowed:
		return 403
	case UnknownPoint:
		return 404
	case Expired:
		return 408
	case Mismatch, Conflict:
		return 409
	case Retained:
		return 410
	case Range, Step, Type:
		return 422
	case Rate:
		return 429
	case Exception:
		return 502
	case Offline, BusOff, Busy, ClockDoubt:
		return 503
	case NoReply:
		return 504
	case Disabled:
		return 501
	case Storage:
		return 507
	}
	return 500 // Interrupted
}

// Version is the form of requests and replies; their member v.
const Version = 1

// Reply is what became of a request.
type Reply struct {
	V         int             `json:"v"`
	ID        string          `json:"id"`
	State     State           `json:"state"`
	Code      Code            `json:"code"`
	Status    int             `json:"status"`
	Point     string          `json:"point,omitempty"`
	Value     json.RawMessage `json:"value,omitempty"`     // as it was asked for
	Written   json.RawMessage `json:"written,omitempty"`   // what was written, where that is another value
	Read      json.RawMessage `json:"read,omitempty"`      // what is there, read afterwards
	Old       json.RawMessage `json:"old,omitempty"`       // what was there, if it was read
	Exception int             `json:"exception,omitempty"` // of the device
	Message   string          `json:"message,omitempty"`   // for a person
	TookMS    int64           `json:"took_ms"`             // from the arrival on
	At        time.Time       `json:"at,omitzero"`         // left out while the clock is not trusted
	Duplicate bool            `json:"duplicate,omitempty"` // the id was known: this is its result of before
}

// Final reports whether nothing more follows.
func (r *Reply) Final() bool { return r.State != Accepted }

// Return is where the answer to a request of MQTT goes. It is kept in the
// journal, so that a request is answered after a restart too.
type Return struct {
	Topic       string `json:"topic,omitempty"`
	Correlation []byte `json:"correlation,omitempty"`
}

// Target is one point on a bus.
type Target interface {
	// Check says why a value, the text of a JSON value, cannot be written: an
	// error that is a [*Refusal] with Range, Step or Type. It does no I/O.
	Check(value string) error
	// Read asks the bus for the present value. [ErrNoRead]: there is none.
	Read(ctx context.Context) (value string, err error)
	// Write writes a value that Check has passed, once, and reads it back if it
	// is configured so. It never writes a second time, except frames that are
	// repeated until then: the end of the request's time. Write does not wait
	// for that. When ctx ends nothing more is begun.
	Write(ctx context.Context, value string, until time.Time) Outcome
}

// Rounder is a [Target] that may write another value than the one that was asked
// for.
type Rounder interface {
	// Rounded is what is written of a value that Check has passed.
	Rounded(value string) string
}

// Outcome is what is known after a write.
type Outcome struct {
	_ [0]func() // nobody compares them: saves the code for it

	Sent     bool   // something may have reached the bus
	Read     string // the value read back, as JSON; empty: none
	Verified bool   // Read is what was written
	Err      error  // nil: the bus has taken it
}

// Refusal is an error that carries its code.
type Refusal struct {
	_ [0]func() // nobody compares them: saves the code for it

	Code      Code
	Exception int // of the device
	Err       error
}

func (r *Refusal) Error() string { return r.Err.Error() }

func (r *Refusal) Unwrap() error { return r.Err }

// Point is one thing that may be written.
type Point struct {
	Name        string
	Source      string        // the bus: audit records go to its stream, and it does one thing at a time
	Allow       []string      // who may; nil: everybody a door lets in
	MaxChange   string        // a number; empty: any. The present value is read first
	MinInterval time.Duration // between two writes
	Fallback    *Fallback     // nil: none
	Target      Target
	Permit      string // all that the configuration says of the point: another one is another point
}

// Fallback is what is written when nobody has renewed a value for so long.
type Fallback struct {
	Value string
	After time.Duration
}

// Register is what may be read on demand beside points.
type Register interface {
	Read(ctx context.Context) (value string, err error)
}

// Reads says what may be read on demand.
type Reads struct {
	Registers    map[string]Register // by name
	Sources      map[string]string   // of each register, for the account
	Allow        []string            // nil: everybody a door lets in
	MaxPerMinute int
}

// Audit is the account of one request, for the stream of its bus.
type Audit struct {
	Actor
	Source string // empty: it was about no point there is
	Signer string // who signed it; empty: nobody
	Reason string // the actor's own words
	Time   time.Time
	Reply  Reply
	More   uint64 // refusals before it that were not told
	Again  bool   // it may have been given before: nobody knows whether that outlived a kill
}

// Clock is the machine's clock.
type Clock interface {
	// Boot is the time since the machine was switched on, and which boot it is.
	// Nobody sets it.
	Boot() (id uint64, since time.Duration)
	// Now is the time of day, and whether it can be trusted.
	Now() (now time.Time, trusted bool)
}
