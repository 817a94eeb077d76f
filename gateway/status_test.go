package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"fieldferry/bus"
	"fieldferry/gateway/live"
	"fieldferry/gateway/outbox"
)

// The status message names the worst alarms, as many as fit, and counts all.
func TestStatusIsBounded(t *testing.T) {
	withBench(t, "", func(b *bench) {
		for i := range 200 {
			b.self.Event(bus.Event{Time: time.Now(), Code: bus.SlaveOffline, Subject: fmt.Sprint(i), State: bus.Raised})
		}
		b.pass(time.Minute)
		for limit, want := range map[int64]int{64 << 10: maxStatusAlarms, 4 << 10: 25, 100: 0} {
			b.cfg.Uplink.Batch.MaxBytes = limit
			var st status
			body := b.online(0).Payload
			if err := json.Unmarshal(body, &st); err != nil || len(st.Alarms) != want || st.AlarmsTotal != 200 || want > 0 && int64(len(body)) > limit {
				t.Errorf("%d of %d alarms in %d bytes with a limit of %d", len(st.Alarms), st.AlarmsTotal, len(body), limit)
			}
		}
	})
}

// The status says why an alarm was raised, at most so long; where that leaves no
// room for the alarms themselves, these go first.
func TestStatusHasTheDetail(t *testing.T) {
	withBench(t, "", func(b *bench) {
		for subject, text := range map[string]string{"short": "timeout", "long": strings.Repeat("x", maxStatusDetail)} {
			b.self.Event(bus.Event{Time: time.Now(), Code: bus.SlaveOffline, Subject: subject, State: bus.Raised, Detail: map[string]any{"error": text}})
		}
		b.pass(time.Minute)
		details := func() (n int, short any) {
			var st status
			if err := json.Unmarshal(b.online(0).Payload, &st); err != nil || len(st.Alarms) != 2 {
				t.Fatalf("%+v, %v", st, err)
			}
			for _, a := range st.Alarms {
				if a.Detail != nil {
					n++
				}
				if a.Subject == "short" {
					short = a.Detail["error"]
				}
			}
			return n, short
		}
		if n, short := details(); n != 1 || short != "timeout" {
			t.Errorf("%d details, %v", n, short)
		}
		b.cfg.Uplink.Batch.MaxBytes = int64(len(b.online(0).Payload)) - 1
		if n, _ := details(); n != 0 {
			t.Errorf("%d details where there is no room", n)
		}
		if live := b.shown(b.alarms.Raised()); len(live) != 2 || live[0].Detail["error"] == nil {
			t.Errorf("who looks sees %+v", live)
		}
	})
}

// What the broker will never take is lost as well: it is counted for its source,
// in all, and by reason, and the state says it.
func TestRejectedRecordsAreCounted(t *testing.T) {
	withBench(t, "", func(b *bench) {
		name := b.sources[0].feed.name
		var o observer
		look := func() (bySource, all, rejected uint64) {
			s := o.picture(b.Gateway, time.Now())
			for _, src := range s.Sources {
				bySource += src.Lost
			}
			return bySource, s.Buffer.Lost, s.Buffer.LostBy["rejected"]
		}
		if s, all, rejected := look(); s+all+rejected != 0 {
			t.Errorf("at first %d of sources, %d in all, %d rejected", s, all, rejected)
		}
		b.rejected(outbox.Rejection{Source: name, Count: 3, Reason: "too_large"})
		b.rejected(outbox.Rejection{Source: name, Count: 4, Reason: "too_large"})
		if s, all, rejected := look(); s != 7 || all != 7 || rejected != 7 {
			t.Errorf("%d of sources, %d in all, %d rejected; want 7 of each", s, all, rejected)
		}
	})
}

// Records that hold an error or an event alone are not taken for a bus that is read.
func TestWhenABusWasReadLast(t *testing.T) {
	withBench(t, "", func(b *bench) {
		var (
			o     observer
			reads uint64
			f     = b.sources[0].feed
			start = time.Now()
		)
		for i, c := range []struct {
			record, read bool
			age, readAge float64
		}{
			{false, false, -1, -1},
			{true, false, 0, -1},
			{true, true, 0, 0},
			{false, true, 1, 0}, // held back: it did not change
			{true, false, 0, 1},
			{true, false, 0, 2},
			{false, false, 1, 3},
			{true, true, 0, 0},
		} {
			if c.record {
				f.Append(time.Now().UnixNano(), []byte{0})
			}
			if c.read {
				reads += 5
			}
			s := o.source(f, "modbus", func(s *live.Source) { s.Reads = reads }, start.Add(time.Duration(i)*time.Second))
			if s.Age != c.age || s.ReadAge != c.readAge {
				t.Errorf("look %d: the last record is %v s old, the last value %v s, want %v and %v", i, s.Age, s.ReadAge, c.age, c.readAge)
			}
		}
	})
}
