package outbox

import (
	"math/rand/v2"
	"testing"
)

// However spans are finished, base is the first offset that is not done.
func TestWindowAgainstASet(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		first := rng.Uint64N(200)
		w := window{base: first}
		done := map[uint64]bool{}
		for range 200 {
			from := first + rng.Uint64N(500)
			to := from + 1 + rng.Uint64N(90)
			w.add(span{from, to})
			for o := from; o < to; o++ {
				done[o] = true
			}
			want := first
			for done[want] {
				want++
			}
			if w.base != want {
				t.Fatalf("base %d after %d-%d, want %d", w.base, from, to, want)
			}
			n := 0
			w.beyond(func(s span) {
				for ; s.from < s.to; s.from++ {
					if n++; s.from < w.base || !done[s.from] {
						t.Fatalf("%d is done, it is said", s.from)
					}
				}
			})
			for o := range done {
				if o >= w.base {
					n--
				}
			}
			if n != 0 {
				t.Fatalf("%d offsets too many are done beyond %d", n, w.base)
			}
		}
	}
}

func TestWindowForgetsWhatIsDone(t *testing.T) {
	w := window{base: 10}
	for o := uint64(10); o < 1_000_000; o += 2 { // neighbours swapped, as two topics would
		w.add(span{o + 1, o + 2})
		w.add(span{o, o + 1})
	}
	if w.base != 1_000_000 || len(w.words) > 1 {
		t.Errorf("base %d, %d words", w.base, len(w.words))
	}
}
