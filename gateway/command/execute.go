package command

import (
	"context"
	"encoding/json"
	"errors"
	"math/big"
	"time"

	"fieldferry/bus/scalar"
)

const (
	lookTime  = 10 * time.Second // for a value that is read before or after
	writeTime = 30 * time.Second // for a write with its reading back
)

// execute carries out one request.
func (e *Engine) execute(ctx context.Context, h *held) {
	p := e.points[h.Point]
	if no := e.late(h, p); no != nil {
		e.finish(h, e.reply(h, Rejected, no.Code, no.Error()))
		return
	}
	old, failed := e.before(ctx, h, p)
	if failed != nil {
		failed.Old = old
		e.finish(h, *failed)
		return
	}
	if no := e.late(h, p); no != nil { // reading may have taken long
		e.finish(h, e.reply(h, Rejected, no.Code, no.Error()))
		return
	}
	e.mu.Lock()
	former := e.journal.armed[p.Name]
	err := e.note(&line{Op: opExecuting, key: h.key, Armed: e.arms(p, h)})
	e.mu.Unlock()
	if err != nil { // nothing was touched, and nobody may think it was
		e.finish(h, e.reply(h, Rejected, Storage, "the journal cannot be written: "+err.Error()))
		e.changed()
		return
	}
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	out := p.Target.Write(writing, string(h.Value), time.Now().Add(h.Deadline-e.now()))
	r := e.became(p, h, &out)
	r.Old = old
	e.rearm(p, h, &out, former)
	e.finish(h, r)
	if r.State == Done {
		e.calm(p)
	}
}

// late says why a request is not begun any more.
func (e *Engine) late(h *held, p *point) *Refusal {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	if now >= h.Deadline {
		return refuse(Expired, "its time was over before the bus was free")
	}
	return e.able(Actor{Who: h.Who, By: h.By}, p, now)
}

// before reads the present value if the request or the point depends on it. A
// reply says that it may not be written.
func (e *Engine) before(ctx context.Context, h *held, p *point) (json.RawMessage, *Reply) {
	if len(h.Expect) == 0 && p.MaxChange == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	text, err := p.Target.Read(ctx)
	old := json.RawMessage(text)
	var r Reply
	switch {
	case err != nil:
		no := asRefusal(err, NoReply)
		r = e.reply(h, stateOf(no.Code), no.Code, "the present value cannot be read, so nothing was written: "+no.Error())
		r.Exception = no.Exception
		return nil, &r
	case len(h.Expect) > 0 && !equal(string(h.Expect), text) && !equal(p.rounded(string(h.Expect)), text):
		r = e.reply(h, Rejected, Conflict, "the value is not what expect says")
	case p.MaxChange != "" && change(text, p.rounded(string(h.Value)), p.MaxChange):
		r = e.reply(h, Rejected, Range, "it is further from the present value than max_change, "+p.MaxChange)
	default:
		return old, nil
	}
	return old, &r
}

// stateOf is the state that goes with the code of an error before anything was
// written.
func stateOf(c Code) State {
	switch c {
	case Offline, NoReply, Exception, BusOff:
		return Failed
	}
	return Rejected
}

// rounded is what is written of a value.
func (p *point) rounded(value string) string {
	if r, ok := p.Target.(Rounder); ok {
		return r.Rounded(value)
	}
	return value
}

// became says what became of a write.
func (e *Engine) became(p *point, h *held, out *Outcome) Reply {
	var r Reply
	switch {
	case out.Err != nil:
		no := asRefusal(out.Err, NoReply)
		state := stateOf(no.Code)
		if out.Sent {
			state = Failed
		}
		r = e.reply(h, state, no.Code, no.Error())
		r.Exception = no.Exception
	case out.Read == "":
		r = e.reply(h, Done, Unverified, "")
	case !out.Verified:
		r = e.reply(h, Failed, Mismatch, "the device took the value, and holds another one")
	default:
		r = e.reply(h, Done, OK, "")
	}
	if w := p.rounded(string(h.Value)); out.Sent && w != string(h.Value) {
		r.Written = json.RawMessage(w)
	}
	if out.Read != "" {
		r.Read = json.RawMessage(out.Read)
	}
	return r
}

// lookUntil reads a point as often as needed until it answers or ctx ends: after
// a start the bus may not be there yet.
func (e *Engine) lookUntil(ctx context.Context, p *point) json.RawMessage {
	for {
		text, err := p.Target.Read(ctx)
		if err == nil {
			return json.RawMessage(text)
		}
		if errors.Is(err, ErrNoRead) {
			return nil
		}
		pause := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// equal compares two JSON values: numbers by what they are, all else by their
// text.
func equal(a, b string) bool {
	x, y := number(a), number(b)
	if x != nil && y != nil {
		return x.Cmp(y) == 0
	}
	return a == b
}

// change reports whether two numbers differ by more than most.
func change(from, to, most string) bool {
	a, b, limit := number(from), number(to), number(most)
	return a == nil || b == nil || limit == nil || apart(a, b, limit)
}

// apart reports whether two numbers differ by more than most.
func apart(a, b, most *big.Rat) bool {
	d := new(big.Rat).Sub(b, a)
	return d.Abs(d).Cmp(most) > 0
}

// number is a JSON number, or one in a JSON text, as it is; nil: it is none.
func number(text string) *big.Rat {
	if n := len(text); n >= 2 && text[0] == '"' && text[n-1] == '"' {
		text = text[1 : n-1]
	}
	n, _ := scalar.ParseNumber(text)
	return n
}
