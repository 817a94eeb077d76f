package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fieldferry/gateway/live"
)

// trial is a candidate that runs and has to prove itself.
type trial struct {
	of, former *change
	before     *live.Snapshot // of the former gateway, at its end
}

// judge ends the trial: it confirms the candidate, or returns the way back.
func (d *Daemon) judge() *change {
	t := d.trial
	d.step("judge")
	why := ErrNotKept
	if !t.of.keep {
		why = proved(t.before, d.gateway.Look().Snapshot())
	}
	if why != nil {
		return d.back(why)
	}
	d.log.Info("the configuration has proved itself", "by", t.of.by)
	d.proven()
	return nil
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

// proved says what a gateway does worse than the one before it; nil: nothing.
// Sources are judged by what they say of themselves and not by how much they
// deliver: one that reports changes only may be quiet.
func proved(before, after *live.Snapshot) error {
	if after == nil || after.Session == 0 {
		return errors.New("the buffer is not open")
	}
	if after.Uplink.Acked == 0 {
		return ErrNoUplink
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
			wrong = append(wrong, fmt.Sprintf("%s delivered before and does not now (%s)", s.Name, s.Word))
		}
	}
	for _, a := range after.Alarms {
		had := slices.ContainsFunc(before.Alarms, func(b live.Alarm) bool {
			return b.Code == a.Code && b.Source == a.Source && b.Subject == a.Subject
		})
		if !had && (a.Severity == "error" || a.Severity == "critical") {
			wrong = append(wrong, strings.TrimSpace(fmt.Sprintf("the alarm %s is new: %s %s", a.Code, a.Source, a.Subject)))
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}
