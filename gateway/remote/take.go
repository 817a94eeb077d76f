package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Run takes documents until ctx ends, and what is being put in place then.
func (a *Agent) Run(ctx context.Context) {
	var putting sync.WaitGroup
	defer putting.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		var do func()
		a.change(func() { do = a.next(ctx) })
		if do != nil {
			putting.Go(do)
		}
	}
}

// change changes what is known, and tells if the report is another one by that.
func (a *Agent) change(f func()) {
	a.mu.Lock()
	f()
	changed := a.render()
	a.mu.Unlock()
	if changed {
		a.opts.Changed()
	}
}

// next looks at the document that waits. It returns what takes long.
func (a *Agent) next(ctx context.Context) (do func()) {
	if a.mail == nil || a.settings.Mode != "apply" {
		a.mail = nil
		return nil
	}
	d, err := Parse(a.mail)
	if a.busy && (err != nil || !d.Rollback) {
		return nil // it waits until the one before it has ended
	}
	document := a.mail
	a.mail, a.refused, a.waiting, a.wants = nil, nil, nil, nil
	signer := ""
	if err == nil {
		if signer, err = signed(a.settings.Gateway, a.settings.Signers, d); err != nil {
			return a.refuse(d, Signature, err)
		}
	}
	by := "mqtt"
	if signer != "" {
		by += ":" + signer
	}
	d.by = by
	switch {
	case err != nil:
		return a.refuse(d, Invalid, err)
	case d.Rollback:
		return a.rollBack(ctx, d, by)
	case d.Version == a.kept.Last.Version && d.SHA256 == a.kept.Last.SHA256:
		return nil // what became of it stands in the report
	case d.Version <= a.kept.Version:
		return a.tooOld(d)
	}
	if need := a.missing(d, document); len(need) > 0 {
		a.refused = &last{Version: d.Version, By: by, SHA256: d.SHA256, State: Waiting, need: need}
		return nil
	}
	return a.put(ctx, d, by)
}

// missing returns the parts of a document that have not come. It waits for them.
func (a *Agent) missing(d *Desired, document []byte) []string {
	if len(d.Parts) == 0 {
		return nil
	}
	wants := slices.Sorted(maps.Values(d.Parts))
	a.opts.Parts.Keep(wants)
	need := a.opts.Parts.Missing(wants)
	if len(need) > 0 {
		a.waiting, a.wants = document, wants
	}
	return need
}

// Part takes a chunk of a file, and returns when it is on disk. What no document
// that waits has named is not kept.
func (a *Agent) Part(sum string, n int, data []byte) {
	a.mu.Lock()
	wanted := slices.Contains(a.wants, sum)
	a.mu.Unlock()
	if !wanted || len(data) > MaxChunk {
		return
	}
	whole, err := a.opts.Parts.Add(sum, n, data)
	if err != nil {
		a.opts.Log.Warn("a part of a configuration from afar is not taken", "error", err)
	}
	a.change(func() {
		switch {
		case a.waiting == nil || a.refused == nil:
		case err != nil:
			a.refused.Problems = []string{"config/part: " + err.Error()}
			a.refused.need = a.opts.Parts.Missing(a.wants)
		case whole && a.mail == nil:
			a.mail = a.waiting // look again
		default:
			a.refused.need = a.opts.Parts.Missing(a.wants)
		}
	})
	if whole {
		a.ring()
	}
}

// refuse reports that a document was not taken; nothing of it is kept.
func (a *Agent) refuse(d *Desired, code Code, why error) func() {
	a.opts.Log.Warn("a configuration from afar was refused", "version", d.Version, "code", code, "error", why)
	a.opts.Event("config_refused", string(code)+": "+why.Error())
	a.refused = &last{Version: d.Version, By: d.by, State: Rejected, Code: code, Problems: []string{"config/desired: " + why.Error()}}
	if isSum(d.SHA256) {
		a.refused.SHA256 = d.SHA256
	}
	return nil
}

func (a *Agent) tooOld(d *Desired) func() {
	return a.refuse(d, Old, fmt.Errorf("version %d is not higher than %d, the last one that was taken", d.Version, a.kept.Version))
}

