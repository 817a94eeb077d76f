package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"fieldferry/gateway/payload/native"
)

// message builds what a gateway would send: a number, or a loss "from-to".
func message(t *testing.T, session uint64, items ...any) *Message {
	t.Helper()
	var e native.Encoder
	var records []byte
	for i, it := range items {
		if i > 0 {
			records = append(records, ',')
		}
		switch v := it.(type) {
		case int:
			records = fmt.Appendf(records, `{"seq":%d,"ts":"2026-11-20T14:00:00Z","type":"can"}`, v)
		case [2]int:
			records = e.AppendLoss(records, uint64(v[0]), uint64(v[1]), 0, "evicted")
		}
	}
	m, err := Parse(native.Envelope{Gateway: "g", Session: session, Source: "s", Count: len(items)}.Append(nil, records))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLedger(t *testing.T) {
	for name, c := range map[string]struct {
		items   []any
		records uint64
		dups    uint64
		lost    uint64
		gaps    string
		missing uint64
	}{
		"in order":          {[]any{1, 2, 3}, 3, 0, 0, "", 0},
		"a hole":            {[]any{1, 2, 5}, 3, 0, 0, "3-4", 2},
		"hole filled later": {[]any{1, 5, 2, 3, 4}, 5, 0, 0, "", 0},
		"hole accounted":    {[]any{1, [2]int{2, 4}, 5}, 2, 0, 3, "", 0},
		"twice":             {[]any{1, 2, 1, 2, 3}, 3, 2, 0, "", 0},
		"start missing":     {[]any{3}, 1, 0, 0, "1-2", 2},
		"loss twice":        {[]any{[2]int{1, 4}, [2]int{1, 4}, 5}, 1, 0, 4, "", 0},
		"loss overlaps":     {[]any{1, 2, [2]int{2, 6}, 8}, 3, 0, 4, "7-7", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var l Ledger
			if _, err := l.Add(message(t, 1, c.items...)); err != nil {
				t.Fatal(err)
			}
			gaps := ""
			for _, g := range l.Gaps(true) {
				gaps += fmt.Sprintf("%d-%d", g.From, g.To)
			}
			if missing := l.Missing(true); missing != c.missing {
				t.Errorf("%d missing, want %d", missing, c.missing)
			}
			if l.Records != c.records || l.Duplicates != c.dups || l.Lost != c.lost || gaps != c.gaps {
				t.Errorf("records %d duplicates %d lost %d gaps %q", l.Records, l.Duplicates, l.Lost, gaps)
			}
		})
	}
}

func TestLedgerKeepsSessionsApart(t *testing.T) {
	var l Ledger
	for s := uint64(1); s <= 2; s++ {
		if _, err := l.Add(message(t, s, 1, 2)); err != nil {
			t.Fatal(err)
		}
	}
	if l.Records != 4 || l.Duplicates != 0 || len(l.Gaps(true)) != 0 {
		t.Errorf("%+v", l)
	}
}

// However the numbers arrive, the ledger agrees with a plain set.
func TestLedgerAgainstASet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var l Ledger
		set := map[int]bool{}
		var dups, records uint64
		for range 300 {
			n := rng.IntN(150) + 1
			if set[n] {
				dups++
			} else {
				records++
			}
			set[n] = true
			if _, err := l.Add(message(t, 1, n)); err != nil {
				t.Fatal(err)
			}
		}
		var missing uint64
		for _, g := range l.Gaps(true) {
			missing += g.Count()
			for n := g.From; n <= g.To; n++ {
				if set[int(n)] || l.Seen(g.Stream, n) {
					t.Fatalf("%d came but is in a gap", n)
				}
			}
		}
		if last := l.Last(Stream{"g", 1, "s"}); l.Duplicates != dups || l.Records != records || last-missing != uint64(len(set)) {
			t.Fatalf("records %d/%d duplicates %d/%d missing %d last %d set %d", l.Records, records, l.Duplicates, dups, missing, last, len(set))
		}
	}
}

