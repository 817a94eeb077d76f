package command

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// fallbackPause is between two attempts to write a fallback.
const fallbackPause = 5 * time.Second

// arms is the fallback that a write arms, or the end of one by the same value.
func (e *Engine) arms(p *point, h *held) *armed {
	if p.Fallback == nil || equal(p.Fallback.Value, string(h.Value)) {
		return nil
	}
	return e.newArmed(p, e.now())
}

func (e *Engine) newArmed(p *point, now time.Duration) *armed {
	a := &armed{Point: p.Name, Value: p.Fallback.Value, After: p.Fallback.After, Due: now + p.Fallback.After, Boot: e.journal.boot, Permit: p.Permit}
	if wall, trusted := e.cfg.Clock.Now(); trusted {
		a.Until = wall.Add(p.Fallback.After)
	}
	return a
}

// rearm takes account of what became of the write that armed, or was to end, a
// fallback.
func (e *Engine) rearm(p *point, h *held, out *Outcome, former *armed) {
	if p.Fallback == nil {
		return
	}
	e.mu.Lock()
	switch now := e.journal.armed[p.Name]; {
	case !out.Sent && now != former && former != nil: // as before
		e.note(&line{Op: opArmed, Armed: former})
	case !out.Sent && now != nil && former == nil, out.Err == nil && out.Verified && equal(p.Fallback.Value, string(h.Value)) && now != nil:
		e.note(&line{Op: opDisarmed, Armed: now})
	}
	e.mu.Unlock()
	e.wakeArmed()
}

func (e *Engine) wakeArmed() {
	select {
	case e.armedWake <- struct{}{}:
	default:
	}
}

// watchArmed writes each fallback when it is due.
func (e *Engine) watchArmed(ctx context.Context) {
	e.settle()
	for ctx.Err() == nil {
		a, wait := e.nextArmed()
		if a != nil && wait <= 0 {
			e.fall(ctx, a)
			continue
		}
		if a == nil {
			wait = time.Hour
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-e.armedWake:
		}
		timer.Stop()
	}
}

// settle gives fallbacks of an earlier boot a time in this one: what cannot be
// known to be in time is due now.
func (e *Engine) settle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	wall, trusted := e.cfg.Clock.Now()
	for _, a := range e.journal.armed {
		if a.Boot == e.journal.boot {
			continue
		}
		left := time.Duration(0)
		if trusted && !a.Until.IsZero() {
			left = min(a.Until.Sub(wall), a.After)
		}
		a.Due, a.Boot = e.now()+left, e.journal.boot
	}
}

func (e *Engine) nextArmed() (first *armed, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range e.journal.armed {
		if first == nil || a.Due < first.Due {
			first = a
		}
	}
	if first != nil {
		wait = first.Due - e.now()
	}
	return first, wait
}

// fall writes a fallback. If that fails it is tried again, until somebody writes
// the point.
func (e *Engine) fall(ctx context.Context, a *armed) {
	h, err := e.writeFallback(ctx, a)
	e.mu.Lock()
	switch {
	case e.journal.armed[a.Point] != a: // a new value came meanwhile
	case err != nil:
		a.Due = e.now() + fallbackPause
	case e.disarm(a, h) != nil:
		delete(e.journal.armed, a.Point) // after a start it is written once more
	}
	e.mu.Unlock()
	e.changed()
}

// disarm notes that a fallback is written, with its account. mu is held.
func (e *Engine) disarm(a *armed, h *held) error {
	return e.note(&line{Op: opReceived, key: h.key, entry: &h.entry}, &line{Op: opFinal, key: h.key, Reply: h.reply}, &line{Op: opDisarmed, Armed: a})
}

func (e *Engine) writeFallback(ctx context.Context, a *armed) (*held, error) {
	h := &held{key: key{By: ByFallback, Who: e.cfg.Gateway, ID: "fallback"}, entry: entry{Point: a.Point, Value: []byte(a.Value)}, at: e.now()}
	p := e.points[a.Point]
	if p == nil {
		err := refuse(UnknownPoint, "the point is not configured any more")
		e.fellBack(h, e.reply(h, Failed, err.Code, err.Error()))
		return h, nil
	}
	h.Source = p.Source
	if err := p.Target.Check(a.Value); err != nil {
		no := asRefusal(err, Type)
		e.fellBack(h, e.reply(h, Failed, no.Code, "the fallback is not within what the configuration allows now: "+no.Error()))
		return h, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	out := p.Target.Write(urgent(ctx), a.Value, time.Now().Add(a.After))
	r := e.became(p, h, &out)
	e.fellBack(h, r)
	if r.State != Done {
		return h, fmt.Errorf("%s: %s", r.Code, r.Message)
	}
	return h, nil
}

// fellBack tells everybody.
func (e *Engine) fellBack(h *held, r Reply) {
	h.reply = &r
	e.mu.Lock()
	p := e.points[h.Point]
	told := p != nil && p.fell != nil && p.fell.State == r.State && p.fell.Code == r.Code
	if p != nil {
		p.fell, p.last = &r, &r
	}
	e.mu.Unlock()
	if told && r.State != Done { // it is tried every few seconds
		return
	}
	e.cfg.Fallback(h.Point, &r)
	e.account(h, false)
	e.changed()
}

// calm says that somebody has written a point whose fallback was in force.
func (e *Engine) calm(p *point) {
	e.mu.Lock()
	fell := p.fell
	p.fell = nil
	e.mu.Unlock()
	if fell != nil {
		e.cfg.Fallback(p.Name, nil)
	}
}

// Release writes the fallbacks that are armed for points which another
// configuration does not have as they are: same says so of a name and a permit.
// An error names one that could not be written.
func (e *Engine) Release(ctx context.Context, same func(point, permit string) bool) error {
	e.mu.Lock()
	var going []*armed
	for _, a := range e.journal.armed {
		if !same(a.Point, a.Permit) {
			going = append(going, a)
		}
	}
	e.mu.Unlock()
	var errs []error
	for _, a := range going {
		h, err := e.writeFallback(ctx, a)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: its fallback %s cannot be written: %w", a.Point, a.Value, err))
			continue
		}
		e.mu.Lock()
		if e.journal.armed[a.Point] == a {
			e.disarm(a, h)
		}
		e.mu.Unlock()
	}
	return errors.Join(errs...)
}
