package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// field is a gateway that restarts, a broker that goes away, and an observer that
// joins in the middle, with a clean session: what is published while it is away
// never comes.
type field struct {
	*rand.Rand
	t       *testing.T
	l       Ledger
	broker  bool
	here    bool // the observer is connected
	joined  bool
	session uint64
	next    map[string]uint64
	backlog []published
	passed  map[Stream][]uint64 // while the observer was away
	earlier map[Stream]uint64   // before it joined: the last number
	began   map[uint64]bool     // sessions that began after the observer had seen the one before
	seen    map[uint64]bool     // sessions of which live records came
	stored  map[string]uint64
}

type published struct {
	session uint64
	source  string
	seq     uint64
	detail  string // of a start
}

func (f *field) publish(p published, late bool) {
	s := Stream{"g", p.session, p.source}
	switch {
	case !f.joined:
		f.earlier[s] = max(f.earlier[s], p.seq)
	case !f.here && !f.began[p.session] && f.l.accounts[s] == nil: // it has heard nothing of the stream yet
	case !f.here:
		f.passed[s] = append(f.passed[s], p.seq)
	default:
		text := fmt.Sprintf(`{"seq":%d,"ts":"2026-11-20T14:00:00Z","type":"can","late":%v}`, p.seq, late)
		if p.detail != "" {
			text = fmt.Sprintf(`{"seq":%d,"ts":"2026-11-20T14:00:00Z","type":"event","event":"started","late":%v,"detail":%s}`, p.seq, late, p.detail)
		}
		m := &Message{V: 1, Gateway: "g", Session: p.session, Source: p.source, Records: []json.RawMessage{[]byte(text)}}
		if _, err := f.l.Add(m); err != nil {
			f.t.Fatal(err)
		}
		if !late {
			f.seen[p.session] = true
		}
	}
}

func (f *field) give(source, detail string) {
	f.next[source]++
	p := published{f.session, source, f.next[source], detail}
	if !f.broker {
		f.backlog = append(f.backlog, p)
		f.stored[source] = p.seq
		return
	}
	f.publish(p, false)
}

// restart ends a session, cleanly or with the last record of the backlog, and
// begins the next one.
func (f *field) restart(clean bool) {
	detail := ""
	if f.session > 0 {
		previous := "clean"
		if clean {
			for source, n := range f.next {
				f.stored[source] = n
			}
		} else {
			previous = "unclean"
			if n := len(f.backlog); n > 0 && f.backlog[n-1].session == f.session {
				f.stored[f.backlog[n-1].source]--
				f.backlog = f.backlog[:n-1]
			}
		}
		text, _ := json.Marshal(f.stored)
		detail = fmt.Sprintf(`{"life":"%d","previous":%q,"previous_session":%d,"stored":%s}`, f.session, previous, f.session, text)
	} else {
		detail = `{"life":"x"}`
	}
	if f.seen[f.session] || f.began[f.session] {
		f.began[f.session+1] = true
	}
	f.session++
	f.next, f.stored = map[string]uint64{}, map[string]uint64{}
	f.give("gateway", detail)
}

func (f *field) drain(n int) {
	for ; f.broker && n > 0 && len(f.backlog) > 0; n-- {
		f.publish(f.backlog[0], true)
		f.backlog = f.backlog[1:]
	}
}

func (f *field) connect(here bool) {
	here = here && (f.joined || len(f.backlog) == 0) // live records from before it would be holes in a backlog
	if here && !f.here && f.joined {
		f.l.Away()
	}
	f.here, f.joined = here, f.joined || here
}

func (f *field) step() {
	switch n := f.IntN(40); {
	case n < 26:
		f.give([]string{"a", "b"}[f.IntN(2)], "")
	case n < 32:
		f.drain(1 + f.IntN(8))
	case n < 34:
		f.restart(f.IntN(2) == 0)
	case n < 36:
		if f.broker = !f.broker; !f.broker {
			f.connect(false)
		}
	default:
		f.connect(f.broker && f.IntN(3) > 0)
	}
}

// Whatever passes while the observer is away is named as unseen, or the end of a
// stream is named as not known; what was before the observer is not missing; and
// what comes later is not missing in the end.
func TestNothingPassesUnseenWithoutAWord(t *testing.T) {
	silent, named := 0, 0
	for round := range uint64(2000) {
		f := &field{Rand: rand.New(rand.NewPCG(round, 5)), t: t, broker: true, passed: map[Stream][]uint64{},
			earlier: map[Stream]uint64{}, began: map[uint64]bool{}, seen: map[uint64]bool{}}
		f.restart(true)
		for range f.IntN(30) {
			f.step()
		}
		for range 100 {
			f.step()
		}
		f.broker = true
		if !f.joined {
			f.drain(len(f.backlog))
		}
		f.connect(true)
		f.drain(len(f.backlog))
		for _, source := range []string{"a", "b", "gateway"} {
			f.give(source, "")
		}
		f.check(round)
		if len(f.passed) > 0 {
			named++
		} else {
			silent++
		}
	}
	if silent < 100 || named < 100 {
		t.Errorf("%d rounds in which nothing passed unseen, and %d others", silent, named)
	}
}

func (f *field) check(round uint64) {
	f.t.Helper()
	gaps, tails := f.l.Gaps(false), f.l.Tails()
	missing, unseen := f.l.Absent(false)
	total := uint64(0)
	for _, g := range gaps {
		total += g.Count()
		if !g.Unseen {
			f.t.Fatalf("round %d: nothing is lost, and the account has %+v", round, g)
		}
		if last := f.earlier[g.Stream]; g.From <= last && f.l.accounts[g.Stream].seen[0].from > g.From {
			f.t.Fatalf("round %d: %d was published before the observer came, and the account has %+v", round, last, g)
		}
	}
	if missing != total || unseen != total {
		f.t.Fatalf("round %d: %d and %d counted, %d in the gaps", round, missing, unseen, total)
	}
	passed := false
	for s, list := range f.passed {
		if !f.seen[s.Session] && !f.began[s.Session] {
			continue // nobody followed it
		}
		passed = true
		for _, n := range list {
			ok := f.l.accounts[s] == nil || f.l.Seen(s, n)
			for _, g := range gaps {
				ok = ok || g.Stream == s && g.From <= n && n <= g.To
			}
			for _, x := range tails {
				ok = ok || x.Unseen && x.Stream == s && n > x.Last
			}
			if first := f.l.accounts[s]; !ok && (f.began[s.Session] || first.seen[0].from < n) {
				f.t.Fatalf("round %d: %d of %+v passed unseen; gaps %+v, tails %+v", round, n, s, gaps, tails)
			}
		}
	}
	if passed && unseen == 0 && f.l.Unknown() == 0 {
		f.t.Fatalf("round %d: %v passed unseen, and all is well", round, f.passed)
	}
}
