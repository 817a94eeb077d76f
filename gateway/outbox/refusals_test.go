package outbox

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/uplink"
)

// That the broker takes nothing is said only while it takes nothing of any source,
// and of which sources records wait.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		q := testQueue(t, s, "ff/{source}", 1, 1<<16)
		q.cfg.Denied, q.cfg.Allowed = func(string, string) {}, func(string) {}
		denied := map[string]bool{}
		seq := map[string]uint64{}
		offset := uint64(0)
		// answer puts a record of each source, and answers whatever comes.
		answer := func(sources ...string) {
			for _, name := range sources {
				seq[name]++
				s.put(1, name, seq[name], offset, testFrame(1))
				offset++
			}
			for now := time.Now(); ; {
				b := q.choose(now)
				if b == nil {
					return
				}
				b.lane.pop()
				if m := q.message(b, now); denied[m.Topic] {
					q.Refused(m, uplink.Verdict{Reason: "not authorised"})
				} else {
					q.Acked(m)
				}
			}
		}
		want := func(all bool, sources ...string) {
			t.Helper()
			r := q.Refusals()
			slices.Sort(r.Sources)
			if r.All != all || !slices.Equal(r.Sources, sources) {
				t.Errorf("%+v, want %v and %q", r, all, sources)
			}
		}
		q.place(time.Now())
		want(false)
		denied["ff/line1"] = true
		answer("engine", "line1")
		want(false, "line1")
		time.Sleep(10 * time.Minute)
		answer("line1") // it is tried again; engine has nothing to say
		want(false, "line1")
		denied["ff/engine"] = true
		answer("engine")
		want(true, "engine", "line1")
		q.Rewind()
		want(true, "engine", "line1")
		q.place(time.Now())
		delete(denied, "ff/engine")
		for range 3 { // each try is for one of them
			time.Sleep(10 * time.Minute)
			answer("engine", "line1")
		}
		want(false, "line1")
		delete(denied, "ff/line1")
		for range 3 {
			time.Sleep(10 * time.Minute)
			answer("line1")
		}
		want(false)
	})
}

// A source whose other topics are taken is not one of which nothing is.
func TestRefusalsOfOneTopicOfASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		q := testQueue(t, s, "ff/{source}/{id}", 1, 1<<16)
		for i := range uint64(20) {
			s.put(1, "engine", i+1, i, testFrame(uint32(i%2)))
		}
		first, _ := next(t, q)
		q.Refused(first, uplink.Verdict{Reason: "not authorised"})
		if r := q.Refusals(); !r.All {
			t.Errorf("before anything was taken: %+v", r)
		}
		for range 10 {
			m, _ := next(t, q)
			if m.Topic == first.Topic {
				t.Fatal("what is held is sent")
			}
			q.Acked(m)
		}
		time.Sleep(time.Minute)
		again, _ := next(t, q)
		q.Refused(again, uplink.Verdict{Reason: "not authorised"})
		if r := q.Refusals(); again.Topic != first.Topic || r.All || !slices.Equal(r.Sources, []string{"engine"}) {
			t.Errorf("%s was refused: %+v", again.Topic, r)
		}
	})
}
