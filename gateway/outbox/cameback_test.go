package outbox

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/uplink"
)

// What the buffer has again behind the lanes is sent on the connection there
// is, and a place that stays without anything to read is no reason to look for
// ever.
func TestWhatCameBackIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(5) {
			s.put(3, "engine", i+1, i, testFrame(1))
		}
		q := testQueue(t, s, "ff/{gateway}/{source}", 5, 1<<16)
		m, _ := next(t, q)
		q.Acked(m)
		if s.first != 5 {
			t.Fatalf("the first offset is %d after all was acknowledged", s.first)
		}
		s.records[2].Seq, s.records[2].Lost, s.records[2].Data = 2, 2, nil
		s.first, s.gone = 2, map[uint64]bool{3: true, 4: true}
		m, p := next(t, q)
		if p.Seq != 2 || p.Count != 1 || !strings.Contains(string(p.Records[0]), `"loss"`) {
			t.Errorf("%s, want the loss of 2 and 3", m.Payload)
		}
		q.Acked(m)
		if s.first != 5 {
			t.Errorf("the first offset is %d at the end", s.first)
		}

		s.first = 1 // but there is nothing
		s.records = s.records[:0]
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := q.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next returned %v", err)
		}
	})
}

// A topic of which nothing is left in the buffer does not keep others held: the
// buffer dropped it while there was no connection, before the new one had come by.
func TestAHeldTopicThatIsGoneFreesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i, source := range []string{"engine", "line1"} {
			s.put(1, source, 1, uint64(i), testFrame(1))
		}
		q := testQueue(t, s, "ff/{source}", 1, 1<<16)
		for range 2 {
			m, _ := next(t, q)
			q.Refused(m, uplink.Verdict{Reason: "not authorised"})
		}
		q.holds["ff/line1"].retry = time.Now() // it is tried before engine
		s.gone[1] = true
		q.Rewind()
		ctx, cancel := context.WithTimeout(t.Context(), holdMost)
		defer cancel()
		m, err := q.Next(ctx)
		if err != nil || m.Topic != "ff/engine" {
			t.Fatalf("%q, %v, want what is left", m.Topic, err)
		}
		q.Acked(m)
		if s.first != 2 {
			t.Errorf("first %d, want 2", s.first)
		}
	})
}
