package clock_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fieldferry/gateway/clock"
	"fieldferry/gateway/clock/clocktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	epoch = time.Unix(0, 0).UTC()
	now   = time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
)

// taken is a record's time as it is stored.
type taken struct {
	t       int64
	origin  clock.Origin
	doubted bool
}

func take(c *clock.Clock, m *clocktest.Machine) taken {
	t := m.Time().UnixNano()
	o, doubted := c.Read().Doubt(t)
	return taken{t, o, doubted}
}

// sent is what is sent for it: the time, and what is said of it.
func (k taken) sent(c *clock.Clock) (time.Time, string) {
	if !k.doubted {
		return time.Unix(0, k.t).UTC(), ""
	}
	if t, ok := c.Correct(k.origin, k.t); ok {
		return time.Unix(0, t).UTC(), "corrected"
	}
	return time.Unix(0, k.t).UTC(), "unsynced"
}

// Each story takes one record, and says what is sent for it at the end.
func TestStories(t *testing.T) {
	const hour = time.Hour
	for name, c := range map[string]struct {
		start  time.Time
		synced bool
		config clock.Config
		story  func(m *clocktest.Machine, take, look, restart func())
		want   time.Time
		mark   string
	}{
		"synchronised from the start": {start: now, synced: true,
			story: func(m *clocktest.Machine, take, _, _ func()) { m.Pass(hour); take() },
			want:  now.Add(hour)},
		"good later": {start: epoch,
			story: func(m *clocktest.Machine, take, _, _ func()) {
				m.Pass(10 * time.Second)
				take()
				m.Pass(20 * time.Second)
				m.SetSynced(now)
				m.Pass(hour)
			},
			want: now.Add(-20 * time.Second), mark: "corrected"},
		"set first, synchronised later": {start: epoch,
			story: func(m *clocktest.Machine, take, _, _ func()) {
				take()
				m.Pass(20 * time.Second)
				m.Set(now)
				m.Pass(20 * time.Second)
				m.Sync(true)
			},
			want: now.Add(-20 * time.Second), mark: "corrected"},
		"right but not known to be": {start: now,
			story: func(m *clocktest.Machine, take, _, _ func()) { take(); m.Pass(hour); m.Sync(true) },
			want:  now, mark: "corrected"},
		"never good": {start: epoch.Add(hour),
			story: func(m *clocktest.Machine, take, _, _ func()) { take(); m.Pass(hour); m.Set(now); m.Pass(hour) },
			want:  epoch.Add(hour), mark: "unsynced"},
		"synchronised in 1970": {start: epoch, synced: true,
			story: func(_ *clocktest.Machine, take, _, _ func()) { take() },
			want:  epoch, mark: "unsynced"},
		"before the build date": {start: now, synced: true, config: clock.Config{Earliest: now.Add(hour)},
			story: func(_ *clocktest.Machine, take, _, _ func()) { take() },
			want:  now, mark: "unsynced"},
		"trusted by configuration": {start: now, config: clock.Config{Trusted: true},
			story: func(_ *clocktest.Machine, take, _, _ func()) { take() },
			want:  now},
		"1970, trusted by configuration": {start: epoch, config: clock.Config{Trusted: true},
			story: func(m *clocktest.Machine, take, _, _ func()) { take(); m.Pass(hour); m.Set(now) },
			want:  now.Add(-hour), mark: "corrected"},
		"the kernel does not say": {start: now,
			story: func(m *clocktest.Machine, take, _, _ func()) { m.Fail(errors.New("no")); take() },
			want:  now, mark: "unsynced"},
		"50 years forward, and right again": {start: now, synced: true,
			story: func(m *clocktest.Machine, take, _, _ func()) {
				m.Set(now.AddDate(50, 0, 0))
				m.Pass(time.Minute)
				take()
				m.Pass(time.Minute)
				m.SetSynced(now.Add(2 * time.Minute))
			},
			want: now.Add(time.Minute), mark: "corrected"},
		"before a step back of an hour": {start: now, synced: true,
			story: func(m *clocktest.Machine, take, _, _ func()) {
				take()
				m.Pass(time.Minute)
				m.SetSynced(now.Add(-hour))
			},
			want: now},
		"after a step back of an hour": {start: now, synced: true,
			story: func(m *clocktest.Machine, take, _, _ func()) { m.SetSynced(now.Add(-hour)); take() },
			want:  now.Add(-hour)},
		"trust is lost, and regained by another step": {start: epoch,
			story: func(m *clocktest.Machine, take, look, _ func()) {
				m.SetSynced(now)
				look()
				m.Pass(hour)
				m.Sync(false)
				look()
				m.Pass(hour)
				take()
				m.SetSynced(m.Time().Add(time.Second))
			},
			want: now.Add(2*hour + time.Second), mark: "corrected"},
		"suspended": {start: epoch,
			story: func(m *clocktest.Machine, take, _, _ func()) {
				take()
				m.Suspend(8 * hour)
				m.Pass(time.Second)
				m.SetSynced(now)
			},
			want: now.Add(-8*hour - time.Second), mark: "corrected"},
		"a restart in the same boot": {start: epoch,
			story: func(m *clocktest.Machine, take, _, restart func()) {
				take()
				m.Pass(time.Minute)
				restart()
				m.Pass(time.Minute)
				m.SetSynced(now)
			},
			want: now.Add(-2 * time.Minute), mark: "corrected"},
		"a restart after it became good": {start: epoch,
			story: func(m *clocktest.Machine, take, _, restart func()) {
				take()
				m.Pass(time.Minute)
				m.SetSynced(now)
				m.Pass(time.Minute)
				restart()
			},
			want: now.Add(-time.Minute), mark: "corrected"},
		"a reboot": {start: epoch.Add(hour),
			story: func(m *clocktest.Machine, take, _, restart func()) {
				take()
				m.Reboot(epoch)
				restart()
				m.Pass(time.Minute)
				m.SetSynced(now)
			},
			want: epoch.Add(hour), mark: "unsynced"},
	} {
		t.Run(name, func(t *testing.T) {
			m := clocktest.New(c.start, c.synced)
			c.config.Machine = m
			k := clock.New(c.config)
			var got []taken
			c.story(m, func() { k.Watched(); got = append(got, take(k, m)) }, func() { k.Watched() }, func() { k = clock.New(c.config) })
			k.Watched()
			at, mark := got[0].sent(k)
			if !at.Equal(c.want) || mark != c.mark {
				t.Errorf("%v %q, want %v %q", at, mark, c.want, c.mark)
			}
			for range 3 { // whatever comes, the same record has the same time
				m.Pass(time.Hour)
				m.SetSynced(m.Time().Add(-7 * time.Second))
				k.Watched()
				if again, _ := got[0].sent(k); mark == "corrected" && !again.Equal(at) {
					t.Errorf("sent again it is %v, not %v", again, at)
				}
			}
		})
	}
}

