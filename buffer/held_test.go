package buffer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The shares of the sources are right in memory and on the disk, and shrink as
// records are acknowledged.
func TestHeld(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxMemory, cfg.SegmentSize = MinMaxMemory, 64<<10
	synctest.Test(t, func(t *testing.T) {
		b := mustOpen(t, cfg)
		defer mustClose(t, b)
		if h := b.Held(); len(h) != 0 {
			t.Errorf("an empty buffer holds %v", h)
		}
		const n = 1000
		a, c := b.Source("engine"), b.Source("line1")
		data := make([]byte, 300)
		random := rand.NewChaCha8([32]byte{})
		for i := range n {
			random.Read(data)
			a.Append(1, data)
			if i%10 == 0 {
				c.Append(1, data[:30])
			}
			if i == 5 && !slices.Equal(b.Held(), []Held{{"engine", 6, 0}, {"line1", 1, 0}}) {
				t.Errorf("in memory: %v", b.Held())
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		check := func(engine, line float64) {
			t.Helper()
			h := b.Held()
			if len(h) != 2 || h[0].Source != "engine" || h[1].Source != "line1" {
				t.Fatalf("%v", h)
			}
			for i, want := range []float64{engine, line} {
				if got := float64(h[i].Records); got < 0.9*want-5 || got > 1.1*want+5 {
					t.Errorf("%s holds %v records, not %v", h[i].Source, got, want)
				}
			}
			disk := b.Stats().DiskBytes
			if sum := h[0].Bytes + h[1].Bytes; sum > disk || h[0].Bytes < 5*h[1].Bytes {
				t.Errorf("of %d bytes %d and %d are theirs", disk, h[0].Bytes, h[1].Bytes)
			}
		}
		check(n, n/10)
		first := b.First()
		b.Ack(first, first+n*11/10/2)
		check(n/2, n/20)
	})
}

// Losses that follow each other are one range; the newest are kept.
func TestLossRanges(t *testing.T) {
	b := mustOpen(t, testConfig(t))
	defer mustClose(t, b)
	s, q := b.Source("engine"), b.Source("line1")
	s.Append(1, nil)
	s.Lose(10, 3, RxOverflow)
	q.Append(1, make([]byte, MaxRecord+1))
	s.Lose(20, 2, RxOverflow)
	s.Append(1, nil)
	s.Lose(30, 1, RxOverflow)
	session := b.Stats().Session
	want := []LossRange{{session, "engine", 2, 6, 20, RxOverflow}, {session, "line1", 1, 1, 1, Memory}, {session, "engine", 8, 8, 30, RxOverflow}}
	if got := b.Losses(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	for range maxLossRanges {
		q.Append(1, nil)
		q.Lose(1, 1, RxOverflow)
	}
	got := b.Losses()
	if len(got) != maxLossRanges || got[0].First != 3 || got[len(got)-1].First != 1+2*maxLossRanges {
		t.Errorf("%d ranges from %v to %v", len(got), got[0], got[len(got)-1])
	}
}

// What is evicted is told with its range.
func TestLossRangesOfEvictions(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxSize, cfg.SegmentSize, cfg.SyncInterval = MinMaxSize, 64<<10, 100*time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		b := mustOpen(t, cfg)
		defer mustClose(t, b)
		s := b.Source("engine")
		data := make([]byte, 1000)
		random := rand.NewChaCha8([32]byte{})
		for range 3000 {
			random.Read(data)
			s.Append(1, data)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		l, lost := b.Losses(), b.Stats().LostBy[Evicted]
		if lost == 0 || len(l) != 1 || l[0].Source != "engine" || l[0].First != 1 || l[0].Last != lost || l[0].Reason != Evicted {
			t.Errorf("%d evicted, told as %v", lost, l)
		}
	})
}
