package buffer

import (
	"errors"
	"os"
	"testing"
)

func TestInspectOfAClosedBuffer(t *testing.T) {
	const n = 2000
	cfg := damageConfig(t)
	session, files := filled(t, cfg, n)
	r, err := Inspect(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.InUse || r.Session != session || r.Pending != 2*n || len(r.Segments) != len(files) || len(r.Damage) > 0 ||
		len(r.Sources) != 2 || r.Sources[0] != (SourceReport{session, "engine", 1, n, n, 0}) || r.LastTime != n-1 {
		t.Errorf("%+v", r)
	}
	truncateTo(t, files[0], 4*pageSize)
	if r, err = Inspect(cfg.Dir); err != nil || len(r.Damage) != 1 || r.Segments[0].Damage == "" {
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
	err := b.commit()
	b.disk.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Inspect(cfg.Dir)
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
	if r, err = Inspect(cfg.Dir); err != nil || r.Pending != 2*n+1-100 {
		t.Errorf("after an acknowledgement: %v, %d pending", err, r.Pending)
	}
}

func TestInspectOfSomethingElse(t *testing.T) {
	dir := t.TempDir()
	if _, err := Inspect(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Inspect(dir + "/missing"); !errors.Is(err, os.ErrNotExist) {
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
