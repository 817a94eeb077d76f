package buffer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func TestInspectOfAClosedBuffer(t *testing.T) {
	const n = 2000
	cfg := damageConfig(t)
	session, files := filled(t, cfg, n)
	r, err := Inspect(cfg.Dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.InUse || r.Session != session || r.Pending != 2*n || len(r.Segments) != len(files) || len(r.Damage) > 0 ||
		len(r.Sources) != 2 || r.Sources[0] != (SourceReport{session, "engine", 1, n, n, 0}) || r.LastTime != n-1 {
		t.Errorf("%+v", r)
	}
	truncateTo(t, files[0], 4*pageSize)
	if r, err = Inspect(cfg.Dir, nil); err != nil || len(r.Damage) != 1 || r.Segments[0].Damage == "" {
		t.Errorf("damaged: %v, %+v", err, r)
	}
	if _, err := os.Stat(files[0] + badSuffix); err == nil {
		t.Error("looking changed something")
	}
}

func TestInspectWhileInUse(t *testing.T) {
	const n = 2000
	cfg := damageConfig(t)
	filled(t, cfg, n)
	b := mustOpen(t, cfg)
	defer mustClose(t, b)
	b.Source("engine").Append(1, []byte("x"))
	b.disk.Lock()
	err := b.commit(false)
	b.disk.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Inspect(cfg.Dir, nil)
	if err != nil || !r.InUse || r.PID != os.Getpid() || r.Pending != 2*n+1 || len(r.Damage) > 0 {
		t.Errorf("%v, %+v", err, r)
	}
	all, _ := readAll(t, b, 0)
	b.Ack(0, all[99].Offset+1)
	b.disk.Lock()
	err = b.storeState()
	b.disk.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if r, err = Inspect(cfg.Dir, nil); err != nil || r.Pending != 2*n+1-100 {
		t.Errorf("after an acknowledgement: %v, %d pending", err, r.Pending)
	}
}

func TestInspectOfSomethingElse(t *testing.T) {
	dir := t.TempDir()
	if _, err := Inspect(dir, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Inspect(dir+"/missing", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// FuzzSummaryAndState feeds the small structures of the files.
func FuzzSummaryAndState(f *testing.F) {
	var sum summary
	sum.note(&head{session: 1, first: 5, last: 9, rows: 5, tables: []table{{session: 1, name: "a", first: 1, last: 5, rows: 5, seqs: 5, offset: 9}}})
	sum.next = 10
	f.Add(sum.encode(nil)[4:])
	st := state{session: 3, next: 10, gone: []span{{1, 4}}, losses: []loss{{offset: 5, session: 1, source: "a", seq: 1, n: 3}}}
	f.Add(st.encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var st state
		_ = st.decode(b)
		var s summary
		_ = s.decode(append(sumOf(b), b...))
	})
}

// dumped counts what Dump gives, per session and source.
func dumped(t *testing.T, path string, all bool) (map[runKey]uint64, Report) {
	t.Helper()
	seen := map[runKey]map[uint64]bool{}
	n := map[runKey]uint64{}
	last := uint64(0)
	r, err := Dump(path, all, nil, func(r Record) error {
		if len(n) > 0 && r.Offset <= last {
			t.Errorf("offset %d after %d", r.Offset, last)
		}
		last = r.Offset
		k := runKey{r.Session, r.Source}
		if seen[k] == nil {
			seen[k] = map[uint64]bool{}
		}
		for i := range max(r.Lost, 1) {
			if seen[k][r.Seq+i] {
				t.Errorf("%v: number %d twice", k, r.Seq+i)
			}
			seen[k][r.Seq+i] = true
			n[k]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, r
}

func TestVerifyFindsEveryDamage(t *testing.T) {
	const n = 2000
	master := damageConfig(t)
	session, files := filled(t, master, n)
	engine := runKey{session, "engine"}
	if r, err := Verify(master.Dir, nil); err != nil || len(r.Damage) > 0 || r.Records != 2*n || r.Pending != 2*n {
		t.Fatalf("a sound one: %v, %+v", err, r)
	}
	whole, _ := dumped(t, master.Dir, false)
	if whole[engine] != n {
		t.Errorf("%v dumped", whole)
	}
	one, r := dumped(t, files[1], true)
	if one[engine] == 0 || one[engine] >= n || len(r.Damage) > 0 {
		t.Errorf("one file: %v, %v", one, r.Damage)
	}
	info, err := os.Stat(files[1])
	if err != nil {
		t.Fatal(err)
	}
	size := info.Size()
	for name, damage := range map[string]func(dir string){
		"empty":      func(dir string) { truncateTo(t, filepath.Join(dir, filepath.Base(files[1])), 0) },
		"half":       func(dir string) { truncateTo(t, filepath.Join(dir, filepath.Base(files[1])), size/2) },
		"both metas": func(dir string) { overwrite(t, filepath.Join(dir, filepath.Base(files[1])), 0, noise(8192)) },
		"vanished":   func(dir string) { _ = os.Remove(filepath.Join(dir, filepath.Base(files[1]))) },
		"text":       func(dir string) { writeText(t, filepath.Join(dir, filepath.Base(files[1]))) },
		"a page":     func(dir string) { overwrite(t, filepath.Join(dir, filepath.Base(files[1])), size/2, noise(4096)) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := damageConfig(t)
			copyDir(t, master.Dir, cfg.Dir)
			damage(cfg.Dir)
			r, err := Verify(cfg.Dir, nil)
			if err != nil || len(r.Damage) == 0 {
				t.Errorf("%v, %+v", err, r)
			}
			got, _ := dumped(t, cfg.Dir, true)
			if got[engine] < n/2 {
				t.Errorf("only %d of %d can be dumped", got[engine], n)
			}
			wholeAfter(t, cfg, session, n)
		})
	}
}

func writeText(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("this is not a segment\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A database of somebody else is not taken for an empty segment.
func TestForeignDatabaseIsDamage(t *testing.T) {
	const n = 2000
	cfg := damageConfig(t)
	session, files := filled(t, cfg, n)
	other := filepath.Join(t.TempDir(), "other.db")
	db, err := bolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("somebody else's"))
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(other, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("by itself: %v, %+v", err, r)
	}
	b, err := os.ReadFile(other)
	if err == nil {
		err = os.WriteFile(files[1], b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(cfg.Dir, nil); err != nil || len(r.Damage) == 0 {
		t.Errorf("in the chain: %v, %+v", err, r)
	}
	wholeAfter(t, cfg, session, n)
}
