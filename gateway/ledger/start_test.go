package ledger

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"fieldferry/gateway/payload/native"
)

// starts is the message of a start.
func starts(session uint64, detail string) *Message {
	raw := fmt.Sprintf(`{"seq":1,"ts":"2026-11-20T14:00:00Z","type":"event","event":"started","detail":%s}`, detail)
	return &Message{V: native.Version, Gateway: "g", Session: session, Source: "gateway", Seq: 1, Count: 1, Records: []json.RawMessage{json.RawMessage(raw)}}
}

// A session that ended badly has a tail of which nothing is known, and what
// was on disk and did not come is missing.
func TestLedgerKnowsHowASessionEnded(t *testing.T) {
	s := Stream{"g", 900, "s"}
	for name, c := range map[string]struct {
		detail string
		gaps   string
		tails  []Tail
	}{
		"clean":             {`{"previous":"clean","previous_session":900,"stored":{"s":3}}`, "[]", nil},
		"clean, not all":    {`{"previous":"clean","previous_session":900,"stored":{"s":5}}`, "[{{g 900 s} 4 5 false}]", nil},
		"unclean":           {`{"previous":"unclean","previous_session":900,"stored":{"s":2}}`, "[]", []Tail{{s, 3, false}}},
		"unclean, not all":  {`{"previous":"unclean","previous_session":900,"stored":{"s":7}}`, "[{{g 900 s} 4 7 false}]", []Tail{{s, 7, false}}},
		"unclean before":    {`{"previous":"clean","previous_session":950,"stored":{},"earlier":[{"previous":"unclean","previous_session":900,"stored":{"s":4}}]}`, "[{{g 900 s} 4 4 false}]", []Tail{{s, 4, false}}},
		"another one":       {`{"previous":"unclean","previous_session":901,"stored":{"s":9}}`, "[]", nil},
		"first of a buffer": {`{"life":"x"}`, "[]", nil},
		"an old version":    {`{"version":"1"}`, "[]", nil},
	} {
		for _, first := range []bool{false, true} { // the start may come before the backlog
			t.Run(fmt.Sprint(name, first), func(t *testing.T) {
				var l Ledger
				list := []*Message{message(t, 900, 1, 2, 3), starts(7, c.detail)}
				if first {
					list[0], list[1] = list[1], list[0]
				}
				for _, m := range list {
					if _, err := l.Add(m); err != nil {
						t.Fatal(err)
					}
				}
				if got := fmt.Sprint(l.Gaps(true)); got != c.gaps {
					t.Errorf("gaps %s, want %s", got, c.gaps)
				}
				n := uint64(0)
				for _, g := range l.Gaps(true) {
					n += g.Count()
				}
				if m := l.Missing(true); m != n {
					t.Errorf("%d missing, want %d", m, n)
				}
				if got := l.Tails(); !reflect.DeepEqual(got, c.tails) {
					t.Errorf("tails %v, want %v", got, c.tails)
				}
			})
		}
	}
}

// An older session after a newer one, as from a new card, is a stream of its
// own; two lives under one session are named.
func TestLedgerTakesSessionsInAnyOrder(t *testing.T) {
	var l Ledger
	for _, m := range []*Message{starts(900, `{"life":"a"}`), message(t, 900, 1, 2, 3), starts(7, `{"life":"b"}`), message(t, 7, 1, 2, 3), message(t, 900, 5, 3)} {
		if _, err := l.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	if l.Records != 9 || l.Duplicates != 1 || l.Missing(true) != 1 || l.Shared != 0 {
		t.Errorf("%d records, %d duplicates, %d missing, %d shared", l.Records, l.Duplicates, l.Missing(true), l.Shared)
	}
	for range 2 { // the same start again is a duplicate and no other life
		if _, err := l.Add(starts(900, `{"life":"a"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if l.Shared != 0 {
		t.Error("a repeated start was taken for another life")
	}
	for range 2 {
		if _, err := l.Add(starts(900, `{"life":"c"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if l.Shared != 1 {
		t.Errorf("%d shared, want 1", l.Shared)
	}
}

// However many sessions and sources the starts name, memory has a bound.
func TestLedgerForgetsPastItsBound(t *testing.T) {
	var l Ledger
	for i := range uint64(maxStreams + 10) {
		detail := fmt.Sprintf(`{"life":%q,"previous":"unclean","previous_session":%d,"stored":{"a":1,"b":2,"c":3,"d":4,"e":5}}`, strings.Repeat("x", 1000), 1_000_000+i)
		if _, err := l.Add(starts(i+1, detail)); err != nil {
			t.Fatal(err)
		}
	}
	stores := 0
	for _, x := range l.lives {
		stores += len(x.stored)
		if len(x.id) > maxLife {
			t.Fatalf("an id of %d bytes is kept", len(x.id))
		}
	}
	if len(l.lives) > maxStreams || stores != l.stores || stores > maxStores || l.Forgotten == 0 || l.Exact() {
		t.Errorf("%d lives, %d numbers, counted %d; %d forgotten", len(l.lives), stores, l.stores, l.Forgotten)
	}
}
