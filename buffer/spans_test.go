package buffer

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
)

// A set is the same as one that is kept offset by offset, also where pages meet.
func TestSpansAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		size := []int{64, 3 * pageSpan}[rng.IntN(2)]
		base := []uint64{0, pageSpan - 32, 1<<40 - 77}[rng.IntN(3)]
		var p spans
		want := make([]bool, size)
		for range 60 {
			i := rng.IntN(size)
			j := i + rng.IntN(min(size-i, []int{2, 70, size}[rng.IntN(3)])+1)
			fresh := uint64(0)
			for k := i; k < j; k++ {
				if !want[k] {
					fresh++
				}
			}
			if rng.IntN(3) > 0 {
				if got := p.add(base+uint64(i), base+uint64(j)); got != fresh {
					t.Fatalf("round %d: add(%d,%d) = %d, want %d", round, i, j, got, fresh)
				}
				fill(want[i:j], true)
			} else {
				p.remove(base+uint64(i), base+uint64(j))
				fill(want[i:j], false)
			}
			checkSpans(t, &p, base, want, rng)
		}
		a := rng.IntN(size)
		b := a + rng.IntN(size-a+1)
		part := p.part(base+uint64(a), base+uint64(b))
		p.add(base, base+uint64(size)) // which the part is not to notice
		fill(want[:a], false)
		fill(want[b:], false)
		checkSpans(t, &part, base, want, rng)
	}
}

func fill(b []bool, v bool) {
	for i := range b {
		b[i] = v
	}
}

func checkSpans(t *testing.T, p *spans, base uint64, want []bool, rng *rand.Rand) {
	t.Helper()
	list := p.all()
	total, at := uint64(0), 0
	for i := range list {
		from, to := int(list[i].from-base), int(list[i].to-base)
		if from >= to || i > 0 && list[i].from <= list[i-1].to || to > len(want) {
			t.Fatalf("ranges touch, or are empty: %v", list)
		}
		for ; at < to; at++ {
			if want[at] != (at >= from) {
				t.Fatalf("%d is in the set: %v, in %v", at, !want[at], list)
			}
		}
		total += uint64(to - from)
	}
	for ; at < len(want); at++ {
		if want[at] {
			t.Fatalf("%d is missing in %v", at, list)
		}
	}
	if p.total != total {
		t.Fatalf("total %d, want %d in %v", p.total, total, list)
	}
	from := rng.IntN(len(want))
	to := from + rng.IntN(len(want)-from+1)
	n := 0
	for _, w := range want[from:to] {
		if w {
			n++
		}
	}
	a, b := base+uint64(from), base+uint64(to)
	if got := p.contains(a); got != want[from] {
		t.Fatalf("contains(%d) = %v in %v", from, got, list)
	}
	end := from
	for end < len(want) && want[end] {
		end++
	}
	if got := p.outside(a); got != base+uint64(end) {
		t.Fatalf("outside(%d) = %d, want %d in %v", from, got-base, end, list)
	}
	if got := p.inside(a, b); got != uint64(n) {
		t.Fatalf("inside(%d,%d) = %d, want %d in %v", from, to, got, n, list)
	}
	if got := p.touches(a, b); got != (n > 0) {
		t.Fatalf("touches(%d,%d) = %v in %v", from, to, got, list)
	}
	if got := p.covers(a, b); got != (n == to-from) {
		t.Fatalf("covers(%d,%d) = %v in %v", from, to, got, list)
	}
	most := rng.IntN(5)
	if got := p.within(a, b, nil, most); len(got) > most {
		t.Fatalf("%d ranges, wanted %d at most", len(got), most)
	}
}

// What a damaged file says of offsets that cannot be costs neither time nor memory.
func TestSpansOfAnyOffset(t *testing.T) {
	var p spans
	p.add(0, math.MaxUint64)
	p.remove(5, math.MaxUint64-5)
	p.add(1<<62, 1<<62+1)
	if got := p.all(); len(got) != 3 || p.total != 11 {
		t.Errorf("%v, %d", got, p.total)
	}
	p.remove(0, math.MaxUint64)
	if p.total != 0 || len(p.all()) != 0 || p.touches(0, math.MaxUint64) {
		t.Errorf("%v is left", p.all())
	}
}

// Every other record of an hour may wait for a topic that is refused.
func TestSpansOfEveryOtherOffset(t *testing.T) {
	const n = 4_000_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var p spans
	for o := uint64(1); o < n; o += 2 {
		p.add(o, o+1)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if took := int64(after.HeapAlloc) - int64(before.HeapAlloc); took > n/4 {
		t.Errorf("%d bytes for %d offsets", took, n)
	}
	if p.total != n/2 || p.outside(1) != 2 {
		t.Errorf("%d offsets", p.total)
	}
	runtime.KeepAlive(&p)
}

// BenchmarkSpans is what one record costs: it is handed out, and acknowledged
// with the others of its message.
func BenchmarkSpans(b *testing.B) {
	var handed, gone spans
	b.ReportAllocs()
	o := uint64(0)
	for b.Loop() {
		handed.add(o, o+1)
		if o++; o%100 == 0 {
			gone.add(o-100, o)
			handed.remove(o-100, o)
		}
	}
}
