package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// one is a message with one record.
func one(t *testing.T, l *Ledger, seq uint64, late bool) {
	t.Helper()
	m := &Message{V: 1, Gateway: "g", Session: 1, Source: "s", Records: []json.RawMessage{fmt.Appendf(nil, `{"seq":%d,"ts":"2026-11-20T14:00:00Z","type":"can","late":%v}`, seq, late)}}
	if _, err := l.Add(m); err != nil {
		t.Fatal(err)
	}
}

// Whatever a gateway and an observer do: what passes while the observer is away
// is unseen until it comes, and what gets lost between two live records after the
// last absence is missing.
func TestUnseenIsWhatPassedInAnAbsence(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for round := range 500 {
		var l Ledger
		var backlog, suspect []uint64 // suspect: lost since the last live record came
		passed, lost := map[uint64]bool{}, map[uint64]bool{}
		connected, sure := true, false // sure: a live record has come in this connection
		for seq := uint64(1); seq <= 300; seq++ {
			switch rng.IntN(10) {
			case 0:
				if connected = !connected; connected {
					l.Away()
				}
				sure, suspect = false, nil
				clear(lost) // of what was missing then, anything may have passed with a backlog
				fallthrough
			default:
				if !connected {
					passed[seq] = true
					break
				}
				one(t, &l, seq, false)
				for _, n := range suspect {
					lost[n] = true
				}
				sure, suspect = true, nil
			case 1, 2:
				backlog = append(backlog, seq)
			case 3:
				if sure {
					suspect = append(suspect, seq)
				}
			}
			for len(backlog) > 0 && rng.IntN(3) == 0 {
				if n := backlog[0]; connected {
					one(t, &l, n, true)
				} else {
					passed[n] = true
				}
				backlog = backlog[1:]
			}
		}
		if !connected {
			l.Away()
			clear(lost)
		}
		gaps := l.Gaps(true)
		in := func(n uint64) *Gap {
			for i, g := range gaps {
				if g.From <= n && n <= g.To {
					return &gaps[i]
				}
			}
			return nil
		}
		for n := range lost {
			if g := in(n); g == nil || g.Unseen {
				t.Fatalf("round %d: %d is lost, and the account says %+v", round, n, g)
			}
		}
		last := l.Last(Stream{"g", 1, "s"})
		for n := range passed {
			if g := in(n); n < last && (g == nil || !g.Unseen) {
				t.Fatalf("round %d: %d passed in an absence, and the account says %+v", round, n, g)
			}
		}
		var all, unseen uint64
		for _, g := range gaps {
			all += g.Count()
			if g.Unseen {
				unseen += g.Count()
			}
		}
		if missing, away := l.Absent(true); all != missing || unseen != away || all != l.Missing(true) {
			t.Fatalf("round %d: %d missing and %d unseen in the gaps, %d and %d counted", round, all, unseen, missing, away)
		}
	}
}

// A stream that begins in an absence has its beginning unseen.
func TestStreamThatBeginsInAnAbsence(t *testing.T) {
	var l Ledger
	l.Away()
	one(t, &l, 100, false)
	one(t, &l, 103, false)
	if missing, unseen := l.Absent(true); missing != 101 || unseen != 99 {
		t.Errorf("%d missing, %d unseen; want 101 and 99", missing, unseen)
	}
}
