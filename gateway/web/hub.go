package web

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Feed computes one topic of the event stream. It belongs to the hub's
// goroutine and is dropped when its last client has gone.
type Feed interface {
	// Full returns the state of the topic, as JSON on one line.
	Full() []byte
	// Next returns what has changed since the last call of either, as JSON on one
	// line; nil if nothing has. To apply a change twice does no harm.
	Next() []byte
}

// The beat of the stream, and what a client may cost.
const (
	beat        = 500 * time.Millisecond // no topic is computed more often
	ringBytes   = 64 << 10               // of a topic, for clients that come back
	maxPending  = 16 << 10               // bytes that wait for one client
	stuckTime   = 10 * time.Second       // without progress a client is closed
	commentTime = 15 * time.Second       // a sign of life for proxies
	checkTime   = 30 * time.Second       // how often a login is looked at again
	maxTLS      = 100                    // clients over TLS: each has a goroutine and buffers of its own
	maxTopics   = 16                     // of one client
)

// hub computes each topic once for all clients. One goroutine does it all, and
// sleeps while there is no client.
type hub struct {
	open func(topic string) Feed // nil: there is no such topic

	mu      sync.Mutex
	free    int // clients that may still come
	freeTLS int
	coming  []*client
	wake    chan struct{}

	// Of the hub's goroutine.
	clients []*client
	topics  map[string]*topic
	id      uint64
}

// topic is one that has clients.
type topic struct {
	name    string
	feed    Feed
	clients int
	ring    []event // the newest, oldest first
	bytes   int     // of ring
	dropped uint64  // id of the newest event that is no longer in ring
	full    []byte  // of this beat; nil: not made yet
	change  []byte  // of this beat; nil: there is none
	last    uint64  // id of the newest event
}

type event struct {
	id   uint64
	text []byte
}

func newHub(clients int, view View) *hub {
	return &hub{
		open: func(name string) Feed { return openFeed(view, name) },
		free: clients, freeTLS: maxTLS,
		wake: make(chan struct{}, 1), topics: map[string]*topic{},
		id: uint64(time.Now().UnixMilli()), // more than any of a former process
	}
}

// reserve takes a place for a client, and reports whether there was one.
func (h *hub) reserve(tls bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free == 0 || tls && h.freeTLS == 0 {
		return false
	}
	h.free--
	if tls {
		h.freeTLS--
	}
	return true
}

func (h *hub) release(tls bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free++
	if tls {
		h.freeTLS++
	}
}

// add hands a client with a reserved place to the hub.
func (h *hub) add(c *client) {
	h.mu.Lock()
	h.coming = append(h.coming, c)
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// run serves clients until ctx ends, then closes them.
func (h *hub) run(ctx context.Context) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if len(h.clients) == 0 {
			ticker.Stop()
			select {
			case <-ctx.Done():
			case <-h.wake:
			}
			ticker.Reset(beat)
		} else {
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
		h.beat(time.Now())
	}
	h.welcome(time.Now())
	for _, c := range h.clients {
		h.drop(c)
	}
	h.clients = nil
}

// beat computes every topic once and sends it.
func (h *hub) beat(now time.Time) {
	h.welcome(now)
	for _, t := range h.topics {
		t.full, t.change = nil, nil
		if next := t.feed.Next(); next != nil {
			h.id++
			t.change = frame(h.id, t.name, next)
			t.keep(event{h.id, t.change})
		}
	}
	h.clients = slices.DeleteFunc(h.clients, func(c *client) bool {
		h.fill(c, now)
		if c.flush(now) && c.stillAllowed(now) {
			return false
		}
		h.drop(c)
		return true
	})
}

// welcome takes in the clients that have come.
func (h *hub) welcome(now time.Time) {
	h.mu.Lock()
	coming := h.coming
	h.coming = nil
	h.mu.Unlock()
	for _, c := range coming {
		c.progress, c.checked, c.wrote = now, now, now
		for i := range c.subs {
			s := &c.subs[i]
			t := h.topics[s.name]
			if t == nil {
				h.id++ // what happened while nobody followed the topic is not known
				t = &topic{name: s.name, feed: h.open(s.name), last: h.id, dropped: h.id}
				if t.feed == nil { // its source has gone since the client was let in
					t.feed = &stateFeed{get: func() any { return nil }}
				}
				h.topics[s.name] = t
			}
			t.clients++
			s.topic = t
			s.behind = !c.resume(t, h.id)
		}
		h.clients = append(h.clients, c)
	}
}

// resume queues what a client that comes back has missed of a topic; it
// returns false if that is not known any more.
func (c *client) resume(t *topic, newest uint64) bool {
	if c.seen < t.dropped || c.seen > newest {
		return false
	}
	for _, e := range t.ring {
		if e.id > c.seen {
			c.push(e.text)
		}
	}
	return true
}

// keep puts an event into the ring.
func (t *topic) keep(e event) {
	t.ring = append(t.ring, e)
	t.bytes += len(e.text)
	t.last = e.id
	for t.bytes > ringBytes && len(t.ring) > 0 {
		t.bytes -= len(t.ring[0].text)
		t.dropped = t.ring[0].id
		t.ring[0].text = nil
		t.ring = t.ring[1:]
	}
}

// fill queues what a client is to get in this beat. One that is behind gets the
// state whole, as soon as there is room.
func (h *hub) fill(c *client, now time.Time) {
	if c.beats++; c.beats < c.every {
		for i := range c.subs { // slower than the beat: it gets the newest state in its turn
			c.subs[i].behind = c.subs[i].behind || c.subs[i].topic.change != nil
		}
		if c.greeted {
			return
		}
	}
	c.beats = 0
	for i := range c.subs {
		s := &c.subs[i]
		t := s.topic
		if s.behind {
			if !c.room() {
				c.skipped++
				continue
			}
			if t.full == nil {
				t.full = frame(t.last, t.name+"/full", t.feed.Full())
			}
			c.sayskipped()
			c.push(t.full)
			s.behind = false
			continue
		}
		if t.change == nil {
			continue
		}
		if !c.room() {
			s.behind = true
			c.skipped++
			continue
		}
		c.push(t.change)
	}
	c.greeted = true
	if c.idle() && now.Sub(c.wrote) >= commentTime {
		c.push([]byte(":\n\n"))
	}
}

// drop closes a client and the topics nobody follows any more.
func (h *hub) drop(c *client) {
	c.close()
	for i := range c.subs {
		t := c.subs[i].topic
		if t.clients--; t.clients == 0 {
			delete(h.topics, t.name)
		}
	}
	h.release(c.tls)
}

// frame is one event of the stream (HTML Living Standard, 9.2). data has no line end.
func frame(id uint64, name string, data []byte) []byte {
	b := make([]byte, 0, len(data)+len(name)+48)
	b = append(b, "id: "...)
	b = strconv.AppendUint(b, id, 10)
	b = append(b, "\nevent: "...)
	b = append(b, name...)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	return append(b, '\n', '\n')
}
