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
	proved bool   // a message of the queue was settled

	largest int         // bytes of a message, see limit
	trial   trial       // how far it came with a trial
	timer   *time.Timer // for the pace; nil until it is needed

	tokens  chan token    // to watch, in order of sending; never full
	settled atomic.Uint64 // acknowledged, all before them as well
	signal  chan struct{} // settled has grown
	failed  chan struct{} // closed by watch when there is no going on; then failure is set
	failure error
	quit    chan struct{}
	done    chan struct{} // watch has ended

	mu      sync.Mutex
	refused map[uint64]string // by position among the settled: refused for ever, and why
	wake    *wakeContext      // the context of the Next under way or to come
	inUse   bool              // Next is under way
}

// flight is one message in the window.
type flight struct {
	msg   Message
	queue bool // from the queue, not a birth or goodbye
	at    time.Time
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
	window := u.cfg.InFlight
	if announced := pub.limits().inFlight; announced > 0 {
		window = min(window, announced)
	}
	return &session{
		u:       u,
		pub:     pub,
		server:  server,
		ring:    make([]flight, window),
		tokens:  make(chan token, window),
		signal:  make(chan struct{}, 1),
		failed:  make(chan struct{}),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
		refused: make(map[uint64]string),
	}
}

// run lasts until the connection ends (then with why) or ctx does (then nil).
func (s *session) run(ctx context.Context) error {
	s.largest = s.limit()
	s.u.queue.Limit(s.largest)
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
	if err != nil {
		err = s.judge(asError(s.server, err))
	}
	s.u.queue.Rewind()
	return err
}

// limit is how large topic and payload of a message may be together; 0: any.
func (s *session) limit() int {
	limit := s.u.suspect.limit
	if packet := s.pub.limits().packet; packet > 0 {
		if most := max(packet-overhead, 1); limit == 0 || most < limit {
			limit = most
		}
	}
	if s.u.cfg.Compress != CompressNone && limit > 0 {
		limit = max(limit-slack, 1)
	}
	return limit
}

// judge takes account of how the session ended, and parks the message that is
// found to be the cause.
func (s *session) judge(e *Error) error {
	t := trace{proved: s.proved, trial: s.trial, births: s.u.cfg.Birth != nil}
	for i := range s.count {
		if f := s.ring[(s.head+i)%len(s.ring)]; f.queue {
			t.sent, t.head, t.size = true, f.msg, size(f.msg)
			t.after = s.u.now().Sub(f.at)
			break
		}
	}
	before := s.u.suspect.limit
	verdict := s.u.suspect.ended(e, t)
	if after := s.u.suspect.limit; after != before {
		s.u.log.Warn("uplink makes messages smaller, as they do not get through", "bytes", after)
	}
	switch verdict {
	case condemn:
		s.park(t.head, e.Reason.String())
	case forbidden:
		return reasonError(ReasonDenied, e)
	}
	return e
}

// park gives a message up.
func (s *session) park(m Message, reason string) {
	s.u.refused.Add(1)
	s.u.log.Error("the broker will never take a message; it is given up", "server", s.server,
		"topic", m.Topic, "bytes", len(m.Payload), "reason", reason)
	s.u.queue.Refused(m, reason)
}

// deliver returns nil when ctx has ended.
func (s *session) deliver(ctx context.Context) error {
	births, err := s.births(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	s.u.accepts(s.server, s.u.cfg.Verify && len(births) > 0)
	if control := s.u.suspect.control; control > 0 {
		if ok, err := s.try(ctx, control, births); !ok {
			return err
		}
	}
	for {
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return err
		}
		if err := s.one(ctx); err != nil && !errors.Is(err, errWanted) {
			return err
		}
	}
}

// one takes a message from the queue and sends it.
func (s *session) one(ctx context.Context) error {
	m, err := s.next(ctx)
	if err != nil {
		return err
	}
	if packet := s.pub.limits().packet; packet > 0 && s.packedSize(m) > packet-overhead {
		// It would cost the connection. Refused in order: all before it first.
		for s.count > 0 {
			if ok, err := s.settle1(ctx); !ok {
				return err
			}
		}
		s.park(m, ReasonTooLarge.String())
		return nil
	}
	s.send(m, false, true)
	return nil
}

// packedSize is size as it goes out.
func (s *session) packedSize(m Message) int {
	if s.largest == 0 || size(m) <= s.largest || s.u.cfg.Compress == CompressNone {
		return size(m)
	}
	p := s.u.encode(m)
	return len(p.topic) + len(p.payload)
}

// settle1 waits for something to be settled.
func (s *session) settle1(ctx context.Context) (bool, error) {
	s.collect()
	if s.count == 0 {
		return true, nil
	}
	select {
	case <-s.signal:
		s.collect()
		return true, nil
	case <-s.failed:
		return false, s.failure
	case <-ctx.Done():
		return false, errWanted
	}
}

var errNotSeen = errors.New("its own message did not come back; the broker's access rules do not allow it to be published, or not to be read")

