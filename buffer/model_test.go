package buffer

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// history is what a random history of one buffer has to keep to. All of it is
// under mu: two readers and a writer are at work.
type history struct {
	t    *testing.T
	cfg  Config
	seed uint64

	mu      sync.Mutex
	b       *Buffer
	last    map[runKey]uint64 // the last number of each source
	told    map[runKey]*spans // delivered and acknowledged, or told as lost
	lost    map[Reason]uint64 // numbers in loss records that were acknowledged
	weather atomic.Uint32     // of 1000 disk operations so many fail
	dice    *rand.Rand        // of the disk
	faults  int
}

// TestRandomHistories has two readers, a writer and a failing disk work on a
// small buffer, with every policy, over many openings. In the end every number
// of every source has been delivered or told as lost; what was
// acknowledged is not delivered again; the limits hold. HISTORIES says how many
// there are.
func TestRandomHistories(t *testing.T) {
	seeds := uint64(2)
	if n, err := strconv.ParseUint(os.Getenv("HISTORIES"), 10, 32); err == nil {
		seeds = n
	} else if testing.Short() {
		seeds = 1
	}
	begin := uint64(1)
	if n, err := strconv.ParseUint(os.Getenv("HISTORIES_FROM"), 10, 32); err == nil {
		begin = n
	}
	for seed := begin; seed < begin+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) { runHistory(t, dir, seed) })
		})
	}
}

func runHistory(t *testing.T, dir string, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	h := &history{t: t, seed: seed, last: map[runKey]uint64{}, told: map[runKey]*spans{}, lost: map[Reason]uint64{},
		dice: rand.New(rand.NewPCG(seed, 8))}
	h.cfg = Config{Dir: dir, MaxSize: 1 << 20, SegmentSize: 64 << 10, MaxMemory: MinMaxMemory << rng.IntN(3),
		SyncInterval: []time.Duration{0, time.Millisecond, time.Second}[rng.IntN(3)],
		Overflow:     Policy(rng.IntN(2)), MaxAge: []time.Duration{0, time.Minute}[rng.IntN(2)]}
	if h.cfg.Overflow == DropOldest {
		h.cfg.Quota = []int64{-1, 0, 100 << 10}[rng.IntN(3)]
	}
	session := uint64(0)
	for range 3 + rng.IntN(3) {
		b, err := open(h.cfg, nil, h.disk)
		if err != nil {
			t.Fatal(err)
		}
		h.b = b
		h.live(rng, &session)
		h.weather.Store(0)
		time.Sleep(time.Minute) // the disk is well again
		h.limits()
		mustClose(t, b)
		if r, err := Verify(dir, nil); err != nil || len(r.Damage) > 0 {
			t.Fatalf("%+v: %v, %v", h.cfg, err, r.Damage)
		}
	}
	h.b = mustOpen(t, h.cfg)
	h.read(rng, func() bool { return h.b.Stats().Pending == 0 })
	for k, last := range h.last {
		if p := h.told[k]; last > 0 && (p == nil || !p.covers(1, last+1)) {
			t.Fatalf("%+v: of %d numbers of %v only %+v were delivered or told as lost", h.cfg, last, k, p)
		}
	}
	mustClose(t, h.b)
	t.Logf("%+v: %d sources and sessions, %d faults, lost %v", h.cfg, len(h.last), h.faults, h.lost)
}

// disk fails as the weather is.
func (h *history) disk(stage string) error {
	h.mu.Lock()
	d, n := h.dice.Uint32N(1000), h.weather.Load()
	if d < n {
		h.faults++
	}
	h.mu.Unlock()
	switch {
	case d >= n:
		return nil
	case d%20 == 0: // it stalls; without a lock, which would stop the time of the test
		time.Sleep(3 * time.Second)
		return nil
	case d%2 == 0:
		return &os.PathError{Op: stage, Path: h.cfg.Dir, Err: syscall.ENOSPC}
	}
	return &os.PathError{Op: stage, Path: h.cfg.Dir, Err: syscall.EIO}
}

