package can_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
	"fieldferry/bus/can/link"
)

// kernel is a link as the kernel has it.
type kernel struct {
	info     link.Info
	state    link.State
	upErr    error
	ups      int
	restarts []time.Time
	heals    int // the restart after which the controller takes part again; 0: none
}

func newKernel(s *link.Settings) *kernel {
	return &kernel{info: link.Info{Name: "can0", Index: 2, Kind: "can", Up: true, Controller: &link.Controller{
		Timing: link.BitTiming{Bitrate: s.Bitrate, SamplePoint: 875}, Mode: s.Mode, HasErrors: true, TxErrors: 200, RxErrors: 3}}}
}

func (k *kernel) get(string) (link.Info, error) {
	info, c := k.info, *k.info.Controller
	c.State = k.state
	info.Controller = &c
	return info, nil
}

func (k *kernel) up(_ string, s link.Settings) (link.Info, error) {
	k.ups++
	if k.upErr != nil {
		info, _ := k.get("")
		return info, k.upErr
	}
	k.info.Up = true
	c := k.info.Controller
	c.Timing.Bitrate, c.Mode = s.Bitrate, s.Mode // the sample point is what the clock can make
	return k.get("")
}

func (k *kernel) restart(string) error {
	k.restarts = append(k.restarts, time.Now())
	if len(k.restarts) == k.heals {
		k.state = link.ErrorActive
	}
	return nil
}

// TestStateAtStart: a condition that held before is raised, and ends, although
// no error frame says either.
func TestStateAtStart(t *testing.T) {
	for state, code := range map[link.State]string{
		link.BusOff: "can_bus_off", link.ErrorPassive: "can_error_passive", link.ErrorWarning: "can_error_warning",
		link.ErrorActive: "", link.Stopped: "", link.Sleeping: "",
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newKernel(settings(250_000))
			k.state = state
			var rec cantest.Recorder
			b := newBus(t, can.Config{})
			b.Links(k.get, k.up, k.restart)
			d := can.NewDeliverer(b, &rec)
			d.Begin()
			d.Begin() // as at a link that came up
			if st := b.Stats(); st.State != state.String() || st.Bitrate != 250_000 {
				t.Errorf("%v: counters %+v", state, st)
			}
			k.state = link.ErrorActive
			d.Attend()
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				d.Attend()
			}
			var want []string
			if code != "" {
				want = []string{code + " raised", code + " cleared"}
				if e := rec.Items()[0].Event; e.Detail["tx_errors"] != 200 || e.Detail["rx_errors"] != 3 {
					t.Errorf("%v: detail %v", state, e.Detail)
				}
			}
			if got := rec.Events(); !slices.Equal(got, want) {
				t.Errorf("%v: events %q, want %q", state, got, want)
			}
			if len(k.restarts) > 0 {
				t.Errorf("%v: a controller was restarted that is not ours", state)
			}
		})
	}
}

// TestRestartAfterBusOff: more and more rarely, and soon again after it was
// good; only where the link is ours and does not restart by itself.
func TestRestartAfterBusOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := can.Config{Interface: "can0", Link: settings(250_000)}
		k := newKernel(cfg.Link)
		k.state, k.heals = link.BusOff, 9
		var rec cantest.Recorder
		b := newBus(t, cfg)
		b.Links(k.get, k.up, k.restart)
		d := can.NewDeliverer(b, &rec)
		run := func(minutes int) {
			for range minutes * 600 {
				d.Attend()
				time.Sleep(100 * time.Millisecond)
			}
		}
		d.Begin()
		began := time.Now()
		run(10)
		var waits []time.Duration
		for _, at := range k.restarts {
			waits = append(waits, at.Sub(began).Round(time.Second))
			began = at
		}
		want := []time.Duration{2, 3, 5, 9, 17, 33, 61, 61, 61} // each a look later than the backoff of 1, 2, 4, ...
		for i := range want {
			want[i] *= time.Second
		}
		for i := range min(len(waits), len(want)) {
			if off := waits[i] - want[i]; off > time.Second || off < -time.Second {
				t.Errorf("restart %d after %v, want about %v", i, waits[i], want[i])
			}
		}
		if got := rec.Events(); len(waits) != len(want) || !slices.Equal(got, []string{"can_bus_off raised", "can_bus_off cleared"}) ||
			b.Stats().Restarts != uint64(len(want)) {
			t.Errorf("%d restarts, events %q, counters %+v", len(waits), got, b.Stats())
		}

		k.restarts, k.heals, k.state = nil, 1, link.BusOff
		began = time.Now()
		d.Begin()
		run(1)
		if len(k.restarts) != 1 || k.restarts[0].Sub(began) > 3*time.Second {
			t.Errorf("bus-off anew: restarted at %v, began %v", k.restarts, began)
		}

		k.restarts, k.state, k.info.Controller.RestartMs = nil, link.BusOff, 100
		d.Begin()
		run(1)
		if len(k.restarts) != 0 {
			t.Error("a controller that restarts by itself was restarted")
		}
	})
}

