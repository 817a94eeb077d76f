package alarm

import (
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus"
)

// What holds is raised or pending from the first moment on, whatever it is and
// however long it is held back, and in the end raised; what is over is neither.
func TestWhatHoldsIsRaisedOrPending(t *testing.T) {
	for _, c := range Table {
		if c.Momentary {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			l := beginAtBoot(t, t.TempDir(), 1, nil)
			defer l.stop()
			is := func(when string, raised, pending int) {
				t.Helper()
				synctest.Wait()
				if r, p := len(l.Raised()), len(l.Pending()); r != raised || p != pending {
					t.Errorf("%s, %s: %d raised and %d pending", c.Code, when, r, p)
				}
			}
			later := 0
			if max(c.After, c.Start) > 0 {
				later = 1
			}
			for range 2 {
				l.raise(c.Code)
				is("begun", 1-later, later)
				l.clear(c.Code)
				is("over", 0, 0)
			}
			l.raise(c.Code)
			time.Sleep(max(c.After, c.Start))
			is("after its time", 1, 0)
		})
	}
}

// A condition that another one explains waits for nothing; when that is over it has a
// moment to end as well, and is pending then.
func TestExplainedIsNotPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, t.TempDir(), 1, nil)
		defer l.stop()
		l.raise(bus.PortLost)
		l.raise(bus.SlaveOffline)
		if p := l.Pending(); len(p) != 0 {
			t.Errorf("%+v", p)
		}
		l.clear(bus.PortLost)
		if p := l.Pending(); len(p) != 1 || p[0].Code != bus.SlaveOffline || p[0].Severity != "error" {
			t.Errorf("%+v", p)
		}
		time.Sleep(unveil)
		synctest.Wait()
		if p := l.Pending(); len(p) != 0 || len(l.Raised()) != 1 {
			t.Errorf("%+v", p)
		}
	})
}
