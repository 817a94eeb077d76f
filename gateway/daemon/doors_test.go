package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/gateway/live"
)

// ends waits for the end of an attempt.
func (s *site) ends(d *Daemon, id string) *live.ConfigAttempt {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if a := d.Attempted(); a != nil && a.ID == id && a.Ended() {
			return a
		}
		select {
		case <-s.t.Context().Done():
			s.t.Fatalf("%+v", d.Attempted())
		case <-tick.C:
		}
	}
}

// begins waits until a configuration is on trial.
func (s *site) begins(d *Daemon) {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for d.Trial() == nil {
		select {
		case <-s.t.Context().Done():
			s.t.Fatalf("%+v", d.Attempted())
		case <-tick.C:
		}
	}
}

// What people do at a door: one thing at a time, made from what there is, and
// with a word for everything that becomes of it.
func TestDoors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.put("f.yaml", text("old", "a.dbc", nobody))
	d, stop := s.run()
	look := d.LookAtConfig(false)
	if !look.InFile || look.By != "file" || look.Text != text("old", "a.dbc", nobody) || look.Attempt != nil || d.OnTrial() != (time.Time{}) {
		t.Errorf("%+v", look)
	}
	apply := func(tag, text string, watch time.Duration, keep bool) (live.ConfigAttempt, error) {
		return d.ApplyConfig(t.Context(), "web:anna", live.ConfigCandidate{Text: []byte(text), Tag: tag, Watch: watch, Keep: keep})
	}
	for _, bad := range []struct {
		watch time.Duration
		keep  bool
	}{{time.Second, false}, {25 * time.Hour, false}, {-time.Hour, false}, {0, true}} {
		if _, err := apply("", text("new", "b.dbc", nobody), bad.watch, bad.keep); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	// Wrong: the problem stands on its line.
	a, err := apply(look.Tag, strings.Replace(text("new", "b.dbc", nobody), "unit_id: 1", "unit_id: many", 1), time.Hour, true)
	if err != nil || a.State != "rejected" || a.Conflict || len(a.Problems) != 1 || a.Problems[0].Line != 4 || a.Problems[0].Key != "modbus[0].devices[0].unit_id" {
		t.Errorf("%+v %v", a, err)
	}
	// A secret that nobody has seen.
	if a, err = apply(look.Tag, strings.Replace(text("new", "b.dbc", nobody), "uplink: {", "uplink: {username: u, password: ********, ", 1), 0, false); err != nil || a.State != "rejected" || len(a.Problems) != 1 {
		t.Errorf("%+v %v", a, err)
	}
	// Taken, on trial; meanwhile nothing else is.
	a, err = apply(look.Tag, text("new", "b.dbc", nobody), time.Hour, true)
	if err != nil || a.Ended() || a.By != "web:anna" || !a.Keep {
		t.Fatalf("%+v %v", a, err)
	}
	s.begins(d)
	if now := d.Attempted(); now.State != "watching" || now.Left < 3500 || now.Left > 3600 || d.OnTrial() != now.Until {
		t.Errorf("%+v", now)
	}
	if _, err := apply("", text("other", "b.dbc", nobody), 0, false); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	if err := d.KeepConfig(t.Context(), "cli:root"); err != nil {
		t.Error(err)
	}
	if end := s.ends(d, a.ID); end.State != "confirmed" {
		t.Errorf("%+v", end)
	}
	// Made from what there was: a conflict.
	if a, err = apply(look.Tag, text("late", "b.dbc", nobody), 0, false); err != nil || !a.Conflict || a.State != "rejected" {
		t.Errorf("%+v %v", a, err)
	}
	look = d.LookAtConfig(true)
	if look.InFile || look.By != "web:anna" || look.File != text("old", "a.dbc", nobody) || look.Previous != look.File || len(look.Settings) == 0 || !strings.Contains(look.Note, "anna, on the page") {
		t.Errorf("%+v", look)
	}
	// Without a trial, the one before comes back; a second time, the one before that.
	a, err = d.RollBackConfig(t.Context(), "cli:root", 0)
	if err != nil || a.By != "cli:root" && a.By != "file" {
		t.Fatalf("%+v %v", a, err)
	}
	if end := s.ends(d, a.ID); end.State != "confirmed" || !d.LookAtConfig(false).InFile {
		t.Errorf("%+v", end)
	}
	// A trial is ended by it.
	a, _ = apply(d.LookAtConfig(false).Tag, text("third", "b.dbc", nobody), time.Hour, false)
	s.begins(d)
	if b, err := d.RollBackConfig(t.Context(), "cli:root", 0); err != nil || b.ID != a.ID {
		t.Errorf("%+v %v", b, err)
	}
	if end := s.ends(d, a.ID); end.State != "rolled_back" || !strings.Contains(end.Why, "root, at this machine") {
		t.Errorf("%+v", end)
	}
	stop()
	if _, err := d.RollBackConfig(context.Background(), "cli:root", 0); !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
}

// What was put in the place of the site's file is written there by a person, with
// its parts, and is the site's file from then on.
func TestAdopt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := In(filepath.Join(s.dir, "store"))
	if _, err := store.Adopt(s.file); !errors.Is(err, ErrNothingKept) {
		t.Error(err)
	}
	old, next := text("old", "a.dbc", nobody), text("new", "b.dbc", nobody)
	s.put("f.yaml", old)
	if err := os.Chmod(s.file, 0o640); err != nil {
		t.Fatal(err)
	}
	d, stop := s.run()
	if err := d.Apply(t.Context(), Candidate{Text: []byte(next), By: "cli:root"}); err != nil {
		t.Fatal(err)
	}
	stop()
	b, err := os.ReadFile(filepath.Join(s.dir, "b.dbc"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.dir, "b.dbc")); err != nil {
		t.Fatal(err)
	}
	st := store.State()
	pending := st
	pending.Pending = st.Confirmed
	for _, c := range []struct {
		want  error
		spoil func()
	}{
		{ErrOnTrial, func() { _ = store.Set(pending) }},
		{ErrFileChanged, func() { _ = store.Set(st); s.put("f.yaml", old+"# edited\n") }},
	} {
		c.spoil()
		if did, err := store.Adopt(s.file); !errors.Is(err, c.want) || did.Written != nil {
			t.Errorf("%v %v, want %v", did, err, c.want)
		}
	}
	s.put("f.yaml", old)
	did, err := store.Adopt(s.file)
	if err != nil || len(did.Written) != 2 || did.Written[1] != s.file || did.Moved != nil {
		t.Errorf("%v %v", did, err)
	}
	if text, _ := os.ReadFile(s.file); string(text) != next {
		t.Errorf("%s", text)
	}
	if again, _ := os.ReadFile(filepath.Join(s.dir, "b.dbc")); string(again) != string(b) {
		t.Error("the part is not as it was")
	}
	if info, err := os.Stat(s.file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if c := s.mustStart("new"); c.by != ByFile || c.note != "" {
		t.Errorf("%+v", c)
	}
	if _, err := store.Adopt(s.file); !errors.Is(err, ErrInFile) {
		t.Error(err)
	}
}
