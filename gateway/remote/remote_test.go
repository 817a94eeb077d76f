package remote

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// disk is files in memory.
type disk struct {
	mu    sync.Mutex
	files map[string][]byte
	full  bool
}

func (d *disk) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b, is := d.files[name]; is {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (d *disk) Write(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return errors.New("no space left")
	}
	d.files[name] = data
	return nil
}

// stand is a daemon that does what a test says.
type stand struct {
	t      *testing.T
	agent  *Agent
	disk   *disk
	parts  *shelf
	set    Settings
	tried  []string
	backs  int
	result chan error // what becomes of what is tried
	events []string
	cancel func()
	done   chan struct{}
}

func (s *stand) Apply(ctx context.Context, c *Change) error {
	s.tried = append(s.tried, string(c.Text))
	c.Told(time.Now().Add(c.Watch))
	select {
	case err := <-s.result:
		if err == nil {
			s.set.Running, s.set.Origin = sum(c.Text), c.By
			s.agent.Follow(s.set)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stand) RollBack(_ context.Context, _ string, watch time.Duration, told func(time.Time)) error {
	s.backs++
	if s.agent.busyWithText() {
		s.result <- &Failure{State: RolledBack, Code: Requested}
		return nil
	}
	s.set.Running = "before"
	s.agent.Follow(s.set)
	told(time.Now().Add(watch))
	if r := s.report(); r.State != Watching {
		s.t.Errorf("in its trial a way back is %+v", r)
	}
	return nil
}

// busyWithText reports whether a trial is on.
func (a *Agent) busyWithText() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.busy && a.kept.Last.SHA256 != ""
}

func sum(text []byte) string {
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:])
}

func newStand(t *testing.T, d *disk, set Settings) *stand {
	s := &stand{t: t, disk: d, parts: &shelf{chunks: map[string]int{}}, set: set, result: make(chan error, 1), done: make(chan struct{})}
	s.agent = New(Options{Daemon: s, Files: d, Parts: s.parts, Log: slog.New(slog.DiscardHandler), Changed: func() {}, Event: func(a, _ string) { s.events = append(s.events, a) }})
	s.agent.Follow(set)
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	go func() { defer close(s.done); s.agent.Run(ctx) }()
	return s
}

// shelf has each part that is of as many chunks as needed say.
type shelf struct {
	needed int
	chunks map[string]int
	kept   []string
}

func (p *shelf) Missing(sums []string) (need []string) {
	for _, sum := range sums {
		if p.chunks[sum] < p.needed {
			need = append(need, fmt.Sprintf("%s/%d", sum, p.chunks[sum]))
		}
	}
	return need
}

func (p *shelf) Add(sum string, n int, data []byte) (bool, error) {
	if string(data) == "bad" {
		return false, errors.New("too much")
	}
	if n == p.chunks[sum] {
		p.chunks[sum]++
	}
	return p.chunks[sum] == p.needed, nil
}

func (p *shelf) Keep(sums []string) { p.kept = sums }

// A document whose parts are missing waits for them, says which chunk is next, and
// is tried when they are there; nothing else is kept.
func TestParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, &disk{files: map[string][]byte{}}, apply)
		defer s.stop()
		s.parts.needed = 2
		a, b, other := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64)
		r := s.send(document(5, "x", `,"parts":{"one.dbc":"`+a+`","two.dbc":"`+b+`"}`))
		want(t, r, 5, Waiting, "")
		if len(r.Need) != 2 || r.Need[0] != a+"/0" || len(s.tried) > 0 {
			t.Errorf("%+v", r)
		}
		part := func(sum string, n int, text string) reported {
			s.agent.Part(sum, n, []byte(text))
			synctest.Wait()
			return s.report()
		}
		if r = part(other, 0, "x"); len(s.parts.chunks) > 0 {
			t.Error("a part that no document names was kept")
		}
		if r = part(a, 0, strings.Repeat("x", MaxChunk+1)); len(s.parts.chunks) > 0 {
			t.Error("a chunk that is too large was kept")
		}
		if r = part(a, 0, "x"); len(r.Need) != 2 || r.Need[0] != a+"/1" {
			t.Errorf("%+v", r)
		}
		if r = part(a, 1, "bad"); len(r.Problems) != 1 || r.State != Waiting {
			t.Errorf("%+v", r)
		}
		if r = part(a, 1, "x"); len(r.Need) != 1 || r.Need[0] != b+"/0" {
			t.Errorf("%+v", r)
		}
		part(b, 0, "x")
		s.result <- nil
		want(t, part(b, 1, "x"), 5, Confirmed, "")
		if len(s.tried) != 1 || s.parts.kept != nil {
			t.Errorf("%v %v", s.tried, s.parts.kept)
		}
		if part(b, 2, "x"); s.parts.chunks[b] != 2 {
			t.Error("a part was kept for nobody")
		}
	})
}

