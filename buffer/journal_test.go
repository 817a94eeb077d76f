package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The files in testdata/v1 were written by the version before the journal:
// 427 numbers of engine, of which 100 were evicted and 7 not received, 30 of
// line1, 10 evicted, in session 2, and one in session 3.
func TestBufferOfTheVersionBeforeTheJournal(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SyncInterval: time.Hour, MaxSize: 1 << 20, SegmentSize: 64 << 10}
	copyDir(t, "testdata/v1", cfg.Dir)
	for session := uint64(4); session < 7; session++ {
		b := mustOpen(t, cfg)
		if s := b.Stats().Session; s != session {
			t.Fatalf("session %d, want %d", s, session)
		}
		c := count(t, b)
		c.adds(t, 2, "engine", 427)
		c.adds(t, 2, "line1", 30)
		c.adds(t, 3, "engine", 1)
		for s := uint64(4); s < session; s++ {
			c.adds(t, s, "engine", 20)
		}
		if want := map[Reason]uint64{Evicted: 110, RxOverflow: 7}; fmt.Sprint(c.lost) != fmt.Sprint(want) {
			t.Errorf("lost %v, want %v", c.lost, want)
		}
		for i := range uint64(20) {
			b.Source("engine").Append(int64(i), payload(i+1))
		}
		if err := Commit(b); err != nil {
			t.Fatal(err)
		}
		if session == 5 {
			kill(t, b, &cfg)
			continue
		}
		mustClose(t, b)
	}
}

// kill goes on with a copy of the files as they are now, as if the process
// had been killed.
func kill(t *testing.T, b *Buffer, cfg *Config) {
	t.Helper()
	dir := t.TempDir()
	copyDir(t, cfg.Dir, dir)
	mustClose(t, b)
	cfg.Dir = dir
}

// seal puts everything into a segment.
func seal(t *testing.T, b *Buffer) {
	t.Helper()
	b.disk.Lock()
	defer b.disk.Unlock()
	if err := b.commit(true); err != nil {
		t.Fatal(err)
	}
}

