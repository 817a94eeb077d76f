package live

import (
	"sync/atomic"
	"time"
)

// window is over how many snapshots, one a second, rates are means.
const window = 10

// Board holds the newest snapshot. [Board.Publish] belongs to one goroutine;
// the rest may be called from any.
type Board struct {
	// History is the course of a few figures; nil: nobody looks, none is kept.
	History *History

	newest atomic.Pointer[Snapshot]
	past   [window]counters // a ring
	next   int
	filled int
	origin time.Time
}

// counters are what rates are made of.
type counters struct {
	at      time.Duration // by a clock nobody sets
	records map[string]uint64
	acked   uint64
	cpu     float64
	disk    int64
}

// Snapshot returns the newest snapshot, nil before the first.
func (b *Board) Snapshot() *Snapshot { return b.newest.Load() }

// Publish completes s by what follows from the snapshots before it (rates, ages,
// times to go, the sentence) and makes it the newest. s.Up is the clock of rates.
func (b *Board) Publish(s *Snapshot) {
	now := counters{at: s.Up, acked: s.Buffer.Acked, cpu: s.Process.CPUSeconds, disk: s.Buffer.Disk, records: make(map[string]uint64, len(s.Sources))}
	for i := range s.Sources {
		now.records[s.Sources[i].Name] = s.Sources[i].Records
	}
	first := &now
	if b.filled > 0 {
		first = &b.past[(b.next+window-b.filled)%window]
	}
	b.rates(s, first, &now)
	s.estimate()
	s.State, s.Sentence = s.judge()
	b.past[b.next] = now
	b.next = (b.next + 1) % window
	b.filled = min(b.filled+1, window)
	if b.History != nil {
		b.History.note(s)
	}
	b.newest.Store(s)
}

// rates are means since first.
func (b *Board) rates(s *Snapshot, first, now *counters) {
	seconds := (now.at - first.at).Seconds()
	if seconds <= 0 {
		return
	}
	for i := range s.Sources {
		src := &s.Sources[i]
		if before, ok := first.records[src.Name]; ok && src.Records >= before {
			src.Rate = float64(src.Records-before) / seconds
		}
	}
	if now.acked >= first.acked {
		s.Uplink.Rate = float64(now.acked-first.acked) / seconds
	}
	s.Process.CPU = 100 * (now.cpu - first.cpu) / seconds
	if grown := now.disk - first.disk; grown > 0 {
		s.Buffer.FullIn = float64(s.Buffer.Limit-s.Buffer.Disk) / (float64(grown) / seconds)
	} else {
		s.Buffer.FullIn = -1
	}
}

// estimate says how long things take that have begun.
func (s *Snapshot) estimate() {
	if s.Buffer.Limit > 0 {
		s.Buffer.Percent = 100 * float64(s.Buffer.Disk) / float64(s.Buffer.Limit)
	}
	in := 0.0
	for i := range s.Sources {
		in += s.Sources[i].Rate
	}
	s.Uplink.DoneIn = -1
	if gain := s.Uplink.Rate - in; s.Uplink.Backlog > 0 && gain > 0 {
		s.Uplink.DoneIn = float64(s.Uplink.Backlog) / gain
	}
}
