package command

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// guarded is a site whose point falls back to 50 after a minute.
func guarded(t *testing.T, f func(t *testing.T, s *site)) {
	t.Helper()
	bubble(t, func(t *testing.T, s *site) {
		s.cfg.Points[0].Fallback = &Fallback{Value: "50", After: time.Minute}
		s.start()
		synctest.Wait()
		f(t, s)
		s.stop()
	})
}

func (s *site) wantWrites(values ...string) {
	s.t.Helper()
	s.plant.mu.Lock()
	defer s.plant.mu.Unlock()
	if !slices.Equal(s.plant.writes, values) {
		s.t.Errorf("writes %v, want %v", s.plant.writes, values)
	}
}

func TestAFallbackComesWhenNobodyRenewsTheValue(t *testing.T) {
	guarded(t, func(t *testing.T, s *site) {
		s.write("a", "70")
		time.Sleep(40 * time.Second)
		s.write("b", "71") // renewed
		time.Sleep(59 * time.Second)
		s.wantWrites("70", "71")
		time.Sleep(2 * time.Second)
		s.wantWrites("70", "71", "50")
		time.Sleep(time.Hour)
		s.wantWrites("70", "71", "50")
		if v := s.engine.View().Points[0]; !v.Fell || v.Due != 0 {
			t.Errorf("%+v", v)
		}
		if a := s.accounts()[len(s.accounts())-1]; a.By != ByFallback || a.Reply.State != Done || string(a.Reply.Value) != "50" || a.Source != "line1" {
			t.Errorf("audit %+v", a)
		}
		s.write("c", "60")
		synctest.Wait()
		if !slices.Equal(s.told(), []string{"done", ""}) {
			t.Errorf("told %v", s.told())
		}
		s.write("d", "50") // by hand: nothing is armed then
		time.Sleep(time.Hour)
		s.wantWrites("70", "71", "50", "60", "50")
	})
}

func TestAnArmedFallbackOutlivesAStart(t *testing.T) {
	for _, c := range []struct {
		name            string
		reboot, doubted bool
		away, want      time.Duration // how long it is away, and how long after the start the fallback comes
	}{
		{"a restart", false, false, 20 * time.Second, 40 * time.Second},
		{"a restart without a clock", false, true, 20 * time.Second, 40 * time.Second},
		{"too long away", false, false, time.Hour, 0},
		{"a reboot", true, false, 20 * time.Second, 40 * time.Second},
		{"a reboot without a clock", true, true, 20 * time.Second, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			guarded(t, func(t *testing.T, s *site) {
				s.write("a", "70")
				synctest.Wait()
				s.stop()
				time.Sleep(c.away)
				if c.reboot {
					s.clock.boot++
					s.clock.begun = time.Now()
				}
				s.clock.doubted = c.doubted
				s.start()
				if c.want > 0 {
					time.Sleep(c.want - time.Second)
					s.wantWrites("70")
				}
				time.Sleep(2 * time.Second)
				s.wantWrites("70", "50")
			})
		})
	}
}

// A fallback that cannot be written is tried until it can, and told once.
func TestAFallbackIsTriedUntilItIsThere(t *testing.T) {
	guarded(t, func(t *testing.T, s *site) {
		s.write("a", "70")
		synctest.Wait()
		s.plant.fails(Offline)
		time.Sleep(10 * time.Minute)
		s.wantWrites("70")
		if !slices.Equal(s.told(), []string{"failed"}) {
			t.Errorf("told %v", s.told())
		}
		s.plant.fails("")
		time.Sleep(6 * time.Second)
		s.wantWrites("70", "50")
		if !slices.Equal(s.told(), []string{"failed", "done"}) {
			t.Errorf("told %v", s.told())
		}
	})
}

// A write that reached nobody leaves the fallback as it was.
func TestAFailedWriteArmsNothing(t *testing.T) {
	guarded(t, func(t *testing.T, s *site) {
		s.plant.fails(Offline)
		s.write("a", "70")
		synctest.Wait()
		if v := s.engine.View().Points[0]; v.Due != 0 {
			t.Errorf("armed: %+v", v)
		}
		s.plant.fails("")
		s.write("b", "70")
		time.Sleep(50 * time.Second)
		s.plant.fails(Busy)
		s.write("c", "71")
		synctest.Wait()
		s.plant.fails("")
		time.Sleep(11 * time.Second)
		s.wantWrites("70", "50")
	})
}

// Before another configuration takes its place, a point that it does not have
// as it is gets its fallback; if it cannot have it, the configuration waits.
func TestPointsThatGoAreReleased(t *testing.T) {
	guarded(t, func(t *testing.T, s *site) {
		s.write("a", "70")
		synctest.Wait()
		same := func(point, permit string) bool { return point == "setpoint" && permit == "p1" }
		if err := s.engine.Release(context.Background(), same); err != nil {
			t.Error(err)
		}
		s.wantWrites("70")
		s.plant.fails(Offline)
		gone := func(string, string) bool { return false }
		if err := s.engine.Release(context.Background(), gone); err == nil {
			t.Error("the fallback was not written, and nobody is told")
		}
		s.plant.fails("")
		if err := s.engine.Release(context.Background(), gone); err != nil {
			t.Error(err)
		}
		s.wantWrites("70", "50")
		time.Sleep(time.Hour)
		s.wantWrites("70", "50")
	})
}