// TestBusOffStorm: bus-off and restarted, ten times a second for an hour.
func TestBusOffStorm(t *testing.T) {
	var rec cantest.Recorder
	b := newBus(t, can.Config{})
	d := can.NewDeliverer(b, &rec)
	off, back := frame(t, "20000040#00"), frame(t, "20000100#00")
	now := int64(1e18)
	const n = 36_000
	for range n {
		now += 5e7
		off.Time = now
		d.Frame(off, false)
		now += 5e7
		back.Time = now
		d.Frame(back, false)
		d.Settle(now)
	}
	if got := rec.Events(); len(got) != 3 {
		t.Errorf("%d events", len(got))
	}
	d.Settle(now + int64(time.Minute))
	items := rec.Items()
	last := items[len(items)-1].Event
	if last.State.String() != "cleared" || last.Detail["times"] != uint64(n-1) || last.Time.UnixNano() != now {
		t.Errorf("ends with %+v", last)
	}
	if st := b.Stats(); st.Errors["bus_off"] != n || st.Errors["restarted"] != n {
		t.Errorf("counters %+v", st)
	}
}

func TestBringUp(t *testing.T) {
	permission := fmt.Errorf("can0: setting it up needs the capability CAP_NET_ADMIN: %w", unix.EPERM)
	for name, c := range map[string]struct {
		change func(*kernel)
		ups    int
		err    string
		log    string
	}{
		"as configured":              {func(*kernel) {}, 0, "", ""},
		"down":                       {func(k *kernel) { k.info.Up = false }, 1, "", "brought up"},
		"other bit rate":             {func(k *kernel) { k.info.Controller.Timing.Bitrate = 500_000 }, 1, "", "brought up"},
		"not listen-only":            {func(k *kernel) { k.info.Controller.Mode = 0 }, 1, "", "brought up"},
		"down, not allowed":          {func(k *kernel) { k.info.Up, k.upErr = false, permission }, 2, "PrivateUsers=no", ""},
		"other rate, not allowed":    {func(k *kernel) { k.info.Controller.Timing.Bitrate, k.upErr = 500_000, permission }, 2, "CAP_NET_ADMIN", ""},
		"other mode, not allowed":    {func(k *kernel) { k.info.Controller.Mode, k.upErr = 0, permission }, 2, "", "reading it as it is"},
		"cannot":                     {func(k *kernel) { k.info.Up, k.upErr = false, unix.EINVAL }, 2, "invalid argument", ""},
		"sample point not to be had": {func(k *kernel) { k.info.Controller.Timing.SamplePoint = 750 }, 1, "", "brought up"},
	} {
		t.Run(name, func(t *testing.T) {
			want := settings(250_000)
			want.SamplePoint = 875
			k := newKernel(want)
			c.change(k)
			var log bytes.Buffer
			b, err := can.New(can.Config{Interface: "can0", Link: want}, slog.New(slog.NewTextHandler(&log, nil)))
			must(t, err)
			b.Links(k.get, k.up, k.restart)
			for range 2 { // the second time nothing is left to do, and nothing is said
				err = b.BringUp()
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v", err)
			}
			if k.ups != c.ups {
				t.Errorf("set %d times, want %d", k.ups, c.ups)
			}
			if n := strings.Count(log.String(), "\n"); !strings.Contains(log.String(), c.log) || n > 1 {
				t.Errorf("log of %d lines: %s", n, &log)
			}
		})
	}
}