// A frame that the kernel stamped before the clock was set may be read after
// it, and the reader may be the first to notice.
func TestReadAcrossAStep(t *testing.T) {
	for name, c := range map[string]struct {
		from, to time.Time
		synced   bool
	}{
		"from 1970":            {epoch.Add(time.Hour), now, true},
		"from the future":      {now.AddDate(50, 0, 0), now, true},
		"a little forward":     {now, now.Add(time.Minute), true},
		"a little back":        {now, now.Add(-time.Minute), true},
		"to an untrusted time": {now, now.AddDate(1, 0, 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			m := clocktest.New(c.from, false)
			k := clock.New(clock.Config{Machine: m})
			m.Pass(time.Minute)
			stamp := m.Time().UnixNano()
			m.Pass(20 * time.Millisecond)
			if c.synced {
				m.SetSynced(c.to)
			} else {
				m.Set(c.to)
			}
			right := c.to.UnixNano() // of the step
			m.Pass(20 * time.Millisecond)
			late := m.Time().UnixNano()

			at := k.Read()
			o, doubted := at.Doubt(stamp)
			if !doubted {
				t.Fatal("the time from before is taken for one from after")
			}
			if got, ok := k.Correct(o, stamp); ok != c.synced || ok && got != right-int64(20*time.Millisecond) {
				t.Errorf("%v %v, want %v", time.Unix(0, got).UTC(), ok, time.Unix(0, right).UTC())
			}
			if o, doubted := at.Doubt(late); doubted == c.synced || doubted && late-o.Zero != m.Look().Boot {
				t.Errorf("the time from after: doubted %v, zero %v", doubted, time.Unix(0, o.Zero).UTC())
			}
		})
	}
}

