package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/gateway/live"
)

// The verbs at a running daemon, from one end to the other.
func TestConfigVerbs(t *testing.T) {
	const old = `gateway: {id: gw, clock: trusted}
can: [{interface: "sim:ramp?rate=10", name: a}]
buffer: {path: buffer}
uplink: {servers: ["mqtt://127.0.0.1:1"], username: u, password: hunter2}
`
	store := filepath.Join(t.TempDir(), "config")
	m := manage(t, old, map[string]string{"STATE_DIRECTORY": filepath.Dir(store)})
	verb := func(code int, args ...string) result {
		t.Helper()
		r := fieldferry(t.Context(), nil, append(append([]string{"config"}, args...), "-c", m.config)...)
		if r.code != code || strings.Contains(r.stdout+r.stderr, "hunter2") {
			t.Errorf("%q: code %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
		return r
	}
	says := func(r result, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(r.stdout+r.stderr, w) {
				t.Errorf("%q is not in\n%s%s", w, r.stdout, r.stderr)
			}
		}
	}
	says(verb(0, "show"), "# "+m.config+"\n", "# by file, sha256 ", "gateway: {id: gw, ")
	says(verb(0, "show", "--effective"), "uplink.keep_alive", "default", "gateway.id", "********")
	says(verb(0, "diff"), "No difference; secrets are not compared.")
	verb(1, "keep")
	verb(1, "rollback")
	put := func(text string) string {
		t.Helper()
		path := filepath.Join(m.dir, "new.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// Wrong: as check says it.
	says(verb(2, "apply", put(strings.Replace(old, "rate=10", "rate=ten", 1))), "new.yaml:2:", "rejected: the former configuration runs")
	verb(2, "apply", filepath.Join(m.dir, "none.yaml"))
	verb(1, "apply", "--watch", "1s", put(old))
	// On trial, kept.
	next := put(strings.Replace(old, "rate=10", "rate=20", 1))
	says(verb(0, "diff", next), "- can:", "+ can:")
	says(verb(0, "apply", "--watch", "1h", "--until-kept", "--no-wait", next), "put in place")
	m.hears("READY=1")
	says(verb(0, "show"), "is being tried until", "fieldferry config keep", "rate=20")
	says(verb(0, "keep"), "confirmed")
	says(verb(0, "show"), "not what stands in "+m.config, "at this machine")
	says(verb(0, "diff"), "- can:", "+ can:")
	says(verb(0, "diff", "--previous"), "- can:", "+ can:")
	// Waited for.
	says(verb(0, "apply", "--watch", "0", put(strings.Replace(old, "rate=10", "rate=30", 1))), "confirmed: it runs")
	says(verb(0, "rollback", "--watch", "0"), "confirmed: it runs")
	// Without a broker nothing proves itself.
	says(verb(1, "apply", "--watch", "5s", put(strings.Replace(old, "rate=10", "rate=40", 1))), "is being tried until", "rolled back", "no_uplink")
	var s live.ConfigState
	if err := json.Unmarshal([]byte(verb(0, "show", "--json").stdout), &s); err != nil || s.InFile || s.Attempt == nil || s.Attempt.State != "rolled_back" || !strings.Contains(s.Text, "rate=20") {
		t.Errorf("%+v %v", s, err)
	}
	var history []live.ConfigEntry
	if err := json.Unmarshal([]byte(verb(0, "history", "--json").stdout), &history); err != nil || len(history) != 5 || history[0].Result != "rolled_back" || history[4].By != "file" {
		t.Errorf("%+v %v", history, err)
	}
	says(verb(0, "history"), "rolled back", "no_uplink", "cli:")
	// Written into the site's file, by a person.
	says(verb(0, "adopt", "--config-store", store), "Written: "+m.config)
	if text, err := os.ReadFile(m.config); err != nil || !strings.Contains(string(text), "rate=20") || !strings.Contains(string(text), "hunter2") {
		t.Errorf("%s %v", text, err)
	}
	says(verb(0, "show"), "# "+m.config+"\n")
	says(verb(1, "adopt", "--config-store", filepath.Join(m.dir, "nothing")), "no configuration is kept there")
	m.stop()
}

// What the daemon says of a configuration does nothing to a terminal.
func TestHostileConfigIsPrinted(t *testing.T) {
	a := &live.ConfigAttempt{State: "watching", By: hostile, Why: hostile, Problems: []live.ConfigProblem{{Line: 1, Key: hostile, What: hostile, Fix: hostile}}}
	report, err := json.Marshal(map[string]any{"version": 1, "state": hostile, "code": hostile, "problems": []string{hostile}})
	if err != nil {
		t.Fatal(err)
	}
	for _, inFile := range []bool{true, false} {
		s := &live.ConfigState{Path: hostile, By: hostile, Note: hostile, InFile: inFile, Attempt: a, Remote: report}
		assertPrintable(t, "origin", originText(s))
	}
	for _, state := range []string{"watching", "confirmed", "rejected"} {
		a.State = state
		assertPrintable(t, state, attemptText(a, hostile))
	}
	assertPrintable(t, "text", printableLines(hostile+"\n"+hostile))
	assertPrintable(t, "settings", settingsText([]live.ConfigSetting{{Key: hostile, Value: hostile}}))
	assertPrintable(t, "history", historyText([]live.ConfigEntry{{By: hostile, ID: hostile, Result: hostile, Why: hostile}}))
}