// killed makes a buffer of which the last n records of each of two sources
// are in the journal, in commits of 50, and returns its session.
func killed(t *testing.T, cfg *Config, n int) (session uint64) {
	t.Helper()
	cfg.SegmentSize = 1 << 20
	b := mustOpen(t, *cfg)
	session = b.Stats().Session
	rng := rand.NewChaCha8([32]byte{})
	data := make([]byte, 100)
	for i := range n {
		_, _ = rng.Read(data)
		b.Source("engine").Append(int64(i), data)
		b.Source("line1").Append(int64(i), payload(uint64(i)))
		if i == n/4 {
			seal(t, b)
		} else if i%50 == 49 {
			if err := Commit(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if b.journal.used == 0 || b.mem.logged == 0 {
		t.Fatal("nothing is in the journal")
	}
	kill(t, b, cfg)
	return session
}

func TestKilledWithAJournalLosesNothing(t *testing.T) {
	const n = 400
	cfg := damageConfig(t)
	session := killed(t, &cfg, n)
	before := contents(t, cfg.Dir)
	r, err := Verify(cfg.Dir, nil)
	if err != nil || len(r.Damage) > 0 || r.Pending != 2*n {
		t.Errorf("%v, %+v", err, r)
	}
	got, r := dumped(t, filepath.Join(cfg.Dir, journalName), false)
	if r.Damage != nil || got[runKey{session, "engine"}] == 0 {
		t.Errorf("the journal by itself: %v, %v", r.Damage, got)
	}
	if contents(t, cfg.Dir) != before {
		t.Error("looking changed something")
	}
	if c := wholeAfter(t, cfg, session, n); len(c.lost) > 0 {
		t.Errorf("lost %v", c.lost)
	}
	segments, err := filepath.Glob(filepath.Join(cfg.Dir, "*.db"))
	if err != nil || len(segments) != 1 {
		t.Errorf("%d segments, %v: what the journal has does not go to the one that is begun", len(segments), err)
	}
}

// Whatever page of the journal is lost, it is known what it had.
func TestEveryPageOfTheJournalLostIsAccountedFor(t *testing.T) {
	const n = 400
	master := damageConfig(t)
	session := killed(t, &master, n)
	l, err := readJournal(filepath.Join(master.Dir, journalName))
	if err != nil || len(l.run) < 4 || l.broken {
		t.Fatalf("%v, %+v", err, l)
	}
	used := l.run[len(l.run)-1].start + l.run[len(l.run)-1].count
	for page := range used {
		for _, what := range [][]byte{make([]byte, pageSize), noise(pageSize)} {
			cfg := damageConfig(t)
			cfg.SegmentSize = master.SegmentSize
			copyDir(t, master.Dir, cfg.Dir)
			overwrite(t, filepath.Join(cfg.Dir, journalName), int64(page)*pageSize, what)
			if r, err := Verify(cfg.Dir, nil); err != nil || len(r.Damage) == 0 {
				t.Errorf("page %d: %v, %+v", page, err, r)
			}
			if c := wholeAfter(t, cfg, session, n); c.lost[Corrupt] == 0 || c.lost[Corrupt] > 100 {
				t.Errorf("page %d: lost %v", page, c.lost)
			}
		}
	}
	// Two pages of one entry: nobody knows what it had, but for its neighbours.
	e := l.run[1]
	cfg := damageConfig(t)
	cfg.SegmentSize = master.SegmentSize
	copyDir(t, master.Dir, cfg.Dir)
	overwrite(t, filepath.Join(cfg.Dir, journalName), int64(e.start)*pageSize, make([]byte, e.count*pageSize))
	if c := wholeAfter(t, cfg, session, n); c.lost[Corrupt] == 0 {
		t.Errorf("an entry: lost %v", c.lost)
	}
}

// A commit that did not end was not promised, and is not damage: some of its
// pages are older ones.
func TestEntryThatDidNotEndIsLeftOut(t *testing.T) {
	const n = 400
	master := damageConfig(t)
	session := killed(t, &master, n)
	file := filepath.Join(master.Dir, journalName)
	l, err := readJournal(file)
	if err != nil {
		t.Fatal(err)
	}
	last := l.run[len(l.run)-1]
	old := make([]byte, pageSize)
	new(pageHead).put(old)
	for page := range last.count * 8 {
		cfg := damageConfig(t)
		cfg.SegmentSize = master.SegmentSize
		copyDir(t, master.Dir, cfg.Dir)
		// The end of a page is as it was before, or all of it.
		keep := page / last.count * sectorSize
		page %= last.count
		overwrite(t, filepath.Join(cfg.Dir, journalName), int64(last.start+page)*pageSize+int64(keep), old[keep:])
		r, err := Verify(cfg.Dir, nil)
		if err != nil || len(r.Damage) > 0 {
			t.Errorf("page %d: %v, %+v", page, err, r)
		}
		b := mustOpen(t, cfg)
		c := count(t, b)
		c.adds(t, session, "engine", n-50)
		c.adds(t, session, "line1", n-50)
		if len(c.lost) > 0 {
			t.Errorf("page %d: lost %v", page, c.lost)
		}
		mustClose(t, b)
	}
}

// What was acknowledged from the journal is not delivered again once that is
// noted, also when a crash leaves the entries there.
func TestAcknowledgedInTheJournalIsNotDeliveredAgain(t *testing.T) {
	cfg := damageConfig(t)
	b := mustOpen(t, cfg)
	for i := range 30 {
		b.Source("engine").Append(int64(i), payload(uint64(i)))
		if i%10 == 9 {
			if err := Commit(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	all, _ := readAll(t, b, 0)
	b.Ack(0, all[14].Offset+1)
	b.disk.Lock()
	if err := b.storeState(); err != nil {
		t.Fatal(err)
	}
	b.disk.Unlock()
	kill(t, b, &cfg)
	b = mustOpen(t, cfg)
	defer mustClose(t, b)
	if all, _ := readAll(t, b, 0); len(all) != 15 || all[0].Seq != 16 {
		t.Errorf("%d records, the first is %+v", len(all), all[0])
	}
}

// A journal that fails costs nothing but the saving.
func TestJournalThatFails(t *testing.T) {
	cfg := damageConfig(t)
	b := mustOpen(t, cfg)
	session := b.Stats().Session
	add := func(from, to int) {
		for i := from; i < to; i++ {
			b.Source("engine").Append(int64(i), payload(uint64(i)))
		}
		if err := Commit(b); err != nil {
			t.Fatal(err)
		}
		if st := b.Stats(); st.Unsynced > 0 {
			t.Fatalf("%+v", st)
		}
	}
	add(0, 10)
	if err := os.Remove(filepath.Join(cfg.Dir, journalName)); err != nil {
		t.Fatal(err)
	}
	add(10, 20)
	if b.journal != nil {
		t.Error("a journal that was removed is used")
	}
	b.journalAt = 0
	add(20, 30)
	if b.journal == nil || b.mem.logged == 0 {
		t.Error("there is no new journal")
	}
	kill(t, b, &cfg)
	b = mustOpen(t, cfg)
	defer mustClose(t, b)
	count(t, b).adds(t, session, "engine", 30)
}

func FuzzJournal(f *testing.F) {
	e, err := newEncoder(1)
	if err != nil {
		f.Fatal(err)
	}
	rng := rand.NewChaCha8([32]byte{})
	data := make([]byte, 40)
	for i := range uint64(200) {
		_, _ = rng.Read(data)
		w := row{t: int64(i), seq: i + 1, size: 40}
		e.add(i, &w, "engine", data)
	}
	file, err := os.Create(filepath.Join(f.TempDir(), journalName))
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	j := journal{f: file, pages: 100}
	chunk := e.finish(nil, new(head))
	if err := errors.Join(j.append(chunk, 1, 200), j.append(chunk, 1, 400)); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(file.Name())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, uint16(0))
	f.Add(b[:len(b)-pageSize], uint16(50))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		// Checksums are made right, so that what lies behind them is reached.
		b = bytes.Clone(b)
		for i := 0; i+pageSize <= len(b); i += pageSize {
			if p, ok := parsePage(bytes.Clone(b[i:i+pageSize]), 0, 1<<20); !ok && int(at)%max(len(b)/pageSize, 1) == i/pageSize {
				p.put(b[i : i+pageSize])
			}
		}
		var l logBook
		l.parse(b)
		var gone spans
		sum, good := l.rest(uint64(at), &gone, func(from, to uint64) bool { return from < to && !gone.covers(from, to) })
		last := uint64(0)
		for _, c := range good {
			if c.head.first < max(uint64(at), last) || c.head.last < c.head.first || c.head.last > sum.last {
				t.Fatalf("chunk %d..%d behind %d of %+v", c.head.first, c.head.last, last, sum)
			}
			last = c.head.last + 1
		}
	})
}
