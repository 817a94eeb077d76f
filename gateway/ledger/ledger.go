// Package ledger is the consumer's account of what a gateway has sent: that
// nothing is missing, and what came twice.
package ledger

import (
	"cmp"
	"encoding/json"
	"errors"
	"fieldferry/gateway/payload/native"
	"fmt"
	"slices"
	"time"
)

// Message is an envelope as a consumer reads it.
type Message struct {
	V       int               `json:"v"`
	Gateway string            `json:"gateway"`
	Session uint64            `json:"session"`
	Source  string            `json:"source"`
	Seq     uint64            `json:"seq"`
	Count   int               `json:"count"`
	Records []json.RawMessage `json:"records"`
}

// Head is what every record says of itself.
type Head struct {
	Seq    uint64    `json:"seq"`
	Time   time.Time `json:"ts"`
	Type   string    `json:"type"`
	Clock  string    `json:"clock"` // "corrected", "unsynced", or empty: Time was right from the start
	From   uint64    `json:"from"`  // loss records only
	To     uint64    `json:"to"`
	Count  uint64    `json:"count"`
	Reason string    `json:"reason"`
	Late   bool      `json:"late"` // of the backlog: live records may have overtaken it
}

// Parse reads an envelope and refuses what is not one.
func Parse(data []byte) (*Message, error) {
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("not a fieldferry message: %w", err)
	}
	if m.V != native.Version || m.Source == "" {
		return nil, errors.New("not a fieldferry message: no version or no source")
	}
	return &m, nil
}

// Stream names one numbering: within it each sequence number occurs once.
type Stream struct {
	Gateway string
	Session uint64
	Source  string
}

// span is a range of sequence numbers, both ends included.
type span struct{ from, to uint64 }

// account is what is known of one stream: disjoint spans in order.
type account struct{ seen []span }

// Ledger keeps account of the sequence numbers that came, so that a consumer
// can tell whether anything is missing and what came twice. In which order
// they come does not matter: live records overtake a backlog, and what is
// missing is what has not come in the end. Its zero value is ready; it is not
// safe for concurrent use.
//
// Memory grows with the number of streams and of holes, not of records, and
// has a bound: of a stream with more than 16384 holes the oldest ones are
// closed, and their numbers are missing for ever. Of more than 4096 streams
// no account is kept: [Ledger.Add] returns an error.
type Ledger struct {
	Records    uint64 // records that came, without repetitions and losses
	Duplicates uint64 // records that came again
	Lost       uint64 // sequence numbers a loss record accounts for
	Closed     uint64 // sequence numbers in holes that were closed
	Shared     uint64 // sessions that two lives of a gateway have used: their numbers name two records
	accounts   map[Stream]*account
	lives      map[session]*life
}

const (
	maxHoles   = 16384
	maxStreams = 4096
)

// Entry is what one call of [Ledger.Add] found of a record.
type Entry struct {
	Head
	Duplicate bool
}

// Add takes a message and returns what is new in it, record by record.
func (l *Ledger) Add(m *Message) ([]Entry, error) {
	entries := make([]Entry, 0, len(m.Records))
	a := l.account(Stream{m.Gateway, m.Session, m.Source})
	if a == nil {
		return nil, fmt.Errorf("more than %d streams; no account is kept of %s of %s", maxStreams, m.Source, m.Gateway)
	}
	for _, raw := range m.Records {
		var e Entry
		if err := json.Unmarshal(raw, &e.Head); err != nil {
			return entries, fmt.Errorf("record of %s: %w", m.Source, err)
		}
		if e.Type == "loss" {
			if e.From == 0 || e.To < e.From {
				return entries, fmt.Errorf("loss record of %s: from %d to %d is no range", m.Source, e.From, e.To)
			}
			l.Lost += a.add(span{e.From, e.To})
		} else {
			e.Duplicate = a.add(span{e.Seq, e.Seq}) == 0
			if e.Duplicate {
				l.Duplicates++
			} else {
				l.Records++
			}
		}
		if e.Type == "event" {
			l.start(m, raw)
		}
		entries = append(entries, e)
	}
	if len(a.seen) > maxHoles {
		l.Closed += a.close()
	}
	return entries, nil
}

func (l *Ledger) account(s Stream) *account {
	if l.accounts == nil {
		l.accounts = map[Stream]*account{}
	}
	a := l.accounts[s]
	if a == nil && len(l.accounts) < maxStreams {
		a = &account{}
		l.accounts[s] = a
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
	a.seen = slices.Replace(a.seen, i, j, merged)
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
	a.seen = slices.Delete(a.seen, 0, half)
	return n
}

// Gap is a range of sequence numbers that did not come, both ends included.
type Gap struct {
	Stream
	From, To uint64
}

// Count is the number of sequence numbers in the gap.
func (g Gap) Count() uint64 { return g.To - g.From + 1 }

// Gaps lists what is missing below the highest number seen of each stream, or
// below the one that the gateway says was on disk when the session ended.
// With fromOne the numbers before the first one seen are missing too.
func (l *Ledger) Gaps(fromOne bool) []Gap {
	var gaps []Gap
	for stream, a := range l.accounts {
		next := uint64(1)
		if !fromOne && len(a.seen) > 0 {
			next = a.seen[0].from
		}
		for _, s := range a.seen {
			if s.from > next {
				gaps = append(gaps, Gap{stream, next, s.from - 1})
			}
			next = s.to + 1
		}
		if known := l.stored(stream); known >= next && (fromOne || next > 1) {
			gaps = append(gaps, Gap{stream, next, known})
		}
	}
	slices.SortStableFunc(gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Session, b.Session),
			cmp.Compare(a.Source, b.Source), cmp.Compare(a.From, b.From))
	})
	return gaps
}

// Missing is the number of sequence numbers in all gaps, those in holes that
// were closed included.
func (l *Ledger) Missing(fromOne bool) uint64 {
	n := l.Closed
	for stream, a := range l.accounts {
		if len(a.seen) == 0 {
			continue
		}
		n += l.stored(stream) - min(l.stored(stream), a.seen[len(a.seen)-1].to)
		if fromOne {
			n += a.seen[0].from - 1
		}
		for i := range a.seen[1:] {
			n += a.seen[i+1].from - a.seen[i].to - 1
		}
	}
	return n
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
	slices.SortStableFunc(streams, func(a, b Stream) int {
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Source, b.Source))
	})
	return streams
}
