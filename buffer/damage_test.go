package buffer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"testing"
	"time"
)

// filled makes a buffer of several segments with records of two sources and
// returns its session and the files.
func filled(t testing.TB, cfg Config, n int) (session uint64, files []string) {
	t.Helper()
	b := mustOpen(t, cfg)
	session = b.Stats().Session
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		data := make([]byte, 100)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		b.Source("engine").Append(int64(i), data)
		b.Source("line1").Append(int64(i), data[:10])
		if i%100 == 99 {
			b.disk.Lock()
			if err := b.commit(false); err != nil {
				t.Fatal(err)
			}
			b.disk.Unlock()
		}
	}
	mustClose(t, b)
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "*.db"))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(files)
	if len(files) < 4 {
		t.Fatalf("%d segments are too few for this test", len(files))
	}
	return session, files
}

func damageConfig(t testing.TB) Config {
	return Config{Dir: t.TempDir(), SyncInterval: time.Hour, MaxSize: 16 << 20, SegmentSize: 64 << 10}
}

// overwrite changes a part of a file.
func overwrite(t testing.TB, file string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(4, 4))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// wholeAfter opens a damaged buffer and checks that every number is there
// once, as a record or as a loss, twice over: what is found on the first
// opening is still so on the second.
func wholeAfter(t testing.TB, cfg Config, session uint64, n uint64) tally {
	t.Helper()
	b := mustOpen(t, cfg)
	c := count(t, b)
	c.adds(t, session, "engine", n)
	c.adds(t, session, "line1", n)
	next := b.Stats().Session
	b.Source("engine").Append(1, []byte("it goes on"))
	mustClose(t, b)
	b = mustOpen(t, cfg)
	d := count(t, b)
	d.adds(t, session, "engine", n)
	d.adds(t, session, "line1", n)
	d.adds(t, next, "engine", 1)
	if c.lost[Corrupt] != d.lost[Corrupt] {
		t.Errorf("%d lost on the first opening, %d on the second", c.lost[Corrupt], d.lost[Corrupt])
	}
	mustClose(t, b)
	return d
}

func TestEveryDamageIsAccountedFor(t *testing.T) {
	const n = 2000
	cases := map[string]func(t *testing.T, file string, size int64){
		"empty":      func(t *testing.T, f string, _ int64) { truncateTo(t, f, 0) },
		"100 bytes":  func(t *testing.T, f string, _ int64) { truncateTo(t, f, 100) },
		"one page":   func(t *testing.T, f string, _ int64) { truncateTo(t, f, 4096) },
		"half":       func(t *testing.T, f string, size int64) { truncateTo(t, f, size/2) },
		"half, odd":  func(t *testing.T, f string, size int64) { truncateTo(t, f, size/2+1234) },
		"vanished":   func(t *testing.T, f string, _ int64) { _ = os.Remove(f) },
		"text":       func(t *testing.T, f string, size int64) { overwrite(t, f, 0, []byte("hello")); truncateTo(t, f, 5) },
		"both metas": func(t *testing.T, f string, _ int64) { overwrite(t, f, 0, noise(8192)) },
		"meta 0":     func(t *testing.T, f string, _ int64) { overwrite(t, f, 0, noise(4096)) },
		"meta 1":     func(t *testing.T, f string, _ int64) { overwrite(t, f, 4096, noise(4096)) },
		"all noise":  func(t *testing.T, f string, size int64) { overwrite(t, f, 0, noise(int(size))) },
		"a bit":      func(t *testing.T, f string, size int64) { overwrite(t, f, size/2, []byte{0x55}) },
	}
	master := damageConfig(t)
	session, files := filled(t, master, n)
	info, err := os.Stat(files[1])
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := damageConfig(t)
			copyDir(t, master.Dir, cfg.Dir)
			damage(t, filepath.Join(cfg.Dir, filepath.Base(files[1])), info.Size())
			wholeAfter(t, cfg, session, n)
		})
	}
}