func (s *stand) stop() { s.cancel(); <-s.done }

// send publishes a document and returns the report once nothing moves any more.
func (s *stand) send(document string) reported {
	s.agent.Desired([]byte(document))
	synctest.Wait()
	return s.report()
}

func (s *stand) report() (r reported) {
	s.t.Helper()
	if err := json.Unmarshal(s.agent.Reported(), &r); err != nil {
		s.t.Fatalf("%s: %v", s.agent.Reported(), err)
	}
	return r
}

// document is a desired configuration; more are further members.
func document(version int, content, more string) string {
	return fmt.Sprintf(`{"v":1,"version":%d,"sha256":%q,"content":%q%s}`, version, sum([]byte(content)), content, more)
}

var apply = Settings{Gateway: "gw", Mode: "apply", Running: "first", Origin: "file"}

func want(t *testing.T, r reported, version int64, state State, code Code) {
	t.Helper()
	if r.Version != version || r.State != state || r.Code != code {
		t.Errorf("%+v, want %d %s %s", r, version, state, code)
	}
}

// The whole way, and what is repeated is not done again.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, &disk{files: map[string][]byte{}}, apply)
		want(t, s.report(), 0, None, "")
		r := s.send(document(42, "a", `,"base":"first","watch":"1m"`))
		want(t, r, 42, Watching, "")
		if r.Until == "" || r.Running != "first" {
			t.Errorf("%+v", r)
		}
		want(t, s.send(document(42, "a", "")), 42, Watching, "") // the replay of the new connection
		s.result <- nil
		synctest.Wait()
		r = s.report()
		want(t, r, 42, Confirmed, "")
		if r.Running != sum([]byte("a")) || r.By != "mqtt" || r.Until != "" {
			t.Errorf("%+v", r)
		}
		want(t, s.send(document(42, "a", "")), 42, Confirmed, "")
		want(t, s.send(document(41, "b", "")), 41, Rejected, Old)
		want(t, s.send(document(42, "b", "")), 42, Rejected, Old)
		want(t, s.send(document(43, "b", `,"base":"first"`)), 43, Rejected, Conflict)
		want(t, s.send(document(43, "b", "")), 43, Rejected, Conflict) // the same version and hash
		// One that fails is not tried again under its version, over a restart too.
		s.result <- &Failure{State: RolledBack, Code: Worse, Problems: []string{"x:1:2: silent"}}
		r = s.send(document(44, "c", ""))
		want(t, r, 44, RolledBack, Worse)
		if len(r.Problems) != 1 || r.Running != sum([]byte("a")) {
			t.Errorf("%+v", r)
		}
		want(t, s.send(document(44, "c", "")), 44, RolledBack, Worse)
		s.stop()
		again := newStand(t, s.disk, s.set)
		defer again.stop()
		want(t, again.send(document(44, "c", "")), 44, RolledBack, Worse)
		want(t, again.send(document(43, "old", "")), 43, Rejected, Old)
		if len(again.tried) > 0 || fmt.Sprint(s.tried) != "[a c]" {
			t.Errorf("tried %q, then %q", s.tried, again.tried)
		}
		again.result <- nil
		want(t, again.send(document(45, "c", "")), 45, Confirmed, "") // under a new one it is
	})
}

