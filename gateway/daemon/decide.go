package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"fieldferry/gateway/config"
	"fieldferry/gateway/record"
)

// What may become of a trial by somebody's word, or for the want of it.
var (
	ErrNoTrial  = errors.New("no configuration is being tried")
	ErrNoFormer = errors.New("there is no former configuration to go back to")
	ErrNotKept  = errors.New("nobody has kept it within its time")
)

// RequestedError says that somebody has asked for the way back.
type RequestedError struct{ By Actor }

func (e *RequestedError) Error() string { return "rolled back by " + e.By.words() }

// Trial is a configuration that runs and has to prove itself.
type Trial struct {
	By     Actor
	ID     string
	SHA256 string // of its text
	Until  time.Time
	Keep   bool // somebody has to keep it
}

// Trial returns the configuration that has to prove itself; nil: there is none.
// It may be called from any goroutine.
func (d *Daemon) Trial() *Trial { return d.view.Load() }

// decision is somebody's word.
type decision struct {
	keep  bool
	by    Actor
	watch time.Duration
	taken func()       // see [Candidate]
	told  func(*Trial) // likewise
	done  chan error
}

// Keep confirms the configuration that is being tried.
func (d *Daemon) Keep(ctx context.Context, by Actor) error {
	return d.ask(ctx, &decision{keep: true, by: by})
}

// RollBack ends a trial, and the former configuration comes back. Without a
// trial the configuration that ran before the confirmed one is applied, as by
// [Daemon.Apply].
func (d *Daemon) RollBack(ctx context.Context, by Actor, watch time.Duration) error {
	return d.ask(ctx, &decision{by: by, watch: watch})
}

func (d *Daemon) ask(ctx context.Context, w *decision) error {
	w.done = make(chan error, 1)
	select {
	case d.decisions <- w:
	case <-ctx.Done():
		return ctx.Err()
	case <-d.ended:
		return ErrStopped
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// decide does what somebody says. It returns what is to run instead, if
// anything is.
func (d *Daemon) decide(w *decision) *change {
	t := d.trial
	switch {
	case w.keep && t == nil:
		w.done <- ErrNoTrial
	case w.keep:
		d.log.Info("the configuration is kept", "by", w.by)
		d.proven()
		w.done <- nil
	case t != nil:
		w.done <- nil
		return d.back(&RequestedError{w.by})
	default:
		return d.former(w)
	}
	return nil
}

// former makes the configuration before the confirmed one a candidate.
func (d *Daemon) former(w *decision) *change {
	st := d.opts.Store.State()
	k, err := d.opts.Store.Get(st.Previous)
	if err != nil {
		w.done <- ErrNoFormer
		return nil
	}
	return d.candidate(&change{text: k.text, parts: k.parts, by: w.by, watch: w.watch, taken: w.taken, told: w.told, attempt: rand.Text(), done: w.done})
}

// audit puts what somebody does to the configuration into the gateway's stream.
// A file that was edited has no audit: nobody came through a door.
func (d *Daemon) audit(action string, by Actor, detail string) {
	if by == ByFile {
		return
	}
	door, who, _ := strings.Cut(string(by), ":")
	d.gateway.Audit(time.Now(), record.Audit{Action: action, Who: who, By: door, Detail: detail[:min(len(detail), maxDetail)]})
}

// maxDetail is how much of a reason an audit has.
const maxDetail = 500

// words names an actor for a person.
func (a Actor) words() string {
	door, who, found := strings.Cut(string(a), ":")
	switch {
	case door == "web" && found:
		return who + ", on the page"
	case door == "cli" && found:
		return who + ", at this machine"
	case door == "mqtt" && found:
		return "the broker, signed by " + who
	case door == "mqtt":
		return "the broker"
	}
	return string(a)
}

// further are the rules of whoever brings a candidate.
type further func(next, runs *config.Config) []config.Problem

// tell says how far a candidate came.
func (c *change) tell(t *Trial) {
	if c.told != nil {
		c.told(t)
	}
}
