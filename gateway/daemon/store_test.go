package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/gateway/config"

	"golang.org/x/sys/unix"
)

const dbcText = "VERSION \"\"\nBU_: E\nBO_ 256 M: 8 E\n SG_ A : 0|8@1+ (%,0) [0|0] \"\" E\n"

// site is a directory with a site's file and what it names.
type site struct {
	t    *testing.T
	dir  string
	file string
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t, dir, filepath.Join(dir, "f.yaml")}
	s.put("a.dbc", strings.ReplaceAll(dbcText, "%", "1"))
	s.put("b.dbc", strings.ReplaceAll(dbcText, "%", "2"))
	s.put("tpl/own.yaml", "description: d\nsource: s\nregisters: [{name: r, address: 0}]\n")
	return s
}

func (s *site) put(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// text is a configuration with parts of each kind but a CA.
func text(id, dbc, server string) string {
	return "gateway: {id: " + id + ", clock: trusted}\ncan: [{interface: \"sim:ramp?rate=10\", name: a, dbc: " + dbc + "}]\n" +
		"templates: tpl\nmodbus: [{name: l, port: /dev/nothing, devices: [{name: d, unit_id: 1, template: own}]}]\n" +
		"buffer: {path: buffer, sync_interval: 50ms}\nuplink: {servers: [\"" + server + "\"]}\n"
}

const nobody = "mqtt://127.0.0.1:1"

func (s *site) load(text string) *config.Config {
	s.t.Helper()
	cfg, problems := config.Parse(s.file, []byte(text), config.Options{})
	if cfg == nil {
		s.t.Fatal(problems)
	}
	return cfg
}

// What is kept comes back whole, also when the files that it was made of are
// broken or gone.
func TestStoreKeepsParts(t *testing.T) {
	s := newSite(t)
	cfg := s.load(text("g", "a.dbc", nobody))
	store := In(filepath.Join(s.dir, "store"))
	id, err := store.Put(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := store.Put(cfg); err != nil || again != id {
		t.Errorf("%s %v", again, err)
	}
	if err := store.Set(State{Confirmed: id}); err != nil {
		t.Fatal(err)
	}
	s.put("a.dbc", "nonsense")
	if err := os.RemoveAll(filepath.Join(s.dir, "tpl")); err != nil {
		t.Fatal(err)
	}
	if got, _ := config.Parse(s.file, cfg.Text(), config.Options{}); got != nil && got.Same(cfg) {
		t.Fatal("the files do not matter")
	}
	got, problems := store.load(id, s.file, config.Options{})
	if got == nil || !got.Same(cfg) {
		t.Fatalf("%v", problems)
	}
	// What runs out of the store can be kept again.
	if again, err := store.Put(got); err != nil || again != id {
		t.Errorf("%s %v", again, err)
	}
	for _, dir := range []string{"store", "store/" + id} {
		if info, err := os.Stat(filepath.Join(s.dir, dir)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", dir, info, err)
		}
	}
}

// A part that has changed since it was read is not kept under a wrong name.
func TestStorePartChanged(t *testing.T) {
	s := newSite(t)
	cfg := s.load(text("g", "a.dbc", nobody))
	s.put("a.dbc", "other")
	store := In(filepath.Join(s.dir, "store"))
	if id, err := store.Put(cfg); err == nil {
		t.Errorf("kept as %s", id)
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "store")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Whatever somebody has made of a file of the store, it is not taken for a
// configuration, and Put mends it.
func TestStoreTraps(t *testing.T) {
	for _, name := range []string{textFile, manifest, partPrefix, ""} {
		for what, set := range map[string]func(path string) error{
			"nothing": func(string) error { return nil },
			"pipe":    func(p string) error { return unix.Mkfifo(p, 0o600) },
			"link":    func(p string) error { return os.Symlink("/etc/hostname", p) },
			"text":    func(p string) error { return os.WriteFile(p, []byte("gateway: {id: other}\n"), 0o600) },
			"folder":  func(p string) error { return os.Mkdir(p, 0o700) },
		} {
			s := newSite(t)
			store := In(filepath.Join(s.dir, "store"))
			cfg := s.load(text("g", "a.dbc", nobody))
			id, err := store.Put(cfg)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(s.dir, "store", id, name)
			if name == partPrefix {
				list, _ := filepath.Glob(path + "*")
				path = list[0]
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := set(path); err != nil {
				t.Fatal(err)
			}
			if k, err := store.Get(id); err == nil {
				t.Errorf("%s in the place of %q: %s", what, name, k.text)
			}
			if _, err := store.Put(cfg); err != nil {
				t.Errorf("%s in the place of %q: %v", what, name, err)
			} else if _, err := store.Get(id); err != nil {
				t.Errorf("%s in the place of %q is not mended: %v", what, name, err)
			}
		}
	}
}

// The state names what is kept; the rest goes. History is bounded.
func TestStoreSet(t *testing.T) {
	s := newSite(t)
	store := In(filepath.Join(s.dir, "store"))
	if st := store.State(); st.Confirmed != "" {
		t.Errorf("%+v", st)
	}
	a, err := store.Put(s.load(text("a", "a.dbc", nobody)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.Put(s.load(text("b", "b.dbc", nobody)))
	if err != nil {
		t.Fatal(err)
	}
	s.put("store/.x.new/y", "z") // not the store's
	s.put("store/."+a+".new/"+textFile, "half")
	st := State{Confirmed: b, History: make([]Entry, 3*maxHistory)}
	st.History[3*maxHistory-1].ID = "last"
	if err := store.Set(st); err != nil {
		t.Fatal(err)
	}
	if got := store.State(); got.Confirmed != b || len(got.History) != maxHistory || got.History[maxHistory-1].ID != "last" {
		t.Errorf("%+v", got)
	}
	if _, err := store.Get(a); err == nil {
		t.Error("what nothing names is still there")
	}
	if _, err := store.Get(b); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "store")); len(left) != 3 {
		t.Errorf("%v", left)
	}
	s.put("store/"+stateFile, `{"confirmed": "../../etc"}`)
	if got := store.State(); got.Confirmed != "" {
		t.Errorf("%+v", got)
	}
	none := In("")
	if id, err := none.Put(s.load(text("a", "a.dbc", nobody))); id != "" || err != nil || none.Set(State{}) != nil {
		t.Error("no directory, yet it keeps something")
	}
}
