package buffer

import "sort"

// span is a range of offsets, from included, to excluded.
type span struct{ from, to uint64 }

// spans is a set of offsets as sorted, disjoint, non-touching ranges. It stays
// small because offsets are acknowledged in runs.
type spans struct {
	s     []span
	total uint64 // offsets in the set
}

// at returns the index of the first range that ends after x.
func (p *spans) at(x uint64) int {
	// The front is by far the most frequent answer.
	if len(p.s) == 0 || x < p.s[0].to {
		return 0
	}
	return sort.Search(len(p.s), func(i int) bool { return p.s[i].to > x })
}

// add puts [from,to) into the set and returns how many offsets are new to it.
func (p *spans) add(from, to uint64) uint64 {
	if from >= to {
		return 0
	}
	i := 0
	if from > 0 {
		i = p.at(from - 1) // a range that ends at from touches it
	}
	j, before := i, p.total
	n := span{from, to}
	for ; j < len(p.s) && p.s[j].from <= to; j++ {
		n.from, n.to = min(n.from, p.s[j].from), max(n.to, p.s[j].to)
		p.total -= p.s[j].to - p.s[j].from
	}
	p.total += n.to - n.from
	p.replace(i, j, n)
	return p.total - before
}

// remove takes [from,to) out of the set.
func (p *spans) remove(from, to uint64) {
	if from >= to {
		return
	}
	i := p.at(from)
	j := i
	var keep [2]span
	k := 0
	for ; j < len(p.s) && p.s[j].from < to; j++ {
		s := p.s[j]
		p.total -= s.to - s.from
		if s.from < from {
			keep[k] = span{s.from, from}
			p.total += from - s.from
			k++
		}
		if s.to > to {
			keep[k] = span{to, s.to}
			p.total += s.to - to
			k++
		}
	}
	p.replace(i, j, keep[:k]...)
}

// replace puts with in the place of the ranges i..j-1, without allocating
// when there is room.
func (p *spans) replace(i, j int, with ...span) {
	d := len(with) - (j - i)
	switch {
	case d > 0:
		for range d {
			p.s = append(p.s, span{})
		}
		copy(p.s[j+d:], p.s[j:len(p.s)-d])
	case d < 0:
		copy(p.s[j+d:], p.s[j:])
		p.s = p.s[:len(p.s)+d]
	}
	copy(p.s[i:], with)
}

func (p *spans) contains(x uint64) bool {
	i := p.at(x)
	return i < len(p.s) && p.s[i].from <= x
}

// covers says whether all of [from,to) is in the set.
func (p *spans) covers(from, to uint64) bool {
	if from >= to {
		return true
	}
	i := p.at(from)
	return i < len(p.s) && p.s[i].from <= from && p.s[i].to >= to
}

// touches says whether any of [from,to) is in the set.
func (p *spans) touches(from, to uint64) bool {
	i := p.at(from)
	return from < to && i < len(p.s) && p.s[i].from < to
}

// outside returns the first offset from x on that is not in the set.
func (p *spans) outside(x uint64) uint64 {
	if i := p.at(x); i < len(p.s) && p.s[i].from <= x {
		return p.s[i].to
	}
	return x
}

// inside returns how many offsets of [from,to) are in the set.
func (p *spans) inside(from, to uint64) (n uint64) {
	for i := p.at(from); i < len(p.s) && p.s[i].from < to; i++ {
		n += min(p.s[i].to, to) - max(p.s[i].from, from)
	}
	return n
}

// within appends to dst what the set has in [from,to).
func (p *spans) within(from, to uint64, dst []span) []span {
	for i := p.at(from); i < len(p.s) && p.s[i].from < to; i++ {
		dst = append(dst, span{max(p.s[i].from, from), min(p.s[i].to, to)})
	}
	return dst
}
