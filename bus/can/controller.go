package can

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus"
	"fieldferry/bus/can/link"
)

// How often the link is asked about, and changed.
const (
	// lookInterval is how often a controller that is not error-active, or
	// lately was not, is asked for its state: a report may have been lost.
	lookInterval = time.Second
	// upAgain is how long a link that this process keeps up may be down.
	upAgain = 5 * time.Second
	// The backoff between restarts after bus-off: a short circuit stays.
	firstRestart = time.Second
	lastRestart  = time.Minute
)

// links is the kernel's view of interfaces; tests put another in its place.
type links struct {
	get     func(name string) (link.Info, error)
	up      func(name string, s link.Settings) (link.Info, error)
	restart func(name string) error
}

// controller is what is known of the link of a device, and what was done to
// it. It belongs to the goroutine in Run.
type controller struct {
	_ [0]func() // as in counters

	set      *link.Info // as this process has set it
	raisedAt time.Time  // when the link was last brought up, or that was tried
	looked   time.Time
	restarts bool // the controller restarts after bus-off only when told
	restart  time.Time
	wait     time.Duration
	said     string // the last trouble, so that it is logged once
}

// bringUp sets the link as the configuration says. Without one it does nothing.
func (b *Bus) bringUp() error {
	want := b.cfg.Link
	if want == nil {
		return nil
	}
	b.ctl.raisedAt = time.Now()
	name := b.src.Name
	if set := b.ctl.set; set != nil {
		// What was set may differ a little from what was asked for.
		if now, err := b.links.get(name); err == nil && now.Up && sameSettings(&now, set) {
			return nil
		}
	}
	before, err := b.links.get(name)
	if err == nil && before.Up && want.Matches(&before) {
		b.ctl.set = &before
		return nil
	}
	info, err := b.links.up(name, *want)
	switch {
	case err == nil:
		b.ctl.set = &info
		c := info.Controller
		b.log.Info("the link was brought up", "bitrate", c.Timing.Bitrate, "sample_point", c.Timing.SamplePoint,
			"dbitrate", c.Data.Bitrate, "mode", c.Mode.String(), "restart_ms", c.RestartMs)
		return nil
	case errors.Is(err, link.ErrPermission) && info.Up && info.Controller != nil && info.Controller.Timing.Bitrate == want.Bitrate:
		b.say("the link is up, but not as configured, and may not be changed; reading it as it is", err)
		return nil
	case errors.Is(err, link.ErrPermission):
		return fmt.Errorf("can: %w; give it to the service (a drop-in with AmbientCapabilities=CAP_NET_ADMIN, "+
			"CapabilityBoundingSet=CAP_NET_ADMIN and PrivateUsers=no), or remove bitrate and leave the link to systemd-networkd or ip link", err)
	}
	return fmt.Errorf("can: %w", err)
}

func sameSettings(a, b *link.Info) bool {
	if a.Controller == nil || b.Controller == nil {
		return false
	}
	x, y := a.Controller, b.Controller
	return a.Index == b.Index && x.Timing == y.Timing && x.Data == y.Data && x.Mode == y.Mode && x.RestartMs == y.RestartMs
}

// say logs a trouble unless it was the last thing said.
func (b *Bus) say(what string, err error) {
	if text := err.Error(); text != b.ctl.said {
		b.ctl.said = text
		b.log.Warn(what, "error", err)
	}
}

// ask asks for the state of the controller; nil: there is none, or it cannot
// be asked.
func (b *Bus) ask() *link.Controller {
	b.ctl.looked = time.Now()
	info, err := b.links.get(b.src.Name)
	if err != nil {
		// No netlink is no reason not to read: error frames tell most of it.
		b.log.Debug("the link cannot be asked for its state", "error", err)
		return nil
	}
	c := info.Controller
	if c == nil {
		b.traffic.setLink(rates{}, "", tecRec{})
		return nil
	}
	b.traffic.setLink(rates{c.Timing.Bitrate, c.Data.Bitrate}, c.State.String(), tecRec{c.HasErrors, c.TxErrors, c.RxErrors})
	b.ctl.restarts = b.cfg.Link != nil && c.RestartMs == 0
	return c
}

// follow takes over the state a controller was asked for.
func (d *delivery) follow(c *link.Controller) {
	if c == nil {
		return
	}
	b := d.b
	why := cause{at: b.ctl.looked.UnixNano(), hasErrors: c.HasErrors, tx: c.TxErrors, rx: c.RxErrors}
	switch c.State {
	case link.BusOff:
		if !b.cond.busOff.raised {
			b.cond.busOffAt = why.at
		}
		d.holds(bus.BusOff, why)
	case link.ErrorPassive:
		d.condition(bus.BusOff, false, why.because("state"))
		d.holds(bus.ErrorPassive, why)
	case link.ErrorWarning:
		d.condition(bus.BusOff, false, why.because("state"))
		d.condition(bus.ErrorPassive, false, why.because("state"))
		d.holds(bus.ErrorWarning, why)
	case link.ErrorActive:
		d.recovered(why.because("state"))
	}
}

// holds raises a condition that was found, rather than reported: finding it
// again is no new cause.
func (d *delivery) holds(code string, why cause) {
	if c := d.b.cond.of(code); !c.raised || c.gone != 0 {
		d.condition(code, true, why)
	}
}

// attend does what lasting conditions ask for. It is called whenever the
// receive loop comes by, and looks at the clock only if there are any.
func (d *delivery) attend(r *receiver) {
	b := d.b
	if !b.cond.restless() {
		return
	}
	now := time.Now()
	if now.Sub(b.ctl.looked) < lookInterval {
		return
	}
	if r.link == nil || b.cond.linkDown.raised {
		b.ctl.looked = now
	} else {
		d.follow(b.ask())
		d.restart(now)
	}
	d.settle(now.UnixNano())
}

// restart restarts a controller that is bus-off, if it does not do so itself
// and this process has set the link up: after a second, then more and more
// rarely as long as it goes bus-off again.
func (d *delivery) restart(now time.Time) {
	b := d.b
	ctl := &b.ctl
	if !ctl.restarts || !b.cond.busOff.raised || b.cond.busOff.gone != 0 {
		if !b.cond.busOff.raised {
			ctl.wait, ctl.restart = 0, time.Time{}
		}
		return
	}
	if ctl.restart.IsZero() {
		ctl.wait = min(max(2*ctl.wait, firstRestart), lastRestart)
		ctl.restart = now.Add(ctl.wait)
	}
	if now.Before(ctl.restart) {
		return
	}
	ctl.restart = time.Time{}
	if err := b.links.restart(b.src.Name); err != nil && !errors.Is(err, unix.EBUSY) {
		b.say("the controller is bus-off and cannot be restarted", err)
		return
	}
	b.count.restarts.Add(1)
	b.log.Info("the controller was restarted after bus-off", "next_wait", min(2*ctl.wait, lastRestart))
}
