package uplink

import (
	"context"
	"errors"
	"sync"
	"time"

	"fieldferry/uplink/mqtt"
)

var errStalled = errors.New("nothing of what was sent is answered, while the server answers a new connection")

// vigil is the patience with the oldest message in flight. It belongs to watch.
//
// A link that was away for a while leaves the kernel waiting about as long
// again before it repeats what got lost, and a modem that comes back with
// another address, or a NAT that has forgotten, never lets the connection
// live again. So a new connection is tried beside one that is stalled, and
// takes its place when it has an answer first.
type vigil struct {
	s     *session
	timer *time.Timer
	limit time.Time
	asked chan bool // whether a new connection had an answer; nil: none is tried
	quit  context.CancelFunc
	trial sync.WaitGroup
}

func newVigil(s *session) *vigil {
	return &vigil{s: s, timer: time.NewTimer(time.Hour), quit: func() {}}
}

// begin is called when a message has become the oldest. It may wait from now
// on: whatever came before it was progress.
func (v *vigil) begin() {
	v.limit = time.Now().Add(v.s.u.cfg.AckTimeout)
	v.timer.Reset(min(v.s.u.time.look, v.s.u.cfg.AckTimeout))
}

// over is called when the timer has run out, and says whether that was all.
func (v *vigil) over() bool {
	left := time.Until(v.limit)
	if left <= 0 {
		return true
	}
	v.timer.Reset(min(v.s.u.time.look, left))
	if v.asked == nil && v.s.reach != nil && v.s.pub.Stalled() {
		ctx, quit := context.WithCancel(context.Background())
		asked := make(chan bool, 1)
		v.quit()
		v.asked, v.quit = asked, quit
		v.trial.Go(func() { asked <- v.s.reach(ctx) })
	}
	return false
}

func (v *vigil) end() {
	v.timer.Stop()
	v.quit()
	v.trial.Wait()
}

// watch settles tokens in order until the session ends or fails.
func (s *session) watch(ctx context.Context) {
	defer close(s.done)
	v := newVigil(s)
	defer v.end()
	ended := ctx.Done()
	var t mqtt.Token // the oldest not settled
	for {
		var tokens chan mqtt.Token
		var settled <-chan struct{}
		var late <-chan time.Time
		if t == nil {
			tokens = s.tokens
		} else {
			settled, late = t.Done(), v.timer.C
		}
		select {
		case t = <-tokens:
			v.begin()
		case <-settled:
			if err := t.Error(); err != nil {
				var r *mqtt.Refusal
				if !errors.As(err, &r) {
					s.lose(t)
					return
				}
				s.refuse(r)
			}
			t = nil
			s.settle()
		case <-late:
			if v.over() {
				s.fail(mqtt.NewError(ReasonAckTimeout, nil))
				return
			}
		case there := <-v.asked:
			v.asked = nil
			if there && s.pub.Stalled() {
				s.fail(mqtt.NewError(ReasonKeepAlive, errStalled))
				return
			}
		case <-s.pub.Lost():
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
func (s *session) refuse(r *mqtt.Refusal) {
	s.mu.Lock()
	s.refused[s.settled.Load()] = verdict(r)
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
func (s *session) lose(t mqtt.Token) {
	wait := time.NewTimer(mqtt.CloseTimeout)
	defer wait.Stop()
	var err error
	select {
	case <-s.pub.Lost():
		err = s.pub.Err()
	case <-wait.C:
		err = mqtt.NewError(ReasonUnknown, t.Error()) // there is a token, or lost was closed
	case <-s.quit:
		err = context.Canceled
	}
	s.drain(t)
	s.fail(err)
}

// drain settles what was answered before the end: t, then the tokens.
func (s *session) drain(t mqtt.Token) {
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
			var r *mqtt.Refusal
			if !errors.As(err, &r) {
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
