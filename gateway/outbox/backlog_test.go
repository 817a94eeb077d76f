package outbox

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A short outage: everything comes in order, the backlog before live data,
// and the consumer can tell the two apart.
func TestAShortOutageComesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteady(8000, 500, "a", "b")
		l := newLine(t, s, Backlog{})
		l.trip = 20 * time.Millisecond
		l.run(5 * time.Second)
		s.stop = time.Now()
		l.run(time.Second)
		l.complete()
		live := false
		for _, a := range l.deliveries {
			if live = live || !a.late; live && a.late {
				t.Fatal("late records behind live ones")
			}
		}
		if l.ledger.Duplicates > 0 || !live {
			t.Errorf("%d duplicates, live records: %v", l.ledger.Duplicates, live)
		}
	})
}

// Links of very different rates: live data is sent first when there is much
// of a backlog, the backlog fills what is left of the link, and nothing is
// sent twice.
func TestLiveDataGoesBeforeALongBacklog(t *testing.T) {
	for name, c := range map[string]struct {
		rate, live float64       // bytes and records a second
		trip       time.Duration // round trip
		wait       time.Duration // for a live record, at most
		used       float64       // of the link
	}{
		"2 kB/s":               {2_000, 5, 100 * time.Millisecond, 4 * time.Second, 0.85},
		"2 kB/s, slow answers": {2_000, 2, 2 * time.Second, 7 * time.Second, 0.85},
		"64 kB/s":              {64_000, 100, 50 * time.Millisecond, 1500 * time.Millisecond, 0.9},
		"1 MB/s over 200 ms":   {1_000_000, 1000, 200 * time.Millisecond, 1200 * time.Millisecond, 0.9},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && c.rate > 100_000 {
				t.Skip("takes long under an emulator")
			}
			synctest.Test(t, func(t *testing.T) {
				s := newSteady(1_000_000, c.live, "a")
				l := newLine(t, s, Backlog{})
				l.rate, l.trip = c.rate, c.trip
				const d = 20 * time.Second
				l.run(d)
				if l.ledger.Duplicates > 0 {
					t.Errorf("%d duplicates", l.ledger.Duplicates)
				}
				settled := 10 * time.Second
				if age := l.oldest(settled, d); age > c.wait || age == 0 {
					t.Errorf("a live record took %v, want at most %v", age, c.wait)
				}
				first := time.Duration(0)
				for _, a := range l.deliveries {
					if !a.late {
						first = a.after
						break
					}
				}
				if first == 0 || first > headStart+c.wait {
					t.Errorf("the first live record came after %v", first)
				}
				used := float64(l.sum(true, settled, d)+l.sum(false, settled, d)) / (d - settled).Seconds() / c.rate
				if used < c.used {
					t.Errorf("%.0f %% of the link used", used*100)
				}
				t.Logf("first live record after %v, later ones took at most %v (the first seconds: %v), %.0f %% of the link used",
					first, l.oldest(settled, d), l.oldest(0, settled), used*100)
			})
		})
	}
}

// A link that can just carry live data: that has what it needs, and the
// backlog what is left.
func TestLiveDataHasWhatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteady(1_000_000, 1000, "a") // some 85 kB/s
		l := newLine(t, s, Backlog{})
		l.rate, l.trip = 100_000, 50*time.Millisecond
		from, to := 10*time.Second, 60*time.Second
		l.run(to)
		if age := l.oldest(from, to); age > 2*time.Second {
			t.Errorf("a live record took %v", age)
		}
		late, live := float64(l.sum(true, from, to)), float64(l.sum(false, from, to))
		if used := (late + live) / (to - from).Seconds() / l.rate; used < 0.95 {
			t.Errorf("%.0f %% of the link used, %.0f kB live", used*100, live/1000)
		}
		t.Logf("live records took at most %v; %.0f kB/s live, %.0f kB/s backlog", l.oldest(from, to), live/50e3, late/50e3)
	})
}

// Live data alone would fill the link: the backlog has its share, no more and
// no less.
func TestTheShareOfTheBacklog(t *testing.T) {
	for _, share := range []float64{0.1, 0.9} {
		synctest.Test(t, func(t *testing.T) {
			s := newSteady(1_000_000, 2000, "a") // some 170 kB/s
			l := newLine(t, s, Backlog{Share: share})
			l.rate, l.trip = 100_000, 50*time.Millisecond
			from, to := 40*time.Second, 80*time.Second // the window fills with live data before
			l.run(to)
			late, live := l.sum(true, from, to), l.sum(false, from, to)
			if got := float64(late) / float64(late+live); !(got > share-0.05 && got < share+0.05) {
				t.Errorf("the backlog had %.2f of the link, want %.2f", got, share)
			}
		})
	}
}

// A link that has room for the backlog beside live data: the rate of the
// backlog is kept, also over many connections.
func TestTheRateOfTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteady(1_000_000, 100, "a")
		l := newLine(t, s, Backlog{MaxRate: 16 << 10})
		l.trip = 50 * time.Millisecond
		const d = 10 * time.Second
		for range 3 {
			l.run(d)
			l.q.Rewind()
			l.connect()
		}
		var late int
		for _, a := range l.deliveries {
			if a.late {
				late += a.bytes
			}
		}
		if rate := float64(late) / (3 * d).Seconds(); rate > 17<<10 || rate < 14<<10 {
			t.Errorf("%.0f bytes a second, want %d", rate, 16<<10)
		}
		if age := l.oldest(0, d); age > headStart+time.Second {
			t.Errorf("a live record took %v", age)
		}
	})
}

