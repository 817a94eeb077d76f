package modbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/permit"
)

// Order is one write and the reading that belongs to it. What it does follows
// each other on the line with no poll between, but for a Delay.
type Order struct {
	Permit permit.Register
	// Words makes what is written of what the registers hold, which is nil
	// unless Before. It is called once, when the line is free for the write.
	Words  func(held []uint16) ([]uint16, error)
	Guard  *Guard        // what has to hold; nil: nothing
	Before bool          // read the registers first
	After  bool          // read them back
	Delay  time.Duration // before reading back; polls go meanwhile
	Urgent bool          // ahead of other orders, and not held back for the polls' sake
}

// Written is what is known after an order.
type Written struct {
	Sent    bool     // a request that writes was sent
	Held    []uint16 // what the registers held before, if Before
	Words   []uint16 // what was to be written
	Read    []uint16 // what was read back, if After
	ReadErr error    // why it was not
}

// ErrOffline says that the device does not answer at present, so that nothing
// was sent.
var ErrOffline = errors.New("the device does not answer at present")

// UncertainError says that a write was sent, and nothing says whether it
// happened. It may yet happen.
type UncertainError struct{ Err error }

func (e *UncertainError) Error() string { return e.Err.Error() + "; the write may have happened" }

func (e *UncertainError) Unwrap() error { return e.Err }

const (
	// orderShare is the share of the line's time that orders get while polls are
	// due, and orderBurst what they may save up. A line whose polls take 95 % of
	// its time keeps 80 % of them: in a minute orders take at most 2 s + 12 s.
	orderShare = 5
	orderBurst = 2 * time.Second
	// readBacks is how often it is tried to read back, at least: after a write
	// without a reply it is all that can be known.
	readBacks = 3
	// listenSlice bounds how long an order waits while the line only listens.
	listenSlice = 10 * time.Millisecond
)

// allowance is the line's time that orders may still take while polls are due.
type allowance struct {
	left time.Duration
	at   time.Time
}

func (a *allowance) has(now time.Time) bool {
	if a.at.IsZero() {
		a.left = orderBurst
	} else {
		a.left = min(a.left+now.Sub(a.at)/orderShare, orderBurst)
	}
	a.at = now
	return a.left > 0
}

// take notes what an order took. The debt is bounded, since a turn is.
func (a *allowance) take(d time.Duration) { a.left = max(a.left-d, -orderBurst) }

// stage is how far an order is.
type stage uint8

const (
	waiting  stage = iota
	guarding       // reading what has to hold
	reading        // before the write
	writing
	checking // reading back
)

// order is an [Order] on its way.
type order struct {
	Order
	ctx       context.Context
	scope     permit.RegisterScope
	stage     stage
	tries     int // of the stage, used up
	patience  int
	notBefore time.Time
	got       Written
	err       error // of the write
	done      chan struct{}
}

// Write writes once, while Run polls the line. It may be called from any
// goroutine, and returns what is known also with an error.
//
// The exchange in progress ends, then orders go, ahead of one-shot reads and
// polls; but while polls are due orders take a fifth of the line's time at most
// beyond a burst of two seconds. What was sent is never sent again. Function 5
// or 6 writes a single coil or register, unless the device refuses the function
// as such: then 15 or 16 does, from then on. Several are always written in one
// request.
//
// The error is [permit.ErrNotPermitted], that of Words or Guard, [ErrNotOpen],
// [ErrQueueFull], [ErrOffline] or that of reading before, and nothing was
// written; a *[rtu.ExceptionError], by which the device refuses; or an
// *[UncertainError]. If ctx ends, an order that waits is not begun, and one in
// progress ends before its next request.
func (l *Line) Write(ctx context.Context, w Order) (Written, error) {
	o := &order{Order: w, ctx: ctx, scope: w.Permit.Scope(), done: make(chan struct{})}
	if err := w.Permit.OnLine(l.cfg.Name); err != nil {
		return o.got, err
	}
	if o.scope.Unit == 0 && !l.tcp {
		return o.got, errors.New("unit 0 is the broadcast address: nobody would confirm the write")
	}
	if err := l.order(o); err != nil {
		return o.got, err
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		if !l.withdraw(o) {
			<-o.done // no request is cut short
		}
	}
	return o.got, o.err
}

