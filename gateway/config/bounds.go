package config

import (
	"math"
	"strconv"
	"time"
)

// bounded tells a test what the key takes and what it does not: values at its
// bounds and just beyond them. Those that have the bounds say so, so that they
// are written once.
func (v value) bounded(values func() (at, beyond []string)) {
	if v.l != nil && v.l.opts.bounds != nil { // a template that cannot be read has none
		at, beyond := values()
		v.l.opts.bounds(v.path, at, beyond)
	}
}

func (v value) boundedInteger(low, high int64) {
	v.bounded(func() (at, beyond []string) {
		text := func(n int64) string { return strconv.FormatInt(n, 10) }
		return []string{text(low), text(high)}, []string{text(low - 1), text(high + 1)}
	})
}

func (v value) boundedDuration(s span) {
	v.bounded(func() (at, beyond []string) {
		at = []string{s.low.String(), s.high.String()}
		if s.zero {
			at = append(at, "0")
		}
		return at, []string{(s.low - time.Nanosecond).String(), (s.high + time.Nanosecond).String()}
	})
}

func (v value) boundedSize(low, high int64, suffix string) {
	v.bounded(func() (at, beyond []string) {
		text := func(n int64) string { return strconv.FormatInt(n, 10) + "B" + suffix }
		return []string{text(low), text(high)}, []string{text(low - 1), text(high + 1)}
	})
}

func (v value) boundedShare(low, high float64) {
	v.bounded(func() (at, beyond []string) {
		text := func(n float64) string { return strconv.FormatFloat(n, 'g', -1, 64) }
		return []string{text(low), text(high)}, []string{text(math.Nextafter(low, -1)), text(math.Nextafter(high, 2))}
	})
}
