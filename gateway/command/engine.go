package command

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fieldferry/gateway/quota"
)

// Config is what an engine works with.
type Config struct {
	Gateway      string // its id, which signatures are for
	MaxTTL       time.Duration
	MaxPerMinute int
	Signers      map[string]ed25519.PublicKey // by name; empty: signatures are not asked for
	Points       []Point
	Reads        Reads
	Trial        map[string]bool // points that wait until the configuration is confirmed

	Files Files
	Clock Clock
	Kept  time.Duration // after it, what Audit took outlives the process

	// Answer sends a reply to a request of MQTT. It must not block; a reply that
	// is lost is asked for again by the same id.
	Answer func(to Return, r Reply)
	// Audit takes the account of a request. It must not block.
	Audit func(a Audit)
	// Fallback says that the fallback of a point was written, or could not be;
	// nil: somebody has written the point since.
	Fallback func(point string, r *Reply)
	// Renewed says that there is a new epoch, which has to be published.
	Renewed func()
}

// The bounds of a configuration.
const (
	DefaultTTL, MinTTL, MaxTTL      = time.Minute, time.Second, 10 * time.Minute
	DefaultPerMinute, MostPerMinute = 60, 6000
	MinFallback, MaxFallback        = time.Second, 24 * time.Hour
	MaxMinInterval                  = 24 * time.Hour
	MaxPoints                       = 500
	waiting                         = 16 // requests for one bus
	hastyReply                      = time.Second
	suspension                      = time.Minute
	maxWaits                        = 16 // for one reply
	maxReading                      = 4  // reads on demand at once
)

// ErrNoRead is the error of a target that has no value to be read.
var ErrNoRead = errors.New("it cannot be read")

// Engine takes requests, and carries out those that pass. All methods may be
// called from any goroutine, [Engine.Run] from one.
type Engine struct {
	cfg    Config
	points map[string]*point
	view   atomic.Pointer[View]
	left   []*held // what an earlier process has not ended

	mu        sync.Mutex
	journal   *journal
	epochs    epochs
	opened    time.Duration // since boot
	rate      bucket
	reads     bucket
	reading   chan struct{}
	refusals  quota.Quota
	suspended time.Duration // since boot: until then nothing of MQTT is taken; 0: not suspended
	doubt     string        // why the journal cannot be written; empty: it can
	unsuspend *time.Timer
	stopping  bool
	queues    map[string]chan *held // by source
	armedWake chan struct{}
	work      sync.WaitGroup
}

// point is a point at work.
type point struct {
	Point
	wrote time.Duration // since boot: when the last write began; 0: never
	last  *Reply
	fell  *Reply // its fallback is in force, or cannot be written; nil: it is not
}

// New reads the journal. An error says that it was damaged, and put aside: the
// engine works, and takes nothing that was issued before it.
func New(cfg Config) (*Engine, error) {
	boot, now := cfg.Clock.Boot()
	e := &Engine{
		cfg: cfg, points: map[string]*point{}, opened: now,
		rate: newBucket(cfg.MaxPerMinute, now), reads: newBucket(cfg.Reads.MaxPerMinute, now), reading: make(chan struct{}, maxReading),
		queues: map[string]chan *held{}, armedWake: make(chan struct{}, 1),
	}
	e.epochs.life = cfg.MaxTTL
	e.epochs.renew(now)
	for i := range cfg.Points {
		p := &point{Point: cfg.Points[i]}
		e.points[p.Name] = p
		if e.queues[p.Source] == nil {
			e.queues[p.Source] = make(chan *held, waiting)
		}
	}
	var err error
	e.journal, err = openJournal(cfg.Files, boot, now, cfg.MaxTTL)
	for _, h := range e.journal.order {
		if p := e.points[h.Point]; p != nil && !h.other && h.By != ByFallback {
			p.wrote = max(p.wrote, h.at)
		}
		if h.op != opFinal || !h.told {
			e.left = append(e.left, h)
		}
	}
	e.changed()
	if err != nil {
		return e, fmt.Errorf("the journal of commands: %w", err)
	}
	return e, nil
}

func (e *Engine) now() time.Duration {
	_, now := e.cfg.Clock.Boot()
	return now
}

// Epoch is the word that requests have to repeat.
func (e *Engine) Epoch() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.epochs.list[0].word
}

// Renew makes a new epoch, as each connection has to begin with.
func (e *Engine) Renew() {
	e.mu.Lock()
	e.epochs.renew(e.now())
	e.mu.Unlock()
}

// Run carries out what is taken until ctx ends; then it finishes what is on a
// bus, with its reading back, and leaves the rest to the next engine.
func (e *Engine) Run(ctx context.Context) {
	e.resume(ctx)
	for _, q := range e.queues {
		e.work.Go(func() { e.serve(ctx, q) })
	}
	e.work.Go(func() { e.watchArmed(ctx) })
	renew := time.NewTicker(e.cfg.MaxTTL / 2)
	defer renew.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-renew.C:
			e.Renew()
			e.cfg.Renewed()
		}
	}
	e.mu.Lock()
	e.stopping = true
	e.mu.Unlock()
	e.work.Wait()
	e.dismiss()
	e.mu.Lock()
	e.note(&line{Op: opTold, Through: e.now()}) // the buffer is closed in order
	e.mu.Unlock()
}