// A process that ends in the trial finds out at its start what runs.
func TestInterrupted(t *testing.T) {
	for runs, state := range map[string]State{"first": RolledBack, sum([]byte("a")): Confirmed} {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(t, &disk{files: map[string][]byte{}}, apply)
			want(t, s.send(document(1, "a", "")), 1, Watching, "")
			s.stop() // without a word of what became of it
			set := apply
			set.Running = runs
			again := newStand(t, s.disk, set)
			defer again.stop()
			if r := again.report(); r.State != state {
				t.Errorf("%s: %+v", runs, r)
			}
			again.send(document(1, "a", ""))
			if len(again.tried) > 0 {
				t.Error("it was tried again")
			}
		})
	}
}

// Somebody at the site wins, and the report says so, both ways.
func TestOverridden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, &disk{files: map[string][]byte{}}, apply)
		defer s.stop()
		s.result <- nil
		want(t, s.send(document(1, "a", "")), 1, Confirmed, "")
		edited := apply
		edited.Running = "edited"
		trial := edited
		trial.Trial = true
		s.agent.Follow(trial)
		want(t, s.report(), 1, Confirmed, "")
		s.agent.Follow(edited)
		want(t, s.report(), 1, Overridden, "")
		s.agent.Follow(s.set)
		want(t, s.report(), 1, Confirmed, "")
		if fmt.Sprint(s.events) != "[config_overridden]" {
			t.Errorf("%q", s.events)
		}
	})
}

func TestRollBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, &disk{files: map[string][]byte{}}, apply)
		s.send(document(1, "a", ""))
		want(t, s.send(`{"rollback":true}`), 1, RolledBack, Requested)
		want(t, s.send(`{"rollback":true}`), 1, RolledBack, Requested) // the broker's replay
		if s.backs != 1 {
			t.Errorf("%d", s.backs)
		}
		s.send(document(2, "b", ""))
		want(t, s.send(document(3, "c", "")), 2, Watching, "") // it waits
		want(t, s.send(`{"version":4,"rollback":true}`), 2, RolledBack, Requested)
		want(t, s.send(document(3, "c", "")), 3, Rejected, Old)
		// Behind the confirmed one: once.
		want(t, s.send(`{"version":5,"rollback":true}`), 5, Confirmed, "")
		want(t, s.send(`{"version":5,"rollback":true}`), 5, Confirmed, "")
		if s.backs != 3 || s.report().Running != "before" {
			t.Errorf("%d %+v", s.backs, s.report())
		}
		s.stop()
		again := newStand(t, s.disk, s.set)
		defer again.stop()
		want(t, again.send(`{"version":5,"rollback":true}`), 5, Confirmed, "")
		if again.backs != 0 {
			t.Error("rolled back again")
		}
	})
}

// What cannot be noted is not tried.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, &disk{files: map[string][]byte{}, full: true}, apply)
		defer s.stop()
		want(t, s.send(document(1, "a", "")), 1, Rejected, Storage)
		s.disk.full = false
		s.result <- nil
		want(t, s.send(document(1, "a", "")), 1, Confirmed, "")
	})
}

