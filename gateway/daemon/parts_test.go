package daemon

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/uplink/uplinktest"
)

// A part comes in chunks, and continues after a start where it was; what is not
// what it is called is never whole.
func TestStagedParts(t *testing.T) {
	s := newSite(t)
	store := In(filepath.Join(s.dir, "store"))
	whole := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	chunks := [][]byte{whole[:100_000], whole[100_000:250_000], whole[250_000:]}
	id := sum(whole)
	add := func(p *parts, n int, data []byte) bool {
		t.Helper()
		done, err := p.Add(id, n, data)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	need := func(p *parts, want string) {
		t.Helper()
		if got := strings.Join(p.Missing([]string{id}), " "); got != want {
			t.Errorf("%q is missing, want %q", got, want)
		}
	}
	p := newParts(store)
	need(p, id+"/0")
	if add(p, 1, chunks[1]) || add(p, 0, chunks[0]) || add(p, 0, chunks[1]) {
		t.Error("whole too early")
	}
	need(p, id+"/1")
	p = newParts(store) // after a cut
	need(p, id+"/1")
	if add(p, 1, chunks[1]) || !add(p, 2, chunks[2]) {
		t.Error("not whole at its end")
	}
	need(p, "")
	if got, err := os.ReadFile(filepath.Join(store.dir, partsFolder, id)); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	p = newParts(store)
	need(p, "")
	p.Keep([]string{id})
	need(p, "")
	p.Keep(nil)
	need(p, id+"/0")
	if left, _ := os.ReadDir(filepath.Join(store.dir, partsFolder)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// Too much of it: it begins again.
	p = newParts(store)
	large := make([]byte, 256<<10)
	for n := range maxPart / len(large) {
		add(p, n, large)
	}
	if _, err := p.Add(id, maxPart/len(large), large); err == nil {
		t.Error("more than a part may have")
	}
	need(p, id+"/0")
	if _, err := newParts(Store{}).Add(id, 0, large); err == nil {
		t.Error("without a directory")
	}
}

// brokered is a site with a broker of its own, and the lines of its configuration.
func brokered(t *testing.T) (*uplinktest.Broker, *site, []string) {
	t.Helper()
	broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	return broker, newSite(t), strings.SplitAfter(text("g", "a.dbc", "mqtt://"+broker.Addr()), "\n")
}

// A DBC file comes with the configuration, which is the site's own text: both are
// switched together, run after a start, and go back together.
func TestPartsFromAfar(t *testing.T) {
	t.Parallel()
	_, s, lines := brokered(t)
	site := lines[0] + lines[1] + lines[4] + lines[5] + fromAfar
	s.put("f.yaml", site)
	b, err := os.ReadFile(filepath.Join(s.dir, "b.dbc"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(filepath.Join(s.dir, "a.dbc"))
	if err != nil {
		t.Fatal(err)
	}
	s.put("a.dbc", string(b))
	want := s.load(site)
	s.put("a.dbc", string(a))
	d, stop := s.run()
	before := d.page.running.Load().cfg
	more := fmt.Sprintf(`,"watch":"1h","parts":{"a.dbc":%q}`, sum(b))
	d.agent.Desired(fmt.Appendf(nil, `{"v":1,"version":7,"sha256":%q,"content":%q%s}`, sum([]byte(site)), site, more))
	s.reports(d, func(r told) bool { return r.State == "waiting" && r.Version == 7 })
	d.agent.Part(sum(b), 0, b[:10])
	d.agent.Part(sum(b), 1, b[10:])
	s.reports(d, func(r told) bool { return r.State == "watching" })
	if err := d.Keep(t.Context(), "cli:root"); err != nil {
		t.Fatal(err)
	}
	s.reports(d, func(r told) bool { return r.State == "confirmed" })
	after := d.page.running.Load().cfg
	for _, f := range after.Parts() {
		if _, err := os.Stat(f.At); err != nil { // an authority is read at each connection
			t.Errorf("it runs with a file that is gone: %v", err)
		}
	}
	if after.Same(before) || !after.Same(want) {
		t.Error("it does not run with the part")
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "store", partsFolder)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	stop()
	if c := s.mustStart("g"); !c.cfg.Same(after) {
		t.Error("after a start another one runs")
	}
	d, stop = s.run()
	defer stop()
	if err := d.RollBack(t.Context(), "cli:root", 0); err != nil {
		t.Error(err)
	}
	if !d.page.running.Load().cfg.Same(before) {
		t.Error("the way back has not the former part")
	}
}

// Files that came from afar and are not at the site serve the configurations after
// theirs too, whichever way those come, until one is at the site.
func TestPartsStayForTheNext(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	lines := strings.SplitAfter(text("g", "a.dbc", nobody), "\n")
	site := lines[0] + lines[1] + lines[4] + lines[5] + fromAfar
	s.put("f.yaml", site)
	a, err := os.ReadFile(filepath.Join(s.dir, "a.dbc"))
	if err != nil {
		t.Fatal(err)
	}
	other := []byte("VERSION \"\"\nBU_: X\nBO_ 77 Other: 1 X\n SG_ Y : 0|8@1+ (1,0) [0|255] \"\" X\n")
	d, stop := s.run()
	defer stop()
	text := func(rate, dbc string) string {
		return strings.Replace(strings.Replace(site, "rate=10", "rate="+rate, 1), "a.dbc", dbc, 1)
	}
	next := func(version int64, text, more string) {
		t.Helper()
		d.agent.Desired(fmt.Appendf(nil, `{"v":1,"version":%d,"sha256":%q,"content":%q,"watch":"1h"%s}`, version, sum([]byte(text)), text, more))
		if more != "" {
			s.reports(d, func(r told) bool { return r.State == "waiting" && r.Version == version })
			d.agent.Part(sum(a), 0, a)
			d.agent.Part(sum(other), 0, other)
		}
		s.reports(d, func(r told) bool { return r.Version == version && r.State != "waiting" && r.State != "applying" })
		if err := d.Keep(t.Context(), "cli:root"); err != nil {
			t.Fatal(version, err, s.reports(d, func(told) bool { return true }))
		}
		s.reports(d, func(r told) bool { return r.Version == version && r.State == "confirmed" })
	}
	next(1, text("10", "first.dbc"), fmt.Sprintf(`,"parts":{"first.dbc":%q}`, sum(a)))
	next(2, text("11", "first.dbc"), "")
	next(3, text("10", "[first.dbc, b.dbc]"), fmt.Sprintf(`,"parts":{"b.dbc":%q}`, sum(other)))
	by := text("11", "[first.dbc]")
	if problems := d.page.Check([]byte(by)); len(problems) > 0 {
		t.Errorf("the page says %+v", problems)
	}
	if err := d.Apply(t.Context(), Candidate{Text: []byte(by), By: "web:anna"}); err != nil {
		t.Error(err)
	}
	s.put("first.dbc", string(a)+"\n")
	again := text("12", "first.dbc")
	if err := d.Apply(t.Context(), Candidate{Text: []byte(again), By: "web:anna"}); err != nil {
		t.Error(err)
	}
	if runs := d.page.running.Load().cfg; !runs.Same(s.load(again)) {
		t.Error("the site's file is not used although it is there")
	}
}