// live is one session: a writer and two readers.
func (h *history) live(rng *rand.Rand, session *uint64) {
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		own := rand.New(rand.NewPCG(rng.Uint64(), 9))
		readers.Go(func() { h.read(own, stop.Load) })
	}
	appended := map[string]uint64{}
	for range 300 {
		if rng.IntN(20) == 0 {
			h.weather.Store([]uint32{0, 0, 100, 900}[rng.IntN(4)])
		}
		for range rng.IntN(60) {
			name := fmt.Sprint("source ", min(rng.IntN(8), rng.IntN(8)))
			if rng.IntN(50) == 0 {
				n := 1 + rng.Uint64N(20)
				h.b.Source(name).Lose(1, n, RxOverflow)
				appended[name] += n
				continue
			}
			appended[name]++
			seq := h.b.Source(name).Append(1, content(name, appended[name]))
			if seq != appended[name] {
				h.t.Errorf("number %d of %s, want %d", seq, name, appended[name])
			}
		}
		time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
		h.limits()
	}
	stop.Store(true)
	h.weather.Store(0)
	time.Sleep(time.Minute)
	readers.Wait()
	st := h.b.Stats()
	if st.Session <= *session {
		h.t.Errorf("session %d follows session %d", st.Session, *session)
	}
	*session = st.Session
	for name, n := range appended {
		h.last[runKey{st.Session, name}] = n
	}
}

// content can be told from the number; it does not compress.
func content(name string, seq uint64) []byte {
	b := []byte(name)
	for rng := rand.NewPCG(seq, uint64(len(name))); len(b) < 30+int(seq%7)*60; {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b
}

// limits checks the size on disk and in memory.
func (h *history) limits() {
	st := h.b.Stats()
	if st.MemoryBytes > h.cfg.MaxMemory+h.cfg.MaxMemory/8 {
		h.t.Errorf("%+v: %d bytes of memory", h.cfg, st.MemoryBytes)
	}
	size := int64(0)
	entries, _ := os.ReadDir(h.cfg.Dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			size += info.Size()
		}
	}
	if size > h.cfg.MaxSize {
		h.t.Errorf("%+v: %d bytes on disk", h.cfg, size)
	}
}

// read reads as a queue does, acknowledges most of it, and begins again at
// the front now and then, as after a lost connection.
func (h *history) read(rng *rand.Rand, end func() bool) {
	var batch Batch
	for pos := uint64(0); !end(); {
		h.mu.Lock()
		before := map[runKey]spans{}
		for k, p := range h.told {
			before[k] = p.part(0, math.MaxUint64)
		}
		h.mu.Unlock()
		next, err := h.b.Read(pos, &batch, 1+rng.IntN(300), 1+rng.IntN(100_000))
		if err != nil {
			time.Sleep(time.Second)
			continue
		}
		h.compare(batch.Records, before)
		switch {
		case len(batch.Records) == 0:
			pos = h.b.First()
			time.Sleep(100 * time.Millisecond)
		case rng.IntN(5) == 0:
			pos = h.b.First() // without an acknowledgement
		default:
			h.b.Ack(pos, next)
			h.acked(batch.Records) // afterwards: the other reader may be reading it
			pos = next
		}
		if rng.IntN(3) == 0 {
			time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
		}
	}
}

// compare checks records against what was appended and against what had been
// acknowledged before they were asked for.
func (h *history) compare(records []Record, before map[runKey]spans) {
	for i := range records {
		r := &records[i]
		k := runKey{r.Session, r.Source}
		if r.Lost > 0 {
			continue
		}
		if string(r.Data) != string(content(r.Source, r.Seq)) {
			h.t.Errorf("%v: number %d has other data", k, r.Seq)
		}
		if p := before[k]; p.contains(r.Seq) {
			h.t.Errorf("%+v: number %d of %v was acknowledged and comes again", h.cfg, r.Seq, k)
		}
	}
}

func (h *history) acked(records []Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range records {
		r := &records[i]
		k := runKey{r.Session, r.Source}
		if h.told[k] == nil {
			h.told[k] = new(spans)
		}
		h.told[k].add(r.Seq, r.Seq+max(r.Lost, 1))
		if r.Lost > 0 {
			h.lost[r.Reason] += r.Lost
		}
	}
}
