package ledger

import (
	"cmp"
	"encoding/json"
	"sort"
)

// Every session begins with one event "started", which says how the sessions
// before it in the same buffer have ended.

// session is one life of a gateway, as its messages name it. Of two sessions
// the one with the higher number need not be the later one: another buffer, as
// on a new card, has numbers of its own.
type session struct {
	gateway string
	number  uint64
}

// life is what events "started" say of a session.
type life struct {
	id      string // made by chance
	shared  bool   // two lives have this session
	ended   bool   // a later session says how it has ended
	unclean bool
	live    bool // a live record of it came
	before  bool // a session with a higher number says how it has ended
	began   bool // it began after another one whose live records came
	stored  map[string]uint64
}

// started is what the detail of the event says.
type started struct {
	ending
	Life    string   `json:"life"`
	Earlier []ending `json:"earlier"`
}

type ending struct {
	Previous string            `json:"previous"` // "clean", "unclean"; empty: there was none in this buffer
	Session  uint64            `json:"previous_session"`
	Stored   map[string]uint64 `json:"stored"`
}

// maxStart is how long an event may be to be looked at: a gateway names at most
// 500 last numbers.
const maxStart = 512 << 10

// maxLife bounds the id of a life; a gateway's has 16 characters.
const maxLife = 64

// start takes an event of a gateway; only that of its start matters.
func (l *Ledger) start(m *Message, raw json.RawMessage) {
	if len(raw) > maxStart {
		l.Forgotten++
		return
	}
	var e struct {
		Event  string  `json:"event"`
		Detail started `json:"detail"`
	}
	if json.Unmarshal(raw, &e) != nil || e.Event != "started" {
		return
	}
	if x := l.life(session{m.Gateway, m.Session}); x != nil && e.Detail.Life != "" && len(e.Detail.Life) <= maxLife {
		if x.id != "" && x.id != e.Detail.Life && !x.shared {
			x.shared = true
			l.Shared++
		}
		x.id = e.Detail.Life
	}
	for _, end := range append(e.Detail.Earlier, e.Detail.ending) {
		if end.Previous == "" {
			continue
		}
		x := l.life(session{m.Gateway, end.Session})
		if x == nil {
			continue
		}
		x.ended, x.unclean = true, end.Previous != "clean"
		x.before = x.before || end.Session < m.Session
		l.store(x, end.Stored)
	}
}

// store keeps the last numbers of a session.
func (l *Ledger) store(x *life, stored map[string]uint64) {
	if x.stored == nil {
		x.stored = map[string]uint64{}
	}
	for source, n := range stored {
		known, has := x.stored[source]
		switch {
		case n == 0: // nothing of it
			continue
		case n > maxSeq, len(source) > maxName, !has && l.stores >= maxStores:
			l.Forgotten++
			continue
		case !has:
			l.stores++
		}
		x.stored[source] = max(known, n) // a copy of a buffer knows less
	}
}

// life returns what is known of a session; nil: there are too many.
func (l *Ledger) life(s session) *life {
	if l.lives == nil {
		l.lives = map[session]*life{}
	}
	x := l.lives[s]
	if x == nil {
		if len(l.lives) >= maxStreams {
			l.Forgotten++
			return nil
		}
		x = &life{}
		l.lives[s] = x
	}
	return x
}

// stored is the last number that a stream is known to have had on disk when
// its session ended, 0 when nothing is known.
func (l *Ledger) stored(s Stream) uint64 {
	if x := l.lives[session{s.Gateway, s.Session}]; x != nil {
		return x.stored[s.Source]
	}
	return 0
}

// Tail is where a stream ends whose session ended badly: behind Last, numbers
// that were given out within one sync_interval may be missing, and no loss
// record tells of them. Unseen: no live record has come since the observer was
// away, and behind Last any number may have passed.
type Tail struct {
	Stream
	Last   uint64
	Unseen bool
}

// Tails lists the streams seen that ended badly, or nobody knows where.
func (l *Ledger) Tails() []Tail {
	var tails []Tail
	for s, a := range l.accounts {
		x, unknown := l.lives[session{s.Gateway, s.Session}], l.unknown(s, a)
		if unknown || x != nil && x.unclean {
			tails = append(tails, Tail{s, max(l.Last(s), l.stored(s)), unknown})
		}
	}
	sort.SliceStable(tails, func(i, j int) bool {
		a, b := &tails[i], &tails[j]
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Source, b.Source)) < 0
	})
	return tails
}
