package command

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// So is that of a fallback.
func TestAccountsOfFallbacksOverAKill(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.cfg.Kept = 2 * time.Second
		s.cfg.Points[0].Fallback = &Fallback{Value: "45", After: 10 * time.Second}
		s.cfg.Points[0].MinInterval = time.Minute
		s.start()
		s.write("a", "50")
		time.Sleep(11 * time.Second)
		s.stop() // in order: nothing is given again
		s.start()
		synctest.Wait()
		n := len(s.accounts())
		time.Sleep(time.Minute) // a fallback does not count for min_interval; the write before does
		s.write("b", "50")
		time.Sleep(10*time.Second + time.Millisecond)
		s.kill()
		synctest.Wait()
		var got []string
		for _, a := range s.accounts()[n:] {
			got = append(got, fmt.Sprint(a.By, " ", a.Again, " ", string(a.Reply.State), " ", a.Source))
		}
		if want := "mqtt false done line1,fallback false done line1,fallback true done line1"; strings.Join(got, ",") != want {
			t.Errorf("%s\nwant %s", strings.Join(got, ","), want)
		}
		s.stop()
	})
}

// The account of what ended shortly before a kill is given again, since nobody
// knows whether it was on disk; that of what ended earlier, or before an end in
// order, is not.
func TestAccountsOverAKill(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.cfg.Kept = 2 * time.Second
		again := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, a := range s.accounts() {
				if a.Again {
					got = append(got, a.Reply.ID)
					if a.Who != "alice" || a.Source != "line1" || a.Reply.State != Done || !a.Time.Equal(a.Reply.At) {
						t.Errorf("%+v", a)
					}
				}
			}
			if len(got) != len(want) {
				t.Fatalf("given again: %q, want %q", got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("given again: %q, want %q", got, want)
				}
			}
		}
		s.start()
		s.write("a", "50")
		time.Sleep(5 * time.Second)
		s.write("b", "51") // with it goes the note about a
		synctest.Wait()
		s.kill()
		again("b")
		time.Sleep(5 * time.Second)
		s.write("c", "52")
		synctest.Wait()
		s.kill() // b was told again, and that outlived this kill
		again("b", "c")
		s.clock.boot++ // a power cut: times since boot begin again
		s.clock.begun = time.Now().Add(-10 * time.Second)
		s.kill()
		again("b", "c", "c")
		time.Sleep(5 * time.Second)
		s.write("d", "53")
		synctest.Wait()
		s.kill()
		again("b", "c", "c", "d")
		s.write("e", "54")
		synctest.Wait()
		s.stop() // in order
		s.start()
		again("b", "c", "c", "d")
		s.stop()
	})
}