// order puts o into the queue.
func (l *Line) order(o *order) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch k := l.deviceOf(o.scope.Unit); {
	case !l.open:
		return ErrNotOpen
	case len(l.orders) >= mostQueries:
		return ErrQueueFull
	case k >= 0 && l.devices[k].shown.offline:
		return ErrOffline
	}
	if o.Urgent {
		l.orders = append([]*order{o}, l.orders...)
	} else {
		l.orders = append(l.orders, o)
	}
	l.wake()
	return nil
}

func (l *Line) wake() {
	select {
	case l.asked <- struct{}{}:
	default:
	}
}

func (l *Line) deviceOf(unit uint8) int {
	return slices.IndexFunc(l.devices, func(d *device) bool { return d.cfg.UnitID == unit })
}

// withdraw takes an order whose context has ended out of the queue, and reports
// whether it was there.
func (l *Line) withdraw(o *order) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.orders, o)
	if i < 0 {
		return false
	}
	l.orders = slices.Delete(l.orders, i, i+1)
	o.breakOff(context.Cause(o.ctx))
	return true
}

// breakOff ends an order where it stands.
func (o *order) breakOff(why error) {
	if o.stage == checking {
		o.got.ReadErr = why
	} else {
		o.err = fmt.Errorf("not written: %w", why)
	}
}

// nextOrder takes the first order out of the queue that may go out now. If there
// is none, at is when one may; zero if nothing waits for a time. due says that
// polls are.
func (l *Line) nextOrder(now time.Time, due bool) (o *order, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.orders) == 0 {
		return nil, at
	}
	spare := !due || l.spare.has(now)
	var before [256]bool // units with an order that goes first
	for i, o := range l.orders {
		unit := o.scope.Unit
		if before[unit] {
			continue
		}
		before[unit] = true
		ready := o.notBefore
		if hold := l.holdOf(o); hold > 0 {
			ready = now.Add(hold)
		}
		if !ready.After(now) {
			if !spare && !o.Urgent && o.stage == waiting {
				continue
			}
			l.orders = slices.Delete(l.orders, i, i+1)
			return o, time.Time{}
		}
		if at.IsZero() || ready.Before(at) {
			at = ready
		}
	}
	return nil, at
}

// functionFor is the function that writes what the scope names.
func (l *Line) functionFor(s *permit.RegisterScope) byte {
	single := s.Count == 1 && !l.several[severalKey{s.Unit, s.Coil}]
	switch {
	case s.Coil && single:
		return rtu.WriteSingleCoil
	case s.Coil:
		return rtu.WriteCoils
	case single:
		return rtu.WriteSingleRegister
	default:
		return rtu.WriteRegisters
	}
}

// severalKey is a unit that takes single coils, or registers, only by the
// function for several.
type severalKey struct {
	unit uint8
	coil bool
}

// serveOrder lets one order go first, and reports for which unit; due says that
// polls are. The error means that the port is lost or the context has ended.
func (l *Line) serveOrder(due bool) (unit int, err error) {
	o, _ := l.nextOrder(time.Now(), due)
	if o == nil {
		return -1, nil
	}
	return int(o.scope.Unit), l.serve(o)
}

// serve does what is next of an order, as far as it goes without waiting.
func (l *Line) serve(o *order) (fatal error) {
	start := time.Now()
	defer func() {
		l.mu.Lock()
		l.spare.take(time.Since(start))
		l.mu.Unlock()
	}()
	if o.stage == waiting {
		if o.stage = guarding; o.Guard == nil {
			o.held()
		}
	}
	for {
		if err := o.ctx.Err(); err != nil {
			o.breakOff(context.Cause(o.ctx))
			close(o.done)
			return nil
		}
		var next bool // without a pause
		switch o.stage {
		case guarding, reading:
			next, fatal = l.readHeld(o)
		case writing:
			next, fatal = l.writeNow(o)
		default:
			fatal = l.readBack(o)
		}
		if !next || fatal != nil {
			return fatal
		}
	}
}

// putBack lets an order wait, ahead of the others.
func (l *Line) putBack(o *order, wait time.Duration) {
	o.notBefore = time.Now().Add(wait)
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.ctx.Err() != nil { // nobody takes it out of the queue any more
		o.breakOff(context.Cause(o.ctx))
		close(o.done)
		return
	}
	l.orders = append([]*order{o}, l.orders...)
}

