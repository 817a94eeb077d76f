package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
)

// reader is an integrator who copies the examples of docs/REMOTE.md.
type reader struct {
	*afar
	names      string // what the first example sets
	api, token string
	site       string
	second     int64 // of the last version
}

// newReader prepares the gateway as the document says.
func newReader(t *testing.T) *reader {
	t.Helper()
	for _, program := range []string{"jq", "openssl", "curl"} {
		rig.Need(t, program, program)
	}
	p := newPlantWith(t, plantOptions{protocol: "5", idle: true})
	r := &reader{afar: &afar{plant: p, store: filepath.Join(p.dir, "store")}}
	config, rules := examples(t, "REMOTE.md", "yaml")[0], examples(t, "REMOTE.md", "")[1]
	config = strings.NewReplacer("mqtts://broker:8883", "mqtt://"+p.broker.Addr(), "/etc/fieldferry", p.dir).Replace(config)
	p.reconfigure(func(text string) string {
		text = strings.Replace(text, "gw-e2e", "gw-01", 1)
		r.site = regexp.MustCompile(`(?m)^uplink:.*\n`).ReplaceAllString(text, config+"web: {listen: \"127.0.0.1:0\"}\n")
		return r.site
	})
	p.broker.protect(t, "gw-01", "fleet", "witness", "reader")
	// What the document leaves out is what every gateway has: its data.
	acl := "user witness\ntopic read #\nuser reader\ntopic read #\nuser gw-01\ntopic write fieldferry/gw-01/+\ntopic write fieldferry/gw-01/meta/#\ntopic read fieldferry/gw-01/status\n" + rules
	for path, text := range map[string]string{filepath.Join(p.broker.dir, "acl"): acl, filepath.Join(p.dir, "mqtt.password"): "secret\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.broker.restart(t)
	r.said = p.broker.follow(t, "reader", "fieldferry/gw-01/config/reported")
	t.Cleanup(func() {
		r.said.mu.Lock()
		defer r.said.mu.Unlock()
		if n := len(r.said.payloads); n > 0 && t.Failed() {
			t.Logf("the last report: %s", r.said.payloads[n-1])
		}
	})
	r.run()
	r.token = strings.TrimSpace(r.shell("fieldferry web token fleet --scope admin"))
	r.api = r.daemon.Finds(regexp.MustCompile(`url=(http://[0-9.:]+)`))[1]
	return r
}

// do runs an example in the state that those before it have left.
func (r *reader) do(script string) string {
	r.t.Helper()
	if strings.Contains(script, "now|floor") || strings.Contains(script, "date +%s") { // a version: nobody has two in a second
		r.daemon.Until("another second", func() bool { return time.Now().Unix() > r.second })
		defer func() { r.second = time.Now().Unix() }()
	}
	script = strings.NewReplacer("http://127.0.0.1:8090", r.api, "config adopt", "config adopt --config-store "+r.store).Replace(script)
	return r.shell("TOKEN=" + r.token + "\n" + r.names + script)
}

// alter writes new.yaml: what is given, with another interval each time.
func (r *reader) alter(text string) string {
	r.t.Helper()
	r.number++
	text = regexp.MustCompile(`interval: \d+ms`).ReplaceAllString(text, fmt.Sprintf("interval: %dms", 200+r.number))
	if err := os.WriteFile(filepath.Join(r.dir, "new.yaml"), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return text
}

// becomes waits until a configuration is reported in a state, or in any, whatever
// its version.
func (r *reader) becomes(state, running string) (last reportedConfig) {
	r.t.Helper()
	r.daemon.Until(state+", and what runs", func() bool {
		var is bool
		last, _, is = (&killed{afar: r.afar}).saidSince(0)
		return is && (last.State == state || state == "") && last.Running == sumOf(running)
	})
	return last
}

// An integrator who copies the examples of docs/REMOTE.md, one after the other,
// gets what the document says.
func TestExamplesOfRemote(t *testing.T) {
	t.Parallel()
	scripts, pieces := examples(t, "REMOTE.md", "sh"), examples(t, "REMOTE.md", "json")
	if len(scripts) != 7 || len(pieces) != 2 || len(examples(t, "REMOTE.md", "yaml")) != 2 || len(examples(t, "REMOTE.md", "")) != 2 {
		t.Fatalf("%d scripts, %d pieces of JSON", len(scripts), len(pieces))
	}
	r := newReader(t)
	check, scripts := scripts[0], scripts[1:]
	head := strings.SplitAfterN(scripts[0], "\n", 4)
	r.names = head[0] + head[1] + head[2] // G, B and BASE
	if out := r.shell(check); !slices.Equal(members(t, out), members(t, pieces[0])) || !strings.Contains(out, `"state":"none"`) {
		t.Errorf("the first report is %s, that of the document %s", out, pieces[0])
	}
	// A watch of 10 minutes is too long for a test, and so is one without an end.
	push := strings.NewReplacer(`watch:"10m"`, `watch:"5s"`, "config/reported        # watch it", "config/reported -C 1 -W 5").Replace(head[3])
	runs := r.alter(r.site)
	if out := r.do(push); !strings.Contains(out, `"running":`) {
		t.Errorf("pushing gave %s", out)
	}
	r.becomes("confirmed", runs)

	runs = r.exampleOfParts(push, scripts[1], pieces[1], runs)
	r.exampleOfGoingBack(push, scripts[2], runs)
	runs = r.exampleOfVerbs(scripts[3], runs)
	runs = r.exampleOfTheAPI(scripts[4], runs)
	r.exampleOfSignedDocuments(scripts[5], runs)
}

// exampleOfParts has a DBC file of two chunks come with the YAML.
func (r *reader) exampleOfParts(push, script, piece, runs string) string {
	r.t.Helper()
	dbc := "VERSION \"\"\nBU_: X\nBO_ 291 Ramp: 8 X\n SG_ Steps : 0|8@1+ (1,0) [0|255] \"\" X\n" + strings.Repeat("\n", chunkSize)
	if err := os.WriteFile(filepath.Join(r.dir, "plant.dbc"), []byte(dbc), 0o600); err != nil {
		r.t.Fatal(err)
	}
	named := strings.TrimSpace(regexp.MustCompile(`, "templates[^}]*`).ReplaceAllString(piece, ""))
	named = strings.Replace(named, "5f1c…", sumOf(dbc), 1)
	if strings.Contains(named, "…") {
		r.t.Fatalf("the document's parts are %s", piece)
	}
	runs = r.alter(runs + "can: [{interface: \"sim:ramp\", name: a, dbc: [plant.dbc]}]\n")
	if out := r.do(strings.Replace(push, `watch:"5s"`, `watch:"5s", `+named, 1)); !strings.Contains(out, `"running":`) {
		r.t.Errorf("pushing gave %s", out)
	}
	r.daemon.Until("the first chunk is needed", func() bool {
		last, _, is := (&killed{afar: r.afar}).saidSince(0)
		return is && slices.Equal(last.Need, []string{sumOf(dbc) + "/0"})
	})
	if err := os.Rename(filepath.Join(r.dir, "plant.dbc"), filepath.Join(r.dir, "elsewhere.dbc")); err != nil {
		r.t.Fatal(err) // it must not be read at the site
	}
	r.do(strings.ReplaceAll(script, "plant.dbc", "elsewhere.dbc"))
	r.becomes("confirmed", runs)
	return runs
}

// exampleOfGoingBack ends a trial, and goes back behind the confirmed one.
func (r *reader) exampleOfGoingBack(push, script, runs string) {
	r.t.Helper()
	back := lines(script)
	tried := r.alter(runs)
	r.do(strings.Replace(push, `watch:"5s"`, `watch:"1h"`, 1))
	r.becomes("watching", tried)
	r.do(back[0])
	if last := r.becomes("rolled_back", runs); last.Code != "requested" {
		r.t.Errorf("%+v", last)
	}
	r.do(back[1])
	r.daemon.Until("the configuration before is tried", func() bool {
		last, _, is := (&killed{afar: r.afar}).saidSince(0)
		return is && last.State == "watching" && last.Running != sumOf(runs) && last.Running != sumOf(tried)
	})
	r.do(back[0])
	r.becomes("rolled_back", runs)
}

// tries is do for an example that does not wait for the trial it begins.
func (r *reader) tries(script string) {
	r.t.Helper()
	r.do(script)
	r.attempt("watching")
}

// attempt waits until the API says so of the last attempt.
func (r *reader) attempt(state string) {
	r.t.Helper()
	r.daemon.Until("an attempt that is "+state, func() bool {
		q, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.api+"/api/v1/config/attempt", nil)
		if err != nil {
			r.t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+r.token)
		var said struct{ Attempt struct{ State string } }
		if a, err := http.DefaultClient.Do(q); err == nil { // else the page starts again
			err = json.NewDecoder(a.Body).Decode(&said)
			_ = a.Body.Close()
			if err != nil {
				r.t.Error(err)
			}
		}
		return said.Attempt.State == state
	})
}

// exampleOfVerbs takes the verbs line by line: they are alternatives.
func (r *reader) exampleOfVerbs(script, runs string) string {
	r.t.Helper()
	verbs := lines(script)
	if len(verbs) != 9 {
		r.t.Fatalf("%d verbs", len(verbs))
	}
	next := r.alter(runs)
	for i, says := range []string{"interval: ", "keep_alive", "interval: "} {
		if out := r.do(verbs[i]); !strings.Contains(out, says) {
			r.t.Errorf("%s gave %s", verbs[i], out)
		}
	}
	if out := r.do(strings.Replace(verbs[3], "10m", "5s", 1)); !strings.Contains(out, "confirmed") {
		r.t.Errorf("apply gave %s", out)
	}
	r.alter(next)
	r.tries(verbs[4])
	r.do(verbs[6]) // ends the trial
	if out := r.do(verbs[0]); !strings.Contains(out, regexp.MustCompile(`interval: \d+ms`).FindString(next)) {
		r.t.Errorf("after the way back runs %s", out)
	}
	kept := r.alter(next)
	r.tries(verbs[4])
	r.do(verbs[5])
	if out := r.do(verbs[7]); strings.Count(out, "confirmed") < 3 || !strings.Contains(out, "rolled back") {
		r.t.Errorf("the history is %s", out)
	}
	stop(r.t, r.daemon)
	r.do(verbs[8])
	if r.file() != kept {
		r.t.Error("adopt has not written what ran into the site's file")
	}
	r.run()
	r.api = r.daemon.Finds(regexp.MustCompile(`url=(http://[0-9.:]+)`))[1]
	return kept
}

// exampleOfTheAPI tries one, keeps it, and asks for the one before.
func (r *reader) exampleOfTheAPI(script, runs string) string {
	r.t.Helper()
	r.alter(runs)
	steps := strings.SplitAfter(strings.TrimSpace(script)+"\n", "\n")
	if len(steps) != 8 || !strings.Contains(steps[6], "rollback") {
		r.t.Fatalf("%d lines", len(steps))
	}
	access := steps[0] + steps[1]
	out := r.do(access + steps[2] + steps[3] + "\n" + steps[4])
	if !strings.Contains(out, `"state":"applying"`) && !strings.Contains(out, `"state":"watching"`) {
		r.t.Errorf("apply gave %s", out)
	}
	r.attempt("watching")
	r.do(access + steps[5])
	r.attempt("confirmed")
	r.do(access + steps[6])
	r.attempt("watching")
	r.do(access + steps[5])
	r.attempt("confirmed")
	return runs
}

// exampleOfSignedDocuments makes a key and signs with it as the document says.
func (r *reader) exampleOfSignedDocuments(script, runs string) {
	r.t.Helper()
	signers := strings.Replace(examples(r.t, "REMOTE.md", "yaml")[1], "/etc/fieldferry", r.dir, 1)
	r.shell("openssl genpkey -algorithm ed25519 -out ops.key\nopenssl pkey -in ops.key -pubout -out ops.pub\n")
	runs = r.alter(runs + signers)
	if err := os.WriteFile(r.config, []byte(runs), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.daemon.Signal(syscall.SIGHUP)
	r.becomes("", runs)
	runs = r.alter(runs)
	r.do(strings.Replace(script, "WATCH=10m", "WATCH=5s", 1))
	r.becomes("confirmed", runs)
	if by := string(r.said.payloads[len(r.said.payloads)-1]); !strings.Contains(by, `"by":"mqtt:ops"`) {
		r.t.Errorf("the report is %s", by)
	}
}
