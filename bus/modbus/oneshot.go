package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// Query is a one-shot read: one request that somebody asks for by hand.
type Query struct {
	Unit    uint8 // 1 to 255; on Modbus TCP also 0
	Table   Table
	Address uint16 // 0-based, as on the wire
	Count   int    // registers (1 to 125) or bits (1 to 2000)
}

// The errors of [Line.Read] when nothing was asked.
var (
	ErrQueueFull = errors.New("too many one-shot reads wait for the line; ask again when they are done")
	ErrNotOpen   = errors.New("the line's port is not open at present")
)

// mostQueries is how many one-shot reads may wait for a line.
const mostQueries = 16

// oneShot is a query on its way.
type oneShot struct {
	Query
	ctx             context.Context
	tries, patience int // used up
	notBefore       time.Time
	done            chan oneShotResult // holds one
	lend            func() error       // instead of the query: see Line.Find
}

type oneShotResult struct {
	words []uint16
	err   error
}

// ReadNamed is [Line.Read] of a table given by its name, as in [ParseTable].
func (l *Line) ReadNamed(ctx context.Context, unit uint8, table string, address uint16, count int) ([]uint16, error) {
	t, err := ParseTable(table)
	if err != nil {
		return nil, err
	}
	return l.Read(ctx, Query{Unit: unit, Table: t, Address: address, Count: count})
}

// Read asks a unit once, while Run polls the line, and returns the registers,
// or each bit as 0 or 1. It may be called from any goroutine.
//
// A one-shot read goes ahead of every poll that is due, but interrupts no
// exchange, and between two requests of polls goes at most one: however many
// there are, at least every other request is a poll's. It waits, without
// holding up anything else, while the unit still owes a reply that could be
// taken for its own. It is tried again as polls are.
//
// The error is one of those of [rtu.Transporter.SendContext], such as
// *[rtu.ExceptionError]; [ErrNotOpen], [ErrQueueFull], or that of ctx, which
// may end while the request is on the wire.
func (l *Line) Read(ctx context.Context, q Query) ([]uint16, error) {
	if err := l.checkQuery(q); err != nil {
		return nil, err
	}
	s := &oneShot{Query: q, ctx: ctx, done: make(chan oneShotResult, 1)}
	if err := l.enqueue(s); err != nil {
		return nil, err
	}
	select {
	case r := <-s.done:
		return r.words, r.err
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		l.queries = slices.DeleteFunc(l.queries, func(o *oneShot) bool { return o == s })
		return nil, fmt.Errorf("one-shot read of unit %d: %w", q.Unit, ctx.Err())
	}
}

func (l *Line) checkQuery(q Query) error {
	most := rtu.MaxRegisters
	if q.Table.Bits() {
		most = rtu.MaxBits
	}
	switch {
	case int(q.Table) >= len(tableNames):
		return fmt.Errorf("%v: unknown", q.Table)
	case q.Unit == 0 && !l.tcp:
		return errors.New("unit 0 is the broadcast address, which nobody answers; use 1 to 247")
	case q.Count < 1 || q.Count > most:
		return fmt.Errorf("count %d: one request reads 1 to %d", q.Count, most)
	case int(q.Address)+q.Count > 1<<16:
		return fmt.Errorf("address %d, count %d: reaches past address 65535", q.Address, q.Count)
	}
	return nil
}

func (l *Line) enqueue(s *oneShot) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.open:
		return ErrNotOpen
	case len(l.queries) >= mostQueries:
		return ErrQueueFull
	}
	l.queries = append(l.queries, s)
	l.wake()
	return nil
}

// admit takes one-shot reads from now on.
func (l *Line) admit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = true
}

// dismiss takes no more of them, nor orders, and ends those that wait with why.
func (l *Line) dismiss(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.queries {
		s.done <- oneShotResult{err: why}
	}
	for _, o := range l.orders {
		o.breakOff(why)
		close(o.done)
	}
	l.open, l.queries, l.orders = false, nil, nil
}

// nextQuery takes the first one-shot read out of the queue that may go out
// now. If there is none, at is when one may; zero if nothing waits.
func (l *Line) nextQuery(now time.Time) (s *oneShot, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range l.queries {
		ready := s.notBefore
		// A retry need not wait for its own late reply.
		if hold := l.wire.Hold(s.Unit, s.Table.Function(), s.Address, uint16(s.Count)); hold > 0 && s.tries == 0 && s.lend == nil {
			ready = now.Add(hold)
		}
		if !ready.After(now) {
			l.queries = slices.Delete(l.queries, i, i+1)
			return s, time.Time{}
		}
		if at.IsZero() || ready.Before(at) {
			at = ready
		}
	}
	return nil, at
}

// giveWay lets one order go first, or if there is none one one-shot read.
func (l *Line) giveWay() error {
	if unit, err := l.serveOrder(true); unit >= 0 {
		return err
	}
	if s, _ := l.nextQuery(time.Now()); s != nil {
		return l.answer(s)
	}
	return nil
}

// answer sends a one-shot read. Its error means that the port is lost or the
// context has ended.
func (l *Line) answer(s *oneShot) error {
	if s.lend != nil {
		err := s.lend()
		s.done <- oneShotResult{err: err}
		return err
	}
	k := l.deviceOf(s.Unit)
	words, err := l.ask(s.Query, s.tries > 0)
	l.count(func(st *Stats) { st.OneShots++ })
	var exception *rtu.ExceptionError
	refused := errors.As(err, &exception)
	switch {
	case err == nil:
		s.done <- oneShotResult{words: words}
	case isPortLost(err):
		s.done <- oneShotResult{err: err}
		return err
	case refused && exception.Code == 5 && s.patience < mostPatience:
		s.patience++
		l.requeue(s, acknowledged)
	case !refused && s.tries < l.cfg.Retries:
		s.tries++
		l.requeue(s, 0)
	default:
		s.done <- oneShotResult{err: err}
	}
	if k >= 0 && (err == nil || refused && exception.Code < 10) && l.devices[k].offline {
		l.devices[k].probeAt = time.Now() // it is back
	}
	return nil
}

// ask sends the request of a query once.
func (l *Line) ask(q Query, again bool) ([]uint16, error) {
	l.setTimeout(l.deviceOf(q.Unit))
	request := rtu.AppendReadRequest(nil, q.Unit, q.Table.Function(), q.Address, uint16(q.Count))
	reply, err := l.exchange(request, again)
	if err != nil {
		return nil, err
	}
	return wordsOf(q, reply[3:len(reply)-2]), nil
}

// setTimeout sets that of the k-th device, or of the line.
func (l *Line) setTimeout(k int) {
	if k < 0 {
		l.wire.SetTimeout(l.cfg.Timeout)
		return
	}
	l.wire.SetTimeout(l.timeoutOf(l.devices[k]))
}

// requeue puts s first in the queue again, if somebody still waits for it.
func (l *Line) requeue(s *oneShot, wait time.Duration) {
	if s.ctx.Err() != nil {
		return
	}
	s.notBefore = time.Now().Add(wait)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queries = append([]*oneShot{s}, l.queries...)
}

func wordsOf(q Query, data []byte) []uint16 {
	words := make([]uint16, q.Count)
	for i := range words {
		if q.Table.Bits() {
			words[i] = uint16(data[i/8] >> (i % 8) & 1)
		} else {
			words[i] = binary.BigEndian.Uint16(data[2*i:])
		}
	}
	return words
}
