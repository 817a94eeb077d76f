package buffer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// crowd fills a small buffer in many sessions with many sources each, so that
// nearly all of it is evicted, and returns how many records each source has.
func crowd(t *testing.T, cfg Config, sessions, sources int) map[runKey]uint64 {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	want := map[runKey]uint64{}
	for range sessions {
		b := mustOpen(t, cfg)
		for i := range 6 * sources {
			name := fmt.Sprintf("source %d", i%sources)
			data := make([]byte, 200)
			for k := range data {
				data[k] = byte(rng.Uint32())
			}
			b.Source(name).Append(int64(i), data)
			want[runKey{b.Stats().Session, name}]++
			if i%sources == 0 {
				if err := Commit(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		mustClose(t, b)
		if size := sizeOf(t, cfg.Dir); size > cfg.MaxSize {
			t.Fatalf("%d bytes on disk, the limit is %d", size, cfg.MaxSize)
		}
	}
	return want
}

// However many losses there are, none is forgotten: neither when the state
// file has to grow for them, nor when they have to stay in their segments
// because they would take too much memory.
func TestEveryLossIsToldHoweverManyThereAre(t *testing.T) {
	for name, c := range map[string]struct {
		size, memory, quota int64
		crowded             bool
	}{
		"in the state file":            {1 << 20, DefaultMaxMemory, 0, true},
		"in their segments":            {4 << 20, MinMaxMemory, 0, true},
		"in their segments, unquota'd": {1 << 20, MinMaxMemory, -1, true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), SyncInterval: time.Hour, MaxSize: c.size, SegmentSize: 64 << 10, MaxMemory: c.memory, Quota: c.quota}
			sessions := 40
			if testing.Short() {
				sessions = 15
			}
			want := crowd(t, cfg, sessions, 100)
			for range 2 { // what is found is still so after another session
				b := mustOpen(t, cfg)
				got := count(t, b)
				for k, n := range want {
					got.adds(t, k.session, k.source, n)
				}
				b.mu.Lock()
				losses, crowded := len(b.losses), b.crowded()
				b.mu.Unlock()
				if !testing.Short() && (losses <= 100 || crowded != c.crowded) {
					t.Errorf("%d losses in the table, crowded: %v", losses, crowded)
				}
				mustClose(t, b)
				if r, err := Verify(cfg.Dir, nil); err != nil || len(r.Damage) > 0 {
					t.Errorf("%v, %v", err, r.Damage)
				}
			}
			b := mustOpen(t, cfg)
			b.Ack(0, ^uint64(0))
			if n := b.Stats().Pending; n != 0 {
				t.Errorf("%d are left", n)
			}
			mustClose(t, b)
		})
	}
}

// An acknowledgement of a record that was handed out before it was lost does not
// take the loss of its neighbours with it; one of the loss itself does.
func TestAcknowledgedRecordLeavesTheLossOfOthers(t *testing.T) {
	l := losses{{offset: 5, seq: 1, n: 3, taken: 1}, {offset: 9, seq: 8, n: 1, taken: 1}, {offset: 12, seq: 20, n: 4}, {offset: 20, seq: 30, n: 2}}
	kept := l.acked(0, 15)
	if len(kept) != 1 || kept[0] != 5 || len(l) != 2 || l[0].n != 2 || l[0].seq != 1 || l[1].offset != 20 {
		t.Errorf("kept %v of %+v", kept, l)
	}
	if kept = l.acked(0, 15); len(kept) != 1 || l[0].n != 2 {
		t.Errorf("acknowledged once more: kept %v of %+v", kept, l)
	}
	l[0].taken, l[0].less = 0, false // it was handed out as a loss
	if kept = l.acked(0, 15); len(kept) != 0 || len(l) != 1 {
		t.Errorf("afterwards kept %v of %+v", kept, l)
	}
}

// A loss that was read keeps its ends, whatever is lost behind it, until it is
// acknowledged as a whole. In its place records were read, whose message did not
// arrive.
func TestLossThatWasReadKeepsItsEnds(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxAge = time.Minute
	synctest.Test(t, func(t *testing.T) {
		b := mustOpen(t, cfg)
		defer mustClose(t, b)
		append4 := func() {
			for range 4 {
				b.Source("engine").Append(1, []byte("x"))
			}
			if err := Commit(b); err != nil {
				t.Fatal(err)
			}
		}
		append4()
		readAll(t, b, 0)
		time.Sleep(10 * time.Minute) // they are evicted
		var next uint64
		for _, want := range []string{"1-4", "1-4 5-8", "1-4 5-8 9-12"} {
			var all []Record
			all, next = readAll(t, b, b.First())
			got := ""
			for _, r := range all {
				b.Told(&r)
				got += fmt.Sprintf(" %d-%d", r.Seq, r.Seq+r.Lost-1)
			}
			if got != " "+want {
				t.Errorf("read%s, want %s", got, want)
			}
			b.Return(b.First(), next) // their message may have arrived
			append4()
			time.Sleep(10 * time.Minute)
		}
		all, _ := readAll(t, b, b.First())
		for _, r := range all[:3] {
			b.Delivered(&r)
		}
		if all, _ := readAll(t, b, 0); len(all) != 1 || all[0].Seq != 13 || all[0].Lost != 4 {
			t.Errorf("behind what was acknowledged is %+v, want the loss of 13 to 16", all)
		}
	})
}

// Records were on their way when they were evicted, and only the last one may
// have arrived. Its acknowledgement is not one of their loss, and one of the
// loss is of all of it, whichever comes first.
func TestLossInThePlaceOfARecordOnItsWay(t *testing.T) {
	for name, c := range map[string]struct{ do, left string }{
		"record":                   {"record", "1-1"},
		"loss told":                {"read told", "1-2"},
		"record, then loss told":   {"record read told", "1-1"},
		"loss told, then record":   {"read told record", "1-2"},
		"told, record, delivered":  {"read told record delivered", ""},
		"told, delivered, record":  {"read told delivered record", ""},
		"told, record, read again": {"read told record read told record", "1-2"},
		"told and given back":      {"read told back record", "1-2"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.MaxAge = time.Minute
			synctest.Test(t, func(t *testing.T) {
				b := mustOpen(t, cfg)
				defer mustClose(t, b)
				b.Source("engine").Append(1, []byte("x"))
				at := b.First() + 1
				b.Source("engine").Append(1, []byte("x"))
				readAll(t, b, 0)
				if err := Commit(b); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				var all []Record
				for do := range strings.FieldsSeq(c.do) {
					switch do {
					case "record":
						b.Ack(at, at+1)
					case "read":
						all, _ = readAll(t, b, 0)
					case "told":
						b.Told(&all[0])
					case "back":
						b.Return(at, at+1)
					case "delivered":
						b.Delivered(&all[0])
					}
				}
				left := ""
				if all, _ = readAll(t, b, 0); len(all) > 0 {
					left = fmt.Sprintf("%d-%d", all[0].Seq, all[0].Seq+all[0].Lost-1)
				}
				if left != c.left || len(all) > 1 {
					t.Errorf("left is %q, want %q", left, c.left)
				}
			})
		})
	}
}