// Whatever becomes of the clock: the corrected times of a boot have the order
// and the distances of the boot time, as long as they are corrected by one
// zero, and every record keeps its time.
func TestCorrectedTimesKeepOrderAndDistance(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := clocktest.New(epoch.Add(time.Duration(rng.Int64N(1e18))), false)
		k := clock.New(clock.Config{Machine: m})
		type record struct {
			taken
			boot int64
		}
		var records []record
		for range rng.IntN(60) {
			m.Pass(time.Duration(rng.Int64N(int64(time.Hour))))
			switch rng.IntN(4) {
			case 0:
				m.Set(epoch.Add(time.Duration(rng.Int64N(3e18))))
			case 1:
				m.Suspend(time.Duration(rng.Int64N(int64(time.Hour))))
			default:
				if r := (record{take(k, m), m.Look().Boot}); r.doubted {
					records = append(records, r)
				} else {
					t.Fatalf("seed %d: trusted", seed)
				}
			}
		}
		m.Pass(2 * time.Second)
		m.SetSynced(now)
		k.Watched()
		zero := m.Look().Wall - m.Look().Boot
		check := func() {
			for _, r := range records {
				if got, ok := k.Correct(r.origin, r.t); !ok || got != zero+r.boot {
					t.Fatalf("seed %d: %d after boot it is %v, want %v", seed, r.boot, time.Unix(0, got), time.Unix(0, zero+r.boot))
				}
			}
		}
		check()
		for range 20 {
			m.Pass(time.Minute)
			m.SetSynced(now.Add(time.Duration(rng.Int64N(1e15))))
			k.Watched()
		}
		check()
	}
}

// A loss has no origin, but what was lost in 1970 must not look right.
func TestSuspect(t *testing.T) {
	m := clocktest.New(now, false)
	k := clock.New(clock.Config{Machine: m})
	m.Pass(time.Minute)
	before := m.Time().UnixNano()
	m.Pass(time.Minute)
	m.SetSynced(now.AddDate(1, 0, 0))
	m.Pass(time.Minute)
	for at, want := range map[int64]bool{0: true, before: true, m.Time().UnixNano(): false, now.AddDate(0, -1, 0).UnixNano(): false} {
		if k.Suspect(at) != want {
			t.Errorf("%v: %v", time.Unix(0, at).UTC(), !want)
		}
	}
	if k.Wall() != m.Time().UnixNano() {
		t.Errorf("the time of day is %d", k.Wall())
	}
	m.Set(now)
	if k.Wall() != 0 {
		t.Errorf("an untrusted time of day is %d", k.Wall())
	}
}

