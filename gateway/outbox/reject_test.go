package outbox

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/gateway/ledger"
	"fieldferry/uplink"
)

// account adds a message to a consumer's account.
func account(t *testing.T, l *ledger.Ledger, p *ledger.Message) {
	t.Helper()
	if _, err := l.Add(p); err != nil {
		t.Error(err)
	}
}

func lossesOf(t *testing.T, p *ledger.Message) (seqs []uint64) {
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

var never = uplink.Verdict{Reason: "too large", Final: true}

func TestARefusedRecordIsToldAsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(3) {
			s.put(1, "engine", i+1, i, testFrame(1))
		}
		var told []Rejection
		q := testQueue(t, s, "ff/{source}", 1, 1<<16)
		q.cfg.Rejected = func(r Rejection) { told = append(told, r) }
		var ledger ledger.Ledger
		first, p := next(t, q)
		account(t, &ledger, p)
		second, _ := next(t, q)
		q.Acked(first)
		q.Refused(second, never)
		if s.first != 1 {
			t.Errorf("the buffer may let go of %d, want 1: the loss is not delivered", s.first)
		}
		if _, p = next(t, q); len(lossesOf(t, p)) != 1 {
			t.Errorf("behind the refused record comes %s", p.Records)
		}
		q.Rewind() // the connection is lost before the loss is acknowledged
		if len(told) > 0 {
			t.Error("told of as lost before the loss was acknowledged")
		}
		time.Sleep(dearMost)
		for s.first < 3 {
			m, p := next(t, q)
			account(t, &ledger, p)
			q.Acked(m)
		}
		q.choose(time.Now())
		if len(q.rejected) != 0 || len(q.holds) != 0 {
			t.Errorf("%d offsets and %d holds remembered", len(q.rejected), len(q.holds))
		}
		if gaps := ledger.Gaps(true); len(gaps) != 0 || ledger.Lost != 1 {
			t.Errorf("the consumer misses %v and knows of %d lost, want none and 1", gaps, ledger.Lost)
		}
		if len(told) != 1 || told[0].Seq != 2 || told[0].Count != 1 || told[0].Reason != never.Reason {
			t.Errorf("alarms %+v", told)
		}
	})
}

// Of a message with many records only the one to blame is given up.
func TestARefusedMessageIsTakenApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(100) {
			s.put(1, "engine", i+1, i, testFrame(1))
		}
		q := testQueue(t, s, "ff/{source}", 100, 1<<16)
		var ledger ledger.Ledger
		for s.first < 100 {
			m, p := next(t, q)
			if p.Seq <= 57 && p.Seq+uint64(p.Count) > 57 && len(lossesOf(t, p)) == 0 {
				q.Refused(m, never)
				continue
			}
			account(t, &ledger, p)
			q.Acked(m)
		}
		if gaps := ledger.Gaps(true); len(gaps) != 0 || ledger.Lost != 1 || ledger.Records != 99 {
			t.Errorf("the consumer misses %v and has %d records and %d lost, want none, 99 and 1", gaps, ledger.Records, ledger.Lost)
		}
	})
}

// A broker that does not take the loss either refuses more than the record:
// nothing is given up, and everything comes once it takes it.
func TestARefusedLossIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		for i := range uint64(20) {
			s.put(1, "engine", i+1, i, testFrame(1))
		}
		var denied, allowed int
		q := testQueue(t, s, "ff/{source}", 10, 1<<16)
		q.cfg.Rejected = func(r Rejection) { t.Errorf("given up: %+v", r) }
		q.cfg.Denied = func(topic, _ string) { denied++ }
		q.cfg.Allowed = func(topic string) { allowed++ }
		began, tries := time.Now(), 0
		for ; time.Since(began) < time.Hour; tries++ {
			m, _ := next(t, q)
			q.Refused(m, never)
		}
		if tries > 100 || denied != 1 || allowed != 0 || s.first != 0 {
			t.Errorf("%d tries in an hour, %d alarms, %d cleared, the buffer let go of %d", tries, denied, allowed, s.first)
		}
		var ledger ledger.Ledger
		for s.first < 20 {
			m, p := next(t, q)
			account(t, &ledger, p)
			q.Acked(m)
		}
		if gaps := ledger.Gaps(true); len(gaps) != 0 || ledger.Records < 19 || allowed != 1 {
			t.Errorf("the consumer misses %v and has %d records, %d alarms cleared", gaps, ledger.Records, allowed)
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
