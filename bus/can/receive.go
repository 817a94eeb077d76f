package can

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// linkPoll is how often an interface that is down is looked at. While it is
// up nobody looks: the kernel reports ENETDOWN.
const linkPoll = 200 * time.Millisecond

// maxDrain bounds what is read after the end, in batches: more than any
// receive buffer holds.
const maxDrain = 1 << 14

// past is a deadline that ends every wait.
var past = time.Unix(1, 0)

// errClosed is what a descriptor without an interface ends with.
var errClosed = errors.New("can: the other end is closed")

// receive is the receive loop: it waits for a first frame, hands it over and
// then drains the socket on a tick for as long as frames keep coming.
func (b *Bus) receive(ctx context.Context, r *receiver, d *delivery) error {
	stop := context.AfterFunc(ctx, func() { _ = r.gate.SetReadDeadline(past) })
	defer stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		n, err := b.waitFrames(ctx, r)
		for err == nil && n > 0 {
			if err = d.frames(r, n); err != nil {
				return err
			}
			d.flush()
			d.attend(r)
			if n < batchLen {
				timer.Reset(b.cfg.Tick)
				select {
				case <-timer.C:
				case <-ctx.Done():
				}
			}
			if ctx.Err() != nil {
				break
			}
			n, err = r.poll()
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			if err = b.fault(r, d, err); err != nil {
				return err
			}
		}
		d.drops(r)
		d.attend(r)
		if b.cond.linkDown.raised {
			if err := d.checkLink(r); err != nil {
				return err
			}
		}
	}
	return d.drain(r)
}

// waitFrames waits for frames; while the interface is down, or its controller
// in trouble, only until it is time to look at it again.
func (b *Bus) waitFrames(ctx context.Context, r *receiver) (int, error) {
	var deadline time.Time
	switch {
	case b.cond.linkDown.raised && r.link != nil:
		deadline = time.Now().Add(linkPoll)
	case b.cond.restless():
		deadline = time.Now().Add(lookInterval)
	}
	if err := r.gate.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	// The end of ctx sets a deadline too. If it came before ours was set, it shows here.
	if ctx.Err() != nil {
		return 0, os.ErrDeadlineExceeded
	}
	return r.wait()
}

// poll takes what is there without waiting.
func (r *receiver) poll() (int, error) {
	n, errno := r.recv()
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// fault handles an error of the socket: an interface that went down is noted
// and waited for, everything else ends Run. What was received before is still
// in the socket and comes first.
func (b *Bus) fault(r *receiver, d *delivery, err error) error {
	for errors.Is(err, unix.ENETDOWN) && r.link != nil {
		if err = d.drain(r); err == nil {
			d.link(false, "down")
			return nil
		}
	}
	_ = d.drain(r)
	if r.link != nil {
		return r.link.lost(err)
	}
	return err
}

// drain hands over what the socket holds. A device that keeps receiving
// meanwhile does not keep it from ending.
func (d *delivery) drain(r *receiver) error {
	for range maxDrain {
		n, err := r.poll()
		if err != nil {
			return err
		}
		if err := d.frames(r, n); err != nil {
			return err
		}
		if n < batchLen {
			break
		}
	}
	d.drops(r)
	d.flush()
	return nil
}

// checkLink looks whether an interface that was down is up again, and whether
// it is still the one the socket is bound to.
func (d *delivery) checkLink(r *receiver) error {
	if r.link == nil {
		return nil
	}
	up, err := r.link.up()
	if err != nil {
		return r.link.lost(err)
	}
	switch {
	case up:
		c := d.b.ask()
		d.link(true, "")
		d.follow(c)
	case d.b.cfg.Link != nil && time.Since(d.b.ctl.raisedAt) >= upAgain:
		if err := d.b.bringUp(); err != nil {
			d.b.say("the link is down and cannot be brought up", err)
		}
	}
	return nil
}

// frames takes over the n frames of the last recv.
func (d *delivery) frames(r *receiver, n int) error {
	if n == 0 {
		return nil
	}
	var now int64
	stamps := uint32(stampHardware)
	again := d.b.cfg.joined()
	for i := range n {
		raw, control, flags := r.take(i)
		if len(raw) == 0 {
			return errClosed
		}
		c := parseControl(control)
		if c.hasDrops {
			// The counter is of the moment the frame was queued: what was
			// lost, was lost before it.
			if lost := r.newDrops(c.drops); lost > 0 {
				d.lost(lost)
			}
		}
		if c.stamp <= 0 {
			if now == 0 {
				now = time.Now().UnixNano()
			}
			c.stamp, stamps = now, max(stamps, stampReceive)
		}
		if c.hardware > 0 {
			c.stamp = r.clock.toMachine(c.hardware, c.stamp)
		} else {
			stamps = max(stamps, stampKernel)
		}
		f := d.slot()
		f.Time = c.stamp
		if flags&unix.MSG_TRUNC != 0 || !decodeWire(f, raw) {
			d.b.count.malformed.Add(1)
			continue
		}
		if again && f.Flags&ErrorFrame == 0 && !passes(d.b.cfg.Filters, true, f) {
			continue
		}
		d.keep(flags&unix.MSG_DONTROUTE != 0)
	}
	d.b.count.stamps.Store(stamps)
	return nil
}

// drops asks for frames lost after the last one that was read: the counter
// else comes only with the next frame, which may be long in coming.
func (d *delivery) drops(r *receiver) {
	if count, ok := r.droppedSoFar(); ok {
		if lost := r.newDrops(count); lost > 0 {
			d.lost(lost)
		}
	}
}
