package daemon

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fieldferry/gateway/alarm"
	"fieldferry/gateway/live"
)

const (
	further1 = "can: [{interface: \"sim:ramp?rate=10\", name: b}]\n"
	further2 = "can: [{interface: \"sim:ramp?rate=10\", name: c}]\n"
)

// names are the CAN sources of what runs.
func (c *change) names() string {
	var list []string
	for _, s := range c.cfg.CAN {
		list = append(list, s.Name)
	}
	return strings.Join(list, " ")
}

// A file of the folder comes, breaks and goes: each reload takes what can be used,
// and says what cannot.
func TestDropInReload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.put("f.yaml", text("gw", "a.dbc", nobody))
	o, ready, hangup := s.options(io.Discard), make(chan struct{}, 9), make(chan os.Signal)
	o.Notify = func(state string) {
		if state == "READY=1" {
			ready <- struct{}{}
		}
	}
	d, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, hangup) }()
	<-ready
	reload := func(step string, inFile, wrong bool, want string) {
		t.Helper()
		hangup <- syscall.SIGHUP
		<-ready
		look := d.LookAtConfig(true)
		var have []string
		for _, set := range look.Settings {
			if strings.HasPrefix(set.Key, "can[") && strings.HasSuffix(set.Key, "].name") {
				have = append(have, set.Value)
			}
		}
		if got := strings.Join(have, " "); got != want || look.InFile != inFile {
			t.Errorf("%s: %s, in file %v", step, got, look.InFile)
		}
		raised := slices.ContainsFunc(d.page.looking.gateway.Load().Stats().Alarms, func(a alarm.Alarm) bool { return a.Code == alarm.ConfigRejected })
		if raised != wrong {
			t.Errorf("%s: config_rejected is raised: %v", step, raised)
		}
	}
	s.put("conf.d/10-b.yaml", further1)
	reload("it comes", true, false, "a b")
	s.put("conf.d/20-c.yaml", further2)
	reload("another one", true, false, "a b c")
	s.put("conf.d/20-c.yaml", "can: [{interface: can0, nmae: c}]\n")
	reload("it breaks", false, true, "a b c")
	if c, _ := d.page.Config(); len(c.Problems) != 1 || c.Problems[0].File != "conf.d/20-c.yaml" || !strings.Contains(strings.Split(c.Text, "\n")[c.Problems[0].Line-1], "nmae") {
		t.Errorf("%+v", c)
	}
	s.put("conf.d/20-c.yaml", "gateway: {id: other}\n")
	reload("it contradicts", false, true, "a b c")
	if err := os.Remove(filepath.Join(s.dir, "conf.d/20-c.yaml")); err != nil {
		t.Fatal(err)
	}
	reload("it goes", true, false, "a b")
	if err := os.Mkdir(filepath.Join(s.dir, "conf.d/x.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	reload("it is a directory", false, true, "a b")
	if c, err := d.page.Config(); err != nil || c.Running || len(c.Problems) != 1 || !strings.Contains(c.Problems[0].What, "is a directory") {
		t.Errorf("%+v %v", c, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// A start at which it is broken runs what last ran, with the files of the folder as they were.
	c := s.mustStart("gw")
	if c.names() != "a b" || !strings.Contains(c.note, "last ran") {
		t.Errorf("%s, %q", c.names(), c.note)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "conf.d")); err != nil {
		t.Fatal(err)
	}
	if c = s.mustStart("gw"); c.names() != "a" || c.note != "" {
		t.Errorf("%s, %q", c.names(), c.note)
	}
}

// What is put in place from elsewhere replaces the files of the folder too, and a
// change of one of these is the site's word.
func TestDropInWins(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.put("f.yaml", text("old", "a.dbc", nobody))
	s.put("conf.d/b.yaml", further1)
	s.put("conf.d/README", "not read\n")
	d, stop := s.run()
	if err := d.Apply(t.Context(), Candidate{Text: []byte(text("new", "b.dbc", nobody)), By: "mqtt:ops"}); err != nil {
		t.Fatal(err)
	}
	stop()
	placed := func(step string) {
		t.Helper()
		if c := s.mustStart("new"); c.names() != "a" || !strings.Contains(c.note, "put in the place") {
			t.Errorf("%s: %s, %q", step, c.names(), c.note)
		}
	}
	placed("nothing has changed")
	s.put("conf.d/README", "still not read\n")
	s.put("conf.d/b.yaml~", "neither\n")
	placed("what is not read has changed")
	s.put("conf.d/c.yaml", "can: [{nmae: c}]\n")
	if c := s.mustStart("new"); !strings.Contains(c.note, "cannot be used") {
		t.Errorf("%q", c.note)
	}
	s.put("conf.d/c.yaml", further2)
	if c := s.mustStart("old"); c.names() != "a b c" || c.by != ByFile || c.note != "" {
		t.Errorf("%s, %q", c.names(), c.note)
	}
}

// A text with files of the folder is put in place as one, and each of them is
// written to its own file by an adoption. What would add to it is moved away.
func TestDropInAdopt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := In(filepath.Join(s.dir, "store"))
	s.put("f.yaml", text("old", "a.dbc", nobody))
	s.put("conf.d/b.yaml", further1)
	s.put("conf.d/c.yaml", further2)
	s.put("conf.d/c.yaml.replaced", "of another time\n")
	d, stop := s.run()
	look := d.LookAtConfig(false)
	next := strings.Replace(look.Text, "name: b", "name: bb", 1)
	next, _, _ = strings.Cut(next, "--- # conf.d/c.yaml")
	next += "--- # conf.d/d.yaml\ncan: [{interface: \"sim:ramp?rate=10\", name: d}]\n"
	wrong := strings.Replace(next, "name: d}", "nmae: d}", 1)
	a, err := d.ApplyConfig(t.Context(), "web:anna", live.ConfigCandidate{Text: []byte(wrong), Tag: look.Tag})
	if err != nil || len(a.Problems) != 1 || a.Problems[0].File != "conf.d/d.yaml" || a.Problems[0].Line != strings.Count(wrong, "\n") {
		t.Errorf("%+v %v", a, err)
	}
	a, err = d.ApplyConfig(t.Context(), "web:anna", live.ConfigCandidate{Text: []byte(next), Tag: look.Tag})
	if err != nil || s.ends(d, a.ID).State != "confirmed" {
		t.Fatalf("%+v %v", a, err)
	}
	if now := d.LookAtConfig(false); now.InFile || now.File != look.Text || now.Text != next {
		t.Errorf("%+v", now)
	}
	stop()
	s.put("conf.d/b.yaml", further1+"# edited\n")
	if did, err := store.Adopt(s.file); !errors.Is(err, ErrFileChanged) || did.Written != nil || did.Moved != nil {
		t.Errorf("%+v %v", did, err)
	}
	s.put("conf.d/b.yaml", further1)
	did, err := store.Adopt(s.file)
	if err != nil || len(did.Written) != 2 || len(did.Moved) != 1 || filepath.Base(did.Moved[0]) != "c.yaml.replaced.2" {
		t.Errorf("%+v %v", did, err)
	}
	if c := s.mustStart("old"); c.names() != "a bb d" || c.by != ByFile || c.note != "" {
		t.Errorf("%s, %q", c.names(), c.note)
	}
	if list, _ := os.ReadDir(filepath.Join(s.dir, "conf.d")); len(list) != 4 {
		t.Errorf("%v", list)
	}
}

// An adoption that was interrupted is not half a configuration: what was confirmed
// runs, the reason is on the file, and another attempt ends it.
func TestDropInAdoptInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := In(filepath.Join(s.dir, "store"))
	s.put("f.yaml", text("old", "a.dbc", nobody))
	s.put("conf.d/b.yaml", further1)
	s.put("conf.d/c.yaml", further2)
	d, stop := s.run()
	if err := d.Apply(t.Context(), Candidate{Text: []byte(text("new", "b.dbc", nobody)), By: "cli:root"}); err != nil {
		t.Fatal(err)
	}
	stop()
	s.put("conf.d/"+guardFile, guardText) // as it is after the first of two files was moved
	if err := os.Rename(filepath.Join(s.dir, "conf.d/c.yaml"), filepath.Join(s.dir, "conf.d/c.yaml.replaced")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it stays so
		if c := s.mustStart("new"); !strings.Contains(c.note, "last ran") {
			t.Errorf("%q", c.note)
		}
	}
	did, err := store.Adopt(s.file)
	if err != nil || len(did.Written) != 1 || len(did.Moved) != 1 {
		t.Errorf("%+v %v", did, err)
	}
	if c := s.mustStart("new"); c.names() != "a" || c.by != ByFile || c.note != "" {
		t.Errorf("%s, %q", c.names(), c.note)
	}
}
