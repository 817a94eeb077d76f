package mqtt

import (
	"context"
	"sync/atomic"
	"time"
)

// pulse keeps a connection alive and finds a dead one, within twice the keep
// alive. Both versions of paho have something of the kind, but give a
// connection up when PINGRESP is late; on a slow link PINGREQ waits behind a
// message that takes longer than that. As long as the other end takes bytes,
// the link lives, and whether the broker does is for the ack timeout to say.
type pulse struct {
	conn      *Conn
	keepAlive time.Duration
	taken     func() uint64 // bytes that the other end has taken; may be nil
	dead      func()

	pinging  atomic.Bool // PINGREQ is being written
	pinged   time.Time   // when the ping not answered was begun; zero: none
	progress uint64
	moved    time.Time // when taken had last grown
}

// The pulse is looked at four times in a keep alive. A ping is sent when
// three quarters of it were silent in one direction, and must be answered
// within as long: 2 x (3/4 + 1/4).
const (
	looks   = 4
	patient = 3
)

// run lasts until ctx ends or the connection is found dead.
func (p *pulse) run(ctx context.Context) {
	tick := time.NewTicker(p.keepAlive / looks)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if !p.look(now) {
				p.dead()
				return
			}
		}
	}
}

// look is one look. It returns false when the connection is dead.
func (p *pulse) look(now time.Time) bool {
	quiet := p.keepAlive * patient / looks
	heard, said := p.conn.heard.at(p.conn.born), p.conn.said.at(p.conn.born)
	if p.taken != nil {
		if n := p.taken(); n > p.progress {
			p.progress, p.moved = n, now
		}
	}
	if !p.pinged.IsZero() && heard.After(p.pinged) {
		p.pinged = time.Time{}
	}
	if p.pinged.IsZero() {
		if now.Sub(heard) >= quiet || now.Sub(said) >= quiet {
			p.pinged = now
			p.ping()
		}
		return true
	}
	since := p.pinged
	if p.moved.After(since) {
		since = p.moved
	}
	return now.Sub(since) < quiet
}

// ping sends PINGREQ, in a goroutine: a message may be in its way.
func (p *pulse) ping() {
	if p.pinging.Swap(true) {
		return
	}
	go func() {
		defer p.pinging.Store(false)
		_ = p.conn.write([]byte{typePingreq << 4, 0}) // a failure ends the connection
	}()
}

// instant is a time for several goroutines, as nanoseconds since a beginning
// so that it follows no clock that is set.
type instant struct{ since atomic.Int64 }

func (i *instant) set(begin time.Time) { i.since.Store(int64(time.Since(begin))) }

func (i *instant) at(begin time.Time) time.Time { return begin.Add(time.Duration(i.since.Load())) }
