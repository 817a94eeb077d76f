package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
)

// Why a candidate is not taken, beside what may be wrong with it.
var (
	ErrConflict = errors.New("the configuration was changed meanwhile; look at it again, and make the change to what there is now")
	ErrBusy     = errors.New("another configuration is being put in place or tried; keep it, roll it back, or wait")
)

// The bounds of a watch that a person asks for.
const minWatch, maxWatch = 5 * time.Second, 24 * time.Hour

// doorTime is how long a person waits to hear that a candidate is well.
const doorTime = 25 * time.Second

// LookAtConfig is what there is to see of the configuration, with what is in
// effect if that is asked for. It may be called from any goroutine.
func (d *Daemon) LookAtConfig(effective bool) live.ConfigState {
	now, st := d.page.running.Load(), d.opts.Store.State()
	s := live.ConfigState{Path: d.opts.Path, Text: now.text, SHA256: nameOf(now.cfg.Text()), Tag: d.tag(), By: string(now.by), Note: now.note,
		Attempt: d.Attempted(), History: []live.ConfigEntry{}, Remote: d.agent.Reported()}
	if file, err := config.ReadSite(d.opts.Path); err == nil {
		if s.InFile = sum(file) == now.sum; !s.InFile {
			s.File = string(config.Redact(file))
		}
	}
	if k, err := d.opts.Store.Get(st.Previous); err == nil {
		s.Previous = string(config.Redact(k.text))
	}
	for _, e := range st.History {
		s.History = append(s.History, live.ConfigEntry{Time: e.Time, ID: e.ID, By: e.By, Result: string(e.Result), Why: e.Why})
	}
	if effective {
		for _, e := range config.Effective(d.opts.Path, now.cfg.Text(), d.opts.Config()) {
			s.Settings = append(s.Settings, live.ConfigSetting(e))
		}
	}
	return s
}

// tag is another one after any change of what runs and of the site's file.
func (d *Daemon) tag() string {
	file := d.site()
	return sum([]byte(d.page.running.Load().sum + sum(file)))
}

// Attempted is what became of the last candidate since the start, or how far it
// is; nil: there was none. It may be called from any goroutine.
func (d *Daemon) Attempted() *live.ConfigAttempt {
	a := d.attempt.Load()
	if a == nil {
		return nil
	}
	now := *a
	if now.State == "watching" {
		now.Left = max(0, time.Until(now.Until).Seconds())
	}
	return &now
}

// OnTrial is until when what runs has to prove itself; zero: it need not.
func (d *Daemon) OnTrial() time.Time {
	if t := d.Trial(); t != nil {
		return t.Until
	}
	return time.Time{}
}

// came notes how far a candidate is.
func (d *Daemon) came(c *change, state string, t *Trial) {
	if c.attempt == "" {
		return
	}
	a := d.attemptOf(c)
	a.State = state
	if t != nil {
		a.Until = t.Until
	}
	d.attempt.Store(&a)
}

// attemptOf is what is known of an attempt so far, without its state.
func (d *Daemon) attemptOf(c *change) live.ConfigAttempt {
	a := live.ConfigAttempt{ID: c.attempt, By: string(c.by), SHA256: nameOf(c.text)}
	if last := d.attempt.Load(); last != nil && last.ID == c.attempt {
		a = *last
	}
	a.Keep, a.Until = c.keep, time.Time{}
	return a
}

// reply notes what became of a candidate, and says so to whoever waits.
func (d *Daemon) reply(c *change, err error) {
	if c.attempt != "" {
		a := d.attemptOf(c)
		a.State = string(Confirmed) // nobody may see it before it is sure
		var no *ApplyError
		if errors.As(err, &no) {
			a.State, a.Conflict = string(no.Result), errors.Is(err, ErrConflict)
			if no.Err != nil {
				a.Why = no.Err.Error()
			}
			a.Problems = shownProblems(no.Problems)
		}
		d.attempt.Store(&a)
		c.attempt = ""
	}
	c.reply(err)
}

func shownProblems(problems []config.Problem) (list []live.ConfigProblem) {
	for _, p := range problems {
		p = p.Public()
		line, file := p.InText()
		list = append(list, live.ConfigProblem{Line: line, File: file, Column: p.Col, Key: p.Path, What: p.What, Fix: p.Fix, Warning: p.Warning})
	}
	return list
}

// ApplyConfig is [Daemon.Apply] for a person at a door: it returns as soon as
// the candidate is known to be well and takes the place of what runs, or is
// rejected. [Daemon.Attempted] says what becomes of it.
func (d *Daemon) ApplyConfig(ctx context.Context, by string, n live.ConfigCandidate) (live.ConfigAttempt, error) {
	switch {
	case n.Watch != 0 && (n.Watch < minWatch || n.Watch > maxWatch):
		return live.ConfigAttempt{}, fmt.Errorf("a watch takes 5s to 24h, or 0 for none")
	case n.Keep && n.Watch == 0:
		return live.ConfigAttempt{}, errors.New("what has to be kept needs a watch: the time in which somebody keeps it")
	case d.Trial() != nil:
		return live.ConfigAttempt{}, ErrBusy
	}
	file := d.site()
	text, hidden := config.Restore(d.opts.Path, n.Text, d.page.running.Load().cfg.Text(), file)
	id := rand.Text()
	if len(hidden) > 0 {
		return live.ConfigAttempt{ID: id, By: by, State: string(Rejected), Problems: shownProblems(hidden)}, nil
	}
	return d.hand(ctx, func(ctx context.Context, taken func()) error {
		return d.Apply(ctx, Candidate{Text: text, By: Actor(by), Watch: n.Watch, Keep: n.Keep, Tag: n.Tag, Taken: taken, Attempt: id})
	})
}

// KeepConfig is [Daemon.Keep] for a person at a door.
func (d *Daemon) KeepConfig(ctx context.Context, by string) error {
	ctx, cancel := context.WithTimeout(ctx, doorTime)
	defer cancel()
	return d.Keep(ctx, Actor(by))
}

// RollBackConfig is [Daemon.RollBack] for a person at a door, see
// [Daemon.ApplyConfig].
func (d *Daemon) RollBackConfig(ctx context.Context, by string, watch time.Duration) (live.ConfigAttempt, error) {
	return d.hand(ctx, func(ctx context.Context, taken func()) error {
		return d.ask(ctx, &decision{by: Actor(by), watch: watch, taken: taken})
	})
}

// hand hands a candidate in, and waits until it is taken or refused, but not for
// what becomes of it: the door that it came by may go with the gateway.
func (d *Daemon) hand(ctx context.Context, in func(ctx context.Context, taken func()) error) (live.ConfigAttempt, error) {
	inside, cancel := context.WithCancel(context.WithoutCancel(ctx))
	taken, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		defer cancel()
		ended <- in(inside, func() { close(taken) })
	}()
	timer := time.NewTimer(doorTime)
	defer timer.Stop()
	select {
	case <-taken:
		return *d.Attempted(), nil
	case err := <-ended:
		var no *ApplyError
		if err != nil && !errors.As(err, &no) {
			return live.ConfigAttempt{}, err
		}
		if a := d.Attempted(); a != nil {
			return *a, nil
		}
		return live.ConfigAttempt{}, err
	case <-timer.C:
		cancel()
		return live.ConfigAttempt{}, ErrBusy
	}
}