// begin notes on disk what is about to be done, so that it is done once.
func (a *Agent) begin(d *Desired, l last) error {
	before := a.kept
	a.kept.Version, a.kept.Last = d.Version, l
	if d.Rollback {
		a.kept.Rollback = d.Version
	}
	err := a.write()
	if err != nil {
		a.kept = before
	}
	return err
}

// put puts a configuration in place.
func (a *Agent) put(ctx context.Context, d *Desired, by string) (do func()) {
	l := last{Version: d.Version, By: by, SHA256: d.SHA256, State: Applying}
	if d.Base != "" && d.Base != a.settings.Running {
		l.State, l.Code = Rejected, Conflict
		l.Problems = []string{"config/desired: base is not what runs: the configuration was changed meanwhile; make it again from that"}
		a.opts.Event("config_refused", string(Conflict))
	}
	if err := a.begin(d, l); err != nil {
		return a.refuse(d, Storage, fmt.Errorf("it cannot be noted: %w", err))
	}
	if l.State != Applying {
		return nil
	}
	a.busy = true
	c := &Change{Text: d.Content, Parts: d.Parts, By: by, Signed: by != "mqtt", Watch: d.watch, Told: a.watching}
	return func() { a.ended(a.opts.Daemon.Apply(ctx, c)) }
}

// watching says that the trial begins.
func (a *Agent) watching(until time.Time) {
	a.change(func() { a.kept.Last.State, a.kept.Last.until = Watching, until })
}

// ended says what became of what was put in place.
func (a *Agent) ended(err error) {
	var failed *Failure
	a.change(func() {
		a.busy = false
		l := &a.kept.Last
		l.until = time.Time{}
		switch {
		case err == nil:
			l.State, l.Ran = Confirmed, a.settings.Running
		case errors.As(err, &failed):
			l.State, l.Code, l.Problems = failed.State, failed.Code, failed.Problems
		default: // the process ends: the next start finds out
			return
		}
		a.save()
		a.opts.Parts.Keep(a.wants) // what was put in place has its own copy
	})
	switch version := a.version(); {
	case err == nil:
		a.opts.Log.Info("a configuration from afar is confirmed", "version", version)
	case failed != nil:
		a.opts.Log.Warn("a configuration from afar was "+strings.ReplaceAll(string(failed.State), "_", " "), "version", version, "code", failed.Code, "error", err)
	}
	a.ring()
}

func (a *Agent) version() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.kept.Last.Version
}

func (a *Agent) ring() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// rollBack ends the trial of a configuration from afar, or goes back behind the
// confirmed one. A request without a version, which anybody could repeat, does
// only the first.
func (a *Agent) rollBack(ctx context.Context, d *Desired, by string) (do func()) {
	switch {
	case d.Version == 0 && len(a.settings.Signers) > 0:
		return a.refuse(d, Invalid, errors.New("a signed rollback has a version, so that nobody can repeat it"))
	case d.Version == 0 && !a.busy, d.Version != 0 && d.Version == a.kept.Rollback:
		return nil // it is the broker's replay of one that was carried out
	case d.Version != 0 && d.Version <= a.kept.Version:
		return a.tooOld(d)
	}
	if a.busy {
		if d.Version != 0 {
			if err := a.begin(d, a.kept.Last); err != nil {
				a.opts.Log.Warn("a request to roll back could not be noted; it is done all the same", "error", err)
			}
		}
		return func() {
			if err := a.opts.Daemon.RollBack(ctx, by, d.watch, nil); err != nil {
				a.opts.Log.Warn("the trial cannot be ended", "error", err)
			}
		}
	}
	if err := a.begin(d, last{Version: d.Version, By: by, State: Applying, Ran: a.settings.Running}); err != nil {
		return a.refuse(d, Storage, fmt.Errorf("it cannot be noted: %w", err))
	}
	a.busy = true
	return func() { a.ended(a.opts.Daemon.RollBack(ctx, by, d.watch, a.watching)) }
}
