// Package ledger is the consumer's account of what a gateway has sent: that
// nothing is missing, and what came twice.
package ledger

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
)

// Stream names one numbering: within it each sequence number occurs once.
type Stream struct {
	Gateway string
	Session uint64
	Source  string
}

// span is a range of sequence numbers, both ends included.
type span struct{ from, to uint64 }

// account is what is known of one stream.
type account struct {
	seen   []span // disjoint, in order
	unseen uint64 // what did not come up to this number may have passed while the observer was away
	cut    bool   // there was an absence, maybe before its end, and no live record has come since
}

// Ledger keeps account of the sequence numbers that came, so that a consumer
// can tell whether anything is missing and what came twice. In which order
// they come does not matter: live records overtake a backlog, and what is
// missing is what has not come in the end. Its zero value is ready; it is not
// safe for concurrent use.
//
// Memory grows with the number of streams and of holes, not of records, and
// has a bound of about 10 MB, whatever comes. Past it the account is no longer
// exact, and says so: see [Ledger.Exact].
type Ledger struct {
	Records    uint64 // records that came, without repetitions and losses
	Duplicates uint64 // records that came again
	Lost       uint64 // sequence numbers a loss record accounts for
	Closed     uint64 // sequence numbers in holes that were closed: missing for ever, and duplicates should they come
	Untracked  uint64 // records of streams of which no account is kept
	Forgotten  uint64 // facts on the ends of sessions that were not kept
	Shared     uint64 // sessions that two lives of a gateway have used: their numbers name two records
	accounts   map[Stream]*account
	spans      int  // of all accounts
	left       bool // the observer has been away
	lives      map[session]*life
	followed   map[string]followed // by gateway
	known      map[Stream]bool     // sources that were seen, without the session
	stores     int                 // numbers kept in all lives
}

// The bounds of the account. A stream with more holes than it may have, or that
// with the most when there are too many in all, loses the older half of them.
const (
	maxHoles   = 16384   // of a stream
	maxSpans   = 1 << 18 // of all streams
	maxStreams = 4096
	maxStores  = 16384 // last numbers that events "started" name
)

// Exact reports whether the account knows of everything that was added. It does
// not after a bound was passed.
func (l *Ledger) Exact() bool { return l.Closed == 0 && l.Untracked == 0 && l.Forgotten == 0 }

// Entry is what one call of [Ledger.Add] found of a record.
type Entry struct {
	Head
	Duplicate bool
}