func (o *order) end(err error) {
	o.err = err
	close(o.done)
}

// readBack reads what the registers hold after the write.
func (l *Line) readBack(o *order) (fatal error) {
	words, wait, again, err := l.look(o, max(l.cfg.Retries, readBacks-1))
	if again {
		l.putBack(o, wait)
		return nil
	}
	o.got.Read, o.got.ReadErr = words, err
	close(o.done)
	return ifLost(err)
}

func ifLost(err error) error {
	if err != nil && isPortLost(err) {
		return err
	}
	return nil
}

// writeNow sends the request that writes. What the device refuses as such for a
// single register or coil it is asked for as for several.
func (l *Line) writeNow(o *order) (next bool, fatal error) {
	s := &o.scope
	k := l.deviceOf(s.Unit)
	if k >= 0 && l.devices[k].offline {
		o.end(ErrOffline)
		return false, nil
	}
	if o.got.Words == nil {
		words, err := o.Words(o.got.Held)
		if err != nil || len(words) != s.Count {
			o.end(cmpErr(err, fmt.Errorf("%d words for %d registers", len(words), s.Count)))
			return false, nil
		}
		o.got.Words = words
	}
	l.setTimeout(k)
	function := l.functionFor(s)
	sent, err := l.put(o.Permit, rtu.AppendWriteRequest(nil, s.Unit, function, s.Address, o.got.Words))
	o.got.Sent = o.got.Sent || sent
	var exception *rtu.ExceptionError
	refused := errors.As(err, &exception) && !exception.Doubtful
	switch {
	case refused && exception.Code == 1 && (function == rtu.WriteSingleCoil || function == rtu.WriteSingleRegister):
		l.several[severalKey{s.Unit, s.Coil}] = true
		return true, nil // it has not happened
	case refused && exception.Code == 1:
		delete(l.several, severalKey{s.Unit, s.Coil})
	case !sent && err != nil && o.Guard == nil && o.tries < l.cfg.Retries && !isPortLost(err) && !errors.Is(err, permit.ErrNotPermitted):
		o.tries++ // the line was not quiet
		l.putBack(o, 0)
		return false, nil
	}
	return l.afterWrite(o, sent, err)
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// afterWrite judges how the write went, and says whether it is read back now.
func (l *Line) afterWrite(o *order, sent bool, err error) (next bool, fatal error) {
	fatal = ifLost(err)
	if l.closed(err) {
		fatal = nil // the next request connects again
	}
	var exception *rtu.ExceptionError
	switch refused := errors.As(err, &exception); {
	case err == nil:
	case !sent:
		o.end(err)
		return false, fatal
	case refused && exception.Code == 5 && !exception.Doubtful && o.After: // it works on it: what is read back tells
		o.Delay = max(o.Delay, acknowledged)
	case refused && !exception.Doubtful && exception.Code != 5 && exception.Code != 11:
		o.end(err)
		return false, nil
	default:
		o.err = &UncertainError{err}
	}
	if !o.After || fatal != nil {
		if o.After {
			o.got.ReadErr = fatal
		}
		close(o.done)
		return false, fatal
	}
	o.stage, o.tries, o.patience = checking, 0, 0
	if wait := max(o.Delay, l.holdOf(o)); wait > 0 {
		l.putBack(o, wait)
		return false, nil
	}
	return true, nil
}

// put sends a request that writes, once; sent says that it, or a part of it, was.
// Only before that is a connection replaced.
func (l *Line) put(p permit.Register, request []byte) (sent bool, err error) {
	for try := 0; ; try++ {
		if l.link.network {
			if err := l.freshen(time.Now()); err != nil {
				return false, err
			}
		}
		before := l.wire.Stats().Requests
		_, err = l.transmit(request, func(ctx context.Context, request []byte) ([]byte, error) {
			return l.wire.Write(ctx, p, request)
		})
		var lost *rtu.PortLostError
		sent = l.wire.Stats().Requests > before || errors.As(err, &lost) && lost.Op == "write"
		l.count(func(st *Stats) {
			if sent {
				st.Writes++
			}
		})
		if !l.closed(err) {
			return sent, err
		}
		l.disconnect()
		if sent || try > 0 {
			return sent, err
		}
	}
}
