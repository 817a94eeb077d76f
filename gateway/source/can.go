package source

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"

	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/can/link"
	"fieldferry/gateway/clock"
	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
	"fieldferry/gateway/record"
)

// CAN is a CAN interface, a replayed log or a simulation as a source.
type CAN struct {
	cfg         *config.CAN
	bus         *can.Bus
	foreignTime bool // frames bear the times of a log, which are nobody's to doubt
	points      *live.Frames
	transport   *dbc.Transport // nil: nothing is joined
}

// NewCAN prepares a bus. Its last frames are noted in points, which may be nil.
func NewCAN(c *config.CAN, points *live.Frames, log *slog.Logger) (*CAN, error) {
	b, err := can.New(c.Bus, log)
	if err != nil {
		return nil, fmt.Errorf("can %s: %w", c.Name, err)
	}
	s := &CAN{cfg: c, bus: b, points: points}
	if c.DBC != nil && c.DBC.J1939() {
		s.transport = &dbc.Transport{}
	}
	played, err := can.ParseInterface(c.Bus.Interface)
	s.foreignTime = err == nil && played.LogTime
	if points != nil {
		points.LogTime = s.foreignTime
	}
	return s, nil
}

// Name is the name of the source.
func (s *CAN) Name() string { return s.cfg.Name }

// Run reads the bus until ctx ends or it fails.
func (s *CAN) Run(ctx context.Context, to Sink) error { return s.bus.Run(ctx, s.Handler(to)) }

// Handler takes frames to a sink. There is one at a time.
func (s *CAN) Handler(to Sink) can.Handler { return &frames{CAN: s, to: to} }

// Has reports whether alarms can be about a part of the bus. It has none.
func (s *CAN) Has(string) bool { return false }

// frames is a bus's handler.
type frames struct {
	*CAN
	to   Sink
	body []byte // scratch
}

func (f *frames) begin(at clock.Reading, t int64) []byte {
	if f.foreignTime {
		return f.body[:0]
	}
	return Begin(f.body, at, t)
}

// Look implements [can.Onlooker]: a person in front of the cabinet sees what is on
// the bus, whatever the limits keep back.
func (f *frames) Look(batch []can.Frame) {
	if f.points != nil {
		f.points.Note(batch)
	}
}

// Frames implements [can.Handler].
func (f *frames) Frames(batch []can.Frame) {
	at := f.to.Clock()
	for i := range batch {
		frame := &batch[i]
		if !f.cfg.DecodedOnly || f.describes(frame) {
			f.body = record.AppendFrame(f.begin(at, frame.Time), frame)
			f.to.Append(frame.Time, f.body)
		}
		if f.transport != nil {
			f.join(at, frame)
		}
	}
}

func (f *frames) describes(frame *can.Frame) bool {
	return frame.Flags&can.Remote == 0 && f.cfg.DBC.Lookup(frame.ID, frame.Flags&can.Extended != 0) != nil
}

// join appends a long J1939 message with the frame that completes it.
func (f *frames) join(at clock.Reading, frame *can.Frame) {
	p, ok := f.transport.Feed(frame)
	if !ok {
		return
	}
	described := (f.points != nil || f.cfg.DecodedOnly) && f.cfg.DBC.LookupPacket(p.ID()) != nil
	if f.points != nil && described {
		f.points.Join(&p)
	}
	if described || !f.cfg.DecodedOnly {
		f.body = record.AppendPacket(f.begin(at, p.Time), &p)
		f.to.Append(p.Time, f.body)
	}
}

// Lost implements [can.Handler].
func (f *frames) Lost(n uint64) {
	f.Gap()
	f.to.Lose(n)
}

// Gap implements [can.GapHandler]: what is joined from several frames does not
// span it.
func (f *frames) Gap() {
	if f.transport != nil {
		f.transport.Lost()
	}
}

// Event implements [can.Handler].
func (f *frames) Event(e bus.Event) { f.to.Event(e) }

