package outbox

import (
	"math/bits"
	"slices"
	"sort"
)

// window knows which offsets from base on are done, so that base can be moved
// to the first that is not. Its size is that of what is in flight.
type window struct {
	base  uint64   // first offset not done
	start uint64   // offset of the first bit, a multiple of 64
	words []uint64 // one bit an offset
}

// add marks the offsets of s done and moves base over what is done now.
func (w *window) add(s span) {
	if s.from <= w.base && s.to > w.base && len(w.words) == 0 { // in order, the common case
		w.base = s.to
		return
	}
	if len(w.words) == 0 {
		w.start = w.base &^ 63
	}
	for o := max(s.from, w.base); o < s.to; {
		i := int((o - w.start) / 64)
		for len(w.words) <= i {
			w.words = append(w.words, 0)
		}
		bit := o % 64
		n := min(64-bit, s.to-o)
		w.words[i] |= ^uint64(0) >> (64 - n) << bit
		o += n
	}
	w.advance()
}

// advance moves base over the offsets that are done and forgets their words.
func (w *window) advance() {
	drop := 0
	for i, word := range w.words {
		at := w.start + uint64(i)*64
		skip := uint64(0)
		if w.base > at {
			skip = w.base - at
		}
		if skip < 64 {
			run := uint64(bits.TrailingZeros64(^(word >> skip)))
			w.base += min(run, 64-skip)
		}
		if w.base < at+64 {
			break
		}
		drop = i + 1
	}
	if drop == len(w.words) {
		w.words = w.words[:0]
		return
	}
	if drop > 0 {
		w.words = append(w.words[:0], w.words[drop:]...)
		w.start += uint64(drop) * 64
	}
}

// beyond calls fn with what is done beyond base, in order.
func (w *window) beyond(fn func(span)) {
	at := w.base
	end := w.start + uint64(len(w.words))*64
	for at < end {
		for at < end && !w.has(at) {
			at++
		}
		from := at
		for at < end && w.has(at) {
			at++
		}
		if from < at {
			fn(span{from, at})
		}
	}
}

// has says whether an offset from base to the end of words is done.
func (w *window) has(o uint64) bool { return w.words[(o-w.start)/64]>>(o%64)&1 != 0 }

// kept are offsets that are done with here and not delivered: sorted, apart.
type kept struct{ list []span }

// keep marks the offsets of s done, but not delivered.
func (r *run) keep(s span) {
	s.from = max(s.from, r.base)
	if s.from >= s.to {
		return
	}
	r.kept.add(s)
	r.add(s)
}

func (k *kept) add(s span) {
	n := len(k.list)
	if n > 0 && k.list[n-1].to == s.from { // in order, the common case
		k.list[n-1].to = s.to
		return
	}
	i := sort.Search(n, func(i int) bool { return k.list[i].from > s.from })
	k.list = append(k.list, span{}) // slices.Insert takes 1 kB of the binary for each type
	copy(k.list[i+1:], k.list[i:])
	k.list[i] = s
}

// unkept is what was delivered of s.
func (r *run) unkept(s span) (delivered []span) {
	at := s.from
	for _, k := range r.kept.list {
		if k.to <= at {
			continue
		}
		if k.from >= s.to {
			break
		}
		if at < k.from {
			delivered = append(delivered, span{at, k.from})
		}
		at = k.to
	}
	if at < s.to {
		delivered = append(delivered, span{at, s.to})
	}
	return delivered
}

// forget forgets what was kept before base.
func (r *run) forget() {
	n := sort.Search(len(r.kept.list), func(i int) bool { return r.kept.list[i].to > r.base })
	r.kept.list = slices.Delete(r.kept.list, 0, n)
}
