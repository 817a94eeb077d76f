package uplink

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
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

	ring   []flight // the window; ring[head] is the oldest of count
	head   int
	count  int
	taken  uint64 // of settled, how many run has taken out of the window
	slot   bool   // a permission to publish is held
	proved bool   // a message of the queue was acknowledged

	tokens  chan token    // to watch, in order of sending; never full
	settled atomic.Uint64 // acknowledged, all before them as well
	signal  chan struct{} // settled has grown
	failed  chan struct{} // closed by watch when there is no going on; then failure is set
	failure error
	quit    chan struct{}
	done    chan struct{} // watch has ended

	mu    sync.Mutex
	wake  *wakeContext // the context of the Next under way or to come
	inUse bool         // Next is under way
}

// flight is one message in the window.
type flight struct {
	msg   Message
	queue bool // from the queue, not a birth or goodbye
}

// wakeContext is a context that ends when run is wanted. Its channel is made
// only for a Next that waits, and the context anew only after such a one was
// woken: the steady state allocates nothing.
type wakeContext struct {
	context.Context // Deadline and Value of the parent

	mu    sync.Mutex
	over  bool
	ended chan struct{} // nil: nobody has asked for it
}

func (w *wakeContext) Done() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended == nil {
		w.ended = make(chan struct{})
		if w.over {
			close(w.ended)
		}
	}
	return w.ended
}

func (w *wakeContext) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return context.Canceled
	}
	return nil
}

func (w *wakeContext) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over && w.ended != nil {
		close(w.ended)
	}
	w.over = true
}

// renew makes it as new, or returns false if somebody may still look at it.
func (w *wakeContext) renew() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over && w.ended != nil {
		return false
	}
	w.over = false
	return true
}

func newSession(u *Uplink, pub publisher, server string) *session {
	return &session{
		u:      u,
		pub:    pub,
		server: server,
		ring:   make([]flight, u.cfg.InFlight),
		tokens: make(chan token, u.cfg.InFlight),
		signal: make(chan struct{}, 1),
		failed: make(chan struct{}),
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
	}
}

// run lasts until the connection ends (then with why) or ctx does (then nil).
func (s *session) run(ctx context.Context) error {
	go s.watch(ctx)
	err := s.deliver(ctx)
	if err == nil {
		s.farewell()
	}
	close(s.quit)
	s.pub.close(err == nil)
	<-s.done
	s.collect()
	s.u.inFlight.Store(0)
	s.u.queue.Rewind()
	return err
}

// deliver returns nil when ctx has ended.
func (s *session) deliver(ctx context.Context) error {
	if s.u.cfg.Birth != nil {
		for _, r := range s.u.cfg.Birth() {
			if ok, err := s.await(ctx.Done(), nil); !ok {
				return err
			}
			s.send(Message{Topic: r.Topic, Payload: r.Payload}, true, false)
		}
	}
	for {
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return err
		}
		m, err := s.next(ctx)
		switch {
		case err == nil:
			s.send(m, false, true)
		case !errors.Is(err, errWanted):
			return err
		}
	}
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
		ready := s.pub.ready()
		if s.slot || s.count == len(s.ring) {
			ready = nil
		}
		if s.slot && s.count < len(s.ring) {
			return true, nil
		}
		select {
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
	if s.settled.Load() == s.taken && ctx.Err() == nil && !s.hasFailed() {
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

// send publishes m; await has returned true before.
func (s *session) send(m Message, retained, queue bool) {
	s.slot = false
	s.ring[(s.head+s.count)%len(s.ring)] = flight{msg: m, queue: queue}
	s.count++
	s.u.inFlight.Store(int64(s.count))
	if queue {
		s.u.sent.Add(1)
	}
	s.tokens <- s.pub.publish(m.Topic, m.Payload, retained)
}

// collect takes what is settled out of the window and reports it.
func (s *session) collect() {
	for settled := s.settled.Load(); s.taken < settled; s.taken++ {
		f := s.ring[s.head]
		s.ring[s.head] = flight{}
		s.head = (s.head + 1) % len(s.ring)
		s.count--
		if !f.queue {
			continue
		}
		s.u.acked.Add(1)
		s.u.queue.Acked(f.msg)
		if !s.proved {
			s.proved = true
			s.u.report.works(s.server, s.u.now())
		}
	}
	s.u.inFlight.Store(int64(s.count))
}

// farewell gives what is in flight, and the goodbyes, a little time.
func (s *session) farewell() {
	limit := time.NewTimer(s.u.time.farewell)
	defer limit.Stop()
	if s.u.cfg.Goodbye != nil {
		for _, r := range s.u.cfg.Goodbye() {
			if ok, _ := s.await(nil, limit.C); !ok {
				return
			}
			s.send(Message{Topic: r.Topic, Payload: r.Payload}, true, false)
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

// watch settles tokens in order until the session ends or fails.
func (s *session) watch(ctx context.Context) {
	defer close(s.done)
	timer := time.NewTimer(s.u.cfg.AckTimeout)
	defer timer.Stop()
	ended := ctx.Done()
	var t token // the oldest not settled
	for {
		var tokens chan token
		var settled <-chan struct{}
		var late <-chan time.Time
		if t == nil {
			tokens = s.tokens
		} else {
			settled, late = t.Done(), timer.C
		}
		select {
		case t = <-tokens:
			// The oldest may wait so long since it has become the oldest:
			// whatever came before it was progress.
			timer.Reset(s.u.cfg.AckTimeout)
		case <-settled:
			if t.Error() != nil {
				s.lose(t)
				return
			}
			t = nil
			s.settle()
		case <-late:
			s.fail(reasonError(ReasonAckTimeout, nil))
			return
		case <-s.pub.lost():
			s.lose(t)
			return
		case <-ended:
			ended = nil
			s.rouse()
		case <-s.quit:
			s.drain(t)
			return
		}
	}
}

func (s *session) settle() {
	s.settled.Add(1)
	select {
	case s.signal <- struct{}{}:
	default:
	}
	s.rouse()
}

// lose ends the session after its connection, which may take a moment to
// settle the tokens and to know why.
func (s *session) lose(t token) {
	wait := time.NewTimer(closeTimeout)
	defer wait.Stop()
	var err error
	select {
	case <-s.pub.lost():
		err = s.pub.err()
	case <-wait.C:
		err = reasonError(ReasonUnknown, t.Error()) // there is a token, or lost was closed
	case <-s.quit:
		err = context.Canceled
	}
	s.drain(t)
	s.fail(err)
}

// drain settles what was acknowledged before the end: t, then the tokens.
func (s *session) drain(t token) {
	for {
		if t == nil {
			select {
			case t = <-s.tokens:
			default:
				return
			}
		}
		select {
		case <-t.Done():
		default:
			return
		}
		if t.Error() != nil {
			return
		}
		s.settled.Add(1)
		t = nil
	}
}

func (s *session) fail(err error) {
	s.failure = err
	close(s.failed)
	s.rouse()
}
