package outbox

import (
	"cmp"
	"time"
)

const (
	// Hiccup is how long nothing may get through before what has gathered is
	// a backlog.
	Hiccup = 2 * time.Second
	// headStart is how long the backlog goes alone and live data waits. A
	// short outage is over in it, and everything has come in order.
	headStart = time.Second
	// behind is how long live data may wait before the backlog gets its Share:
	// until then it is the backlog, and not the link, that is too much.
	behind = 2 * time.Second
	// newestRun is how many offsets are sent in order with newest first.
	newestRun = 10_000
	// defaultShare is the backlog's part while live data waits too.
	defaultShare = 0.5
)

// Backlog says how what an outage has left is sent beside live data.
type Backlog struct {
	Share       float64 // of the link, above 0, below 1; 0: a half
	MaxRate     int64   // bytes a second; 0: no limit
	NewestFirst bool    // the latest records first, in order within each run of 10,000
}

// backlog is the lane of what an outage has left. Live data goes before it, and
// it fills what live data leaves of the link. Only when the link cannot even
// carry live data, the two share it.
type backlog struct {
	lane
	flow
	rest   []span    // not begun yet; none is empty
	alone  time.Time // until then live data waits
	credit float64   // bytes that may go before live data that waits
	mark   mark      // live data has not got there
}

// mark is an offset that was the end of the buffer at some time.
type mark struct {
	end uint64
	at  time.Time
}

// place sets the lanes when a connection asks for its first message. After an
// outage all that is in the buffer is late, else what was late before.
func (q *Outbox) place(now time.Time) {
	end, ok := q.store.End()
	if !ok {
		return // nothing can be read either
	}
	q.placed = true
	if !q.got && now.Sub(q.away) > Hiccup {
		q.boundary = end
	}
	first := q.store.First()
	q.live.begin(max(first, q.boundary), noEnd)
	if first >= q.boundary {
		q.resume = span{}
		return
	}
	k := &backlog{flow: flow{bound: flowLeast}, rest: q.plan(span{first, q.boundary})}
	k.q, k.late = q, true
	k.nextRun()
	if len(k.rest) == 0 { // or else it is not in order anyway
		k.alone = now.Add(headStart)
	}
	q.late = k
}

// plan lists the parts of the backlog in the order in which they are sent.
// With newest first the run that was interrupted goes before newer ones: a
// message that ends the connection has to come first to be found out.
func (q *Outbox) plan(all span) (rest []span) {
	r := span{max(q.resume.from, all.from), min(q.resume.to, all.to)}
	if !q.cfg.Backlog.NewestFirst || r.from >= r.to {
		return []span{all}
	}
	for _, s := range []span{r, {r.to, all.to}, {all.from, r.from}} {
		if s.from < s.to {
			rest = append(rest, s)
		}
	}
	return rest
}

// interrupt remembers what is being sent of the backlog.
func (q *Outbox) interrupt() {
	if q.late == nil {
		return
	}
	r := q.late.run
	if b := q.oldestInFlight(&q.late.lane); b != nil {
		r = b.run
	}
	q.resume = span{r.base, r.end}
}

// nextRun goes on with the next run, false when there is none.
func (k *backlog) nextRun() bool {
	if len(k.rest) == 0 {
		return false
	}
	s := &k.rest[0]
	from := s.from
	if k.q.cfg.Backlog.NewestFirst && s.to-s.from > newestRun {
		from = s.to - newestRun
	}
	k.lane.begin(from, s.to)
	if s.to = from; s.from == s.to {
		k.rest = k.rest[1:]
	}
	return true
}

// head is lane.head over all runs.
func (k *backlog) head(now time.Time) *batch {
	for {
		k.most = k.flow.message()
		if b := k.lane.head(now); b != nil {
			return b
		}
		if k.next < k.run.end {
			return nil
		}
		if k.closeAll(); len(k.ready) == 0 && !k.nextRun() {
			return nil
		}
	}
}

// left says whether there is something to be handed out.
func (k *backlog) left() bool {
	return len(k.rest) > 0 || k.next < k.run.end || len(k.ready) > 0 || k.oldest() != nil
}

// first says whether live data waits for the backlog.
func (k *backlog) first(now time.Time) bool { return now.Before(k.alone) && k.left() }

// choose returns the batch to be sent next, nil if there is none yet. What was
// held and the other lanes take turns.
func (q *Outbox) choose(now time.Time) *batch {
	k := &q.again
	if q.sweep {
		if len(q.inFlight) > 0 {
			return nil // what is in flight would be sent again
		}
		q.sweepUp(now)
	}
	held := k.head(now)
	if held != nil && !k.goes(held, now) {
		held = nil
	}
	if held == nil || !k.turn {
		if b := q.chooseLane(now); b != nil || held == nil {
			k.turn = true
			return b
		}
	}
	k.turn, k.probing = false, !k.of.freed
	return held
}