// Lost is how many frames were lost before they were read.
func (s *CAN) Lost() uint64 { return s.bus.Stats().Lost }

// Describe lists the messages of the DBC files.
func (s *CAN) Describe() Description {
	st := s.bus.Stats()
	return Description{Source: s.cfg.Name, Type: "can", Interface: s.cfg.Bus.Interface,
		Timestamps: st.Timestamps, Bitrate: st.Bitrate, DataBitrate: st.DataBitrate, Messages: messages(s.cfg.DBC)}
}

func messages(db *dbc.Database) (list []Message) {
	if db == nil {
		return nil
	}
	for _, d := range db.Messages() {
		digits := 3
		if d.Extended {
			digits = 8
		}
		m := Message{Name: d.Name, ID: fmt.Sprintf("%0*X", digits, d.ID), Signals: []Signal{}}
		for i := range d.Signals {
			s := &d.Signals[i]
			out := Signal{Name: s.Name, Unit: s.Unit}
			if low, high, ok := s.Limits(); ok {
				out.Min, out.Max = finite(low), finite(high)
			}
			for _, l := range s.Labels {
				if out.Labels == nil {
					out.Labels = map[string]string{}
				}
				out.Labels[fmt.Sprint(l.Raw)] = l.Text
			}
			m.Signals = append(m.Signals, out)
		}
		list = append(list, m)
	}
	return list
}

// finite returns nil for an infinite limit, which JSON has no number for.
func finite(f float64) *float64 {
	if math.IsInf(f, 0) {
		return nil
	}
	return &f
}

// conditions are those of a controller, the gravest first.
var conditions = [...]string{bus.LinkDown, bus.BusOff, bus.ErrorPassive, bus.ErrorWarning}

// Fine reports whether the bus is known to be free of a condition.
func (s *CAN) Fine(code string) bool { return fineCAN(code, s.bus.Stats()) }

// fineCAN is [CAN.Fine]. Where nobody tells the controller's state, a link that is
// up has to do.
func fineCAN(code string, st can.Stats) bool {
	fine := len(conditions)
	switch st.State {
	case link.BusOff.String(), link.Stopped.String(), link.Sleeping.String():
		fine = 1
	case link.ErrorPassive.String():
		fine = 2
	case link.ErrorWarning.String():
		fine = 3
	}
	return st.Up && slices.Contains(conditions[:fine], code)
}

// silent is after how many seconds a bus that is up and brings nothing is silent.
const silent = 10.0

// Look adds what the bus says of itself.
func (s *CAN) Look(out *live.Source) {
	st := s.bus.Stats()
	out.Where, out.Reads = s.cfg.Bus.Interface, st.Frames+st.Suppressed
	out.CAN = &live.CAN{
		Up: st.Up, Controller: st.State, Bitrate: st.Bitrate, Load: st.Load, FrameRate: st.Rate, IDs: st.IDs, Frames: st.Frames + st.Suppressed,
		Suppressed: st.Suppressed, Dropped: st.Lost, Malformed: st.Malformed, ErrorCount: st.ErrorFrames,
		Errors: maps.Clone(st.Errors), Restarts: st.Restarts,
	}
	if st.CountersKnown {
		out.CAN.TxErrors, out.CAN.RxErrors = &st.TxErrors, &st.RxErrors
	}
	switch {
	case st.Ended:
		out.State, out.Word = live.Ended, "the log has ended"
	case !st.Up:
		out.State, out.Word = live.Down, "the interface is down"
	case st.State == link.BusOff.String():
		out.State, out.Word = live.Down, "the controller is bus-off"
	case st.Rate == 0 && (out.ReadAge < 0 || out.ReadAge > silent):
		out.State, out.Word = live.Silent, "no frame"
		if out.ReadAge >= 0 {
			out.Word += " for " + live.Span(out.ReadAge)
		}
	}
}
