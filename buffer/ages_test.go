package buffer

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// near reports whether an age is what it should be, give or take a hundredth and
// two seconds.
func near(got, want time.Duration) bool {
	return (got - want).Abs() <= want/100+2*time.Second
}

// The age of the oldest record is right while it is in memory, when it has gone
// to the disk long ago, and when what came first was delivered.
func TestOldestAge(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxMemory, cfg.SegmentSize = MinMaxMemory, 64<<10
	synctest.Test(t, func(t *testing.T) {
		b := mustOpen(t, cfg)
		defer mustClose(t, b)
		if got := b.Stats().OldestAge; got >= 0 {
			t.Errorf("an empty buffer has a record that is %v old", got)
		}
		s := b.Source("engine")
		junk := make([]byte, 100)
		random := rand.NewChaCha8([32]byte{})
		begin := time.Now()
		times := []time.Time{} // by sequence number
		for time.Since(begin) < time.Hour {
			if time.Since(begin) < 20*time.Minute || time.Since(begin) > 40*time.Minute { // 20 minutes in which nothing comes
				random.Read(junk)
				s.Append(1, junk) // a time of 1970 must not matter
				times = append(times, time.Now())
			}
			time.Sleep(time.Second)
			if len(times)%200 == 1 && !near(b.Stats().OldestAge, time.Since(times[0])) {
				t.Fatalf("after %v the first record is %v old", time.Since(begin), b.Stats().OldestAge)
			}
		}
		if b.Stats().Segments < 2 {
			t.Fatalf("%d segments show nothing", b.Stats().Segments)
		}
		first := b.First()
		for n := range times {
			b.Ack(first+uint64(n), first+uint64(n)+1)
			if n%200 != 0 || n+1 == len(times) {
				continue
			}
			if got, want := b.Stats().OldestAge, time.Since(times[n+1]); !near(got, want) {
				t.Errorf("with %d delivered the oldest is %v old, not %v", n+1, got, want)
			}
		}
		if got := b.Stats().OldestAge; got >= 0 {
			t.Errorf("with all delivered a record is %v old", got)
		}
	})
}

// What an earlier session has left is as old as its own time says, if the clock
// was right then and is now. Else it is at least as old as this session.
func TestOldestAgeAcrossARestart(t *testing.T) {
	hours := func(h int) int64 { return sane + int64(time.Duration(h)*time.Hour) }
	for name, c := range map[string]struct {
		written, opened, later int64 // the time of day; 0: not known
		first                  int64 // the time in the first record
		want, known            time.Duration
	}{
		"known":           {hours(2), hours(10), hours(10), hours(1), 9 * time.Hour, 9 * time.Hour},
		"known later":     {hours(2), 0, hours(10), hours(1), 0, 9 * time.Hour},
		"never known":     {hours(2), 0, 0, hours(1), 0, 0},
		"not known then":  {0, hours(10), hours(10), hours(1), 0, 0},
		"no time in it":   {hours(2), hours(10), hours(10), 1, 8 * time.Hour, 8 * time.Hour},
		"it was ahead":    {hours(2), hours(10), hours(10), hours(3), 8 * time.Hour, 8 * time.Hour},
		"clock goes back": {hours(2), hours(1), hours(1), hours(2), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			var now atomic.Int64
			now.Store(c.written)
			cfg.Clock = now.Load
			synctest.Test(t, func(t *testing.T) {
				b := mustOpen(t, cfg)
				for range 100 {
					b.Source("engine").Append(c.first, []byte("x"))
				}
				mustClose(t, b)
				now.Store(c.opened)
				b = mustOpen(t, cfg)
				defer mustClose(t, b)
				if got := b.Stats().OldestAge; !near(got, c.want) {
					t.Errorf("at the start it is %v old, not %v", got, c.want)
				}
				b.Source("engine").Append(hours(10), []byte("y"))
				time.Sleep(time.Minute)
				now.Store(c.later)
				if got := b.Stats().OldestAge; !near(got, c.known+time.Minute) {
					t.Errorf("a minute later it is %v old, not %v", got, c.known+time.Minute)
				}
				first := b.First()
				b.Ack(first, first+100)
				if got := b.Stats().OldestAge; !near(got, time.Minute) {
					t.Errorf("the one of this session is %v old", got)
				}
			})
		})
	}
}

// Marks are bounded, and an age stays exact to a fiftieth of the whole.
func TestAgesAreBounded(t *testing.T) {
	var a ages
	const n = 1_000_000
	for i := range uint64(n) {
		a.note(i*3, time.Duration(i)*time.Second)
		if len(a.marks) > maxMarks {
			t.Fatalf("%d marks", len(a.marks))
		}
	}
	for i := uint64(0); i < n; i += n / 100 {
		got, ok := a.of(i * 3)
		if want := time.Duration(i) * time.Second; !ok || (got-want).Abs() > n*time.Second/50 {
			t.Errorf("mark %d is at %v, not %v", i, got, want)
		}
	}
	a.forget(3 * (n - 1))
	if len(a.marks) != 1 {
		t.Errorf("%d marks are left", len(a.marks))
	}
}