// The rate counts what a message has on the line, be it compressed.
func TestTheRateOfACompressedBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteady(1_000_000, 0, "a")
		l := newLine(t, s, Backlog{MaxRate: 16 << 10})
		l.trip, l.packed = 50*time.Millisecond, 8
		l.run(20 * time.Second)
		if rate := float64(l.sum(true, 0, time.Minute)) / 8 / 20; rate > 17<<10 || rate < 14<<10 {
			t.Errorf("%.0f bytes a second on the line, want %d", rate, 16<<10)
		}
	})
}

// The newest run goes first, the last one last; within each the order holds.
func TestNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteady(3*newestRun+500, 100, "a")
		l := newLine(t, s, Backlog{NewestFirst: true})
		l.rate, l.trip = 1_000_000, 50*time.Millisecond
		l.run(10 * time.Second)
		s.stop = time.Now()
		l.run(time.Second)
		l.complete()
		if l.descents != 3 || l.ledger.Duplicates > 0 {
			t.Errorf("%d steps back, want 3; %d duplicates", l.descents, l.ledger.Duplicates)
		}
	})
}

// What was live when the link went away for a moment stays live; what has
// gathered while it was away for long is late, and so is what an earlier
// session has left.
func TestWhatIsLate(t *testing.T) {
	for away, late := range map[time.Duration]bool{Hiccup / 2: false, 2 * Hiccup: true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSteady(0, 100, "a")
			l := newLine(t, s, Backlog{})
			l.trip = 20 * time.Millisecond
			l.run(5 * time.Second)
			if l.sum(true, 0, time.Minute) > 0 {
				t.Error("records of this session are late although the link was there")
			}
			l.cut()
			l.deliveries = nil
			time.Sleep(away)
			l.connect()
			l.run(5 * time.Second)
			if l.deliveries[0].late != late {
				t.Errorf("after %v away the first message is late: %v, want %v", away, !late, late)
			}
		})
	}
}

// A link that has lost its other end is found out late; then what was sent
// into it is old, however fast the next connection comes.
func TestWhatWasSentIntoTheVoidIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteady(0, 100, "a")
		l := newLine(t, s, Backlog{})
		l.trip = 20 * time.Millisecond
		l.run(5 * time.Second)
		l.trip = time.Hour
		l.run(30 * time.Second)
		l.cut()
		l.deliveries, l.trip = nil, 20*time.Millisecond
		l.connect()
		l.run(time.Second)
		if !l.deliveries[0].late || l.deliveries[0].age < 20*time.Second {
			t.Errorf("the first message is late: %v, and %v old", l.deliveries[0].late, l.deliveries[0].age)
		}
	})
}

// The backlog is not sent again when it is interrupted by a hiccup, nor is
// live data that has overtaken it.
func TestABacklogThatIsInterruptedGoesOn(t *testing.T) {
	for _, newest := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSteady(50_000, 100, "a", "b")
			l := newLine(t, s, Backlog{NewestFirst: newest})
			l.rate, l.trip = 500_000, 20*time.Millisecond
			under := uint64(0)
			for range 5 {
				l.run(3 * time.Second)
				under += l.cut()
				time.Sleep(10 * time.Second)
				l.connect()
			}
			l.run(30 * time.Second)
			s.stop = time.Now()
			l.run(time.Second)
			l.complete()
			if l.ledger.Duplicates > under {
				t.Errorf("newest first %v: %d records came twice, %d were under way when connections ended", newest, l.ledger.Duplicates, under)
			}
		})
	}
}

// A disk that cannot be read where the backlog lies does not hold live data
// up, and the backlog comes when the disk is well again.
func TestABacklogThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteady(20_000, 100, "a")
		s.broken = func(o uint64) bool { return o >= 500 && o < s.old }
		l := newLine(t, s, Backlog{})
		l.trip = 20 * time.Millisecond
		l.run(10 * time.Second)
		if age := l.oldest(0, 10*time.Second); age == 0 || age > headStart+time.Second {
			t.Errorf("live records took up to %v", age)
		}
		s.broken = nil
		l.run(20 * time.Second)
		s.stop = time.Now()
		l.run(time.Second)
		l.complete()
	})
}

// The disk comes after the gateway has started: what is on it is late.
func TestABacklogOnADiskThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		s.absent = true
		for i := range uint64(10) {
			s.put(1, "a", i+1, i, testFrame(1))
		}
		q := New(s, testConfig(t, "{source}", 100, 1<<16))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if m, err := q.Next(ctx); err == nil {
			t.Fatalf("%s, without a disk", m.Payload)
		}
		s.absent = false
		_, p := next(t, q)
		if !bytes.HasSuffix(p.Records[0], []byte(`,"late":true}`)) {
			t.Errorf("%s", p.Records[0])
		}
	})
}
