package buffer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// tally adds up what a buffer gives back, per session and source.
type tally struct {
	seen map[runKey]map[uint64]int
	lost map[Reason]uint64
}

func count(t testing.TB, b *Buffer) tally {
	t.Helper()
	c := tally{map[runKey]map[uint64]int{}, map[Reason]uint64{}}
	all, _ := readAll(t, b, 0)
	for _, r := range all {
		k := runKey{r.Session, r.Source}
		if c.seen[k] == nil {
			c.seen[k] = map[uint64]int{}
		}
		for i := range max(r.Lost, 1) {
			c.seen[k][r.Seq+i]++
		}
		if r.Lost > 0 {
			c.lost[r.Reason] += r.Lost
		}
	}
	return c
}

// adds checks that every number of a source up to n was given back once.
func (c tally) adds(t testing.TB, session uint64, source string, n uint64) {
	t.Helper()
	seen := c.seen[runKey{session, source}]
	for i := uint64(1); i <= n; i++ {
		if seen[i] != 1 {
			t.Fatalf("number %d of %s in session %d was given back %d times (lost: %v)", i, source, session, seen[i], c.lost)
		}
	}
	if uint64(len(seen)) != n {
		t.Fatalf("%d numbers of %s in session %d, want %d", len(seen), source, session, n)
	}
}

