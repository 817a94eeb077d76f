package alarm

import (
	"log/slog"
	"slices"
	"sort"
	"sync"
	"time"

	"fieldferry/bus"
	"fieldferry/gateway/record"
)

// Config says what a [Set] works with. Emit and Known are called from any
// goroutine, must not block and must not call the Set.
type Config struct {
	Conditions []Condition // nil means Table
	// Emit puts a note into the stream of a source.
	Emit func(source string, e *record.Event)
	// Known says whether the configuration has a source and, if it is not
	// empty, the subject; nil: it has all.
	Known func(source, subject string) bool
	// Changed is called from Run, at most every five seconds, when the alarms
	// raised now have changed; may be nil.
	Changed func()
	// Files keep what has to outlive the process; nil: nothing does.
	Files Files
	// Durable is after how long a note is on disk.
	Durable time.Duration
	Log     *slog.Logger // nil discards
}

// How much is told at which pace.
const (
	burst = 200 // notes at once
	rate  = 20  // notes a second after that
	// unveil is how long a condition has, after the one that explained it has
	// ended, to end as well.
	unveil = 5 * time.Second
	// An alarm that is raised for the flaps-th time within flapWindow is
	// flapping: it is cleared when its condition is gone for calm.
	flaps      = 6
	flapWindow = 10 * time.Minute
	calm       = 2 * time.Minute
	late       = time.Second // a note told so long after its cause has its own time
)

// idsPerSession is how far apart the ids of two sessions with neighbouring
// numbers are: 2^22, so that every session below 2^31 has ids below 2^53, which
// are exact in JavaScript. The sessions of a buffer are 256 apart or more, so
// there is room for a billion ids. No buffer has a session's number twice, so
// ids need no counter of their own on disk, and no damage makes one come
// twice. What versions that counted sessions gave out, session*10^9 and up,
// lies below.
const idsPerSession = 1 << 22

type key struct{ source, code, subject string }

func (a *Alarm) key() key { return key{a.Source, a.Code, a.Subject} }

// entry is what is known of one condition of one source.
type entry struct {
	key
	row      *Condition
	id       uint64 // told as raised under this id; 0: not
	holds    bool
	hidden   bool
	left     bool // told before the start, and not reported since
	flapping bool

	// To be told, in this order.
	raise, clear bool
	event        uint64 // so many times
	queued       bool

	began    time.Time // since when it holds, or held when it was told
	up, down report
	times    uint64 // it began, since it was raised

	due    time.Duration            // not to be raised before
	gone   time.Duration            // flapping: not to be cleared before
	raised [flaps - 1]time.Duration // when, a ring
	turn   int
}

// report is what was said of a condition when it last began or ended.
type report struct {
	time   time.Time
	at     time.Duration
	detail map[string]any
}

// told says how the consumer sees it once the queue is empty.
func (e *entry) told() bool { return (e.id != 0 || e.raise) && !e.clear }

// Set is the account of all conditions. Its methods may be called from any
// goroutine.
type Set struct {
	cfg  Config
	log  *slog.Logger
	rows map[string]*Condition
	base time.Time
	kick chan struct{}

	mu      sync.Mutex
	entries map[key]*entry
	timed   map[*entry]time.Duration // to be looked at again
	queue   []*entry
	unseen  int    // entries that are left
	next    uint64 // id; 0: there is no session yet
	tokens  float64
	filled  time.Duration
	counts  map[string]uint64
	news    time.Duration // since when Changed is to be called; 0: it is not
	said    time.Duration // when it was last called; 0: never
	lines   []line
	file    file
}

// line is what has to be logged, by Run: a log may stall.
type line struct {
	id uint64
	key
	state    bus.State
	severity Severity
	detail   map[string]any
}

