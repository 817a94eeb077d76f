package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
	"fieldferry/gateway/web"
)

func (s *site) options(log io.Writer) Options {
	return Options{
		Logging: func(config.Log) {},
		Path:    s.file, Config: func() config.Options { return config.Options{} },
		Store: In(filepath.Join(s.dir, "store")), Log: slog.New(slog.NewTextHandler(log, nil)), Logs: &live.Logs{},
		Notify: func(string) {}, Sparing: func() func() { return func() {} }, Reload: func() {}, Ping: func() {}, Print: func(config.Problem) {},
		Bundle: func(context.Context, io.Writer, web.View, web.BundleOptions) error { return nil },
	}
}

// starts opens the gateway, closes it and returns what ran and why.
func (s *site) starts() (*change, error) {
	s.t.Helper()
	d, err := Start(s.options(io.Discard))
	if err != nil {
		return nil, err
	}
	d.confirm()
	return d.now, d.gateway.Close()
}

func (s *site) mustStart(id string) *change {
	s.t.Helper()
	c, err := s.starts()
	if err != nil || c.cfg.Gateway.ID != id {
		s.t.Fatalf("%+v %v, want %s", c, err, id)
	}
	return c
}

// run runs a daemon until the function it returns is called.
func (s *site) run() (d *Daemon, stop func()) {
	s.t.Helper()
	d, err := Start(s.options(io.Discard))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, nil) }()
	return d, func() {
		s.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	}
}

// Whatever keeps the file from being used, what last ran runs again, with its parts.
func TestStartFallsBack(t *testing.T) {
	t.Parallel()
	taken := ""
	for what, spoil := range map[string]func(s *site){
		"file broken":     func(s *site) { s.put("f.yaml", "gateway: {id: 'half") },
		"file gone":       func(s *site) { _ = os.Remove(s.file) },
		"DBC broken":      func(s *site) { s.put("a.dbc", "\x00BO_ nonsense"); s.put("f.yaml", text("new", "none.dbc", nobody)) },
		"DBC gone":        func(s *site) { _ = os.Remove(filepath.Join(s.dir, "a.dbc")) },
		"templates gone":  func(s *site) { _ = os.RemoveAll(filepath.Join(s.dir, "tpl")) },
		"template broken": func(s *site) { s.put("tpl/own.yaml", "- nonsense") },
		"buffer taken": func(s *site) {
			b, err := buffer.Open(buffer.Config{Dir: filepath.Join(s.dir, "taken")}, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close() })
			taken = "taken"
			s.put("f.yaml", strings.Replace(text("new", "a.dbc", nobody), "path: buffer", "path: taken", 1))
		},
	} {
		s := newSite(t)
		s.put("f.yaml", text("old", "a.dbc", nobody))
		want := s.mustStart("old").cfg
		spoil(s)
		c := s.mustStart("old")
		if !c.cfg.Same(want) || !strings.Contains(c.note, "last ran") {
			t.Errorf("%s: not the same as before; %q", what, c.note)
		}
		s.mustStart("old") // it stays so
	}
	if taken == "" {
		t.Error("nothing was taken")
	}
	s := newSite(t)
	if _, err := s.starts(); !errors.Is(err, ErrUnusable) {
		t.Errorf("out of nothing: %v", err)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	broker, s, _ := brokered(t)
	server := "mqtt://" + broker.Addr()
	text := func(id, dbc, server string) string { // no port that is lost meanwhile
		lines := strings.SplitAfter(text(id, dbc, server), "\n")
		return lines[0] + lines[1] + lines[4] + lines[5]
	}
	s.put("f.yaml", text("old", "a.dbc", server))
	d, stop := s.run()
	const watch = 2500 * time.Millisecond // two pictures at least
	var failed *ApplyError
	if err := d.Apply(t.Context(), Candidate{Text: []byte("gateway: 1"), By: "anna", Watch: 0}); !errors.As(err, &failed) || failed.Result != Rejected || len(failed.Problems) == 0 {
		t.Errorf("%v", err)
	}
	if err := d.Apply(t.Context(), Candidate{Text: []byte("# the same\n" + text("old", "a.dbc", server)), By: "anna", Watch: 0}); err != nil {
		t.Error(err)
	}
	// One that loses the broker comes back by itself.
	if err := d.Apply(t.Context(), Candidate{Text: []byte(text("lost", "b.dbc", nobody)), By: "anna", Watch: watch}); !errors.As(err, &failed) || failed.Result != RolledBack || !errors.Is(err, ErrNoUplink) {
		t.Errorf("%v", err)
	}
	if err := d.Apply(t.Context(), Candidate{Text: []byte(text("new", "b.dbc", server)), By: "anna", Watch: watch}); err != nil {
		t.Error(err)
	}
	if note := d.gateway.Look().Snapshot().Config.Note; !strings.Contains(note, "by anna") {
		t.Errorf("note %q", note)
	}
	stop()
	if err := d.Apply(t.Context(), Candidate{Text: nil, By: "anna", Watch: 0}); !errors.Is(err, ErrStopped) {
		t.Errorf("%v", err)
	}
	st := d.opts.Store.State()
	var results []string
	for _, e := range st.History {
		results = append(results, e.By+" "+string(e.Result))
	}
	if got := strings.Join(results, ", "); got != "file confirmed, anna rolled_back, anna confirmed" || st.Pending != "" || st.Previous == "" {
		t.Errorf("%s; %+v", got, st)
	}
	// It runs on after a start, until the file is changed.
	s.mustStart("new")
	s.mustStart("new")
	s.put("f.yaml", text("edited", "a.dbc", server))
	s.mustStart("edited")
	if st := d.opts.Store.State(); st.Site != "" {
		t.Errorf("%+v", st)
	}
}

