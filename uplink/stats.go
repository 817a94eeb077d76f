package uplink

import (
	"context"
	"log/slog"
	"time"
)

// Stats is how an uplink fares.
type Stats struct {
	Connected bool
	Server    string    // the connected one, without user and password; empty when not connected
	Since     time.Time // when it was connected or disconnected
	Sent      uint64    // messages of the queue handed to a connection, repetitions included
	Acked     uint64    // messages of the queue acknowledged
	Refused   uint64    // messages of the queue that were not taken, see Queue.Refused
	InFlight  int       // messages waiting for their PUBACK, births included
	// Unanswered is how long messages of the queue have waited for a PUBACK and
	// none of them has got one, over all connections, without the time between
	// them; 0: none waits.
	Unanswered  time.Duration
	Acks        AckTimes // how long those of the queue waited
	BytesUp     uint64   // bytes written to connections, TLS included, TCP and IP not
	BytesDown   uint64
	Received    uint64 // messages handled by a subscription
	Unwanted    uint64 // messages that came and nobody had subscribed to
	Dropped     uint64 // messages that were too large, or too many for their handler
	Connects    uint64 // connections that a broker accepted, and passed the check of Config.Verify
	Failures    uint64 // attempts and connections that ended with an error
	LastError   string // the last of them, without secrets; empty: none yet
	LastReason  Reason
	LastErrorAt time.Time
}

// Stats may be called at any time from any goroutine.
func (u *Uplink) Stats() Stats {
	received, unwanted, dropped := u.receiver.Counts()
	u.mu.Lock()
	defer u.mu.Unlock()
	return Stats{
		Connected:   u.server != "",
		Server:      u.server,
		Since:       u.since,
		Acked:       u.acked.Load(), // before Sent, so that it is never more
		Refused:     u.refused.Load(),
		Sent:        u.sent.Load(),
		InFlight:    int(u.inFlight.Load()),
		Unanswered:  u.silence(),
		Acks:        u.acks.get(),
		BytesUp:     u.up.Load(),
		BytesDown:   u.down.Load(),
		Received:    received,
		Unwanted:    unwanted,
		Dropped:     dropped,
		Connects:    u.connects.Load(),
		Failures:    u.failures.Load(),
		LastError:   u.lastError,
		LastReason:  u.lastReason,
		LastErrorAt: u.lastErrorAt,
	}
}

func (u *Uplink) connected(server string, now time.Time) {
	u.connects.Add(1)
	u.mu.Lock()
	u.server, u.since = server, now
	u.mu.Unlock()
	u.report.connected(server)
	u.obs.Connected(server)
}

// accepts is called when nothing is in the way of publishing any more.
func (u *Uplink) accepts(server string, verified bool) {
	u.connected(server, u.now())
	if verified {
		u.obs.Accepted(server)
	}
}

func (u *Uplink) disconnected(e *Error) {
	now := u.now()
	u.failures.Add(1)
	u.mu.Lock()
	if u.server != "" {
		u.server, u.since = "", now
	}
	u.lastError, u.lastReason, u.lastErrorAt = e.Error(), e.Reason, now
	u.mu.Unlock()
	u.report.failed(e, now)
	u.obs.Disconnected(e.Server, e)
}

func (u *Uplink) stopped(server string) {
	u.mu.Lock()
	u.server, u.since = "", u.now()
	u.mu.Unlock()
	u.log.Info("uplink disconnected", "server", server)
	u.obs.Disconnected(server, nil)
}

// reporter logs an error once, however often it repeats, and the recovery
// with the count. It belongs to the goroutine of Run.
type reporter struct {
	log   *slog.Logger
	seen  map[failure]bool // logged since the last recovery
	count uint64           // failures since then
	first time.Time
	blind bool // unverified was reported

	refusedFilters map[string]bool // reported since it was last granted

	refusals map[string]*refusals // by topic; the empty one counts for all others
}

// refusals are the messages to a topic that were not taken.
type refusals struct {
	count  uint64
	logged time.Time
}

const (
	refusalTopics = 64
	refusalPause  = 10 * time.Minute
)

// rejected logs the first message to a topic that is not taken, and then from
// time to time how many there were.
func (r *reporter) rejected(server string, m Message, v Verdict, now time.Time) {
	if r.refusals == nil {
		r.refusals = map[string]*refusals{}
	}
	topic := m.Topic
	if r.refusals[topic] == nil && len(r.refusals) >= refusalTopics {
		topic = ""
	}
	x := r.refusals[topic]
	if x == nil {
		x = &refusals{}
		r.refusals[topic] = x
	}
	x.count++
	level := slog.LevelDebug
	if x.logged.IsZero() || now.Sub(x.logged) >= refusalPause {
		x.logged, level = now, slog.LevelError
	}
	r.log.Log(context.Background(), level, "the broker does not take a message", "server", server,
		"topic", m.Topic, "bytes", len(m.Payload), "reason", v.Reason, "final", v.Final, "messages", x.count)
}

type failure struct {
	server string
	reason Reason
}

func (r *reporter) failed(e *Error, now time.Time) {
	if r.count == 0 {
		r.first = now
	}
	r.count++
	key := failure{e.Server, e.Reason}
	if r.seen[key] {
		r.log.Debug("uplink failed again", "server", e.Server, "reason", e.Reason.String(), "error", e)
		return
	}
	if r.seen == nil {
		r.seen = make(map[failure]bool)
	}
	r.seen[key] = true
	r.log.Warn("uplink failed", "server", e.Server, "reason", e.Reason.String(), "error", e)
}

// connected is not yet a recovery: a broker that accepts and drops us again
// would fill the log.
func (r *reporter) connected(server string) {
	if r.count == 0 {
		r.log.Info("uplink connected", "server", server)
	} else {
		r.log.Debug("uplink connected", "server", server)
	}
}

// unverified is called when a broker cannot show whether it lets us publish.
func (r *reporter) unverified(server string, err error) {
	if !r.blind {
		r.log.Warn("the broker does not let itself be checked for whether it lets this client publish", "server", server, "error", err)
	}
	r.blind = true
}

// works is called at the first acknowledgement of a connection for a message
// of the queue.
func (r *reporter) works(server string, now time.Time) {
	if r.count == 0 {
		return
	}
	r.log.Info("uplink works again", "server", server, "failures", r.count, "after", now.Sub(r.first).Round(time.Millisecond))
	r.count = 0
	clear(r.seen)
}

// Unanswered is that of [Stats], with the connected server, if any. It costs next
// to nothing.
func (u *Uplink) Unanswered() (d time.Duration, server string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.silence(), u.server
}

// waits says that a message of the queue waits for its answer.
func (u *Uplink) waits() {
	if before := u.unanswered.Load(); before <= 0 {
		u.unanswered.Store(max(1, int64(u.now().Sub(u.begun))+before))
	}
}

// answered says that one was answered, and whether others wait.
func (u *Uplink) answered(others bool) {
	u.unanswered.Store(0)
	if others {
		u.waits()
	}
}

// unconnected keeps for the next connection how long it was.
func (u *Uplink) unconnected() { u.unanswered.Store(-int64(u.silence())) }

func (u *Uplink) silence() time.Duration {
	at := u.unanswered.Load()
	if at <= 0 {
		return time.Duration(-at)
	}
	return max(1, u.now().Sub(u.begun)-time.Duration(at))
}
