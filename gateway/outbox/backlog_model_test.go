package outbox

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever happens to the link, the broker and the buffer: everything comes or
// is told as lost, in order within each lane, and nothing comes twice but what
// was under way when a connection ended.
func TestLanesAgainstRandomTroubles(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { troubles(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func troubles(t *testing.T, rng *rand.Rand) {
	pick := func(n ...int) int { return n[rng.IntN(len(n))] }
	s := newSteady(uint64(pick(0, 50, 3000, 25_000)), float64(pick(1, 50, 500)), []string{"a", "b", "c"}[:pick(1, 1, 3)]...)
	l := newLine(t, s, Backlog{
		Share:       float64(pick(1, 50, 99)) / 100,
		MaxRate:     int64(pick(0, 0, 100_000)),
		NewestFirst: rng.IntN(2) == 0,
	})
	l.window = pick(1, 3, 100)
	l.trip = time.Duration(pick(0, 10, 500)) * time.Millisecond
	under := uint64(0) // records under way when a connection ended
	for range 30 {
		l.rate = float64(pick(0, 5_000, 200_000))
		l.run(time.Duration(rng.IntN(2000)) * time.Millisecond)
		switch rng.IntN(6) {
		case 0, 1, 2:
			under += l.cut()
			time.Sleep(time.Duration(pick(0, 500, 1500, 10_000)) * time.Millisecond)
			l.connect()
		case 3:
			s.evict(uint64(rng.IntN(5000)))
		case 4:
			mod := uint32(pick(2, 5, 20))
			l.refuse = func(p []byte) bool {
				return crc32.ChecksumIEEE(p)%mod == 0 && !bytes.Contains(p, []byte(`"loss"`))
			}
		case 5:
			at := s.First() + uint64(rng.IntN(2000))
			s.broken = func(o uint64) bool { return o >= at && o < at+1000 }
		}
		if rng.IntN(2) == 0 {
			l.refuse, s.broken = nil, nil
		}
	}
	l.refuse, s.broken = nil, nil
	l.rate, l.q.pace.rate = 0, 0
	s.stop = time.Now()
	under += l.cut() // what could not be read when it was refused comes now
	l.connect()
	for s.First() < s.end() && time.Since(s.stop) < time.Hour {
		l.run(5 * time.Second)
	}
	l.run(time.Second)
	l.complete()
	if l.ledger.Duplicates > under {
		t.Errorf("%d duplicates, %d records were under way when connections ended", l.ledger.Duplicates, under)
	}
	if l.q.late != nil || len(l.q.rejected) > 0 || len(l.q.inFlight) > 0 {
		t.Errorf("the queue still holds something: backlog %v, %d rejected, %d in flight", l.q.late != nil, len(l.q.rejected), len(l.q.inFlight))
	}
}