func TestLedgerRefusesNonsense(t *testing.T) {
	for _, s := range []string{"", "null", "[]", "{}", `{"v":2,"source":"s"}`, `{"v":1}`} {
		if _, err := Parse([]byte(s)); err == nil {
			t.Errorf("%q is taken for a message", s)
		}
	}
	m, err := Parse([]byte(`{"v":1,"source":"s","records":[{"type":"loss","from":5,"to":4}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var l Ledger
	if _, err := l.Add(m); err == nil {
		t.Error("a loss from 5 to 4 is taken")
	}
}

// Every other number of a stream is of no interest to this consumer: memory
// has a bound, and what is missing is counted nevertheless.
func TestLedgerIsBounded(t *testing.T) {
	var l Ledger
	const n = 3 * maxHoles
	for i := range n {
		m := &Message{V: 1, Gateway: "g", Session: 1, Source: "s", Records: []json.RawMessage{fmt.Appendf(nil, `{"seq":%d,"type":"can"}`, 2*i+1)}}
		if _, err := l.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	if holes := len(l.Gaps(true)); holes > maxHoles || l.Closed == 0 {
		t.Errorf("%d holes are kept, at most %d should be", holes, maxHoles)
	}
	if l.Records != n || l.Missing(true) != n-1 || l.Duplicates != 0 {
		t.Errorf("%d records, %d missing, %d duplicates; want %d, %d, 0", l.Records, l.Missing(true), l.Duplicates, n, n-1)
	}
	for i := range maxStreams + 10 {
		if _, err := l.Add(message(t, uint64(i+2), 1, 2)); err != nil {
			t.Fatal(err)
		}
	}
	if l.Untracked != 11*2 || len(l.Streams()) != maxStreams || l.Exact() {
		t.Errorf("%d records of streams past the bound, want %d; %d streams", l.Untracked, 11*2, len(l.Streams()))
	}
}

// All streams together have a bound too, and those that behave keep their holes.
func TestLedgerIsBoundedInAll(t *testing.T) {
	var l Ledger
	hole := func(stream, n int) {
		t.Helper()
		m := &Message{V: 1, Gateway: "g", Session: uint64(stream), Source: "s"}
		for i := range n {
			m.Records = append(m.Records, fmt.Appendf(nil, `{"seq":%d,"type":"can"}`, 2*i+1))
		}
		if _, err := l.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	hole(1, 100)
	for i := range maxSpans/10_000 + 5 {
		hole(i+2, 10_000)
	}
	spans, small := 0, 0
	for s, a := range l.accounts {
		spans += len(a.seen)
		if s.Session == 1 {
			small = len(a.seen)
		}
	}
	if spans != l.spans || spans > maxSpans || small != 100 || l.Exact() {
		t.Errorf("%d spans, counted %d, at most %d; %d of a stream that had 100", spans, l.spans, maxSpans, small)
	}
}

func TestLedgerRefusesWhatNoGatewaySends(t *testing.T) {
	for name, text := range map[string]string{
		"records without end": `{"v":1,"source":"s","records":[1` + strings.Repeat(",1", maxRecords) + `]}`,
		"a name without end":  `{"v":1,"source":"` + strings.Repeat("s", maxName+1) + `"}`,
	} {
		if _, err := Parse([]byte(text)); err == nil || len(err.Error()) > 200 {
			t.Errorf("%s: %v", name, err)
		}
	}
	var l Ledger
	for _, text := range []string{`{"seq":0,"type":"can"}`, `{"type":"can"}`, `{"seq":9007199254740993,"type":"can"}`, `{"type":"loss","from":1,"to":18446744073709551615}`} {
		if _, err := l.Add(&Message{V: 1, Source: "s", Records: Records{[]byte(text)}}); err == nil || l.Missing(true) != 0 {
			t.Errorf("%s: %v, %d missing", text, err, l.Missing(true))
		}
	}
}

func TestElements(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "null": 0, "[]": 0, "[ ]": 0, "{}": 0, "[1]": 1, "[[]]": 1, `[""]`: 1, "[{}]": 1, `["]",","]`: 2, `["\"]","\\"]`: 2,
		`{"a":[1,2,3],"b":{"c":1,"d":2}}`: 2, "[1,[2,3],4]": 3,
	} {
		if n := Elements([]byte(text)); n != want {
			t.Errorf("%s: %d, want %d", text, n, want)
		}
	}
}
