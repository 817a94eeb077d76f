package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

func refuse(c Code, format string, args ...any) *Refusal {
	return &Refusal{Code: c, Err: fmt.Errorf(format, args...)}
}

// Take takes the text of a request. When it returns, the request is on disk or
// has been refused. answer hears the final reply, and of one that was taken for
// MQTT also that it takes long; for MQTT it may be nil: then the reply goes to
// [Config.Answer]. It may be called before Take returns, and must not block.
func (e *Engine) Take(a Actor, text []byte, from Transport, answer func(Reply)) {
	r, err := ParseRequest(text)
	if r == nil {
		r = &Request{}
	}
	r.Expiry, r.Replay = from.Expiry, from.Replay
	if a.By != ByMQTT && r.ID == "" && err == nil {
		err = errors.New("id is missing")
	}
	if answer == nil {
		answer = func(reply Reply) { e.cfg.Answer(from.Return, reply) }
	}
	if err != nil {
		e.refused(a, r, "", refuse(Invalid, "%w", err), answer)
		return
	}
	e.take(a, r, from, answer)
}

// NotNow is the reply to a request that comes before there is an engine.
func NotNow(text []byte, why string) Reply {
	r, _ := ParseRequest(text)
	if r == nil {
		r = &Request{}
	}
	return Reply{V: Version, ID: r.ID, State: Rejected, Code: Busy, Status: Busy.status(), Point: r.Point, Message: why}
}

// Transport is what a door knows of a request besides its text.
type Transport struct {
	Return Return        // where the reply goes
	Expiry time.Duration // left of it; 0: it does not say
	Replay bool          // the broker has kept it, and sends it to whoever subscribes
}

func (e *Engine) take(a Actor, r *Request, from Transport, answer func(Reply)) {
	e.mu.Lock()
	signer, no := e.signed(a, r)
	switch {
	case !validWho(a.Who):
		no = refuse(Invalid, "the name of who asks must have 1 to 64 characters, none of them a control character")
	case r.Replay:
		no = refuse(Retained, "it was kept by the broker and not sent now; send requests without the retain flag")
	}
	if no == nil {
		if h := e.journal.held[key{a.By, a.Who, r.ID}]; h != nil && r.Read == "" {
			e.known(a, h, r, answer) // unlocks
			return
		}
	}
	now := e.now()
	var left time.Duration
	if no == nil {
		left, no = e.fresh(a.By, r, now)
	}
	if no == nil && r.Read != "" {
		no = e.takeRead(a, r, now, left, answer)
		e.mu.Unlock()
		if no != nil {
			e.refused(a, r, "", no, answer)
		}
		return
	}
	var p *point
	if no == nil {
		p, no = e.pass(a, r, now)
	}
	if no != nil {
		e.mu.Unlock()
		source := ""
		if p != nil {
			source = p.Source
		}
		e.refused(a, r, source, no, answer)
		return
	}
	e.accept(a, r, p, signer, from, left, answer) // unlocks
}

func validWho(who string) bool {
	return who != "" && len(who) <= maxID && strings.IndexFunc(who, unicode.IsControl) < 0
}

// known answers a request whose id was taken before. It unlocks.
func (e *Engine) known(a Actor, h *held, r *Request, answer func(Reply)) {
	same := h.Point == r.Point && string(h.Value) == string(compact(r.Value)) && string(h.Expect) == string(compact(r.Expect))
	switch {
	case !same:
		e.mu.Unlock()
		e.refused(a, r, h.Source, refuse(Conflict, "another request of %s has this id; each needs its own", a.Who), answer)
	case h.reply == nil:
		// Who asks by MQTT is answered once, however often he asks meanwhile.
		if a.By != ByMQTT && len(h.waits) < maxWaits {
			h.waits = append(h.waits, answer)
		}
		e.mu.Unlock()
	default:
		reply := *h.reply
		e.mu.Unlock()
		reply.Duplicate = true
		answer(reply)
	}
}