func TestWatch(t *testing.T) {
	m := clocktest.New(epoch, false)
	k := clock.New(clock.Config{Machine: m})
	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(chan clock.Change), make(chan struct{})
	go func() {
		defer close(done)
		k.Watch(ctx, func(c clock.Change) { changes <- c })
	}()
	expect := func(what string, want clock.Change) {
		t.Helper()
		got := <-changes
		if got.Stepped != want.Stepped || !got.From.Equal(want.From) || !got.To.Equal(want.To) || got.By != want.By || got.Why != want.Why || got.Turned != want.Turned {
			t.Errorf("%s: %+v", what, got)
		}
	}
	expect("at the start", clock.Change{Why: clock.TooEarly, Turned: true})
	m.Pass(time.Hour)
	m.Set(now)
	from := epoch.Add(time.Hour)
	expect("set by hand", clock.Change{Stepped: true, From: from, To: now, By: now.Sub(from), Why: clock.Unsynchronised})
	m.Sync(true)
	expect("synchronised", clock.Change{Turned: true})
	m.Suspend(time.Hour) // no change
	m.SetSynced(now)
	expect("back", clock.Change{Stepped: true, From: now.Add(time.Hour), To: now, By: -time.Hour})
	k.Read()
	m.Set(now.AddDate(50, 0, 0))
	k.Read() // notices first; it is told nevertheless
	expect("forward", clock.Change{Stepped: true, From: now, To: now.AddDate(50, 0, 0), By: now.AddDate(50, 0, 0).Sub(now), Why: clock.Unsynchronised, Turned: true})
	cancel()
	<-done
}

// The machine the test runs on. Whether its clock is synchronised is its own
// business.
func TestThisMachine(t *testing.T) {
	k := clock.New(clock.Config{Trusted: true})
	before := time.Now()
	at := time.Unix(0, k.Wall())
	if after := time.Now(); before.Year() >= 2026 && (at.Before(before.Round(0)) || at.After(after.Round(0))) {
		t.Errorf("%v is not between %v and %v", at, before, after)
	} else if before.Year() < 2026 && !at.Equal(epoch) {
		t.Errorf("the clock of %v is trusted", before)
	}
	m := clock.ThisMachine()
	if id := m.BootID(); id == 0 || id != clock.ThisMachine().BootID() {
		if _, err := os.Stat("/proc/sys/kernel/random/boot_id"); err == nil {
			t.Errorf("the boot has no lasting name")
		}
	}
	a, b := m.Look(), m.Look()
	if a.Boot <= 0 || b.Boot < a.Boot || a.Err != nil && !errors.Is(a.Err, os.ErrPermission) {
		t.Errorf("%+v %+v", a, b)
	}
	m.Wait(t.Context(), time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.Wait(ctx, time.Hour)
}

func TestReadingDoesNotAllocate(t *testing.T) {
	k := clock.New(clock.Config{})
	if n := testing.AllocsPerRun(1000, func() {
		at := k.Read()
		at.Doubt(time.Now().UnixNano())
		at.Doubt(0)
	}); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

func BenchmarkRead(b *testing.B) {
	k := clock.New(clock.Config{})
	b.ReportAllocs()
	for b.Loop() {
		k.Read()
	}
}

// BenchmarkNow is what BenchmarkRead is to be compared with.
func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		_ = time.Now().UnixNano()
	}
}

func BenchmarkDoubt(b *testing.B) {
	for name, trusted := range map[string]bool{"trusted": true, "untrusted": false} {
		b.Run(name, func(b *testing.B) {
			m := clocktest.New(now, trusted)
			at := clock.New(clock.Config{Machine: m}).Read()
			t := m.Time().UnixNano()
			b.ReportAllocs()
			for b.Loop() {
				at.Doubt(t)
			}
		})
	}
}

func BenchmarkCorrect(b *testing.B) {
	m := clocktest.New(epoch, false)
	k := clock.New(clock.Config{Machine: m})
	r := take(k, m)
	m.Pass(time.Minute)
	m.SetSynced(now)
	k.Watched()
	b.ReportAllocs()
	for b.Loop() {
		k.Correct(r.origin, r.t)
	}
}

// BenchmarkLook is what is done once a second while the clock is not trusted.
func BenchmarkLook(b *testing.B) {
	m := clock.ThisMachine()
	for b.Loop() {
		m.Look()
	}
}
