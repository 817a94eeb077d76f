package uplink

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"fieldferry/uplink/mqtt"
)

// session is one connection after CONNACK: it takes messages from the queue,
// keeps at most a window of them in flight and reports the acknowledged ones.
//
// Two goroutines: run owns the queue, the window and the publisher; watch
// waits for the tokens in the order of sending, and for all else that run,
// perhaps blocked in Queue.Next, must be woken for.
type session struct {
	u      *Uplink
	pub    publisher
	server string

	ring     []flight // the window; ring[head] is the oldest of count
	head     int
	count    int
	queued   int    // of count, those of the queue
	taken    uint64 // of settled, how many run has taken out of the window
	slot     bool   // a permission to publish is held
	proved   bool   // a message of the queue was settled
	works    bool   // one was acknowledged
	verified bool   // see Config.Verify
	mute     string // topic of a birth that was refused; empty: none
	topics   topics // that something was settled for

	largest int         // bytes of a message, see limit
	trial   trial       // how far it came with a trial
	timer   *time.Timer // for the pace; nil until it is needed

	// reach opens a connection to the server of this one and closes it; nil:
	// a connection without an answer is not asked about.
	reach func(ctx context.Context) bool

	tokens  chan mqtt.Token // to watch, in order of sending; never full
	settled atomic.Uint64   // acknowledged, all before them as well
	signal  chan struct{}   // settled has grown
	failed  chan struct{}   // closed by watch when there is no going on; then failure is set
	failure error
	quit    chan struct{}
	done    chan struct{} // watch has ended

	proving  map[string]*proving // by topic
	examined topics              // that were proved on this connection
	answered bool                // a subscription for a proof was
	pending  atomic.Int32        // of told, how many run has not done

	wants  []*Subscription       // to subscribe to
	asked  map[string]mqtt.Token // subscriptions of this connection, by filter
	again  []*time.Timer
	accept bool // one was answered

	mu      sync.Mutex
	told    []func()
	says    []Message          // beside the queue
	refused map[uint64]Verdict // by position among the settled: not taken, and why
	wake    *wakeContext       // the context of the Next under way or to come
	inUse   bool               // Next is under way
}

// flight is one message in the window.
type flight struct {
	msg   Message
	queue bool // from the queue, not a birth or goodbye
	at    time.Time
}

func newSession(u *Uplink, pub publisher, server string) *session {
	window := u.cfg.InFlight
	if announced := pub.Limits().InFlight; announced > 0 {
		window = min(window, announced)
	}
	return &session{
		u:       u,
		pub:     pub,
		server:  server,
		ring:    make([]flight, window),
		tokens:  make(chan mqtt.Token, window),
		signal:  make(chan struct{}, 1),
		failed:  make(chan struct{}),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
		refused: make(map[uint64]Verdict),
		topics:  make(topics),

		proving:  make(map[string]*proving),
		examined: make(topics),
		asked:    make(map[string]mqtt.Token),
	}
}

// run lasts until the connection ends (then with why) or ctx does (then nil).
func (s *session) run(ctx context.Context) error {
	s.largest = s.limit()
	fits := s.u.queue.Limit(s.largest)
	go s.watch(ctx)
	err := s.deliver(ctx, fits)
	if err == nil {
		s.farewell()
	}
	close(s.quit)
	s.pub.Close(err == nil)
	<-s.done
	s.collect()
	s.u.inFlight.Store(0)
	for _, t := range s.again {
		t.Stop()
	}
	if err != nil {
		e := mqtt.AsError(s.server, err)
		s.judge(e)
		s.judgeCutProofs(e)
		s.judgeSubscriptions(e)
		err = e
	}
	s.u.unconnected()
	s.u.queue.Rewind()
	return err
}

// await waits until a message can be sent: room in the window, and a
// permission of the publisher. Acknowledgements are reported meanwhile. It
// returns false when stop or limit comes first, or with the error when the
// connection has ended.
func (s *session) await(stop <-chan struct{}, limit <-chan time.Time) (bool, error) {
	for {
		s.collect()
		select {
		case <-s.failed:
			return false, s.failure
		case <-stop:
			return false, nil
		default:
		}
		ready := s.pub.Ready()
		if s.slot || s.count == len(s.ring) {
			ready = nil
		}
		var paced <-chan time.Time
		if s.slot && s.count < len(s.ring) {
			pause := s.u.pace.wait(s.u.now())
			if pause == 0 {
				return true, nil
			}
			paced = s.after(pause)
		}
		select {
		case <-paced:
		case <-ready:
			s.slot = true
		case <-s.signal:
		case <-s.failed:
		case <-stop:
		case <-limit:
			return false, nil
		}
	}
}

// after is like time.After, with one timer for the session.
func (s *session) after(d time.Duration) <-chan time.Time {
	if s.timer == nil {
		s.timer = time.NewTimer(d)
	} else {
		s.timer.Reset(d)
	}
	return s.timer.C
}

// errWanted says that run has something else to do than to wait for a message.
var errWanted = errors.New("wanted")

