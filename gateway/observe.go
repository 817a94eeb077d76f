package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/live"
	"fieldferry/gateway/record"
)

// Look is what there is to see of the gateway: a snapshot a second, and with
// Options.Live the last value of every point.
func (g *Gateway) Look() *live.Look { return g.look }

// ErrNoLine says that there is no Modbus line of that name.
var ErrNoLine = errors.New("there is no Modbus line of this name")

// ReadLine asks a unit of a Modbus line once, between two of its polls.
func (g *Gateway) ReadLine(ctx context.Context, line string, q modbus.Query) ([]uint16, error) {
	l := g.lines[line]
	if l == nil {
		return nil, ErrNoLine
	}
	return l.Read(ctx, q)
}

// newLook prepares what can be looked at.
func newLook(points bool) *live.Look {
	l := &live.Look{Buses: map[string]live.Bus{}, Lines: map[string]live.Line{}}
	l.Notes.Size, l.Disconnects.Size = lastNotes, lastDisconnects
	if points {
		l.History = live.NewHistory()
	}
	return l
}

// How much of what happened lately is kept for those who look.
const lastNotes, lastDisconnects = 200, 20

// note keeps what was told of an alarm.
func (g *Gateway) note(source string, e *record.Event) {
	n := live.Note{Time: e.Time.UTC(), ID: e.ID, Code: e.Code, State: e.State.String(), Severity: e.Severity, Source: source, Subject: e.Subject, Detail: e.Detail}
	for i := range alarm.Table {
		if c := &alarm.Table[i]; c.Code == e.Code {
			n.Title, n.Severity = c.Title, c.Severity.String()
		}
	}
	g.look.Notes.Add(n)
}

// observe makes a snapshot a second until ctx ends.
func (g *Gateway) observe(ctx context.Context) {
	var o observer
	for ctx.Err() == nil {
		s := o.picture(g, time.Now())
		g.look.Publish(s)
		o.tell(g, s)
		for _, b := range g.look.Buses {
			b.Frames.Tick()
		}
		sleep(ctx, watchInterval)
	}
}

// tellTime is how often the state is told at most: its sentence counts seconds.
const tellTime = 5 * time.Second

// tell says the state in a sentence, whenever it has changed.
func (o *observer) tell(g *Gateway, s *live.Snapshot) {
	if g.opts.State == nil || s.Sentence == o.told || time.Since(o.toldAt) < tellTime && !o.toldAt.IsZero() && s.State == o.state {
		return
	}
	o.told, o.toldAt, o.state = s.Sentence, time.Now(), s.State
	g.opts.State(s.Sentence)
}

// observer remembers what a picture needs of those before it.
type observer struct {
	told   string // the sentence
	toldAt time.Time
	state  live.State

	last map[string]seen // by source
}

// seen is when the number of records of a source was seen to grow last.
type seen struct {
	records uint64
	at      time.Time
}

// picture looks at every part once. It takes no lock for longer than a copy of
// counters.
func (o *observer) picture(g *Gateway, now time.Time) *live.Snapshot {
	st := g.Stats()
	s := &live.Snapshot{
		Taken: now.UTC(), Gateway: g.cfg.Gateway.ID, Version: g.opts.Version, Session: st.Buffer.Session,
		Started: g.startedAt().UTC(), Up: time.Since(g.started),
		Buffer: pictureOfBuffer(&st.Buffer), Alarms: g.raised(),
		Process: process(), Config: g.opts.Config,
	}
	s.Uplink = g.pictureOfUplink(&st, s.Alarms)
	if why := g.clock.Read().Why(); why == "" {
		s.Clock.Trusted = true
	} else {
		s.Clock.Why = string(why)
	}
	for _, c := range st.Counts {
		s.Counts = append(s.Counts, live.AlarmCount{Code: c.Code, Raised: c.Active, Times: c.Raised})
	}
	for _, src := range g.sources {
		s.Sources = append(s.Sources, o.source(src, now))
	}
	s.Sources = append(s.Sources, o.source(&source{name: selfSource, kind: "gateway", feed: g.self}, now))
	return s
}

func (o *observer) source(src *source, now time.Time) live.Source {
	s := live.Source{Name: src.name, Kind: src.kind, Records: src.feed.src.Last(), State: live.Receives, Word: "receives", Age: -1}
	if o.last == nil {
		o.last = map[string]seen{}
	}
	before := o.last[src.name]
	if s.Records != before.records {
		before = seen{s.Records, now}
		o.last[src.name] = before
	}
	if !before.at.IsZero() {
		s.Last, s.Age = before.at.UTC(), now.Sub(before.at).Seconds()
	}
	if src.look != nil {
		src.look(&s)
	}
	return s
}

// silentTime is after how long a bus that is up and brings nothing is silent.
const silentTime = 10.0