// births publishes the births, and waits for the first of them to be let
// through if that is to be verified.
func (s *session) births(ctx context.Context) ([]Retained, error) {
	if s.u.cfg.Birth == nil {
		return nil, nil
	}
	births := s.u.cfg.Birth()
	var back <-chan error
	for i, r := range births {
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return births, err
		}
		if i == 0 && s.u.cfg.Verify {
			back = s.pub.confirm(packet{topic: r.Topic, payload: r.Payload, retained: true})
		}
		s.send(Message{Topic: r.Topic, Payload: r.Payload}, true, false)
	}
	if !s.u.cfg.Verify || len(births) == 0 {
		return births, nil
	}
	limit := time.NewTimer(s.u.time.confirm)
	defer limit.Stop()
	for {
		s.collect()
		if back == nil && s.taken > 0 {
			return births, nil
		}
		select {
		case err := <-back:
			if err != nil {
				s.u.report.unverified(s.server, err)
			}
			return births, nil
		case <-s.signal:
		case <-s.failed:
			return births, s.failure
		case <-ctx.Done():
			return births, nil
		case <-limit.C:
			return births, reasonError(ReasonDenied, errNotSeen)
		}
	}
}

// try is a trial, see suspect: the births alone for a while, then one message
// alone. It returns true when the message was settled.
func (s *session) try(ctx context.Context, control time.Duration, births []Retained) (bool, error) {
	s.trial = inControl
	pause := time.NewTimer(control)
	defer pause.Stop()
	for waiting := true; waiting; {
		s.collect()
		select {
		case <-pause.C:
			waiting = false
		case <-s.signal:
		case <-s.failed:
			return false, s.failure
		case <-ctx.Done():
			return false, nil
		}
	}
	for _, r := range births[:min(1, len(births))] { // once more, to see that the connection lives
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return false, err
		}
		s.send(Message{Topic: r.Topic, Payload: r.Payload}, true, false)
	}
	for s.count > 0 {
		if ok, err := s.settle1(ctx); !ok {
			return false, clean(err)
		}
	}
	s.trial = inTest
	for s.count == 0 && !s.proved {
		if ok, err := s.await(ctx.Done(), nil); !ok {
			return false, err
		}
		if err := s.one(ctx); err != nil && !errors.Is(err, errWanted) {
			return false, err
		}
	}
	for s.count > 0 {
		if ok, err := s.settle1(ctx); !ok {
			return false, clean(err)
		}
	}
	s.trial = noTrial
	return true, nil
}

// clean is nil for the end of the context.
func clean(err error) error {
	if errors.Is(err, errWanted) {
		return nil
	}
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
		ready := s.pub.ready()
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
	f := flight{msg: m, queue: queue, at: s.u.now()}
	s.ring[(s.head+s.count)%len(s.ring)] = f
	s.count++
	s.u.inFlight.Store(int64(s.count))
	p := packet{topic: m.Topic, payload: m.Payload, retained: retained}
	if queue {
		s.u.sent.Add(1)
		p = s.u.encode(m)
	}
	s.u.pace.took(p.topic, p.payload)
	s.tokens <- s.pub.publish(p)
}

// collect takes what is settled out of the window and reports it.
func (s *session) collect() {
	for settled := s.settled.Load(); s.taken < settled; s.taken++ {
		f := s.ring[s.head]
		s.ring[s.head] = flight{}
		s.head = (s.head + 1) % len(s.ring)
		s.count--
		refused, is := s.verdict(s.taken)
		switch {
		case is && f.queue:
			s.park(f.msg, refused)
			s.proved = true
			continue
		case is:
			s.u.log.Warn("the broker will never take a message of the gateway about itself", "topic", f.msg.Topic, "reason", refused)
			continue
		case !f.queue:
			continue
		}
		s.u.acked.Add(1)
		s.u.suspect.acked()
		s.u.queue.Acked(f.msg)
		if !s.proved {
			s.proved = true
			s.u.report.works(s.server, s.u.now())
			s.u.obs.Accepted(s.server)
		}
	}
	s.u.inFlight.Store(int64(s.count))
}

// verdict is why the message at a position was refused for ever, if it was.
func (s *session) verdict(position uint64) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	why, is := s.refused[position]
	delete(s.refused, position)
	return why, is
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
			if err := t.Error(); err != nil {
				var r *refusal
				if !errors.As(err, &r) {
					s.lose(t)
					return
				}
				if !r.forEver() {
					s.fail(r.asError())
					return
				}
				s.refuse(r)
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

// refuse notes a verdict for the message that is settled next.
func (s *session) refuse(r *refusal) {
	s.mu.Lock()
	s.refused[s.settled.Load()] = r.Error()
	s.mu.Unlock()
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
		if err := t.Error(); err != nil {
			var r *refusal
			if !errors.As(err, &r) || !r.forEver() {
				return
			}
			s.refuse(r)
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