// next is Queue.Next, with errWanted as soon as run is wanted.
func (s *session) next(ctx context.Context) (Message, error) {
	s.mu.Lock()
	if s.wake == nil || !s.wake.renew() {
		s.wake = &wakeContext{Context: ctx}
	}
	w := s.wake
	s.inUse = true
	s.mu.Unlock()
	// What came before inUse was set would wake nobody.
	m, err := Message{}, errWanted
	if s.settled.Load() == s.taken && s.pending.Load() == 0 && (s.trial != noTrial || s.u.news.Load() == nil) && ctx.Err() == nil && !s.hasFailed() {
		m, err = s.u.queue.Next(w)
	}
	s.mu.Lock()
	s.inUse = false
	s.mu.Unlock()
	if err != nil && (w.Err() != nil || ctx.Err() != nil) {
		err = errWanted
	}
	return m, err
}

func (s *session) hasFailed() bool {
	select {
	case <-s.failed:
		return true
	default:
		return false
	}
}

// rouse ends the Next under way, if any.
func (s *session) rouse() {
	s.mu.Lock()
	if s.inUse {
		s.wake.end()
	}
	s.mu.Unlock()
}

// say publishes what is not of the queue; await has returned true before.
func (s *session) say(m Message, pr *mqtt.Proof) { s.publish(m, m.packet(), pr, false) }

// publish sends p, which carries m.
func (s *session) publish(m Message, p mqtt.Packet, pr *mqtt.Proof, queue bool) {
	s.slot = false
	if queue {
		s.u.sent.Add(1)
		s.queued++
		s.u.waits()
	}
	m.Size = len(p.Topic) + len(p.Payload) + perMessage
	s.ring[(s.head+s.count)%len(s.ring)] = flight{msg: m, queue: queue, at: s.u.now()}
	s.count++
	s.u.inFlight.Store(int64(s.count))
	s.u.pace.took(p.Topic, p.Payload)
	t := s.pub.Publish(p)
	if pr != nil {
		pr.Sent <- t
		s.proving[p.Topic].message = t
	}
	s.tokens <- t
}

// collect takes what is settled out of the window and reports it.
func (s *session) collect() {
	s.doLater()
	for settled := s.settled.Load(); s.taken < settled; s.taken++ {
		f := s.ring[s.head]
		s.ring[s.head] = flight{}
		s.head = (s.head + 1) % len(s.ring)
		s.count--
		if f.queue {
			s.queued--
		}
		refused, is := s.verdict(s.taken)
		switch {
		case is && f.queue:
			s.reject(f.msg, refused)
			continue
		case is && f.msg.Expendable:
			s.u.obs.Dropped(f.msg.Topic, refused.Reason)
			continue
		case is:
			s.u.report.rejected(s.server, f.msg, refused, s.u.now())
			s.mute = f.msg.Topic
			s.u.obs.Announced(f.msg.Topic, refused.Reason)
			continue
		case !f.queue:
			s.topics.add(f.msg.Topic)
			s.u.obs.Announced(f.msg.Topic, "")
			continue
		}
		s.u.acked.Add(1)
		s.u.acks.add(s.u.now().Sub(f.at))
		s.u.suspect.acked()
		s.u.queue.Acked(f.msg)
		s.settledOf(f.msg)
		if !s.works {
			s.works = true
			s.u.report.works(s.server, s.u.now())
			s.u.obs.Accepted(s.server)
		}
	}
	s.u.inFlight.Store(int64(s.count))
}

// verdict is why the message at a position was not taken, if it was not.
func (s *session) verdict(position uint64) (Verdict, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	why, is := s.refused[position]
	delete(s.refused, position)
	return why, is
}

// topics is a set with a bound.
type topics map[string]bool

const maxTopics = 4096

// has is true of all once there are too many.
func (t topics) has(topic string) bool { return t[topic] || len(t) >= maxTopics }

func (t topics) add(topic string) {
	if !t.has(topic) {
		t[topic] = true
	}
}

// settledOf notes that the broker has answered m.
func (s *session) settledOf(m Message) {
	s.proved = true
	s.u.answered(s.queued > 0)
	s.u.suspect.answered(m.Topic)
	s.topics.add(m.Topic)
}

// reject hands a message back to the queue.
func (s *session) reject(m Message, v Verdict) {
	s.settledOf(m)
	s.u.refused.Add(1)
	s.u.report.rejected(s.server, m, v, s.u.now())
	s.u.queue.Refused(m, v)
}

// farewell gives what is in flight, and the goodbyes, a little time.
func (s *session) farewell() {
	limit := time.NewTimer(s.u.time.farewell)
	defer limit.Stop()
	if s.u.cfg.Goodbye != nil {
		for _, m := range s.u.cfg.Goodbye() {
			if ok, _ := s.await(nil, limit.C); !ok {
				return
			}
			s.say(m, nil)
		}
	}
	for s.collect(); s.count > 0; s.collect() {
		select {
		case <-s.signal:
		case <-s.failed:
			return
		case <-limit.C:
			return
		}
	}
}