func TestStalledDiskIsRiddenOutInMemory(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxMemory = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		stalled := make(chan struct{})
		b, err := open(cfg, nil, func(stage string) error {
			if stage == "commit" {
				<-stalled
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s := b.Source("engine")
		data := make([]byte, 24)
		const n = 50_000 // more than fits
		for i := range n {
			if s.Append(int64(i), data) != uint64(i+1) {
				t.Fatal("numbering has a hole")
			}
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		st := b.Stats()
		if st.MemoryBytes > cfg.MaxMemory+cfg.MaxMemory/16 {
			t.Errorf("%d bytes of memory, the limit is %d", st.MemoryBytes, cfg.MaxMemory)
		}
		if st.LostBy[Memory] == 0 || st.LostBy[Memory] != st.Lost {
			t.Errorf("lost %v", st.LostBy)
		}
		if !strings.Contains(st.Fault, "not answered") {
			t.Errorf("the fault is %q", st.Fault)
		}
		if all, _ := readAll(t, b, 0); uint64(len(all)) != n-st.Lost {
			t.Errorf("%d records can be read while the disk stalls, want %d", len(all), n-st.Lost)
		}
		close(stalled)
		time.Sleep(10 * time.Second)
		c := count(t, b)
		c.adds(t, st.Session, "engine", n)
		if c.lost[Memory] != st.Lost {
			t.Errorf("%d lost in the stream, %d counted", c.lost[Memory], st.Lost)
		}
		if st := b.Stats(); st.Fault != "" || st.Unsynced != 0 {
			t.Errorf("after the stall: %+v", st)
		}
		mustClose(t, b)
		b = mustOpen(t, cfg)
		count(t, b).adds(t, st.Session, "engine", n)
		mustClose(t, b)
	})
}

func TestFailingDiskIsRetriedAndNothingIsLostOrTwice(t *testing.T) {
	for _, stage := range []string{"create", "commit", "committed", "state"} {
		t.Run(stage, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.SegmentSize = 64 << 10
			cfg.SyncInterval = 100 * time.Millisecond
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				broken := false
				b, err := open(cfg, nil, func(at string) error {
					mu.Lock()
					defer mu.Unlock()
					if broken && at == stage {
						return syscall.EIO
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				session := b.Stats().Session
				s := b.Source("engine")
				rng := rand.New(rand.NewPCG(1, 1))
				n := uint64(0)
				for round := range 10 {
					mu.Lock()
					broken = round%2 == 1
					mu.Unlock()
					for range 1000 {
						data := make([]byte, 32)
						for i := range data {
							data[i] = byte(rng.Uint32())
						}
						s.Append(int64(n), data)
						n++
						time.Sleep(time.Millisecond)
					}
					if round%2 == 1 && stage != "state" && b.Stats().Fault == "" {
						// A segment is only begun when the last one is full.
						if stage != "create" {
							t.Error("the fault is not told")
						}
					}
					count(t, b).adds(t, session, "engine", n)
				}
				mu.Lock()
				broken = false
				mu.Unlock()
				time.Sleep(10 * time.Second)
				if st := b.Stats(); st.Unsynced != 0 || st.Fault != "" || st.Lost != 0 {
					t.Errorf("healed: %+v", st)
				}
				mustClose(t, b)
				b = mustOpen(t, cfg)
				count(t, b).adds(t, session, "engine", n)
				mustClose(t, b)
			})
		})
	}
}

func TestDropNewestKeepsWhatIsThere(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxSize, cfg.SegmentSize = 1<<20, 64<<10
	cfg.Overflow = DropNewest
	synctest.Test(t, func(t *testing.T) {
		b := mustOpen(t, cfg)
		session := b.Stats().Session
		s := b.Source("engine")
		rng := rand.New(rand.NewPCG(1, 1))
		const n = 2000
		for i := range n {
			data := make([]byte, 1000)
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			s.Append(int64(i), data)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		st := b.Stats()
		if st.DiskBytes > cfg.MaxSize || st.LostBy[Evicted] == 0 || st.Fault == "" {
			t.Errorf("%+v", st)
		}
		all, _ := readAll(t, b, 0)
		c := count(t, b)
		c.adds(t, session, "engine", n)
		if len(all) > n || all[0].Lost > 0 || all[0].Seq != 1 {
			t.Errorf("the first record is %+v of %d", all[0], len(all))
		}
		if pieces := len(all) - (n - int(st.Lost)); c.lost[Evicted] != st.Lost || pieces > 10 {
			t.Errorf("%d lost in %d pieces of the stream, %d counted", c.lost[Evicted], pieces, st.Lost)
		}
		b.Ack(0, all[len(all)/2].Offset)
		time.Sleep(time.Second)
		s.Append(n, []byte("there is room again"))
		time.Sleep(2 * time.Second)
		if st := b.Stats(); st.Fault != "" || st.Unsynced != 0 {
			t.Errorf("after the acknowledgement: %+v", st)
		}
		mustClose(t, b)
		b = mustOpen(t, cfg)
		all, _ = readAll(t, b, 0)
		if r := all[len(all)-1]; string(r.Data) != "there is room again" || r.Seq != n+1 {
			t.Errorf("the last record is %+v", r)
		}
		mustClose(t, b)
	})
}

func TestMaxAgeEvictsByAgeNotByTheClock(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxAge = time.Hour
	synctest.Test(t, func(t *testing.T) {
		b := mustOpen(t, cfg)
		session := b.Stats().Session
		s := b.Source("engine")
		const n = 240
		for range n {
			s.Append(0, []byte("x")) // a time of 1970 must not matter
			time.Sleep(time.Minute)
		}
		st := b.Stats()
		if st.LostBy[Evicted] < n-80 || st.LostBy[Evicted] > n-59 {
			t.Errorf("%d of %d minutes evicted with an age limit of 60", st.LostBy[Evicted], n)
		}
		count(t, b).adds(t, session, "engine", n)
		mustClose(t, b)
	})
}

// What passed between two sessions is known only if the clock was right in
// both: in doubt a record stays, and a clock that jumps evicts nothing.
func TestMaxAgeAcrossARestart(t *testing.T) {
	at := func(h int) int64 { return sane + int64(time.Duration(h)*time.Hour) }
	for name, c := range map[string]struct {
		written, opened, later int64 // the time of day; 0: not known
		evictedAtOnce, evicted bool
	}{
		"old":                                   {at(0), at(2), at(2), true, true},
		"young":                                 {at(0), at(0) + 1, at(0) + 1, false, false},
		"old, as is known later":                {at(0), 0, at(2), false, true},
		"never known":                           {at(0), 0, 0, false, false},
		"written when the clock was wrong":      {0, at(500_000), at(500_000), false, false},
		"the clock goes back":                   {at(2), at(0), at(0), false, false},
		"the clock jumps by 50 years meanwhile": {at(0), at(0) + 1, at(50 * 8766), false, false},
		"1970":                                  {1, 2, int64(2 * time.Hour), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.MaxAge, cfg.SegmentSize = time.Hour, 64<<10
			var now atomic.Int64
			now.Store(c.written)
			cfg.Clock = now.Load
			synctest.Test(t, func(t *testing.T) {
				b := mustOpen(t, cfg)
				junk := make([]byte, 50_000) // so that the segment is not taken up again
				rand.NewChaCha8([32]byte{}).Read(junk)
				for ; len(junk) > 0; junk = junk[1000:] {
					b.Source("engine").Append(1, junk[:1000])
				}
				mustClose(t, b)

				now.Store(c.opened)
				b = mustOpen(t, cfg)
				step := func(want bool, what string) {
					t.Helper()
					b.Source("other").Append(1, []byte("y")) // gives the committer something to do
					time.Sleep(time.Minute)
					if got := b.Stats().LostBy[Evicted] > 0; got != want {
						t.Errorf("%s: evicted %v", what, got)
					}
				}
				step(c.evictedAtOnce, "at the start")
				now.Store(c.later)
				step(c.evicted, "later")
				time.Sleep(time.Hour)
				step(true, "after an hour of the session")
				mustClose(t, b)
			})
		})
	}
}

func TestOversizedRecordIsAccountedFor(t *testing.T) {
	b := mustOpen(t, testConfig(t))
	defer mustClose(t, b)
	s := b.Source("engine")
	s.Append(1, make([]byte, MaxRecord+1))
	s.Append(2, make([]byte, MaxRecord))
	all, _ := readAll(t, b, 0)
	if len(all) != 2 || all[0].Lost != 1 || all[0].Reason != Memory || len(all[1].Data) != MaxRecord {
		t.Errorf("got %d records", len(all))
	}
}

func TestFullDiskMakesRoomAndHeals(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("tmpfs cannot be mounted: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	cfg := Config{Dir: filepath.Join(dir, "b"), SyncInterval: 50 * time.Millisecond, MaxSize: 64 << 20, SegmentSize: 256 << 10}
	synctest.Test(t, func(t *testing.T) {
		b := mustOpen(t, cfg)
		session := b.Stats().Session
		s := b.Source("engine")
		rng := rand.New(rand.NewPCG(1, 1))
		const n = 6000
		for i := range n {
			data := make([]byte, 1000)
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			s.Append(int64(i), data)
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		st := b.Stats()
		if st.Unsynced != 0 || st.Fault != "" || st.LostBy[Evicted] == 0 {
			t.Errorf("%+v", st)
		}
		count(t, b).adds(t, session, "engine", n)
		mustClose(t, b)
		b = mustOpen(t, cfg)
		count(t, b).adds(t, session, "engine", n)
		mustClose(t, b)
	})
}

func TestConfigIsRefused(t *testing.T) {
	for name, c := range map[string]Config{
		"no directory":      {},
		"small":             {MaxSize: 1000},
		"negative":          {MaxSize: -1},
		"little memory":     {MaxMemory: 1},
		"negative age":      {MaxAge: -1},
		"big segment":       {SegmentSize: 1 << 30},
		"negative interval": {SyncInterval: -1},
		"useless quota":     {Quota: 1 << 20, Overflow: DropNewest},
	} {
		if name != "no directory" {
			c.Dir = t.TempDir()
		}
		if b, err := Open(c, nil); err == nil {
			t.Errorf("%s: accepted", name)
			_ = b.Close()
		}
	}
}

// While everything is acknowledged at once nothing has to be stored. A disk that
// fails then is known before an outage needs it.
func TestFailedDiskIsNoticedWhileNothingIsStored(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("records %v", running), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var broken atomic.Bool
				b, err := open(testConfig(t), nil, func(string) error {
					if broken.Load() {
						return syscall.EROFS
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				s := b.Source("engine")
				spend := func(seconds int) {
					for range seconds {
						if running {
							s.Append(1, []byte("value"))
							b.Ack(b.First(), b.First()+1)
						}
						time.Sleep(time.Second)
					}
				}
				spend(120)
				if st := b.Stats(); st.Fault != "" {
					t.Errorf("before: %s", st.Fault)
				}
				broken.Store(true)
				spend(70)
				if b.Stats().Fault == "" {
					t.Error("the disk has failed for 70 s, and nothing says so")
				}
				broken.Store(false)
				spend(10)
				if st := b.Stats(); st.Fault != "" || st.Lost != 0 {
					t.Errorf("healed: %+v", st)
				}
				mustClose(t, b)
			})
		})
	}
}
