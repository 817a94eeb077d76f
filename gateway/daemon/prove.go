package daemon

import (
	"errors"
	"slices"
	"strings"
	"time"

	"fieldferry/gateway/live"
)

// trial is a candidate that runs and has to prove itself.
type trial struct {
	of, former *change
	before     *live.Snapshot // of the former gateway, at its end

	ended time.Time      // its time was over; zero: it is not
	last  *live.Snapshot // the newest one then
}

const (
	// patience is for how long after its time a trial is not judged because something
	// that is wrong is no alarm yet. No alarm of an error is held back for longer.
	patience = 15 * time.Second
	// another is how soon a trial that could not be judged is looked at again.
	another = 100 * time.Millisecond
)

// judge ends the trial: it confirms the candidate, or returns the way back. It is
// judged by a snapshot of after its time, and not while an alarm is held back, as a
// port that is lost is for the first seconds: again says when to judge it then.
func (d *Daemon) judge() (again <-chan time.Time, next *change) {
	t := d.trial
	now := d.gateway.Look().Snapshot()
	if t.ended.IsZero() {
		d.step("judge")
		t.ended, t.last = time.Now(), now
	}
	why := ErrNotKept
	if !t.of.keep {
		var early bool
		if why, early = proved(t.before, now); (now == t.last || early) && time.Since(t.ended) < patience {
			return time.After(another), nil
		}
	}
	if why != nil {
		return nil, d.back(why)
	}
	d.log.Info("the configuration has proved itself", "by", t.of.by)
	d.proven()
	return nil, nil
}

// proven ends the trial well.
func (d *Daemon) proven() {
	d.trial = nil
	d.view.Store(nil)
	d.gateway.Confirm()
	d.confirm()
}

// back is the way back from the trial.
func (d *Daemon) back(why error) *change {
	t := d.trial
	d.log.Error("the configuration has not proved itself, the former one comes back", "by", t.of.by, "error", why)
	d.failed = &Entry{ID: t.of.id, By: string(t.of.by), Result: RolledBack, Why: why.Error()}
	back := *t.former
	back.back, back.away, back.done = why, t.of.by, t.of.done
	back.attempt = t.of.attempt
	t.of.done, t.of.attempt = nil, ""
	return &back
}

// ErrNoUplink says that the broker has acknowledged nothing.
var ErrNoUplink = errors.New("no_uplink: the broker has acknowledged nothing")

// proved says what a gateway does worse than the one before it; nil: nothing. It is
// early to say so while what is wrong is no alarm yet.
// Sources are judged by what they say of themselves and not by how much they
// deliver: one that reports changes only may be quiet.
func proved(before, after *live.Snapshot) (why error, early bool) {
	if after == nil || after.Session == 0 {
		return errors.New("the buffer is not open"), false
	}
	if after.Uplink.Acked == 0 {
		return ErrNoUplink, false
	}
	var wrong []string
	if before == nil {
		before = &live.Snapshot{}
	}
	for _, s := range after.Sources {
		delivered := slices.ContainsFunc(before.Sources, func(b live.Source) bool {
			return b.Name == s.Name && b.Records > 0 && b.State != live.Down
		})
		if delivered && s.Kind != "gateway" && s.State == live.Down {
			wrong = append(wrong, s.Name+" delivered before and does not now ("+s.Word+")")
		}
	}
	wrong = append(wrong, fresh(before, after.Alarms)...)
	if early = len(wrong) == 0; early {
		wrong = fresh(before, after.Pending)
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; ")), early
	}
	return nil, false
}

// fresh are the errors among alarms that the gateway before had not, in words.
func fresh(before *live.Snapshot, alarms []live.Alarm) (wrong []string) {
	for i := range alarms {
		a := &alarms[i]
		same := func(b live.Alarm) bool { return b.Code == a.Code && b.Source == a.Source && b.Subject == a.Subject }
		if !a.IsError() || slices.ContainsFunc(before.Alarms, same) || slices.ContainsFunc(before.Pending, same) {
			continue
		}
		wrong = append(wrong, strings.TrimSpace("the alarm "+a.Code+" is new: "+a.Source+" "+a.Subject))
	}
	return wrong
}
