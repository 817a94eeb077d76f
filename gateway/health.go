package gateway

import (
	"context"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/live"
	"fieldferry/gateway/record"
	"fieldferry/gateway/source"
	"fieldferry/gateway/statedir"
)

const (
	// watchInterval is how often the gateway looks at what does not report by itself.
	watchInterval = time.Second
	// quiet is how long nothing may be lost until a loss counts as over.
	quiet = time.Minute
	// The filling of the buffer, in percent, at which it counts as high, and
	// as high no longer.
	bufferHigh, bufferLow = 80, 70
	// diskCrowded and diskRoomy are shares of its size in percent that others leave
	// of the buffer's disk when the alarm is raised and cleared.
	diskCrowded, diskRoomy = 50, 60
)

// alarmConfig is what the account of alarms works with.
func (g *Gateway) alarmConfig() alarm.Config {
	return alarm.Config{
		Conditions: g.opts.conditions,
		Emit: func(from string, e *record.Event) {
			e.Since = g.trusted(e.Since)
			g.note(from, e)
			t := e.Time.UnixNano()
			g.buffer.Source(from).Append(t, record.AppendEvent(source.Begin(nil, g.clock.Read(), t), e))
		},
		Known:   g.known,
		Changed: func() { g.uplink.Announce(g.announceStatus) },
		Files:   ownFiles{Dir: statedir.In(g.cfg.Buffer.Dir), earlier: g.cfg.Buffer.Dir},
		Durable: g.cfg.Buffer.SyncInterval,
		Log:     g.log.With("part", "alarms"),
	}
}

// trusted is t, or the zero time if the clock was not to be trusted then: what
// stands inside a record is not corrected with it.
func (g *Gateway) trusted(t time.Time) time.Time {
	if g.clock.Suspect(t.UnixNano()) {
		return time.Time{}
	}
	return t
}

// known says whether the configuration has a source, and a device of it.
func (g *Gateway) known(name, subject string) bool {
	if name == selfSource {
		return subject == "" || aboutCertificate(subject) || g.isPoint(subject)
	}
	for _, s := range g.sources {
		if s.Name() == name {
			return subject == "" || s.Has(subject)
		}
	}
	return false
}

// health finds out by looking what nobody reports. It belongs to one goroutine.
type health struct {
	g      *Gateway
	begun  bool
	high   level
	narrow level
	losses []*losses
}

// lossAlarms are the alarms for what the buffer loses. What a bus loses it
// counts itself.
var lossAlarms = [...]string{
	buffer.Evicted: alarm.BufferEvicting, buffer.Memory: alarm.MemoryFull, buffer.Corrupt: alarm.BufferDamaged,
}

// losses is a condition that holds while a count grows.
type losses struct {
	feed  *feed
	code  string
	count func(*buffer.Stats) uint64

	last, begin uint64
	at          time.Time // when it grew last
	on          bool
}

func (g *Gateway) newHealth() *health {
	h := &health{g: g, high: level{code: alarm.BufferHigh}, narrow: level{code: alarm.DiskCrowded}}
	for reason, code := range lossAlarms {
		if code != "" {
			h.losses = append(h.losses, &losses{feed: g.self, code: code, count: func(st *buffer.Stats) uint64 { return st.LostBy[reason] }})
		}
	}
	for _, s := range g.sources {
		if l, ok := s.Source.(loser); ok {
			h.losses = append(h.losses, &losses{feed: s.feed, code: alarm.RxOverflow, count: func(*buffer.Stats) uint64 { return l.Lost() }})
		}
	}
	return h
}

// watch looks until ctx ends.
func (h *health) watch(ctx context.Context) {
	for ctx.Err() == nil {
		h.look(time.Now())
		if h.g.opts.Alive != nil {
			h.g.opts.Alive()
		}
		sleep(ctx, watchInterval)
	}
}

// look raises and clears what is to be seen now. Clearing what is not raised
// costs next to nothing.
func (h *health) look(now time.Time) {
	g := h.g
	st := g.buffer.Stats()
	if !h.begun && st.Session > 0 {
		h.begun = true
		g.alarms.Begin(st.Session, selfSource, g.startDetail())
	}
	if st.Fault != "" && !st.Full {
		g.self.raise(alarm.DiskFault, map[string]any{"error": st.Fault})
	} else {
		g.self.clear(alarm.DiskFault, nil)
	}
	h.unanswered(g.uplink.Unanswered())
	h.filling(&st)
	h.crowding(&st)
	for _, l := range h.losses {
		l.look(&st, now)
	}
	if g.clock.Read().Why() == "" {
		g.lookAtCertificates(now)
	}
	g.lookAtCommands()
	g.ReportConfig()
	if g.alarms.Doubtful() {
		h.doubts()
	}
}

// unanswered looks at whether the broker acknowledges anything.
func (h *health) unanswered(d time.Duration, server string) {
	switch {
	case d < live.Unanswering:
		h.g.self.clear(alarm.UplinkMute, nil)
	case server != "":
		h.g.self.raise(alarm.UplinkMute, map[string]any{"server": server})
	}
}

// filling looks at how full the buffer is.
func (h *health) filling(st *buffer.Stats) {
	percent := st.DiskBytes * 100 / max(st.Limit, 1)
	if st.Full { // what is left is too little for a commit
		percent = 100
	}
	h.high.look(h.g.self, percent >= bufferHigh, percent >= bufferLow, func() map[string]any { return map[string]any{"percent": percent} })
}

// crowding looks at what others leave of the buffer's disk.
func (h *health) crowding(st *buffer.Stats) {
	percent := st.Limit * 100 / max(st.Size, 1)
	h.narrow.look(h.g.self, percent < diskCrowded, percent < diskRoomy, func() map[string]any { return map[string]any{"bytes": st.Limit, "percent": percent} })
}

// level is a condition with two bounds: it begins at one and ends at the other.
type level struct {
	code string
	on   bool
}

func (l *level) look(self *feed, begins, lasts bool, detail func() map[string]any) {
	switch {
	case begins || l.on && lasts:
		l.on = true
		self.raise(l.code, detail())
	case lasts: // neither yet nor again
	case l.on:
		l.on = false
		self.clear(l.code, detail())
	default:
		self.clear(l.code, nil)
	}
}

func (l *losses) look(st *buffer.Stats, now time.Time) {
	n := l.count(st)
	switch {
	case n > l.last:
		if !l.on {
			l.on, l.begin = true, l.last
		}
		l.feed.raise(l.code, map[string]any{"lost": n - l.begin})
		l.last, l.at = n, now
	case l.on && now.Sub(l.at) >= quiet:
		l.on = false
		l.feed.clear(l.code, map[string]any{"lost": n - l.begin})
	case !l.on:
		l.feed.clear(l.code, nil)
	}
}

// doubts clears alarms of before the start whose conditions are seen not to
// hold: a bus reports only what it has reported the begin of.
func (h *health) doubts() {
	for _, a := range h.g.alarms.Raised() {
		for _, s := range h.g.sources {
			if a.Unseen && s.Name() == a.Source && s.Fine(a.Code) {
				s.feed.Event(bus.Event{Time: time.Now(), Code: a.Code, Subject: a.Subject, State: bus.Cleared})
			}
		}
	}
}
