package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// told is what the gateway reports of its configuration.
type told struct {
	Version              int64
	State, Code, Running string
	Problems             []string
}

func (s *site) reports(d *Daemon, until func(told) bool) (r told) {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		r = told{}
		if err := json.Unmarshal(d.agent.Reported(), &r); err != nil {
			s.t.Fatal(err)
		}
		if until(r) {
			return r
		}
		select {
		case <-s.t.Context().Done():
			s.t.Fatalf("%+v", r)
		case <-tick.C:
		}
	}
}

// desire sends a configuration and waits for its end.
func (s *site) desire(d *Daemon, version int64, text, more string) told {
	s.t.Helper()
	d.agent.Desired(fmt.Appendf(nil, `{"v":1,"version":%d,"sha256":%q,"content":%q%s}`, version, sum([]byte(text)), text, more))
	return s.reports(d, func(r told) bool {
		return r.Version == version && slices.Contains([]string{"confirmed", "rejected", "rolled_back"}, r.State)
	})
}

const fromAfar = "remote_config: {mode: apply, allow: [gateway, can, modbus]}\n"

// What comes from afar is judged by the rules of the configuration that runs.
func TestAfar(t *testing.T) {
	t.Parallel()
	broker, s, lines := brokered(t)
	server := "mqtt://" + broker.Addr()
	old := lines[0] + lines[1] + lines[4] + lines[5] + fromAfar // no port that is lost meanwhile
	s.put("f.yaml", old)
	d, stop := s.run()
	running := sum([]byte(old))
	version := int64(0)
	for _, c := range []struct{ text, more, code, problem string }{
		{"gateway: {id: 'half", "", "invalid", "content:1:"},
		{strings.Replace(old, "a.dbc", "none.dbc", 1), "", "invalid", "content:2:"},
		{strings.Replace(old, server, nobody, 1), "", "not_allowed", "uplink: must not be changed from afar"},
		{old + "commands: {max_ttl: 5s}\n", "", "not_allowed", "commands: must not"},
		{strings.Replace(old, "can, modbus]", "can, modbus, uplink]", 1), "", "not_allowed", "remote_config: must not"},
		{strings.Replace(old, "uplink: {", "uplink: {username: u, password: hunter2, ", 1), "", "secret", "uplink.password: is a secret"},
		{strings.Replace(old, "a.dbc", "b.dbc", 1), `,"base":"` + sum(nil) + `"`, "conflict", "base is not what runs"},
	} {
		version++
		r := s.desire(d, version, c.text, c.more)
		if r.State != "rejected" || r.Code != c.code || r.Running != running || len(r.Problems) == 0 || !strings.Contains(r.Problems[0], c.problem) {
			t.Errorf("%.300s: %+v", c.text, r)
		}
		if said := fmt.Sprint(r); strings.Contains(said, "hunter2") || strings.Contains(said, "f.yaml") {
			t.Errorf("a secret or the site's file is named in %s", said)
		}
	}
	// One that is taken, with the base that was reported.
	fine := strings.Replace(old, "a.dbc", "b.dbc", 1)
	r := s.desire(d, 20, fine, `,"watch":"5s","base":"`+running+`"`)
	if r.State != "confirmed" || r.Running != sum([]byte(fine)) {
		t.Fatalf("%+v", r)
	}
	if note := d.page.looking.Snapshot().Config.Note; !strings.Contains(note, "by the broker") {
		t.Errorf("note %q", note)
	}
	// And the way back behind it.
	d.agent.Desired([]byte(`{"version":21,"rollback":true,"watch":"5s"}`))
	r = s.reports(d, func(r told) bool { return r.Version == 21 && r.State == "confirmed" })
	if r.Running != running {
		t.Errorf("%+v", r)
	}
	stop()
}

// Somebody keeps a configuration, or asks for the way back, before its time.
func TestKeepAndRollBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.put("f.yaml", text("old", "a.dbc", nobody))
	d, stop := s.run()
	defer stop()
	if err := d.Keep(t.Context(), "web:anna"); !errors.Is(err, ErrNoTrial) {
		t.Error(err)
	}
	if err := d.RollBack(t.Context(), "web:anna", 0); !errors.Is(err, ErrNoFormer) {
		t.Error(err)
	}
	begins := make(chan *Trial, 1)
	apply := func(id string, watch time.Duration) chan error {
		ended := make(chan error, 1)
		go func() {
			ended <- d.Apply(t.Context(), Candidate{Text: []byte(text(id, "b.dbc", nobody)), By: "web:anna", Watch: watch, Keep: true, Told: func(t *Trial) { begins <- t }})
		}()
		return ended
	}
	// Kept: confirmed at once, without an uplink.
	ended := apply("kept", time.Hour)
	if trial := <-begins; trial.By != "web:anna" || !trial.Keep || trial.Until.IsZero() || d.Trial() != trial {
		t.Errorf("%+v", trial)
	}
	if err := d.Keep(t.Context(), "web:anna"); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil || d.Trial() != nil {
		t.Error(err)
	}
	// Rolled back, by word and for want of it.
	var failed *ApplyError
	ended = apply("word", time.Hour)
	<-begins
	if err := d.RollBack(t.Context(), "cli:root", 0); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.As(err, &failed) || failed.Result != RolledBack || !strings.Contains(err.Error(), "root, at this machine") {
		t.Error(err)
	}
	ended = apply("unkept", time.Millisecond)
	<-begins
	if err := <-ended; !errors.Is(err, ErrNotKept) {
		t.Error(err)
	}
	if id := d.page.running.Load().sum; id != sum([]byte(text("kept", "b.dbc", nobody))) {
		t.Error("another one runs than the one that was kept")
	}
	// Behind the confirmed one.
	if err := d.RollBack(t.Context(), "cli:root", 0); err != nil {
		t.Error(err)
	}
	st := d.opts.Store.State()
	var results []string
	for _, e := range st.History {
		results = append(results, e.By+" "+string(e.Result))
	}
	if got := strings.Join(results, ", "); got != "file confirmed, web:anna confirmed, web:anna rolled_back, web:anna rolled_back, file confirmed" && got != "file confirmed, web:anna confirmed, web:anna rolled_back, web:anna rolled_back, cli:root confirmed" {
		t.Errorf("%s", got)
	}
}
