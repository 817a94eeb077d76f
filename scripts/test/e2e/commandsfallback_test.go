package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Nobody renews a value: the fallback is written after its time, also if the
// daemon is killed and started again meanwhile, and at once by a daemon that was
// not there at that time. The bound of a second is asserted of the whole run
// only, on a machine that does nothing else.
func TestFallbacks(t *testing.T) {
	t.Parallel()
	const after = 3 * time.Second
	p := newPlant(t, "5", strings.Replace(boiler, "after: 1h", "after: "+after.String(), 1))
	p.witness = p.broker.follow(t, "witness", "site/gw-e2e/#")
	// fell waits for the next write of the fallback and checks its time.
	fell := func(what string, from time.Time, n int, due time.Duration) {
		t.Helper()
		p.daemon.Until("the fallback: "+what, func() bool { return len(p.writes(setpoint)) >= n+1 })
		var times []time.Time
		for _, w := range p.slave.Writes() {
			if w.Address == setpoint {
				times = append(times, w.At)
			}
		}
		if w := p.writes(setpoint); w[n] != 500 {
			t.Fatalf("%s: written %v", what, w)
		}
		took := times[n].Sub(from)
		t.Logf("%s: the fallback was written after %v, due after %v", what, took.Round(time.Millisecond), due)
		if took < due-time.Millisecond || whole() && took > due+time.Second {
			t.Errorf("%s: after %v, due after %v", what, took, due)
		}
	}
	write := func(value string) time.Time {
		t.Helper()
		p.verb(0, "command", "boiler.setpoint", value)
		for n, w := 0, p.slave.Writes(); n < len(w); n++ {
			if n == len(w)-1 {
				return w[n].At
			}
		}
		t.Fatal("nothing was written")
		return time.Time{}
	}
	fell("alone", write("70"), 1, after-100*time.Millisecond) // the time runs from before the write

	began := write("71")
	p.daemon.Kill()
	p.daemon = startDaemon(t, p.config)
	fell("killed meanwhile", began, 3, after-100*time.Millisecond)

	began = write("72")
	p.daemon.Kill()
	time.Sleep(time.Until(began.Add(after + time.Second))) // the daemon is not there
	again := time.Now()
	p.daemon = startDaemon(t, p.config)
	fell("not there at its time", again, 5, 0)

	write("73") // somebody renews the value
	time.Sleep(after / 2)
	began = write("74")
	fell("renewed", began, 8, after-100*time.Millisecond)
	p.daemon.Until("accounts of the fallbacks", func() bool {
		p.witness.mu.Lock()
		defer p.witness.mu.Unlock()
		n := 0
		for _, payload := range p.witness.payloads {
			n += strings.Count(string(payload), `"by":"fallback"`)
		}
		return n >= 4
	})
	if w := fmt.Sprint(p.writes(setpoint)); w != "[700 500 710 500 720 500 730 740 500]" {
		t.Errorf("written %s", w)
	}
}
