package command

import "time"

// bucket lets so many things happen a minute.
type bucket struct {
	most  int
	left  float64
	since time.Duration // since boot
}

func newBucket(most int, now time.Duration) bucket { return bucket{most, float64(most), now} }

func (b *bucket) take(now time.Duration) bool {
	b.left = min(float64(b.most), b.left+float64(b.most)*(now-b.since).Minutes())
	b.since = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