// One that cannot be opened leaves the former one running; without a store
// nothing can be proved.
func TestApplyCannotBeUsed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.put("f.yaml", text("old", "a.dbc", nobody))
	s.put("file", "")
	d, stop := s.run()
	var failed *ApplyError
	bad := strings.Replace(text("new", "b.dbc", nobody), "path: buffer", "path: file/buffer", 1)
	if err := d.Apply(t.Context(), Candidate{Text: []byte(bad), By: "anna", Watch: 0}); !errors.As(err, &failed) || failed.Result != Rejected || failed.Err == nil {
		t.Errorf("%v", err)
	}
	stop()
	st := d.opts.Store.State()
	if n := len(st.History); st.Pending != "" || n != 2 || st.History[1].Result != Rejected {
		t.Errorf("%+v", st)
	}
	s.mustStart("old")
	d, err := Start(func() Options { o := s.options(io.Discard); o.Store = Store{}; return o }())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	if d.candidate(&change{text: []byte(text("new", "b.dbc", nobody)), by: "anna", watch: time.Second, done: done}) != nil || <-done == nil {
		t.Error("a trial without a way back")
	}
	if err := d.gateway.Close(); err != nil {
		t.Error(err)
	}
}

// A start that finds a candidate under way runs the former one and says so;
// the next one reads the file again.
func TestStartFindsPending(t *testing.T) {
	s := newSite(t)
	s.put("f.yaml", text("old", "a.dbc", nobody))
	s.mustStart("old")
	store := In(filepath.Join(s.dir, "store"))
	id, err := store.Put(s.load(text("new", "b.dbc", nobody)))
	if err != nil {
		t.Fatal(err)
	}
	st := store.State()
	st.Pending = id
	if err := store.Set(st); err != nil {
		t.Fatal(err)
	}
	s.put("f.yaml", text("new", "b.dbc", nobody))
	var log strings.Builder
	d, err := Start(s.options(&log))
	if err != nil {
		t.Fatal(err)
	}
	d.confirm()
	if err := d.gateway.Close(); err != nil {
		t.Error(err)
	}
	if d.now.cfg.Gateway.ID != "old" || !strings.Contains(log.String(), "the process ended while another one was being put in its place") {
		t.Errorf("%s: %s", d.now.cfg.Gateway.ID, &log)
	}
	if st := store.State(); st.Pending != "" || st.History[len(st.History)-1].Result != Interrupted {
		t.Errorf("%+v", st)
	}
	s.mustStart("new")
}
