package buffer

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// A source that says little keeps what it said, however long a chatty one
// drives records out, and every number is still there or accounted for.
func TestQuietSourceKeepsItsShare(t *testing.T) {
	for _, c := range []struct {
		name  string
		quota int64
		kept  bool
	}{{"by default", 0, true}, {"as configured", 100 << 10, true}, {"without a quota", -1, false}} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.MaxSize, cfg.SegmentSize, cfg.Quota = 1<<20, 64<<10, c.quota
			synctest.Test(t, func(t *testing.T) {
				b := mustOpen(t, cfg)
				session := b.Stats().Session
				rng := rand.New(rand.NewPCG(1, 1))
				data := make([]byte, 200)
				n, quiet := uint64(0), uint64(0)
				var batch Batch
				for range 120 {
					for i := range 200 {
						for k := range data {
							data[k] = byte(rng.Uint32())
						}
						b.Source("chatty").Append(int64(n), data)
						if n++; i == 100 {
							b.Source("quiet").Append(int64(quiet), data[:20])
							quiet++
						}
					}
					if n == 400 { // something of both is in somebody's hands
						if _, err := b.Read(0, &batch, 150, 1<<20); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(2 * time.Second)
					if size := sizeOf(t, cfg.Dir); size > cfg.MaxSize {
						t.Fatalf("%d bytes on disk, the limit is %d", size, cfg.MaxSize)
					}
				}
				check := func() {
					t.Helper()
					got := count(t, b)
					got.adds(t, session, "chatty", n)
					got.adds(t, session, "quiet", quiet)
					all, _ := readAll(t, b, 0)
					there := uint64(0)
					for _, r := range all {
						if r.Source == "quiet" && r.Lost == 0 {
							there++
						}
					}
					if (there == quiet) != c.kept {
						t.Errorf("%d of %d records of the quiet source are there", there, quiet)
					}
					if uint64(len(all)) != b.Stats().Pending {
						t.Errorf("%d records, %d are pending", len(all), b.Stats().Pending)
					}
				}
				check()
				all, _ := readAll(t, b, 0)
				gone := map[string]uint64{}
				for _, r := range all {
					gone[r.Source] += r.Lost
				}
				for _, name := range []string{"chatty", "quiet"} {
					if got := b.Source(name).Lost(); got != gone[name] {
						t.Errorf("%d records of %s are counted as lost, %d are in the stream", got, name, gone[name])
					}
				}
				if st := b.Stats(); st.Lost != gone["chatty"]+gone["quiet"] {
					t.Errorf("%d lost are counted, %v are in the stream", st.Lost, gone)
				}
				if st := b.Stats(); st.LostBy[Evicted] < n/2 || st.Segments > 40 {
					t.Errorf("%+v", st)
				}
				mustClose(t, b)
				if r, err := Verify(cfg.Dir, nil); err != nil || len(r.Damage) > 0 {
					t.Errorf("%v, %v", err, r.Damage)
				}
				b = mustOpen(t, cfg)
				check()
				b.Ack(0, ^uint64(0))
				if st := b.Stats(); st.Pending != 0 {
					t.Errorf("%d pending", st.Pending)
				}
				mustClose(t, b)
			})
		})
	}
}

func sizeOf(t *testing.T, dir string) (n int64) {
	t.Helper()
	r, err := Inspect(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.Bytes
}

// What was evicted between two segments that were joined later is told, also
// when one chunk has what is left of both.
func TestLossBetweenJoinedSegmentsIsTold(t *testing.T) {
	const n = 2000
	cfg := damageConfig(t)
	session, _ := filled(t, cfg, n)
	b := mustOpen(t, cfg)
	b.disk.Lock()
	err := b.evict(b.segs[1])
	if err == nil {
		err = b.joinSegments([]*segment{b.segs[0], b.segs[1]})
	}
	if err == nil { // which packs the records from both into one chunk
		err = b.thin(b.segs[0], map[string]bool{"line1": true})
	}
	b.disk.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c := count(t, b)
		c.adds(t, session, "engine", n)
		c.adds(t, session, "line1", n)
		if c.lost[Evicted] == 0 {
			t.Error("nothing is said to be lost")
		}
		mustClose(t, b)
		b = mustOpen(t, cfg)
	}
	mustClose(t, b)
}

// What is acknowledged of records in flight takes only those out of the account
// of a thinned segment: the message of the others may not arrive.
func TestThinnedRecordsInFlightAreTold(t *testing.T) {
	const n = 2000
	cfg := damageConfig(t)
	session, _ := filled(t, cfg, n)
	b := mustOpen(t, cfg)
	defer mustClose(t, b)
	var batch Batch
	if _, err := b.Read(0, &batch, 50, 1<<20); err != nil {
		t.Fatal(err)
	}
	b.disk.Lock()
	err := b.thin(b.segs[0], map[string]bool{"line1": true})
	b.disk.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	acked := uint64(0)
	for i := len(batch.Records) - 1; acked == 0; i-- {
		if r := &batch.Records[i]; r.Source == "engine" {
			b.Ack(r.Offset, r.Offset+1)
			acked = r.Seq
		}
	}
	seen := count(t, b).seen[runKey{session, "engine"}]
	for seq := uint64(1); seq <= n; seq++ {
		if seen[seq] == 0 && seq != acked {
			t.Fatalf("number %d of engine is gone, %d was acknowledged", seq, acked)
		}
	}
}
