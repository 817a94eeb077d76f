package gateway

import (
	"encoding/json"
	"testing"
	"testing/synctest"

	"fieldferry/gateway/payload"
)

// account adds a message to a consumer's account.
func account(t *testing.T, l *payload.Ledger, p *payload.Message) {
	t.Helper()
	if _, err := l.Add(p); err != nil {
		t.Error(err)
	}
}

func lossesOf(t *testing.T, p *payload.Message) (seqs []uint64) {
	t.Helper()
	for _, raw := range p.Records {
		var r struct {
			Type, Reason string
			From, To     uint64
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		if r.Type == "loss" && r.Reason == reasonRejected {
			for s := r.From; s <= r.To; s++ {
				seqs = append(seqs, s)
			}
		}
	}
	return seqs
}

func TestARefusedMessageIsToldAsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(30) {
			s.put(1, "engine", i+1, i, testFrame(1))
		}
		var told []rejection
		q := testQueue(t, s, "ff/{source}", 10, 1<<16)
		q.cfg.rejected = func(r rejection) { told = append(told, r) }
		var ledger payload.Ledger
		first, p := next(t, q)
		account(t, &ledger, p)
		second, _ := next(t, q)
		q.Acked(first)
		q.Refused(second, "too_large")
		if s.first != 10 {
			t.Errorf("the buffer may let go of %d, want 10: the loss is not delivered", s.first)
		}
		loss, p := next(t, q)
		account(t, &ledger, p)
		if got := lossesOf(t, p); len(got) != 10 || got[0] != 11 || got[9] != 20 {
			t.Errorf("told as lost: %v, want 11 to 20", got)
		}
		q.Rewind() // the connection is lost before the loss is acknowledged
		again, p := next(t, q)
		if got := lossesOf(t, p); len(got) != 10 || got[0] != 11 {
			t.Errorf("told as lost after a new connection: %v, want 11 to 20", got)
		}
		q.Acked(loss) // of the old connection: means nothing
		q.Acked(again)
		third, p := next(t, q)
		account(t, &ledger, p)
		q.Acked(third)
		if s.first != 30 || len(q.rejected) != 0 {
			t.Errorf("the buffer may let go of %d, want 30; %d offsets remembered", s.first, len(q.rejected))
		}
		if gaps := ledger.Gaps(true); len(gaps) != 0 || ledger.Lost != 10 {
			t.Errorf("the consumer misses %v and knows of %d lost, want none and 10", gaps, ledger.Lost)
		}
		if len(told) != 1 || told[0].seq != 11 || told[0].count != 10 || told[0].reason != "too_large" || told[0].untold {
			t.Errorf("alarms %+v", told)
		}
	})
}

// A topic that is invalid is so for the loss record too: then there is only
// the alarm, and the queue goes on.
func TestARefusedLossIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(20) {
			s.put(1, "engine", i+1, i, testFrame(1))
		}
		var told []rejection
		q := testQueue(t, s, "ff/{source}", 10, 1<<16)
		q.cfg.rejected = func(r rejection) { told = append(told, r) }
		first, _ := next(t, q)
		q.Refused(first, "topic name invalid")
		loss, p := next(t, q)
		if len(lossesOf(t, p)) != 10 {
			t.Fatalf("want the loss first, got %s", p.Records)
		}
		q.Refused(loss, "topic name invalid")
		second, p := next(t, q)
		if p.Seq != 11 || len(lossesOf(t, p)) != 0 {
			t.Errorf("after the loss comes seq %d", p.Seq)
		}
		q.Acked(second)
		if s.first != 20 {
			t.Errorf("the buffer may let go of %d, want 20", s.first)
		}
		if len(told) != 2 || told[0].untold || !told[1].untold {
			t.Errorf("alarms %+v", told)
		}
	})
}

func TestTheLimitOfABrokerIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(50) {
			s.put(1, "engine", i+1, i, testFrame(1))
		}
		q := testQueue(t, s, "ff/{source}", 100, 1<<16)
		q.Limit(700)
		for seq := uint64(1); seq <= 50; {
			m, p := next(t, q)
			if len(m.Topic)+len(m.Payload) > 700 || p.Seq != seq || p.Count < 2 {
				t.Fatalf("seq %d: %d records, %d bytes", p.Seq, p.Count, len(m.Topic)+len(m.Payload))
			}
			seq += uint64(p.Count)
			q.Acked(m)
		}
		q.Rewind()
		q.Limit(10) // no record is so small: one a message
		s.put(1, "engine", 51, 50, testFrame(1))
		if _, p := next(t, q); p.Count != 1 {
			t.Errorf("%d records in a message that cannot be small enough", p.Count)
		}
	})
}