// chooseLane is choose without what was held.
func (q *Outbox) chooseLane(now time.Time) *batch {
	k := q.late
	if k == nil {
		return q.live.head(now)
	}
	late := k.head(now)
	if late == nil {
		if !k.left() && k.flight == 0 {
			q.cfg.Log.Info("the backlog is delivered")
			q.late = nil
		}
		return q.live.head(now)
	}
	size := late.weight()
	paced := q.pace.wait(now) > 0
	if k.first(now) {
		if paced || !k.flow.room(size) {
			return nil
		}
		return late
	}
	live := q.live.head(now)
	if live == nil {
		k.credit = 0
		if paced || !k.flow.room(size) {
			return nil
		}
		return late
	}
	if paced || !k.liveIsBehind(now) {
		return live
	}
	if k.credit >= float64(size) {
		k.credit -= float64(size)
		return late
	}
	share := cmp.Or(q.cfg.Backlog.Share, defaultShare)
	k.credit += float64(live.weight()) * share / (1 - share)
	return live
}

// liveIsBehind says whether a live record has waited for longer than behind.
func (k *backlog) liveIsBehind(now time.Time) bool {
	if k.q.live.next >= k.mark.end {
		end, _ := k.q.store.End()
		k.mark = mark{end, now}
	}
	return now.Sub(k.mark.at) > behind
}

// until is when there is something to do again at the latest; zero: nothing
// but an acknowledgement or live data can change anything.
func (k *backlog) until(now time.Time) (t time.Time) {
	for _, at := range []time.Time{k.retry, k.alone, k.q.pace.free} {
		if at.After(now) {
			t = earlier(t, at)
		}
	}
	if b := k.oldest(); b != nil {
		t = earlier(t, b.due)
	}
	return t
}

// sent takes account of a message of the backlog; others, and none, do not
// matter.
func (k *backlog) sent(b *batch) {
	if k != nil && b.lane == &k.lane {
		k.flow.sent(b, &k.q.pace)
	}
}

// settled takes account of the answer to a message that took so many bytes
// on the line.
func (k *backlog) settled(b *batch, packed int) {
	if k != nil && b.lane == &k.lane {
		k.flow.settled(b, time.Now())
		k.q.pace.packs(b.size, packed)
	}
}

// flow bounds what the backlog has in flight by how long that takes: a live
// message stands behind all of it. The bound grows fast while messages come
// back as soon as the fastest one did, and slowly until they take flowTarget
// longer; beyond that it shrinks in proportion.
type flow struct {
	bound  int           // bytes
	flight int           // bytes
	base   time.Duration // the fastest; 0: none came back yet
	cut    time.Time     // when bound was made smaller
}

const (
	flowLeast  = 2 << 10 // 1 s on a link of 2 kB/s
	flowTarget = 500 * time.Millisecond
)

func (f *flow) sent(b *batch, p *pace) {
	f.flight += b.size
	p.took(b.sent, b.size)
}

func (f *flow) room(size int) bool { return f.flight == 0 || f.flight+size <= f.bound }

// message is how many bytes one message should have at most.
func (f *flow) message() int { return max(f.bound/4, flowLeast/2) }

func (f *flow) settled(b *batch, now time.Time) {
	full := f.flight >= f.bound/8 && f.base > 0 // else the bound is not what holds it back
	f.flight -= b.size
	took := max(now.Sub(b.sent), 1)
	if f.base == 0 || took < f.base {
		f.base = took
	}
	most := f.base + flowTarget
	switch {
	case took <= f.base+flowTarget/4 && full:
		f.bound += 3 * b.size
	case took <= most && full:
		f.bound += b.size / 8
	case took > most && b.sent.After(f.cut):
		f.bound = max(flowLeast, int(float64(f.bound)*float64(most)/float64(took)))
		f.cut = now
	}
}

// pace keeps the backlog to its rate. It outlives connections.
type pace struct {
	rate   float64   // bytes a second; 0: no limit
	free   time.Time // when the next message may go
	packed float64   // bytes on the line of a byte of message, as last seen
}

func (p *pace) wait(now time.Time) time.Duration { return p.free.Sub(now) }

func (p *pace) took(now time.Time, size int) {
	if p.rate == 0 {
		return
	}
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(size) * p.packed / p.rate * float64(time.Second)))
}

func (p *pace) packs(size, packed int) {
	if packed > 0 && size > 0 {
		p.packed = float64(packed) / float64(size)
	}
}
