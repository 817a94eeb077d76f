package mqtt

import (
	"hash/maphash"
	"io"
	"sync"
	"sync/atomic"
)

// echoes are the messages of our own that the broker is to send back, one for
// each topic. No body is kept in memory but those that somebody has asked for.
type echoes struct {
	count atomic.Int32 // of open; without any nothing is looked at
	seed  maphash.Seed

	mu      sync.Mutex
	open    map[string]*echo
	longest int // bytes of a topic in open, or of one that was
}

// echo is one of them.
type echo struct {
	topic  string
	length int // of the payload
	sum    uint64
	back   chan struct{} // closed when it came
	seen   func([]byte)  // what comes to the topic afterwards; may be nil
	came   bool          // the reader's
	owed   int           // bytes published to the topic and not come back; guarded by mu
}

func newEchoes() *echoes { return &echoes{seed: maphash.MakeSeed(), open: map[string]*echo{}} }

// expect begins to wait for m, until forget. It must be called before m is published.
func (l *echoes) expect(m Packet, seen func([]byte)) *echo {
	e := &echo{topic: m.Topic, length: len(m.Payload), sum: maphash.Bytes(l.seed, m.Payload), back: make(chan struct{}), seen: seen}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[e.topic] = e
	l.longest = max(l.longest, len(e.topic))
	l.count.Store(int32(len(l.open))) //nolint:gosec // as few as there are proofs at a time
	return e
}

func (l *echoes) forget(e *echo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[e.topic] == e {
		delete(l.open, e.topic)
	}
	l.count.Store(int32(len(l.open))) //nolint:gosec // see expect
}

// published takes account of a message that may come back.
func (l *echoes) published(m *Packet) {
	if l.count.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.open[m.Topic]; e != nil {
		e.owed += len(m.Topic) + len(m.Payload)
	}
}

// most is how long the topic of an echo may be; 0: there is none.
func (l *echoes) most() int {
	if l.count.Load() == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.longest
}

// of is the echo for a topic that a message of so many bytes came to, and
// whether they are bytes that were sent from here.
func (l *echoes) of(topic []byte, bytes int) (e *echo, owed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e = l.open[string(topic)]
	if e != nil && e.owed >= bytes {
		e.owed -= bytes
		owed = true
	}
	return e, owed
}

// overhear reads the payload of a message to the topic of e.
func (c *Conn) overhear(e *echo, length int) error {
	switch {
	case !e.came && length == e.length:
		var sum maphash.Hash
		sum.SetSeed(c.echoes.seed)
		if _, err := io.CopyN(&sum, c.r, int64(length)); err != nil {
			return err
		}
		if sum.Sum64() == e.sum {
			e.came = true
			close(e.back)
		}
		return nil
	case !e.came || e.seen == nil || length > maxAnswer:
		_, err := c.r.Discard(length)
		return err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return err
	}
	e.seen(body)
	return nil
}
