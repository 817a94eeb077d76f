package gateway

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/live"
	"fieldferry/gateway/outbox"
	"fieldferry/gateway/record"
	"fieldferry/uplink"
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

// stored is what the buffer holds of each source, and what was lost lately.
func (g *Gateway) stored() live.Stored {
	out := live.Stored{Sources: []live.Held{}, Losses: []live.Loss{}}
	for _, h := range g.buffer.Held() {
		out.Sources = append(out.Sources, live.Held{Source: h.Source, Records: h.Records, Bytes: h.Bytes})
	}
	for _, l := range g.buffer.Losses() {
		out.Losses = append(out.Losses, live.Loss{Source: l.Source, Session: l.Session, First: l.First, Last: l.Last, Reason: l.Reason.String(), Time: time.Unix(0, l.Time).UTC()})
	}
	return out
}

// FindLine asks units of a Modbus line with its port set in other ways; its polls
// pause meanwhile.
func (g *Gateway) FindLine(ctx context.Context, line string, tries []modbus.Try, each func(modbus.Tried)) error {
	l := g.lines[line]
	if l == nil {
		return ErrNoLine
	}
	return l.Find(ctx, tries, each)
}

// newLook prepares what can be looked at.
func newLook(points bool, follow []string) *live.Look {
	l := &live.Look{Buses: map[string]live.Bus{}, Lines: map[string]live.Line{}}
	l.Notes.Size, l.Disconnects.Size = lastNotes, lastDisconnects
	if points {
		l.History, l.Follow = live.NewHistory(), follow
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

// seen is when the numbers of a source were seen to grow last.
type seen struct {
	records, reads uint64
	at, readAt     time.Time
}

// picture looks at every part once. It takes no lock for longer than a copy of
// counters.
func (o *observer) picture(g *Gateway, now time.Time) *live.Snapshot {
	st := g.Stats()
	s := &live.Snapshot{
		Taken: now.UTC(), Gateway: g.cfg.Gateway.ID, Version: g.opts.Version, Session: st.Buffer.Session,
		Started: g.startedAt().UTC(), Up: time.Since(g.started),
		Buffer: pictureOfBuffer(&st.Buffer), Pending: g.shown(g.alarms.Pending()), Alarms: g.shown(g.alarms.Raised()), // in this order
		Process: process(), Config: g.pictureOfConfig(), Commands: g.pictureOfCommands(),
	}
	s.Uplink = g.pictureOfUplink(&st, s.Alarms, now)
	if why := g.clock.Read().Why(); why == "" {
		s.Clock.Trusted = true
	} else {
		s.Clock.Why = string(why)
	}
	for _, c := range st.Counts {
		s.Counts = append(s.Counts, live.AlarmCount{Code: c.Code, Raised: c.Active, Times: c.Raised})
	}
	for _, src := range g.sources {
		s.Sources = append(s.Sources, o.source(src.feed, src.kind, src.Look, now))
	}
	s.Sources = append(s.Sources, o.source(g.self, "gateway", func(*live.Source) {}, now))
	g.gaveUp.addTo(s)
	return s
}

func (o *observer) source(f *feed, kind string, look func(*live.Source), now time.Time) live.Source {
	s := live.Source{Name: f.name, Kind: kind, Records: f.src.Last(), Lost: f.src.Lost(), State: live.Receives, Word: "receives", Age: -1, ReadAge: -1}
	if o.last == nil {
		o.last = map[string]seen{}
	}
	before := o.last[f.name]
	if s.Records != before.records {
		before.records, before.at = s.Records, now
	}
	if !before.at.IsZero() {
		s.Last, s.Age = before.at.UTC(), now.Sub(before.at).Seconds()
	}
	if !before.readAt.IsZero() {
		s.ReadAge = now.Sub(before.readAt).Seconds()
	}
	look(&s)
	if s.Reads != before.reads {
		before.reads, before.readAt, s.ReadAge = s.Reads, now, 0
	}
	o.last[f.name] = before
	return s
}

func pictureOfBuffer(st *buffer.Stats) live.Buffer {
	b := live.Buffer{
		Records: st.Pending, Unsynced: st.Unsynced, Disk: st.DiskBytes, Memory: st.MemoryBytes, Limit: st.Limit, OldestAge: -1,
		Acked: st.Acked, Lost: st.Lost, LostBy: map[string]uint64{}, Written: st.WrittenBytes, Commits: st.Commits, Fault: st.Fault,
	}
	if st.OldestAge >= 0 {
		b.OldestAge = st.OldestAge.Truncate(time.Millisecond).Seconds()
	}
	for reason, n := range st.LostBy {
		if name := buffer.Reason(reason).String(); n > 0 || name != "" {
			b.LostBy[name] = n
		}
	}
	return b
}

func (g *Gateway) pictureOfUplink(st *Stats, alarms []live.Alarm, now time.Time) live.Uplink {
	u := st.Uplink
	out := live.Uplink{
		Connected: u.Connected, Server: u.Server, Since: u.Since.UTC(), Protocol: g.cfg.Uplink.Protocol,
		Sent: u.Sent, Acked: u.Acked, Refused: u.Refused, InFlight: u.InFlight, Window: g.cfg.Uplink.InFlight,
		Unanswered: u.Unanswered.Truncate(time.Millisecond).Seconds(),
		BytesUp:    u.BytesUp, BytesDown: u.BytesDown, Connects: u.Connects, Failures: u.Failures, DoneIn: -1,
	}
	refused := g.outbox.Refusals()
	out.Denied, out.Held = refused.All, refused.Sources
	for _, a := range alarms {
		switch {
		case a.Code != alarm.UplinkDenied:
		case a.Subject == "": // not even the check at connect is let through
			out.Denied = true
		default:
			out.DeniedTopics = append(out.DeniedTopics, a.Subject)
		}
	}
	out.AckP50, out.AckP95, out.Acks = acknowledged(&u.Acks)
	if u.LastError != "" {
		out.Error, out.Reason, out.ErrorAt = u.LastError, u.LastReason.String(), u.LastErrorAt.UTC()
	}
	out.Backlog = min(g.outbox.Left(), st.Buffer.Pending)
	if !u.Connected && now.Sub(u.Since) > outbox.Hiccup {
		out.Backlog = st.Buffer.Pending // all that waits then goes as a backlog
	}
	out.Peer, out.Own = g.certs.picture(brokerCertificate, now), g.certs.picture(ownCertificate, now)
	return out
}

// acknowledged is how long acknowledgements took.
func acknowledged(a *uplink.AckTimes) (p50, p95 float64, all live.Histogram) {
	inMS := func(d time.Duration) float64 {
		if d < 0 {
			return -1
		}
		return float64(d.Microseconds()) / 1000
	}
	all = live.Histogram{Counts: slices.Clone(a.Buckets[:]), Count: a.Count, Sum: a.Sum.Seconds()}
	for _, b := range uplink.AckBounds {
		all.Bounds = append(all.Bounds, b.Seconds())
	}
	return inMS(a.P50), inMS(a.P95), all
}

// shown are alarms with what they mean and what to do.
func (g *Gateway) shown(alarms []alarm.Alarm) []live.Alarm {
	list := []live.Alarm{}
	for _, a := range alarms {
		out := live.Alarm{ID: a.ID, Code: a.Code, Severity: a.Severity, Source: a.Source, Subject: a.Subject,
			Since: g.trusted(a.Since).UTC(), Title: a.Title, Flapping: a.Flapping, Detail: a.Detail}
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