func truncateTo(t testing.TB, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

func TestEveryPageLostIsAccountedFor(t *testing.T) {
	const n = 2000
	master := damageConfig(t)
	session, files := filled(t, master, n)
	info, err := os.Stat(files[1])
	if err != nil {
		t.Fatal(err)
	}
	step := int64(1)
	if testing.Short() {
		step = 3
	}
	salvaged := 0
	for page := int64(0); page < info.Size()/pageSize; page += step {
		for _, what := range []string{"zero", "noise"} {
			t.Run(fmt.Sprintf("%s/%d", what, page), func(t *testing.T) {
				cfg := damageConfig(t)
				copyDir(t, master.Dir, cfg.Dir)
				b := make([]byte, pageSize)
				if what == "noise" {
					b = noise(pageSize)
				}
				overwrite(t, filepath.Join(cfg.Dir, filepath.Base(files[1])), page*pageSize, b)
				if c := wholeAfter(t, cfg, session, n); c.lost[Corrupt] < 1000 {
					salvaged++
				}
			})
		}
	}
	if salvaged == 0 {
		t.Error("nothing was ever salvaged")
	}
}

// The newest segment and the journal have no successor that would tell what
// they had: not one of their pages may be missed, nor they themselves.
func TestDamageOfTheNewestIsAccountedFor(t *testing.T) {
	master := damageConfig(t)
	b := mustOpen(t, master)
	n := uint64(0)
	for b.Stats().Segments < 2 || b.mem.logged == 0 { // the disk is not at work in between
		addRecords(b, 20)
		b.Source("line1").Append(1, []byte("x"))
		n += 20
		b.disk.Lock()
		if err := b.commit(false); err != nil {
			t.Fatal(err)
		}
		b.disk.Unlock()
	}
	crashed := damageConfig(t) // as a kill leaves it: nothing is at work
	copyDir(t, master.Dir, crashed.Dir)
	b.disk.Lock()
	if err := b.storeState(); err != nil {
		t.Error(err)
	}
	b.disk.Unlock()
	noted := damageConfig(t)
	copyDir(t, master.Dir, noted.Dir)
	mustClose(t, b)
	segments, err := filepath.Glob(filepath.Join(crashed.Dir, "*.db"))
	if err != nil || len(segments) < 2 {
		t.Fatalf("%v, %v", segments, err)
	}
	newest := filepath.Base(segments[len(segments)-1])
	try := func(t *testing.T, from Config, damage func(dir string)) {
		t.Helper()
		cfg := damageConfig(t)
		copyDir(t, from.Dir, cfg.Dir)
		damage(cfg.Dir)
		for range 2 {
			b := mustOpen(t, cfg)
			c := count(t, b)
			c.adds(t, 1, "engine", n)
			c.adds(t, 1, "line1", n/20)
			mustClose(t, b)
		}
	}
	for _, file := range []string{newest, journalName} {
		info, err := os.Stat(filepath.Join(crashed.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for page := int64(0); page < info.Size()/pageSize; page++ {
			for what, b := range map[string][]byte{"zero": make([]byte, pageSize), "noise": noise(pageSize)} {
				t.Run(fmt.Sprintf("%s/%s/%d", file, what, page), func(t *testing.T) {
					try(t, crashed, func(dir string) { overwrite(t, filepath.Join(dir, file), page*pageSize, b) })
				})
			}
		}
		for what, damage := range map[string]func(path string){
			"vanished": func(path string) { _ = os.Remove(path) },
			"empty":    func(path string) { truncateTo(t, path, 0) },
			"half":     func(path string) { truncateTo(t, path, info.Size()/2) },
			"text":     func(path string) { writeText(t, path) },
			"noise":    func(path string) { overwrite(t, path, 0, noise(int(info.Size()))) },
		} {
			t.Run(file+"/"+what, func(t *testing.T) {
				try(t, noted, func(dir string) { damage(filepath.Join(dir, file)) })
			})
		}
	}
}

func TestLostStateFileLosesNoRecords(t *testing.T) {
	const n = 2000
	for _, what := range []string{"gone", "noise", "empty", "one slot"} {
		t.Run(what, func(t *testing.T) {
			cfg := damageConfig(t)
			session, _ := filled(t, cfg, n)
			file := filepath.Join(cfg.Dir, stateName)
			switch what {
			case "gone":
				_ = os.Remove(file)
			case "noise":
				overwrite(t, file, 0, noise(stateSize))
			case "empty":
				truncateTo(t, file, 0)
			case "one slot":
				overwrite(t, file, 0, noise(stateSlot))
			}
			b := mustOpen(t, cfg)
			defer mustClose(t, b)
			if s := b.Stats().Session; s <= session {
				t.Errorf("session %d after %d", s, session)
			}
			c := count(t, b)
			c.adds(t, session, "engine", n)
			c.adds(t, session, "line1", n)
		})
	}
}

func TestDamageWhileRunningIsAccountedFor(t *testing.T) {
	const n = 2000
	for _, what := range []string{"cut", "noise", "removed"} {
		t.Run(what, func(t *testing.T) {
			cfg := damageConfig(t)
			session, files := filled(t, cfg, n)
			b := mustOpen(t, cfg)
			defer mustClose(t, b)
			var batch Batch
			if _, err := b.Read(0, &batch, 1, 1); err != nil { // the first segment is open now
				t.Fatal(err)
			}
			switch what {
			case "cut":
				truncateTo(t, files[0], 3*pageSize)
				truncateTo(t, files[2], 3*pageSize)
			case "noise":
				overwrite(t, files[0], 0, noise(16*pageSize))
				overwrite(t, files[2], 0, noise(16*pageSize))
			case "removed":
				_ = os.Remove(files[0])
				_ = os.Remove(files[2])
			}
			c := count(t, b)
			c.adds(t, session, "engine", n)
			c.adds(t, session, "line1", n)
			if c.lost[Corrupt] == 0 {
				t.Error("nothing is said to be lost")
			}
		})
	}
}

// The newest segment, which is written to, and the state file are damaged, cut
// or removed while they are in use.
func TestDamageOfWhatIsWrittenTo(t *testing.T) {
	for _, file := range []string{"00000001.db", stateName, journalName} {
		for name, damage := range map[string]func(t *testing.T, path string){
			"cut":     func(t *testing.T, path string) { truncateTo(t, path, 2*pageSize) },
			"empty":   func(t *testing.T, path string) { truncateTo(t, path, 0) },
			"noise":   func(t *testing.T, path string) { overwrite(t, path, 0, noise(16*pageSize)) },
			"removed": func(t *testing.T, path string) { _ = os.Remove(path) },
			"another": func(t *testing.T, path string) { writeText(t, path+".new"); _ = os.Rename(path+".new", path) },
		} {
			t.Run(file+"/"+name, func(t *testing.T) {
				cfg := Config{Dir: t.TempDir(), SyncInterval: time.Millisecond}
				b := mustOpen(t, cfg)
				n := uint64(0)
				for n < 1000 || b.Stats().Segments == 0 {
					addRecords(b, 100)
					n += 100
					until(t, b, "stored", stored)
				}
				seal(t, b)
				b.mu.Lock()
				for b.mem.dropSynced() { // so that the disk has to be read
				}
				b.mu.Unlock()
				damage(t, filepath.Join(cfg.Dir, file))
				for range 10 {
					addRecords(b, 100)
					until(t, b, "stored", func(s Stats) bool { return s.Unsynced == 0 })
				}
				b.disk.Lock()
				_ = b.storeState() // finds out about its file
				if err := b.storeState(); err != nil {
					t.Error(err)
				}
				b.disk.Unlock()
				n += 1000
				count(t, b).adds(t, 1, "engine", n)
				until(t, b, "healed", stored)
				mustClose(t, b)
				b = mustOpen(t, cfg)
				count(t, b).adds(t, 1, "engine", n)
				if n := b.Stats().Session; n != 2 {
					t.Errorf("session %d follows session 1", n)
				}
				mustClose(t, b)
			})
		}
	}
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Power fails between the account of an eviction and the removal of the file:
// what the file has is accounted for already.
func TestEvictedFileThatIsBackCountsOnce(t *testing.T) {
	const n = 2000
	cfg := damageConfig(t)
	session, files := filled(t, cfg, n)
	first, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b := mustOpen(t, cfg)
	var batch Batch
	if _, err := b.Read(0, &batch, 7, 1<<20); err != nil { // a loss ends where what was handed out ends
		t.Fatal(err)
	}
	b.disk.Lock()
	err = b.evict(b.segs[0])
	b.disk.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, b)
	if err := os.WriteFile(files[0], first, 0o600); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, cfg)
	count(t, b).adds(t, session, "engine", n)
	b.disk.Lock()
	for len(b.segs) > 2 && err == nil {
		err = b.evict(b.segs[0])
	}
	b.disk.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	c := count(t, b)
	c.adds(t, session, "engine", n)
	c.adds(t, session, "line1", n)
	mustClose(t, b)
}
