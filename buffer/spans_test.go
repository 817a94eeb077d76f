package buffer

import (
	"math/rand/v2"
	"testing"
)

func TestSpansAgainstMap(t *testing.T) {
	const size = 64
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var p spans
		var want [size]bool
		for range 60 {
			from := uint64(rng.IntN(size))
			to := from + uint64(rng.IntN(size-int(from)+1))
			if rng.IntN(3) > 0 {
				fresh := uint64(0)
				for i := from; i < to; i++ {
					if !want[i] {
						fresh++
					}
					want[i] = true
				}
				if got := p.add(from, to); got != fresh {
					t.Fatalf("round %d: add(%d,%d) = %d, want %d", round, from, to, got, fresh)
				}
			} else {
				for i := from; i < to; i++ {
					want[i] = false
				}
				p.remove(from, to)
			}
			checkSpans(t, &p, want[:], rng)
		}
	}
}

func checkSpans(t *testing.T, p *spans, want []bool, rng *rand.Rand) {
	t.Helper()
	total := uint64(0)
	for i, w := range want {
		if w {
			total++
		}
		if p.contains(uint64(i)) != w {
			t.Fatalf("contains(%d) = %v in %v", i, !w, p.s)
		}
		o := i
		for o < len(want) && want[o] {
			o++
		}
		if got := p.outside(uint64(i)); got != uint64(o) {
			t.Fatalf("outside(%d) = %d, want %d in %v", i, got, o, p.s)
		}
	}
	if p.total != total {
		t.Fatalf("total %d, want %d in %v", p.total, total, p.s)
	}
	for i := 1; i < len(p.s); i++ {
		if p.s[i].from <= p.s[i-1].to {
			t.Fatalf("ranges touch: %v", p.s)
		}
	}
	from := rng.IntN(len(want))
	to := from + rng.IntN(len(want)-from+1)
	n := 0
	for _, w := range want[from:to] {
		if w {
			n++
		}
	}
	if got := p.inside(uint64(from), uint64(to)); got != uint64(n) {
		t.Fatalf("inside(%d,%d) = %d, want %d in %v", from, to, got, n, p.s)
	}
	if got := p.touches(uint64(from), uint64(to)); got != (n > 0) {
		t.Fatalf("touches(%d,%d) = %v in %v", from, to, got, p.s)
	}
	if got := p.covers(uint64(from), uint64(to)); got != (n == to-from) {
		t.Fatalf("covers(%d,%d) = %v in %v", from, to, got, p.s)
	}
	m := uint64(0)
	for _, s := range p.within(uint64(from), uint64(to), nil) {
		m += s.to - s.from
	}
	if m != uint64(n) {
		t.Fatalf("within(%d,%d) has %d, want %d", from, to, m, n)
	}
}
