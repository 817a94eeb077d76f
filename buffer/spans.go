package buffer

import (
	"math"
	"math/bits"
	"slices"
	"sort"
)

// span is a range of offsets, from included, to excluded.
type span struct{ from, to uint64 }

// spans is a set of offsets. Offsets mostly come and go in runs, but every other
// one can be missing for as long as a topic is refused: hence whole pages are
// kept as ranges, and others as bits, so that an offset costs a bit at most.
type spans struct {
	full  []span // whole pages, by number: sorted, disjoint, not touching
	mixed []page // pages with some offsets: sorted by number
	total uint64 // offsets in the set
}

// page has a bit for each of pageSpan offsets.
type page struct {
	at   uint64 // its number: that of its first offset by pageSpan
	n    int    // bits that are set
	bits *[pageSpan / 64]uint64
}

const pageSpan = 4096

// part returns what the set has in [from,to), as a set that changes by itself.
func (p *spans) part(from, to uint64) spans {
	var c spans
	for i := p.run(from / pageSpan); i < len(p.full) && p.full[i].from*pageSpan < to; i++ {
		c.full = append(c.full, p.full[i])
		c.total += (p.full[i].to - p.full[i].from) * pageSpan
	}
	for i := p.find(from / pageSpan); i < len(p.mixed) && p.mixed[i].at*pageSpan < to; i++ {
		own := p.mixed[i]
		own.bits = new([pageSpan / 64]uint64)
		*own.bits = *p.mixed[i].bits
		c.mixed = append(c.mixed, own)
		c.total += uint64(own.n)
	}
	c.remove(0, from)
	c.remove(to, math.MaxUint64)
	return c
}

// run returns the index of the first range of whole pages that ends after a page.
func (p *spans) run(at uint64) int {
	// The front is by far the most frequent answer.
	if len(p.full) == 0 || at < p.full[0].to {
		return 0
	}
	return sort.Search(len(p.full), func(i int) bool { return p.full[i].to > at })
}

// whole returns the end of the range of whole pages that a page is in; false: in none.
func (p *spans) whole(at uint64) (end uint64, ok bool) {
	if i := p.run(at); i < len(p.full) && p.full[i].from <= at {
		return p.full[i].to, true
	}
	return 0, false
}

// find returns the index of the first mixed page from a number on.
func (p *spans) find(at uint64) int {
	n := len(p.mixed)
	if n == 0 || p.mixed[n-1].at < at {
		return n
	}
	if p.mixed[n-1].at == at { // where offsets are given out
		return n - 1
	}
	return sort.Search(n, func(i int) bool { return p.mixed[i].at >= at })
}

// some returns a page with some offsets, nil of one that is whole or empty.
func (p *spans) some(at uint64) *page {
	if i := p.find(at); i < len(p.mixed) && p.mixed[i].at == at {
		return &p.mixed[i]
	}
	return nil
}

// newPage makes a page that has nothing.
func (p *spans) newPage(at uint64) *page {
	i := p.find(at)
	p.mixed = append(p.mixed, page{}) // slices.Insert takes 1 kB of the binary for each type
	copy(p.mixed[i+1:], p.mixed[i:])
	p.mixed[i] = page{at: at, bits: new([pageSpan / 64]uint64)}
	return &p.mixed[i]
}

// dropMixed forgets the mixed pages from..to-1.
func (p *spans) dropMixed(from, to uint64) {
	i := p.find(from)
	j := i
	for ; j < len(p.mixed) && p.mixed[j].at < to; j++ {
		p.total -= uint64(p.mixed[j].n)
	}
	p.mixed = slices.Delete(p.mixed, i, j)
}

// pieces cuts [from,to) at the borders of pages: fn gets ranges within a page, and
// middle a range of whole pages.
func pieces(from, to uint64, within func(at, from, to uint64), middle func(from, to uint64)) {
	first, last := from/pageSpan, to/pageSpan
	if first == last {
		within(first, from%pageSpan, to%pageSpan)
		return
	}
	if from%pageSpan > 0 {
		within(first, from%pageSpan, pageSpan)
		first++
	}
	if first < last {
		middle(first, last)
	}
	if to%pageSpan > 0 {
		within(last, 0, to%pageSpan)
	}
}

// add puts [from,to) into the set and returns how many offsets are new to it.
func (p *spans) add(from, to uint64) uint64 {
	if from >= to {
		return 0
	}
	before := p.total
	if at := from / pageSpan; (to-1)/pageSpan == at { // the common case
		p.addWithin(at, from%pageSpan, (to-1)%pageSpan+1)
	} else {
		pieces(from, to, p.addWithin, p.addPages)
	}
	return p.total - before
}

func (p *spans) addWithin(at, from, to uint64) {
	pg := p.some(at)
	if pg == nil {
		if _, ok := p.whole(at); ok {
			return
		}
		pg = p.newPage(at)
	}
	p.total += uint64(pg.set(from, to))
	if pg.n == pageSpan {
		p.addPages(at, at+1)
	}
}

func (p *spans) addPages(from, to uint64) {
	p.dropMixed(from, to)
	i := 0
	if from > 0 {
		i = p.run(from - 1) // a range that ends at from touches it
	}
	j, n, had := i, span{from, to}, uint64(0)
	for ; j < len(p.full) && p.full[j].from <= to; j++ {
		n.from, n.to = min(n.from, p.full[j].from), max(n.to, p.full[j].to)
		had += p.full[j].to - p.full[j].from
	}
	p.total += (n.to - n.from - had) * pageSpan
	p.replace(i, j, n)
}