// New makes a set in which nothing holds. Notes wait until [Set.Begin].
func New(cfg Config) *Set {
	if cfg.Conditions == nil {
		cfg.Conditions = Table
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Known == nil {
		cfg.Known = func(string, string) bool { return true }
	}
	s := &Set{
		cfg: cfg, log: cfg.Log, base: time.Now(), kick: make(chan struct{}, 1), tokens: burst,
		rows: map[string]*Condition{}, entries: map[key]*entry{}, timed: map[*entry]time.Duration{}, counts: map[string]uint64{},
	}
	for i := range cfg.Conditions {
		s.rows[cfg.Conditions[i].Code] = &cfg.Conditions[i]
	}
	s.file.keep = 2*cfg.Durable + 5*time.Second
	return s
}

// now is the monotonic time since New, and never 0.
func (s *Set) now() time.Duration { return time.Since(s.base) + 1 }

// row is the row of a code. One that nobody declared must not cost the event.
func (s *Set) row(code string) *Condition {
	r := s.rows[code]
	if r == nil {
		r = &Condition{Code: code, Severity: Warning, Title: code}
		s.rows[code] = r
	}
	return r
}

// Report takes what a bus or a watcher says of a condition of a source. It may
// say so again and again, also with another detail: the note that it is raised
// keeps the first, [Set.Raised] has the last.
func (s *Set) Report(source string, e bus.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, now := key{source, e.Code, e.Subject}, s.now()
	x := s.entries[k]
	if x == nil {
		if e.State == bus.Cleared && s.next != 0 {
			return
		}
		x = &entry{key: k, row: s.row(e.Code)}
		s.entries[k] = x
	}
	switch e.State {
	case bus.Raised:
		s.begins(x, &e, now)
	case bus.Cleared:
		s.ends(x, &e, now)
	default:
		if x.event++; x.event == 1 {
			x.up = report{e.Time, now, e.Detail}
		}
		s.enqueue(x)
	}
	s.flush(now)
}

func (s *Set) begins(x *entry, e *bus.Event, now time.Duration) {
	if x.holds { // what is shown of it is what was said last
		if e.Detail != nil {
			x.up.detail = e.Detail
		}
		return
	}
	x.holds = true
	if !x.raise {
		x.up = report{e.Time, now, e.Detail}
	}
	switch {
	case x.left:
		s.seen(x)
		x.raise = true
		s.enqueue(x)
		return
	case x.told():
		x.times++
	case !x.clear: // of what is waiting to be cleared it is a flap
		x.began, x.times, x.due = e.Time, 1, max(now+x.row.After, x.row.Start)
	}
	s.settle(x, now)
}

func (s *Set) ends(x *entry, e *bus.Event, now time.Duration) {
	if !x.holds && !x.left && s.next != 0 {
		return
	}
	x.down = report{e.Time, now, e.Detail}
	if !x.holds && !x.left {
		return
	}
	x.holds = false
	s.seen(x)
	if x.flapping {
		x.gone = now + calm
	}
	s.settle(x, now)
	for _, y := range s.entries { // what it has explained so far
		if y.hidden && y.source == x.source && slices.Contains(y.row.HiddenBy, x.code) {
			y.due = now + unveil
			s.settle(y, now)
		}
	}
}

// seen notes that something is known of what was raised before the start.
func (s *Set) seen(x *entry) {
	if x.left {
		x.left = false
		s.unseen--
	}
}

// settle sees to it that what is told of x follows what holds.
func (s *Set) settle(x *entry, now time.Duration) {
	x.hidden = false
	delete(s.timed, x)
	switch told := x.told(); {
	case x.holds && x.clear: // it was gone too shortly to be told
		x.clear = false
		x.times++
	case x.holds == told:
	case x.holds && now < x.due:
		s.look(x, x.due)
	case x.holds && s.explained(x):
		x.hidden = true
	case x.holds:
		x.raise = true
		s.flap(x, now)
		s.enqueue(x)
	case x.flapping && now < x.gone:
		s.look(x, x.gone)
	default:
		x.clear = true
		s.enqueue(x)
	}
}

// look sees to it that x is settled again at a time.
func (s *Set) look(x *entry, at time.Duration) {
	s.timed[x] = at
	s.wake()
}

// explained says whether a condition holds that hides x.
func (s *Set) explained(x *entry) bool {
	for _, code := range x.row.HiddenBy {
		if y := s.entries[key{x.source, code, ""}]; y != nil && (y.holds || y.left) {
			return true
		}
	}
	return false
}

// flap notes that x is raised, and whether that is too often.
func (s *Set) flap(x *entry, now time.Duration) {
	oldest := x.raised[x.turn]
	x.flapping = oldest != 0 && now-oldest < flapWindow
	x.raised[x.turn] = now
	x.turn = (x.turn + 1) % len(x.raised)
}

func (s *Set) enqueue(x *entry) {
	if !x.queued {
		x.queued = true
		s.queue = append(s.queue, x)
		s.wake()
	}
}

func (s *Set) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// flush tells what waits, as far as the pace allows.
func (s *Set) flush(now time.Duration) {
	if s.next == 0 {
		return
	}
	s.tokens = min(s.tokens+(now-s.filled).Seconds()*rate, burst)
	s.filled = now
	for len(s.queue) > 0 && s.tokens >= 1 {
		x := s.queue[0]
		if s.tell(x, now) {
			s.tokens--
		}
		if !x.raise && !x.clear {
			x.queued = false
			s.queue[0] = nil
			s.queue = s.queue[1:]
		}
	}
}

// tell tells the next thing of x. It returns false if there is none any more.
func (s *Set) tell(x *entry, now time.Duration) bool {
	why := &x.up
	n := record.Event{Severity: x.row.Severity.String(), ID: x.id}
	switch {
	case x.event > 0:
		n.Times = x.event
		s.counts[x.code] += x.event
		x.event = 0
	case x.raise:
		x.raise = false
		n.State, n.Flapping, n.Again = bus.Raised, x.flapping, x.id != 0
	case x.clear:
		x.clear, x.flapping = false, false
		why = &x.down
		n.State, n.Times = bus.Cleared, x.times
	default:
		return false
	}
	n.Code, n.Subject, n.Time, n.Detail = x.code, x.subject, why.time, why.detail
	if now-why.at > late {
		n.Time = time.Now()
	}
	if n.ID == 0 {
		n.ID = s.next
		s.next++
	}
	switch n.State {
	case bus.Raised:
		if !x.began.Equal(n.Time) {
			n.Since = x.began
		}
		if x.id = n.ID; !n.Again {
			s.counts[x.code]++
			s.changed(now, true)
		}
	case bus.Cleared:
		s.file.cleared(x.alarm(), now)
		x.id = 0
		s.changed(now, false)
	}
	if len(s.lines) < burst {
		s.lines = append(s.lines, line{n.ID, x.key, n.State, x.row.Severity, n.Detail})
	}
	s.cfg.Emit(x.source, &n)
	return true
}

// changed notes that the set of alarms has changed.
func (s *Set) changed(now time.Duration, raised bool) {
	if s.news == 0 {
		s.news = now
	}
	s.file.dirty(now, raised)
	s.wake()
}

// alarm is what is told of x.
func (x *entry) alarm() Alarm {
	return Alarm{ID: x.id, Code: x.code, Source: x.source, Subject: x.subject, Since: x.began.UTC(),
		Severity: x.row.Severity.String(), Title: x.row.Title, Flapping: x.flapping, Detail: x.up.detail, Unseen: x.left, weight: x.row.Severity}
}

// Raised returns the alarms that are raised now, the worst first.
func (s *Set) Raised() []Alarm {
	s.mu.Lock()
	list := s.alarms(false)
	s.mu.Unlock()
	return list
}

// Pending returns what holds and will be raised, and is not yet: it is held back
// for its time, or waits for the pace of notes. Whoever wants both asks for these
// first, as one may be raised meanwhile.
func (s *Set) Pending() []Alarm {
	s.mu.Lock()
	list := s.alarms(true)
	s.mu.Unlock()
	return list
}

// alarms are those that are raised, or those that will be.
func (s *Set) alarms(pending bool) []Alarm {
	var list []Alarm
	for _, x := range s.entries {
		if (x.id == 0) == pending && (x.id != 0 || x.holds && !x.hidden) {
			list = append(list, x.alarm())
		}
	}
	sort.Slice(list, func(i, j int) bool { return worse(&list[i], &list[j]) })
	return list
}

// Doubtful says whether there are alarms of before the start of which nothing
// is known since. Who sees that such a condition does not hold has to clear it.
func (s *Set) Doubtful() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unseen > 0
}

// Counts returns what there was of each condition, in the order of the table.
func (s *Set) Counts() []Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Count, len(s.cfg.Conditions))
	for i := range list {
		list[i].Code = s.cfg.Conditions[i].Code
		list[i].Raised = s.counts[list[i].Code]
		for _, x := range s.entries {
			if x.row != &s.cfg.Conditions[i] {
				continue
			}
			if x.id != 0 {
				list[i].Active++
			}
			if x.hidden {
				list[i].Hidden++
			}
		}
	}
	return list
}
