package source

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/live"
	"fieldferry/gateway/record"
)

// Modbus is a Modbus line as a source.
type Modbus struct {
	cfg     *modbus.LineConfig
	line    *modbus.Line
	started time.Time
	points  *live.Values
}

// NewModbus prepares a line.
func NewModbus(c *modbus.LineConfig, log *slog.Logger) (*Modbus, error) {
	l, err := modbus.NewLine(*c, log)
	if err != nil {
		return nil, fmt.Errorf("modbus %s: %w", c.Name, err)
	}
	return &Modbus{cfg: c, line: l, started: time.Now()}, nil
}

// Note has the line's last values noted in points.
func (s *Modbus) Note(points *live.Values) { s.points = points }

// Name is the name of the source.
func (s *Modbus) Name() string { return s.cfg.Name }

// Line is the line, for one-shot reads between its polls.
func (s *Modbus) Line() *modbus.Line { return s.line }

// Run polls the line until ctx ends or it fails.
func (s *Modbus) Run(ctx context.Context, to Sink) error { return s.line.Run(ctx, s.Handler(to)) }

// Handler takes readings to a sink. There is one at a time.
func (s *Modbus) Handler(to Sink) modbus.Handler { return &readings{Modbus: s, to: to} }

// Has reports whether the line has a device.
func (s *Modbus) Has(device string) bool {
	return slices.ContainsFunc(s.cfg.Devices, func(d modbus.Device) bool { return d.Name == device })
}

// readings is a line's handler.
type readings struct {
	*Modbus
	to   Sink
	body []byte // scratch
}

// Reading implements [modbus.Handler].
func (r *readings) Reading(reading *modbus.Reading) {
	t := reading.Time.UnixNano()
	r.body = record.AppendReading(Begin(r.body, r.to.Clock(), t), reading)
	r.to.Append(t, r.body)
	if reading.Answered && r.to.Doubtful() {
		r.to.Event(cleared(reading.Time, bus.SlaveOffline, reading.Device))
		if reading.Whole {
			r.to.Event(cleared(reading.Time, bus.RegisterRefused, reading.Device))
		}
	}
}

// Observe implements [modbus.Observer].
func (r *readings) Observe(reading *modbus.Reading) {
	if r.points != nil {
		r.points.Note(reading)
	}
}

// Event implements [modbus.Handler].
func (r *readings) Event(e bus.Event) { r.to.Event(e) }

// Describe lists the devices and their values.
func (s *Modbus) Describe() Description {
	d := Description{Source: s.cfg.Name, Type: "modbus", Port: s.cfg.Port, Devices: []Device{}}
	for _, device := range s.cfg.Devices {
		out := Device{Device: device.Name, UnitID: device.UnitID, Values: []Value{}}
		for _, r := range device.Registers {
			out.Values = append(out.Values, Value{r.Name, r.Type.String(), r.Unit, r.Enum, r.Flags})
		}
		d.Devices = append(d.Devices, out)
	}
	return d
}

// paceTime is after how long a line that is overloaded has said so.
const paceTime = 2 * time.Minute

// Fine reports whether the line is known to be free of a condition.
func (s *Modbus) Fine(code string) bool {
	return fineModbus(code, s.line.Stats(), time.Since(s.started))
}

// fineModbus is [Modbus.Fine] of a line that runs for so long. One that is
// overloaded raises that itself.
func fineModbus(code string, st modbus.Stats, ran time.Duration) bool {
	switch code {
	case bus.PortLost:
		return st.Polls > 0 && !st.PortLost
	case bus.PollOverrun:
		return st.Polls > 0 && !st.PortLost && ran > paceTime && st.Overruns < st.Polls/20
	}
	return false
}

// Look adds what the line says of itself.
func (s *Modbus) Look(out *live.Source) {
	st := s.line.Stats()
	out.Where, out.Reads = s.cfg.Port, st.Good
	out.Modbus = &live.Modbus{
		PortLost: st.PortLost, Paused: st.Lent, Busy: -1, Requests: st.Requests, Timeouts: st.Timeouts, CRC: st.CRCErrors,
		Stale: st.LateReplies, Stray: st.StrayBytes, Overruns: st.Overruns, Refused: st.Refused, Units: []live.Unit{}, InUse: s.line.Busy().Seconds(),
	}
	for _, u := range s.line.Units() {
		out.Modbus.Units = append(out.Modbus.Units, unitOf(&u))
	}
	devices := len(s.cfg.Devices)
	switch {
	case st.Lent:
		out.State, out.Word = live.Partial, "polls are paused, its settings are being looked for"
	case st.PortLost:
		out.State, out.Word = live.Down, "the port is lost"
	case devices > 0 && st.Offline == devices:
		out.State, out.Word = live.Down, "no device answers"
	case st.Offline > 0:
		out.State, out.Word = live.Partial, fmt.Sprintf("%d of %d devices answer", devices-st.Offline, devices)
	case st.Refused > 0:
		out.Word = "some registers are not read"
	}
}

func unitOf(u *modbus.UnitStats) live.Unit {
	out := live.Unit{Name: u.Name, ID: u.ID, Offline: u.Offline, Requests: u.Requests, Answered: u.Answered,
		Timeouts: u.Timeouts, CRC: u.CRC, P50: -1, P95: -1}
	if u.Offline {
		out.Since, out.NextProbe = u.Since.UTC(), u.NextProbe.UTC()
	}
	for code, n := range u.Exceptions {
		if out.Exceptions == nil {
			out.Exceptions = map[string]uint64{}
		}
		out.Exceptions[strconv.Itoa(int(code))] = n
	}
	if p50, ok := u.Quantile(0.5); ok {
		p95, _ := u.Quantile(0.95)
		out.P50, out.P95 = p50.Seconds()*1000, p95.Seconds()*1000
	}
	return out
}