// lookAtCAN adds what a CAN source says of itself.
func lookAtCAN(s *live.Source, c *can.Config, st can.Stats) {
	s.Where, s.Lost = c.Interface, st.Lost
	s.CAN = &live.CAN{
		Up: st.Up, Controller: st.State, Bitrate: st.Bitrate, Load: st.Load, FrameRate: st.Rate, Frames: st.Frames,
		Suppressed: st.Suppressed, Dropped: st.Lost, Malformed: st.Malformed, ErrorCount: st.ErrorFrames,
		Errors: maps.Clone(st.Errors), Restarts: st.Restarts,
	}
	if st.CountersKnown {
		s.CAN.TxErrors, s.CAN.RxErrors = &st.TxErrors, &st.RxErrors
	}
	switch {
	case !st.Up:
		s.State, s.Word = live.Down, "the interface is down"
	case st.State == "bus-off":
		s.State, s.Word = live.Down, "the controller is bus-off"
	case st.Rate == 0 && (s.Age < 0 || s.Age > silentTime):
		s.State, s.Word = live.Silent, "no frame"
		if s.Age >= 0 {
			s.Word += " for " + live.Span(s.Age)
		}
	}
}

// lookAtModbus adds what a Modbus source says of itself.
func lookAtModbus(s *live.Source, c *modbus.LineConfig, l *modbus.Line) {
	st := l.Stats()
	s.Where = c.Port
	s.Modbus = &live.Modbus{
		PortLost: st.PortLost, Busy: -1, Requests: st.Requests, Timeouts: st.Timeouts, CRC: st.CRCErrors,
		Stale: st.LateReplies, Stray: st.StrayBytes, Overruns: st.Overruns, Units: []live.Unit{},
	}
	for _, u := range l.Units() {
		s.Modbus.Units = append(s.Modbus.Units, unitOf(&u))
	}
	s.Modbus.InUse = l.Busy().Seconds()
	devices := len(c.Devices)
	switch {
	case st.PortLost:
		s.State, s.Word = live.Down, "the port is lost"
	case devices > 0 && st.Offline == devices:
		s.State, s.Word = live.Down, "no device answers"
	case st.Offline > 0:
		s.State, s.Word = live.Partial, fmt.Sprintf("%d of %d devices answer", devices-st.Offline, devices)
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

func pictureOfBuffer(st *buffer.Stats) live.Buffer {
	b := live.Buffer{
		Records: st.Pending, Unsynced: st.Unsynced, Disk: st.DiskBytes, Memory: st.MemoryBytes, Limit: st.Limit, OldestAge: -1,
		Acked: st.Acked, Lost: st.Lost, LostBy: map[string]uint64{}, Written: st.WrittenBytes, Commits: st.Commits, Fault: st.Fault,
	}
	for reason, n := range st.LostBy {
		if name := buffer.Reason(reason).String(); n > 0 || name != "" {
			b.LostBy[name] = n
		}
	}
	return b
}

func (g *Gateway) pictureOfUplink(st *Stats, alarms []live.Alarm) live.Uplink {
	u := st.Uplink
	out := live.Uplink{
		Connected: u.Connected, Server: u.Server, Since: u.Since.UTC(), Protocol: g.cfg.Uplink.Protocol,
		Sent: u.Sent, Acked: u.Acked, Refused: u.Refused, InFlight: u.InFlight, Window: g.cfg.Uplink.InFlight,
		BytesUp: u.BytesUp, BytesDown: u.BytesDown, Connects: u.Connects, Failures: u.Failures, DoneIn: -1,
		Denied: slices.ContainsFunc(alarms, func(a live.Alarm) bool { return a.Code == alarm.UplinkDenied }),
	}
	if u.LastError != "" {
		out.Error, out.Reason, out.ErrorAt = u.LastError, u.LastReason.String(), u.LastErrorAt.UTC()
	}
	if u.Connected {
		out.Backlog = min(g.outbox.Left(), st.Buffer.Pending)
	}
	return out
}

// raised are the alarms with what they mean and what to do.
func (g *Gateway) raised() []live.Alarm {
	list := []live.Alarm{}
	for _, a := range g.alarms.Raised() {
		out := live.Alarm{ID: a.ID, Code: a.Code, Severity: a.Severity, Source: a.Source, Subject: a.Subject,
			Since: g.trusted(a.Since).UTC(), Title: a.Title, Flapping: a.Flapping}
		if out.Since.Year() <= 1 {
			out.Since = time.Time{}
		}
		for i := range alarm.Table {
			if c := &alarm.Table[i]; c.Code == a.Code {
				out.Means, out.Do = c.Text, c.Help
				out.Title, out.Severity = cmp.Or(out.Title, c.Title), cmp.Or(out.Severity, c.Severity.String())
			}
		}
		list = append(list, out)
	}
	return list
}
