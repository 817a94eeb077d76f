package uplink

import (
	"cmp"
	"time"
)

// suspect finds out whether it is a message, and not the connection, that a
// connection ends with again and again. It belongs to the goroutine of Run
// and outlives connections.
//
// The suspect of a session is the first message not answered when it ended to
// whose topic nothing was answered before. After two sessions in a row with
// one, messages are made smaller, which a bad link and a broker with a limit
// both need. And a trial begins: the next session sends its births and
// nothing else for a while, the control; without births nobody is tried. If
// the connection survives that, messages go one at a time until one to the
// suspect's topic has gone. If the connection then ends sooner than the
// control lasted, the message is to blame. What is blamed five times in a row
// is condemned. A connection that ends by chance does so during the
// control as likely as after it, so that five in a row are one in a thousand,
// and the first answer acquits.
//
// Whether a message is condemned for its bytes or for its topic is the queue's
// to find out.
type suspect struct {
	_ [0]func() // nobody compares them: saves the code for it

	fruitless int
	shortest  time.Duration // of a control; 0: shortestControl
	control   time.Duration // of the next trial; 0: there is none
	blames    int
	limit     int    // bytes of a message; 0: none
	ceiling   int    // what limit may grow to again; 0: no bound
	growth    int    // messages acknowledged since limit was set
	topic     string // of the suspect; empty: whatever comes first
}

const (
	fruitlessSessions = 2
	enoughBlames      = 5
	blamesToShrink    = 2
	shortestControl   = 2 * time.Second
	longestControl    = time.Minute
	trialMessages     = 256 // to other topics than the suspect's
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
	sent   bool          // a suspect was sent
	trial  trial         // how far it came
	head   Message       // the suspect
	size   int           // its topic and payload
	after  time.Duration // from sending it to the end
	births bool          // there are messages to try the connection with
}

// size is what the queue's limit is about.
func size(m Message) int { return len(m.Topic) + len(m.Payload) }

// acked is called for every message acknowledged.
func (p *suspect) acked() {
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

// answered is called when the broker has taken a message to a topic or not.
func (p *suspect) answered(topic string) {
	if p.topic == topic || p.topic == "" {
		p.acquit()
	}
}

func (p *suspect) acquit() {
	p.fruitless, p.control, p.blames, p.topic = 0, 0, 0, ""
}

// ended takes account of a session that ended with e, and says whether the
// suspect is condemned.
func (p *suspect) ended(e *Error, t trace) bool {
	if t.trial == inControl { // the connection it is
		p.acquit()
		return false
	}
	if !t.sent {
		return false
	}
	if t.trial == inTest {
		if !endsConnections(e.Reason) || t.after > p.control {
			p.control = p.nextControl(t)
			p.blames = 0
			p.shrink(t.size)
			return false
		}
		return p.blame(t)
	}
	if p.topic != t.head.Topic {
		p.topic, p.fruitless = t.head.Topic, 0
	}
	if p.fruitless++; p.fruitless < fruitlessSessions {
		return false
	}
	p.fruitless = 0
	p.shrink(t.size)
	if t.births && endsConnections(e.Reason) {
		p.control = p.nextControl(t)
	}
	return false
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

func (p *suspect) blame(t trace) bool {
	p.blames++
	if p.blames >= blamesToShrink && p.shrink(t.size) {
		p.ceiling = p.limit
		return false
	}
	if p.blames < enoughBlames {
		return false
	}
	p.acquit()
	return true
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