// pass says which point a request is for, and what speaks against it. mu is held.
func (e *Engine) pass(a Actor, r *Request, now time.Duration) (*point, *Refusal) {
	p := e.points[r.Point]
	if p == nil {
		return nil, refuse(UnknownPoint, "%q is not one of commands.points", r.Point)
	}
	if !allowed(p.Allow, a.Who) {
		return p, refuse(NotAllowed, "%s may not write %s", a.Who, p.Name)
	}
	if err := p.Target.Check(string(compact(r.Value))); err != nil {
		return p, asRefusal(err, Type)
	}
	if no := e.able(a, p, now); no != nil {
		return p, no
	}
	switch {
	case p.wrote != 0 && now-p.wrote < p.MinInterval:
		return p, refuse(Rate, "%s was written %v ago, and min_interval is %v", p.Name, (now - p.wrote).Round(time.Millisecond), p.MinInterval)
	case !e.rate.take(now):
		return p, refuse(Rate, "more than max_per_minute, %d", e.cfg.MaxPerMinute)
	case len(e.queues[p.Source]) == cap(e.queues[p.Source]):
		return p, refuse(Busy, "%d requests wait for %s", waiting, p.Source)
	case !e.journal.room(now):
		return p, refuse(Busy, "the gateway remembers as many requests as it can; the oldest is forgotten within two max_ttl")
	}
	return p, nil
}

// able says why no requests are taken at present. mu is held.
func (e *Engine) able(a Actor, p *point, now time.Duration) *Refusal {
	switch {
	case e.journal.paused != nil:
		return refuse(Disabled, "commands are paused by %s; fieldferry commands resume", e.journal.paused.Who)
	case e.stopping:
		return refuse(Busy, "the gateway stops or changes its configuration")
	case a.By == ByMQTT && now < e.suspended:
		return refuse(Busy, "another client has taken the connection over; it has to hold for a minute first")
	case e.cfg.Trial[p.Name]:
		return refuse(Busy, "%s is new in a configuration that is not confirmed yet", p.Name)
	}
	return nil
}

func allowed(list []string, who string) bool { return list == nil || slices.Contains(list, who) }

func asRefusal(err error, otherwise Code) *Refusal {
	var no *Refusal
	if errors.As(err, &no) {
		return no
	}
	return &Refusal{Code: otherwise, Err: err}
}

// accept puts a request on disk and in the queue of its bus. It unlocks.
func (e *Engine) accept(a Actor, r *Request, p *point, signer string, from Transport, left time.Duration, answer func(Reply)) {
	now := e.now()
	n := &entry{Point: p.Name, Source: p.Source, Value: compact(r.Value), Expect: compact(r.Expect), Reason: r.Reason, Signer: signer,
		Return: from.Return, Deadline: now + left}
	if wall, trusted := e.cfg.Clock.Now(); trusted {
		n.Until = wall.Add(left)
	}
	if r.Epoch == "" {
		n.Issued = r.issued
	}
	k := key{a.By, a.Who, r.ID}
	if err := e.note(&line{Op: opReceived, key: k, entry: n}); err != nil {
		e.mu.Unlock()
		e.refused(a, r, p.Source, refuse(Storage, "the request cannot be put on disk: %w", err), answer)
		e.changed()
		return
	}
	h := e.journal.held[k]
	h.at, p.wrote = now, now
	if a.By != ByMQTT {
		h.waits = append(h.waits, answer)
	}
	select {
	case e.queues[p.Source] <- h:
	default: // it had room, and mu was held since
	}
	e.mu.Unlock()
	if a.By == ByMQTT {
		time.AfterFunc(hastyReply, func() { e.takesLong(h) })
	}
}

// takesLong says that a request was taken, if its end is not known soon.
func (e *Engine) takesLong(h *held) {
	e.mu.Lock()
	over := h.reply != nil || e.stopping
	e.mu.Unlock()
	if !over {
		e.cfg.Answer(h.Return, e.reply(h, Accepted, Queued, ""))
	}
}

// refused answers a request that was not taken. It leaves no trace but the
// account, of which there is a limit.
func (e *Engine) refused(a Actor, r *Request, source string, no *Refusal, answer func(Reply)) {
	h := &held{key: key{a.By, a.Who, r.ID}, entry: entry{Point: r.Point, Value: compact(r.Value), Reason: r.Reason}, at: e.now()}
	if r.Read != "" {
		h.Point = r.Read
	}
	reply := e.reply(h, Rejected, no.Code, no.Error())
	answer(reply)
	if more, told := e.refusals.Admit(); told {
		e.audit(Audit{Actor: a, Source: source, Reason: r.Reason, Reply: reply, More: more})
	}
}