// Add takes a message and returns what is new in it, record by record. Of
// streams past the bound nothing is known, and no entries are returned.
func (l *Ledger) Add(m *Message) ([]Entry, error) {
	a := l.account(Stream{m.Gateway, m.Session, m.Source})
	if a == nil {
		l.Untracked += uint64(len(m.Records))
		return nil, nil
	}
	before := len(a.seen)
	defer func() {
		l.spans += len(a.seen) - before
		l.shrink(a)
	}()
	entries := make([]Entry, 0, len(m.Records))
	for _, raw := range m.Records {
		e, err := l.add(a, m, raw)
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// add takes one record into the account of its stream.
func (l *Ledger) add(a *account, m *Message, raw json.RawMessage) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(raw, &e.Head); err != nil {
		return e, fmt.Errorf("record of %s: %w", m.Source, err)
	}
	if e.Type == "loss" {
		if e.From == 0 || e.To < e.From || e.To > maxSeq {
			return e, fmt.Errorf("loss record of %s: from %d to %d is not a range", m.Source, e.From, e.To)
		}
		l.Lost += a.add(span{e.From, e.To})
		return e, nil
	}
	if e.Seq == 0 || e.Seq > maxSeq {
		return e, fmt.Errorf("record of %s: %d is not a sequence number", m.Source, e.Seq)
	}
	if !e.Late {
		a.back(e.Seq)
		l.follow(session{m.Gateway, m.Session})
	}
	if e.Duplicate = a.add(span{e.Seq, e.Seq}) == 0; e.Duplicate {
		l.Duplicates++
	} else {
		l.Records++
	}
	if e.Type == "event" {
		l.start(m, raw)
	}
	return e, nil
}

// shrink closes holes until the account, which has just grown, and all of them
// together are within their bounds.
func (l *Ledger) shrink(a *account) {
	for len(a.seen) > maxHoles {
		l.close(a)
	}
	for l.spans > maxSpans {
		for _, other := range l.accounts {
			if len(other.seen) > len(a.seen) {
				a = other
			}
		}
		l.close(a)
	}
}

func (l *Ledger) close(a *account) {
	before := len(a.seen)
	l.Closed += a.close()
	l.spans += len(a.seen) - before
}

func (l *Ledger) account(s Stream) *account {
	if l.accounts == nil {
		l.accounts, l.known = map[Stream]*account{}, map[Stream]bool{}
	}
	a := l.accounts[s]
	if a == nil && len(l.accounts) < maxStreams {
		a = &account{}
		if l.left {
			a.unseen, a.cut = everything, true
		}
		l.accounts[s] = a
		s.Session = 0
		l.known[s] = true
	}
	return a
}

// add takes s into the account and returns how many numbers of it are new.
func (a *account) add(s span) uint64 {
	if n := len(a.seen); n > 0 && a.seen[n-1].to+1 == s.from { // the common case
		a.seen[n-1].to = s.to
		return s.to - s.from + 1
	}
	// All spans i..j-1 touch or overlap s and become one with it.
	i, _ := slices.BinarySearchFunc(a.seen, s.from, func(x span, from uint64) int {
		return cmp.Compare(x.to+1, from)
	})
	fresh := s.to - s.from + 1
	merged := s
	j := i
	for ; j < len(a.seen) && a.seen[j].from <= s.to+1; j++ {
		x := a.seen[j]
		if lo, hi := max(x.from, s.from), min(x.to, s.to); lo <= hi {
			fresh -= hi - lo + 1
		}
		merged.from, merged.to = min(merged.from, x.from), max(merged.to, x.to)
	}
	// By hand: slices.Replace is 4 kB of code for each type.
	if i == j {
		a.seen = append(a.seen, span{})
		copy(a.seen[i+1:], a.seen[i:])
		j++
	}
	a.seen[i] = merged
	a.seen = append(a.seen[:i+1], a.seen[j:]...)
	return fresh
}

// close closes the older half of the holes and returns how many numbers they
// had.
func (a *account) close() (n uint64) {
	half := len(a.seen) / 2
	for i := range half {
		n += a.seen[i+1].from - a.seen[i].to - 1
	}
	a.seen[half].from = a.seen[0].from
	a.seen = slices.Clone(a.seen[half:]) // not only shorter: the memory is wanted back
	return n
}

// Gap is a range of sequence numbers that did not come, both ends included.
type Gap struct {
	Stream
	From, To uint64
	Unseen   bool // they may have come while the observer was away, see [Ledger.Away]
}

// Count is the number of sequence numbers in the gap.
func (g Gap) Count() uint64 { return g.To - g.From + 1 }

// holes calls f for what is missing of a stream below its highest number seen, or
// below stored, the number that was on disk when its session ended.
func (a *account) holes(stored uint64, fromOne bool, f func(from, to uint64, unseen bool)) {
	next := uint64(1)
	if !fromOne && len(a.seen) > 0 {
		next = a.seen[0].from
	}
	for _, s := range a.seen {
		if s.from > next {
			f(next, s.from-1, next <= a.unseen)
		}
		next = s.to + 1
	}
	if stored >= next && (fromOne || next > 1) {
		f(next, stored, next <= a.unseen)
	}
}

// Gaps lists what is missing below the highest number seen of each stream, or
// below the one that the gateway says was on disk when the session ended.
// The numbers before the first one seen are missing too of a session that began
// while it was observed, and with fromOne of all.
func (l *Ledger) Gaps(fromOne bool) []Gap {
	var gaps []Gap
	l.holes(fromOne, func(g Gap) { gaps = append(gaps, g) })
	sort.SliceStable(gaps, func(i, j int) bool {
		a, b := &gaps[i], &gaps[j]
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Session, b.Session),
			cmp.Compare(a.Source, b.Source), cmp.Compare(a.From, b.From)) < 0
	})
	return gaps
}

// Missing is the number of sequence numbers in all gaps, those in holes that
// were closed included.
func (l *Ledger) Missing(fromOne bool) uint64 {
	missing, _ := l.Absent(fromOne)
	return missing
}

// Absent is [Ledger.Missing], and how many of those may have come while the
// observer was away.
func (l *Ledger) Absent(fromOne bool) (missing, unseen uint64) {
	missing = l.Closed
	l.holes(fromOne, func(g Gap) {
		missing += g.Count()
		if g.Unseen {
			unseen += g.Count()
		}
	})
	return missing, unseen
}

// Seen says whether sequence number seq of a stream came or is accounted for.
func (l *Ledger) Seen(s Stream, seq uint64) bool {
	a := l.accounts[s]
	if a == nil {
		return false
	}
	i, _ := slices.BinarySearchFunc(a.seen, seq, func(x span, seq uint64) int { return cmp.Compare(x.to, seq) })
	return i < len(a.seen) && a.seen[i].from <= seq
}

// Last is the highest sequence number seen of a stream, 0 when there is none.
func (l *Ledger) Last(s Stream) uint64 {
	a := l.accounts[s]
	if a == nil || len(a.seen) == 0 {
		return 0
	}
	return a.seen[len(a.seen)-1].to
}

// Streams lists the streams seen, in order.
func (l *Ledger) Streams() []Stream {
	streams := make([]Stream, 0, len(l.accounts))
	for s := range l.accounts {
		streams = append(streams, s)
	}
	sort.SliceStable(streams, func(i, j int) bool {
		a, b := &streams[i], &streams[j]
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Source, b.Source)) < 0
	})
	return streams
}
