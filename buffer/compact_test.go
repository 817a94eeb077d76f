package buffer

import (
	"errors"
	"testing"
	"time"
)

func TestCompactKeepsWhatIsNotAcknowledged(t *testing.T) {
	const n = 2000
	cfg := damageConfig(t)
	session, files := filled(t, cfg, n)
	b := mustOpen(t, cfg)
	if _, err := Compact(cfg.Dir, false, nil, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is in use: %v", err)
	}
	all, _ := readAll(t, b, 0)
	for i := 0; i < len(all); i += 20 { // nine of ten
		b.Ack(all[i].Offset, all[i+17].Offset+1)
	}
	mustClose(t, b)
	before, _ := dumped(t, cfg.Dir, false)
	c, err := Compact(cfg.Dir, false, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.SegmentsBefore != len(files) || c.SegmentsAfter != 1 || c.BytesAfter > c.BytesBefore/2 || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
	after, _ := dumped(t, cfg.Dir, true)
	if after[runKey{session, "engine"}] != 200 || after[runKey{session, "line1"}] != 200 {
		t.Errorf("%v, before %v", after, before)
	}
	if r, err := Verify(cfg.Dir, nil); err != nil || len(r.Damage) > 0 || r.Pending != 400 {
		t.Errorf("%v, %+v", err, r)
	}
	b = mustOpen(t, cfg)
	left, _ := readAll(t, b, 0)
	if len(left) != 400 {
		t.Errorf("%d records", len(left))
	}
	for i := range left {
		if want := all[i/2*20+18+i%2]; left[i].Offset != want.Offset || string(left[i].Data) != string(want.Data) {
			t.Fatalf("record %d: %+v, want %+v", i, left[i], want)
		}
	}
	mustClose(t, b)
}

func TestCompactRepairs(t *testing.T) {
	const n = 2000
	cfg := damageConfig(t)
	session, files := filled(t, cfg, n)
	truncateTo(t, files[1], 0)
	c, err := Compact(cfg.Dir, true, nil, nil)
	if err != nil || c.Lost == 0 || len(c.Removed) != 1 {
		t.Errorf("%v, %+v", err, c)
	}
	if r, err := Verify(cfg.Dir, nil); err != nil || len(r.Damage) > 0 {
		t.Errorf("%v, %v", err, r.Damage)
	}
	cfg.SyncInterval = time.Second
	b := mustOpen(t, cfg)
	count(t, b).adds(t, session, "engine", n)
	mustClose(t, b)
}