func TestSigned(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		set := apply
		set.Signers = map[string]ed25519.PublicKey{"ops": public}
		s := newStand(t, &disk{files: map[string][]byte{}}, set)
		defer s.stop()
		sign := func(gateway, text string) string {
			d, err := Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			sig := base64.StdEncoding.EncodeToString(ed25519.Sign(private, SignedText(gateway, d)))
			return strings.TrimSuffix(text, "}") + `,"sig":"ops:` + sig + `"}`
		}
		want(t, s.send(document(1, "a", "")), 1, Rejected, Signature)
		want(t, s.send(sign("other", document(1, "a", ""))), 1, Rejected, Signature)
		want(t, s.send(strings.Replace(sign("gw", document(1, "a", "")), `"version":1`, `"version":2`, 1)), 2, Rejected, Signature)
		want(t, s.send(strings.Replace(sign("gw", document(1, "a", "")), `"v":1,`, `"v":1,"watch":"24h",`, 1)), 1, Rejected, Signature)
		want(t, s.send(`{"version":9,"rollback":true}`), 9, Rejected, Signature)
		want(t, s.send(sign("gw", `{"rollback":true}`)), 0, Rejected, Invalid)
		s.result <- nil
		r := s.send(sign("gw", document(1, "a", `,"parts":{"a.dbc":"`+strings.Repeat("0", 64)+`"}`)))
		want(t, r, 1, Confirmed, "")
		if r.By != "mqtt:ops" {
			t.Errorf("%+v", r)
		}
	})
}

// Without the mode nothing is taken; with report it is only said what runs.
func TestModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, mode := range []string{"", "report"} {
			set := apply
			set.Mode = mode
			s := newStand(t, &disk{files: map[string][]byte{}}, set)
			s.agent.Desired([]byte(document(1, "a", "")))
			synctest.Wait()
			if len(s.tried) > 0 || (s.agent.Reported() != nil) != (mode == "report") {
				t.Errorf("%q: %q %s", mode, s.tried, s.agent.Reported())
			}
			s.stop()
		}
	})
}

func TestParse(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte("long"))
	_ = z.Close()
	zipped := fmt.Sprintf(`{"version":1,"sha256":%q,"encoding":"gzip+base64","content":%q}`, sum([]byte("long")), base64.StdEncoding.EncodeToString(packed.Bytes()))
	d, err := Parse([]byte(zipped))
	if err != nil || string(d.Content) != "long" || d.watch != Watch {
		t.Errorf("%+v %v", d, err)
	}
	packed.Reset()
	z = gzip.NewWriter(&packed)
	_, _ = z.Write(make([]byte, 8<<20))
	_ = z.Close()
	good := document(1, "a", "")
	for text, want := range map[string]string{
		"":                                "not a JSON object",
		good + "x":                        "follows",
		`{"v":2}`:                         "v is 2",
		`{"version":1,"version":2}`:       "twice",
		`{"Version":1}`:                   "not known",
		`{"version":0}`:                   "whole number",
		`{"version":-1}`:                  "whole number",
		`{"version":1.5}`:                 "whole number",
		`{"version":"1"}`:                 "whole number",
		`{"version":9007199254740993}`:    "whole number",
		`{"rollback":false}`:              "rollback is true",
		`{"rollback":true,"content":"a"}`: "stands without",
		`{"version":1}`:                   "content is missing",
		`{"content":"a"}`:                 "version is missing",
		`{"version":1,"content":"a"}`:     "sha256",
		strings.Replace(good, `"content":"a"`, `"content":"b"`, 1):          "not that of the content",
		document(1, "a", `,"watch":"1s"`):                                   "watch",
		document(1, "a", `,"watch":"48h"`):                                  "watch",
		document(1, "a", `,"parts":[]`):                                     "parts",
		document(1, "a", `,"parts":{"a":"1"}`):                              "SHA-256",
		document(1, "a", `,"parts":{"a\nb":"`+strings.Repeat("0", 64)+`"}`): "SHA-256",
		document(1, "a", `,"encoding":"zip"`):                               "encoding",
		document(1, "a", `,"encoding":"gzip+base64"`):                       "base64",
		`{"version":1,"sha256":"` + sum(nil) + `","encoding":"gzip+base64","content":"` + base64.StdEncoding.EncodeToString(packed.Bytes()) + `"}`: "more than",
		strings.Repeat(" ", MaxDesired+1): "at most",
	} {
		if _, err := Parse([]byte(text)); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.80s: %v, want %s", text, err, want)
		}
	}
}
