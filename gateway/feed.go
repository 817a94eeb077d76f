package gateway

import (
	"time"

	"fieldferry/buffer"
	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/clock"
	"fieldferry/gateway/live"
	"fieldferry/gateway/record"
)

// selfSource is the name of the stream in which the gateway speaks of itself.
const selfSource = "gateway"

// feed is a source's way into the buffer. It serves both kinds of bus as
// their handler; the calls of one bus come from one goroutine, events may
// come from any.
type feed struct {
	name   string
	src    *buffer.Source
	alarms *alarm.Set
	clock  *clock.Clock
	body   []byte // scratch of the bus's goroutine

	foreignTime bool // frames bear the times of a log, which are nobody's to doubt

	frames *live.Frames // for those who look; nil: nobody can
	values *live.Values

	db          *dbc.Database // of a CAN bus; nil: none
	decodedOnly bool          // leave out frames db does not describe
	transport   *dbc.Transport
}

// begin begins the body of a record of time t in dst.
func begin(dst []byte, at clock.Reading, t int64) []byte {
	if origin, doubted := at.Doubt(t); doubted {
		return record.AppendOrigin(dst[:0], origin)
	}
	return dst[:0]
}

func (f *feed) beginFrame(at clock.Reading, t int64) []byte {
	if f.foreignTime {
		return f.body[:0]
	}
	return begin(f.body, at, t)
}

// Frames implements [can.Handler].
func (f *feed) Frames(batch []can.Frame) {
	at := f.clock.Read()
	if f.frames != nil {
		f.frames.Note(batch)
	}
	for i := range batch {
		frame := &batch[i]
		if !f.decodedOnly || f.describes(frame) {
			f.body = record.AppendFrame(f.beginFrame(at, frame.Time), frame)
			f.src.Append(frame.Time, f.body)
		}
		if f.transport != nil {
			f.join(at, frame)
		}
	}
}

func (f *feed) describes(frame *can.Frame) bool {
	return frame.Flags&can.Remote == 0 && f.db.Lookup(frame.ID, frame.Flags&can.Extended != 0) != nil
}

// join appends a long J1939 message with the frame that completes it.
func (f *feed) join(at clock.Reading, frame *can.Frame) {
	if p, ok := f.transport.Feed(frame); ok && (!f.decodedOnly || f.db.LookupPacket(p.ID()) != nil) {
		f.body = record.AppendPacket(f.beginFrame(at, p.Time), &p)
		f.src.Append(p.Time, f.body)
	}
}

// decode makes the feed use the DBC files of its bus.
func (f *feed) decode(db *dbc.Database, only bool) {
	f.db, f.decodedOnly = db, only
	if db != nil && db.J1939() {
		f.transport = &dbc.Transport{}
	}
}

// Lost implements [can.Handler].
func (f *feed) Lost(frames uint64) {
	f.Gap()
	f.src.Lose(time.Now().UnixNano(), frames, buffer.RxOverflow)
}

// Gap implements [can.GapHandler]: what is joined from several frames does not
// span it.
func (f *feed) Gap() {
	if f.transport != nil {
		f.transport.Lost()
	}
}

// Reading implements [modbus.Handler].
func (f *feed) Reading(r *modbus.Reading) {
	t := r.Time.UnixNano()
	f.body = record.AppendReading(begin(f.body, f.clock.Read(), t), r)
	f.src.Append(t, f.body)
	if r.Answered && f.alarms.Doubtful() {
		f.Event(bus.Event{Time: r.Time, Code: bus.SlaveOffline, Subject: r.Device, State: bus.Cleared})
	}
}

// Observe implements [modbus.Observer].
func (f *feed) Observe(r *modbus.Reading) {
	if f.values != nil {
		f.values.Note(r)
	}
}

// Event implements both handlers.
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