// remove takes [from,to) out of the set.
func (p *spans) remove(from, to uint64) {
	if from < to {
		pieces(from, to, p.removeWithin, p.removePages)
	}
}

func (p *spans) removeWithin(at, from, to uint64) {
	pg := p.some(at)
	if pg == nil {
		if _, ok := p.whole(at); !ok {
			return
		}
		p.removePages(at, at+1)
		pg = p.newPage(at)
		p.total += uint64(pg.set(0, pageSpan))
	}
	p.total -= uint64(pg.clear(from, to))
	if pg.n == 0 {
		p.dropMixed(at, at+1)
	}
}

func (p *spans) removePages(from, to uint64) {
	p.dropMixed(from, to)
	i := p.run(from)
	j, k := i, 0
	var keep [2]span
	for ; j < len(p.full) && p.full[j].from < to; j++ {
		s := p.full[j]
		p.total -= (min(s.to, to) - max(s.from, from)) * pageSpan
		if s.from < from {
			keep[k] = span{s.from, from}
			k++
		}
		if s.to > to {
			keep[k] = span{to, s.to}
			k++
		}
	}
	p.replace(i, j, keep[:k]...)
}

// replace puts with in the place of the ranges i..j-1 of whole pages, without
// allocating when there is room.
func (p *spans) replace(i, j int, with ...span) {
	d := len(with) - (j - i)
	switch {
	case d > 0:
		for range d {
			p.full = append(p.full, span{})
		}
		copy(p.full[j+d:], p.full[j:len(p.full)-d])
	case d < 0:
		copy(p.full[j+d:], p.full[j:])
		p.full = p.full[:len(p.full)+d]
	}
	copy(p.full[i:], with)
}

func (p *spans) contains(x uint64) bool {
	if pg := p.some(x / pageSpan); pg != nil {
		return pg.has(x % pageSpan)
	}
	_, ok := p.whole(x / pageSpan)
	return ok
}

// covers says whether all of [from,to) is in the set.
func (p *spans) covers(from, to uint64) bool { return from >= to || p.outside(from) >= to }

// touches says whether any of [from,to) is in the set.
func (p *spans) touches(from, to uint64) (any bool) {
	p.each(from, to, func(span) bool { any = true; return false })
	return any
}

// outside returns the first offset from x on that is not in the set.
func (p *spans) outside(x uint64) uint64 {
	for {
		at := x / pageSpan
		if end, ok := p.whole(at); ok {
			x = end * pageSpan
			continue
		}
		pg := p.some(at)
		if pg == nil {
			return x
		}
		if n := pg.next(x%pageSpan, false); n < pageSpan {
			return at*pageSpan + n
		}
		x = (at + 1) * pageSpan
	}
}

// within appends to dst what the set has in [from,to), no more than most ranges.
func (p *spans) within(from, to uint64, dst []span, most int) []span {
	had := len(dst)
	p.each(from, to, func(s span) bool {
		if len(dst)-had < most {
			dst = append(dst, s)
		}
		return len(dst)-had < most
	})
	return dst
}

// all is every range of the set.
func (p *spans) all() []span { return p.within(0, math.MaxUint64, nil, math.MaxInt) }

// each calls fn with the ranges in [from,to), in order, until it returns false.
func (p *spans) each(from, to uint64, fn func(span) bool) {
	for x := p.begin(from, to); x < to; x = p.begin(x, to) {
		s := span{x, min(p.outside(x), to)}
		if !fn(s) {
			return
		}
		x = s.to
	}
}

// begin returns the first offset of [x,to) that is in the set, or to.
func (p *spans) begin(x, to uint64) uint64 {
	found := to
	if i := p.run(x / pageSpan); i < len(p.full) {
		found = min(found, max(x, p.full[i].from*pageSpan))
	}
	for i := p.find(x / pageSpan); i < len(p.mixed) && p.mixed[i].at*pageSpan < found; i++ {
		g := &p.mixed[i]
		o := uint64(0)
		if g.at == x/pageSpan {
			o = x % pageSpan
		}
		if n := g.next(o, true); n < pageSpan {
			return min(found, g.at*pageSpan+n)
		}
	}
	return found
}

func (g *page) has(o uint64) bool { return g.bits[o/64]>>(o%64)&1 != 0 }

// set sets the bits from..to-1, and returns how many were not.
func (g *page) set(from, to uint64) int {
	had := g.n
	for from < to {
		word, mask := &g.bits[from/64], maskOf(from, to)
		g.n += bits.OnesCount64(mask &^ *word)
		*word |= mask
		from = from&^63 + 64
	}
	return g.n - had
}

// clear clears the bits from..to-1, and returns how many were set.
func (g *page) clear(from, to uint64) int {
	had := g.n
	for from < to {
		word, mask := &g.bits[from/64], maskOf(from, to)
		g.n -= bits.OnesCount64(mask & *word)
		*word &^= mask
		from = from&^63 + 64
	}
	return had - g.n
}

// next returns the first bit from o on that is set, or is not; else pageSpan.
func (g *page) next(o uint64, set bool) uint64 {
	for i := o / 64; i < pageSpan/64; i++ {
		word := g.bits[i]
		if !set {
			word = ^word
		}
		if i == o/64 {
			word &= ^uint64(0) << (o % 64)
		}
		if word != 0 {
			return i*64 + uint64(bits.TrailingZeros64(word))
		}
	}
	return pageSpan
}

// maskOf has the bits from..to-1 of a page that are in the word of from.
func maskOf(from, to uint64) uint64 {
	n := min(64-from%64, to-from)
	return ^uint64(0) >> (64 - n) << (from % 64)
}
