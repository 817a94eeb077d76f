package gateway

import (
	"context"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/clock"
	"fieldferry/gateway/live"
	"fieldferry/gateway/source"
)

// selfSource is the name of the stream in which the gateway speaks of itself.
const selfSource = "gateway"

// Source is one bus, ready to run; see package source.
type Source interface {
	Name() string
	// Run reads the bus until ctx ends or it fails; it is run again then.
	Run(ctx context.Context, to source.Sink) error
	Describe() source.Description
	// Has reports whether alarms can be about a part of the bus: a device.
	Has(subject string) bool
	// Fine reports whether the bus is known to be free of a condition.
	Fine(code string) bool
	// Look adds what the bus says of itself now.
	Look(*live.Source)
}

// loser is a source that can lose frames before it has read them.
type loser interface{ Lost() uint64 }

// stream is a source and its way into the buffer.
type stream struct {
	_ [0]func() // nobody compares them: saves the code for it

	Source
	kind string // "can" or "modbus"
	feed *feed
}

func (s *stream) run(ctx context.Context) error { return s.Run(ctx, s.feed) }

// feed is a stream's way into the buffer. It implements [source.Sink].
type feed struct {
	name   string
	src    *buffer.Source
	alarms *alarm.Set
	clock  *clock.Clock
}

// Clock implements [source.Sink].
func (f *feed) Clock() clock.Reading { return f.clock.Read() }

// Append implements [source.Sink].
func (f *feed) Append(t int64, body []byte) { f.src.Append(t, body) }

// Lose implements [source.Sink].
func (f *feed) Lose(n uint64) { f.src.Lose(time.Now().UnixNano(), n, buffer.RxOverflow) }

// Doubtful implements [source.Sink].
func (f *feed) Doubtful() bool { return f.alarms.Doubtful() }

// Event implements [source.Sink].
func (f *feed) Event(e bus.Event) { f.alarms.Report(f.name, e) }

func (f *feed) raise(code string, detail map[string]any) {
	f.Event(bus.Event{Time: time.Now(), Code: code, State: bus.Raised, Detail: detail})
}

func (f *feed) clear(code string, detail map[string]any) {
	f.Event(bus.Event{Time: time.Now(), Code: code, State: bus.Cleared, Detail: detail})
}

func (f *feed) happened(code string, detail map[string]any) {
	f.Event(bus.Event{Time: time.Now(), Code: code, Detail: detail})
}