// serve carries out the requests for one bus, one after the other.
func (e *Engine) serve(ctx context.Context, q chan *held) {
	for {
		select {
		case <-ctx.Done():
			return
		case h := <-q:
			if ctx.Err() == nil {
				e.execute(ctx, h)
			}
		}
	}
}

// dismiss tells those who wait at this machine that the next engine answers.
func (e *Engine) dismiss() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.journal.order {
		for _, f := range h.waits {
			f(e.reply(h, Rejected, Busy, "the gateway stops or changes its configuration; ask again by the same id"))
		}
		h.waits = nil
	}
}

// resume goes on with what an earlier process has left: what it has received is
// carried out if there is still time, what it has begun is not begun again.
func (e *Engine) resume(ctx context.Context) {
	for _, h := range e.left {
		switch h.op {
		case opExecuting:
			e.work.Go(func() { e.interrupted(ctx, h) })
		case opFinal:
			e.account(h, true)
		default:
			e.again(h)
		}
	}
	e.left = nil
}

// again queues a request that an earlier process has received.
func (e *Engine) again(h *held) {
	e.mu.Lock()
	left := h.Deadline - e.now()
	if h.other {
		wall, trusted := e.cfg.Clock.Now()
		if left = 0; trusted && !h.Until.IsZero() {
			left = min(h.Until.Sub(wall), e.cfg.MaxTTL)
		}
		h.Deadline, h.other = e.now()+left, false
		h.at = e.now()
	}
	p := e.points[h.Point]
	e.mu.Unlock()
	switch {
	case left <= 0:
		e.finish(h, e.reply(h, Rejected, Expired, "the gateway was away until its time was over"))
	case p == nil || p.Target.Check(string(h.Value)) != nil:
		e.finish(h, e.reply(h, Rejected, UnknownPoint, "the configuration has changed before it was begun"))
	default:
		select {
		case e.queues[p.Source] <- h:
		default:
			e.finish(h, e.reply(h, Rejected, Busy, "too many requests wait"))
		}
	}
}

// interrupted ends a request of which nobody knows whether it was written.
func (e *Engine) interrupted(ctx context.Context, h *held) {
	r := e.reply(h, Unknown, Interrupted, "the gateway ended between writing and reading back; read says what is there now")
	if p := e.points[h.Point]; p != nil {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		r.Read = e.lookUntil(ctx, p)
	}
	e.finish(h, r)
}

// reply is a reply to a request that was taken.
func (e *Engine) reply(h *held, s State, c Code, message string) Reply {
	r := Reply{V: Version, ID: h.ID, State: s, Code: c, Status: c.status(), Point: h.Point, Value: h.Value, Message: message}
	if !h.other {
		r.TookMS = (e.now() - h.at).Milliseconds()
	}
	if wall, trusted := e.cfg.Clock.Now(); trusted {
		r.At = wall.UTC().Truncate(time.Millisecond)
	}
	return r
}

// finish puts a final reply on disk, then gives it to all who wait.
func (e *Engine) finish(h *held, r Reply) {
	e.mu.Lock()
	e.note(&line{Op: opFinal, key: h.key, Reply: &r})
	if h.reply == nil { // the disk does not take it; the process remembers it
		h.op, h.reply = opFinal, &r
		h.keep = e.journal.until(h, e.now())
	}
	if p := e.points[h.Point]; p != nil {
		p.last = &r
	}
	waits := h.waits
	h.waits = nil
	e.mu.Unlock()
	if h.By == ByMQTT {
		e.cfg.Answer(h.Return, r)
	}
	for _, f := range waits {
		f(r)
	}
	e.account(h, false)
	e.changed()
}

// account gives the account of a request that was taken and has ended.
func (e *Engine) account(h *held, again bool) {
	e.audit(Audit{Actor: Actor{Who: h.Who, By: h.By}, Source: h.Source, Signer: h.Signer, Reason: h.Reason, Reply: *h.reply, Again: again})
}

// note writes to the journal and remembers whether that works. With it goes
// which accounts need not be given again. mu is held.
func (e *Engine) note(lines ...*line) error {
	now := e.now()
	// What an earlier process has left was given again when this one began.
	if then := now - e.cfg.Kept; then > e.opened && e.journal.untold(then) {
		lines = append(lines, &line{Op: opTold, Through: then})
	}
	err := e.journal.note(now, lines...)
	if err != nil {
		e.doubt = err.Error()
	} else {
		e.doubt = ""
	}
	return err
}

// audit gives the account of a request to whoever keeps it. One that is given
// again has the time of the first.
func (e *Engine) audit(a Audit) {
	a.Time, _ = e.cfg.Clock.Now()
	if a.Again && !a.Reply.At.IsZero() {
		a.Time = a.Reply.At
	}
	e.cfg.Audit(a)
}
