package command

import (
	"context"
	"encoding/json"
	"math"
	"time"
)

// View is what there is to be seen of an engine. It is never changed.
type View struct {
	Paused    string      // by whom; empty: not paused
	Suspended bool        // of MQTT nothing is taken: a takeover
	Fault     string      // why requests cannot be put on disk
	Points    []PointView // in the order of [Config.Points]
}

// PointView is how a point fares.
type PointView struct {
	_ [0]func() // nobody compares them: saves the code for it

	Trial bool          // it waits until the configuration is confirmed
	Last  *Reply        // the last final reply in this life
	Due   time.Duration // since boot: when an armed fallback is written; 0: not armed
	Fell  bool          // its fallback is in force, or cannot be written
}

// View is what there is to be seen now. It costs nothing.
func (e *Engine) View() *View { return e.view.Load() }

// changed makes a new view.
func (e *Engine) changed() {
	e.mu.Lock()
	v := &View{Suspended: e.suspended > e.now(), Fault: e.doubt, Points: make([]PointView, len(e.cfg.Points))}
	if e.journal.paused != nil {
		v.Paused = e.journal.paused.Who
	}
	for i := range v.Points {
		p := e.points[e.cfg.Points[i].Name]
		v.Points[i] = PointView{Trial: e.cfg.Trial[p.Name], Last: p.last, Fell: p.fell != nil}
		if a := e.journal.armed[p.Name]; a != nil {
			v.Points[i].Due = a.Due
		}
	}
	e.view.Store(v)
	e.mu.Unlock()
}

// Pause stops all commands, also after a start. What is on a bus is finished.
func (e *Engine) Pause(a Actor) error {
	at, _ := e.cfg.Clock.Now()
	return e.say(&line{Op: opPaused, key: key{By: a.By, Who: a.Who}, Time: at}, a, "pause")
}

// Resume ends a pause.
func (e *Engine) Resume(a Actor) error { return e.say(&line{Op: opResumed}, a, "resume") }

// say notes a pause or its end. One that cannot be put on disk is in force, but
// a start would not know of it.
func (e *Engine) say(l *line, a Actor, what string) error {
	e.mu.Lock()
	err := e.note(l)
	if err != nil {
		e.journal.apply(l, e.now())
	}
	e.mu.Unlock()
	e.audit(Audit{Actor: a, Reply: Reply{V: Version, ID: what, State: Done, Code: OK, Status: OK.status()}})
	e.changed()
	return err
}

// TakenOver says that another client has taken the connection over: two
// gateways of one image would both write.
func (e *Engine) TakenOver() { e.suspend(math.MaxInt64) }

// Connected says that there is a connection; one that holds for a minute ends a
// suspension.
func (e *Engine) Connected() {
	e.mu.Lock()
	suspended := e.suspended > e.now()
	e.mu.Unlock()
	if suspended {
		e.suspend(e.now() + suspension)
	}
}

// Disconnected says that the connection is lost.
func (e *Engine) Disconnected() {
	e.mu.Lock()
	suspended := e.suspended > e.now()
	e.mu.Unlock()
	if suspended {
		e.suspend(math.MaxInt64)
	}
}

func (e *Engine) suspend(until time.Duration) {
	e.mu.Lock()
	e.suspended = until
	if e.unsuspend != nil {
		e.unsuspend.Stop()
		e.unsuspend = nil
	}
	if until != math.MaxInt64 {
		e.unsuspend = time.AfterFunc(until-e.now()+time.Millisecond, e.changed)
	}
	e.mu.Unlock()
	e.changed()
}

// Confirm says that the configuration is confirmed: its new points may be
// written.
func (e *Engine) Confirm() {
	e.mu.Lock()
	e.cfg.Trial = nil
	e.mu.Unlock()
	e.changed()
}

// takeRead starts a read on demand. mu is held.
func (e *Engine) takeRead(a Actor, r *Request, now, left time.Duration, answer func(Reply)) *Refusal {
	source, read, allow := e.readable(r.Read)
	switch {
	case read == nil:
		return refuse(UnknownPoint, "%q is not a point, and not a register that commands.read lets anybody read", r.Read)
	case !allowed(allow, a.Who):
		return refuse(NotAllowed, "%s may not read %s", a.Who, r.Read)
	case e.stopping:
		return refuse(Busy, "the gateway stops or changes its configuration")
	case !e.reads.take(now):
		return refuse(Rate, "more reads than max_per_minute")
	}
	select {
	case e.reading <- struct{}{}:
	default:
		return refuse(Busy, "%d reads wait", maxReading)
	}
	h := &held{key: key{a.By, a.Who, r.ID}, entry: entry{Point: r.Read, Source: source, Reason: r.Reason}, at: now}
	e.work.Go(func() {
		defer func() { <-e.reading }()
		ctx, cancel := context.WithTimeout(context.Background(), min(left, lookTime))
		defer cancel()
		text, err := read(ctx)
		reply := e.reply(h, Done, OK, "")
		reply.Value = json.RawMessage(text)
		if err != nil {
			no := asRefusal(err, NoReply)
			reply = e.reply(h, stateOf(no.Code), no.Code, no.Error())
			reply.Exception = no.Exception
		}
		answer(reply)
		e.audit(Audit{Actor: a, Source: source, Reason: r.Reason, Reply: reply})
	})
	return nil
}

// readable finds what is to be read, and who may.
func (e *Engine) readable(name string) (source string, read func(context.Context) (string, error), allow []string) {
	if p := e.points[name]; p != nil {
		return p.Source, p.Target.Read, p.Allow
	}
	if r := e.cfg.Reads.Registers[name]; r != nil {
		return e.cfg.Reads.Sources[name], r.Read, e.cfg.Reads.Allow
	}
	return "", nil, nil
}
