package uplink

import (
	"cmp"
	"hash/maphash"
	"time"
)

// suspect finds out whether it is the message, and not the connection, that a
// connection ends with again and again. It belongs to the goroutine of Run
// and outlives connections.
//
// A session is fruitless if it sent messages of the queue and none of them was
// settled. After two of those, messages are made smaller, which a bad link
// and a broker with a limit both need. And a trial begins: the next session
// sends its births and nothing else for a while, the control; without births
// nobody is tried. If the connection
// survives that, it sends the first message alone. If the connection then ends
// sooner than the control lasted, the message is to blame. The same bytes
// blamed five times in a row are condemned. A connection that ends by chance
// does so during the control as likely as after it, so that five in a row are
// one in a thousand, and the first acknowledgement acquits.
//
// If the next message fares the same, it is not the message either but what
// the broker allows: nothing more is condemned until it takes one.
type suspect struct {
	seed      maphash.Seed
	fruitless int
	shortest  time.Duration // of a control; 0: shortestControl
	control   time.Duration // of the next trial; 0: there is none
	blamed    uint64        // hash of the message
	blames    int
	limit     int  // bytes of a message; 0: none
	ceiling   int  // what limit may grow to again; 0: no bound
	growth    int  // messages acknowledged since limit was set
	parked    bool // one was condemned, and none acknowledged since
}

const (
	fruitlessSessions = 2
	enoughBlames      = 5
	blamesToShrink    = 2
	shortestControl   = 2 * time.Second
	longestControl    = time.Minute
	smallestLimit     = 1024
	growAfter         = 64
)

// trial is how far a session has come with a trial.
type trial uint8

const (
	noTrial   trial = iota
	inControl       // nothing but births was sent
	inTest          // and then one message
)

// trace is what a session leaves for the suspicion.
type trace struct {
	proved bool          // a message of the queue was settled
	sent   bool          // one was sent
	trial  trial         // how far it came
	head   Message       // the oldest message of the queue not settled
	size   int           // its topic and payload
	after  time.Duration // from sending it to the end
	births bool          // there are messages to try the connection with
}

// size is what the queue's limit is about.
func size(m Message) int { return len(m.Topic) + len(m.Payload) }

// acked is called for every message acknowledged.
func (p *suspect) acked() {
	p.parked = false
	if p.limit == 0 || p.limit == p.ceiling {
		return
	}
	if p.growth++; p.growth >= growAfter {
		p.growth = 0
		p.limit *= 2
		switch {
		case p.ceiling > 0:
			p.limit = min(p.limit, p.ceiling)
		case p.limit >= 1<<20:
			p.limit = 0
		}
	}
}

func (p *suspect) acquit() {
	p.fruitless, p.control, p.blames = 0, 0, 0
}

// verdict is what comes of a session.
type verdict uint8

const (
	goOn      verdict = iota
	condemn           // the head of the queue will never be taken
	forbidden         // nothing of the queue is taken
)

// ended takes account of a session that ended with e.
func (p *suspect) ended(e *Error, t trace) verdict {
	switch {
	case t.proved:
		p.acquit()
		return goOn
	case t.trial == inControl: // the connection it is
		p.acquit()
		return goOn
	case !t.sent:
		return goOn
	}
	if e.Reason == ReasonNotAccepted { // the broker names it
		return p.blame(t, e)
	}
	if t.trial == inTest {
		if !endsConnections(e.Reason) || t.after > p.control {
			p.control = p.nextControl(t)
			p.blames = 0
			p.shrink(t.size)
			return goOn
		}
		return p.blame(t, e)
	}
	if p.fruitless++; p.fruitless < fruitlessSessions {
		return goOn
	}
	p.fruitless = 0
	p.shrink(t.size)
	if t.births && endsConnections(e.Reason) {
		p.control = p.nextControl(t)
	}
	return goOn
}

func (p *suspect) nextControl(t trace) time.Duration {
	return min(max(2*t.after, cmp.Or(p.shortest, shortestControl)), longestControl)
}

// endsConnections is true for the ways in which a broker ends a connection
// because of a message it got. Silence is none.
func endsConnections(r Reason) bool {
	switch r {
	case ReasonLost, ReasonTooLarge, ReasonGoodbye, ReasonProtocol, ReasonQoS:
		return true
	}
	return false
}

func (p *suspect) blame(t trace, e *Error) verdict {
	var h maphash.Hash
	if p.seed == (maphash.Seed{}) {
		p.seed = maphash.MakeSeed()
	}
	h.SetSeed(p.seed)
	_, _ = h.WriteString(t.head.Topic)
	_, _ = h.Write(t.head.Payload)
	if sum := h.Sum64(); sum != p.blamed || p.blames == 0 {
		p.blamed, p.blames = sum, 0
	}
	p.blames++
	if p.blames >= blamesToShrink && e.Reason != ReasonNotAccepted && p.shrink(t.size) {
		p.ceiling = p.limit
		return goOn
	}
	switch {
	case p.blames < enoughBlames:
		return goOn
	case p.parked:
		p.blames = enoughBlames // until it is taken
		return forbidden
	}
	p.acquit()
	p.parked = true
	return condemn
}

// shrink halves what a message may have, if that can make the message
// smaller: one of a single record stays as large as it is.
func (p *suspect) shrink(size int) bool {
	if size/2 < smallestLimit || p.limit > 0 && size > p.limit {
		return false
	}
	p.limit, p.growth, p.blames = size/2, 0, 0
	return true
}
