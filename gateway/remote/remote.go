// Package remote takes the configuration of a gateway from afar, and says what
// became of it.
//
// # Nouns
//
// The desired configuration is a retained message: a state that somebody wants,
// with a version that only grows. The reported one says what runs and what
// became of the desired one. A trial is the time in which a configuration has to
// prove itself.
//
// # Promise
//
// Each version is tried once, also over a restart, kill -9 or power cut: what is
// being tried is on disk before. A configuration that was rejected or rolled
// back is not tried again under the same version.
//
// # Caveats
//
// The package knows nothing of MQTT, and puts nothing in place: that is a
// [Daemon]'s, with the way back.
package remote

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// State is what became of the desired configuration.
type State string

// The states.
const (
	None       State = "none"        // nothing has been desired
	Waiting    State = "waiting"     // parts are missing
	Applying   State = "applying"    // it is being put in place
	Watching   State = "watching"    // it runs, and has to prove itself
	Confirmed  State = "confirmed"   // it runs
	Rejected   State = "rejected"    // it was not tried, or could not be opened
	RolledBack State = "rolled_back" // it ran, and the former one runs again
	Overridden State = "overridden"  // it was confirmed, and somebody has put another one in its place since
)

// Code says why, in one word.
type Code string

// The codes.
const (
	Invalid     Code = "invalid"     // the document, or the configuration in it
	Signature   Code = "signature"   // there is none, or it is not right
	Old         Code = "old"         // the version is not newer than the last one
	Conflict    Code = "conflict"    // it was made from another configuration than the one that runs
	NotAllowed  Code = "not_allowed" // it changes what remote_config.allow does not name
	Secret      Code = "secret"      // it has a secret in it as it is
	Unusable    Code = "unusable"    // it could not be opened, or not be kept
	NoUplink    Code = "no_uplink"   // the broker has acknowledged nothing
	Worse       Code = "worse"       // a source that delivered is down, or an alarm is new
	Requested   Code = "requested"   // somebody has asked for the way back
	Interrupted Code = "interrupted" // the gateway ended meanwhile
	Storage     Code = "storage"     // the state cannot be kept
)

// Daemon puts configurations in place, with the way back.
type Daemon interface {
	// Apply returns nil when the configuration is confirmed, or an error when
	// the former one runs: a *[Failure], or that the daemon stops.
	Apply(ctx context.Context, c *Change) error
	// RollBack ends a trial, or puts the configuration before the confirmed one
	// in place. told hears that a trial begins; it may be nil.
	RollBack(ctx context.Context, by string, watch time.Duration, told func(until time.Time)) error
}

// Change is a configuration to be put in place.
type Change struct {
	Text   []byte
	Parts  map[string]string // SHA-256 of files, by their names in the text
	By     string            // whose it is: mqtt, or mqtt:SIGNER
	Signed bool
	Watch  time.Duration
	Told   func(until time.Time) // the trial begins; it does not block
}

// Failure says why the former configuration runs.
type Failure struct {
	State    State // Rejected or RolledBack
	Code     Code
	Problems []string
}

func (f *Failure) Error() string {
	if len(f.Problems) == 0 {
		return string(f.Code)
	}
	return f.Problems[0]
}

// Files keep small files over a restart.
type Files interface {
	Read(name string) ([]byte, error)
	Write(name string, data []byte) error
}

// Parts keep files from afar, in chunks. They are named by their SHA-256. Their
// methods wait for the disk.
type Parts interface {
	// Missing returns those that are not whole, each as SHA256/N: chunk N is the
	// next.
	Missing(sums []string) []string
	// Add takes a chunk; one that is not the next is left. When it returns, the
	// chunk is on disk. It says whether the part is whole now.
	Add(sum string, n int, data []byte) (whole bool, err error)
	// Keep removes all but these.
	Keep(sums []string)
}

// Settings are what the configuration that runs says of this package.
type Settings struct {
	Gateway string // its id
	Mode    string // "report" or "apply"; empty: off
	Signers map[string]ed25519.PublicKey
	Running string // how the configuration that runs is named in messages
	Origin  string // who has put it in place; file: the site
	Trial   bool   // it has to prove itself yet
}

// Options are what an agent works with.
type Options struct {
	Daemon  Daemon
	Files   Files
	Parts   Parts
	Log     *slog.Logger
	Changed func()                      // the report has changed; it must not block
	Event   func(action, detail string) // something worth an audit; it must not block
}

// kept is what outlives the process.
type kept struct {
	Version  int64 `json:"version"`            // the highest that was taken
	Rollback int64 `json:"rollback,omitempty"` // of the last request to roll back
	Last     last  `json:"last"`
}

// last is what became of the last document that was taken.
type last struct {
	Version  int64    `json:"version"`
	By       string   `json:"by,omitempty"` // whose it is, as far as anybody knows
	SHA256   string   `json:"sha256,omitempty"`
	State    State    `json:"state,omitempty"`
	Code     Code     `json:"code,omitempty"`
	Problems []string `json:"problems,omitempty"`
	Ran      string   `json:"ran,omitempty"` // name of what ran when it was confirmed; of a way back, when it began
	until    time.Time
	need     []string
}

const stateName = "remote.json"

// Agent takes desired configurations, one after the other. Its methods may be
// called from any goroutine, and do not wait.
type Agent struct {
	opts Options
	wake chan struct{}

	report atomic.Pointer[[]byte]    // read by whoever must not wait for the disk
	last   atomic.Pointer[[2]string] // likewise: see [Agent.Last]

	mu       sync.Mutex
	settings Settings
	followed bool
	mail     []byte // the newest document that was not looked at
	kept     kept
	loaded   bool
	refused  *last    // a document that was not taken; shown until the next one
	busy     bool     // a configuration is being put in place
	waiting  []byte   // a document whose parts are missing
	wants    []string // the parts that it names
}

// New makes an agent. It does nothing before [Agent.Follow] and [Agent.Run].
func New(o Options) *Agent { return &Agent{opts: o, wake: make(chan struct{}, 1)} }

// Follow says which configuration runs now.
func (a *Agent) Follow(s Settings) {
	a.change(func() {
		first := !a.followed
		a.settings, a.followed = s, true
		if s.Mode == "" {
			return
		}
		a.load()
		if first {
			a.resolve()
		}
		if !s.Trial && !a.busy {
			a.compare()
		}
	})
}

// load reads what was kept, once.
func (a *Agent) load() {
	if a.loaded {
		return
	}
	a.loaded = true
	text, err := a.opts.Files.Read(stateName)
	if err == nil {
		err = json.Unmarshal(text, &a.kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.opts.Log.Warn("which configurations came from afar before is not known", "error", err)
	}
}

// resolve says what became of a configuration that was being put in place when
// the process ended.
func (a *Agent) resolve() {
	l := &a.kept.Last
	if l.State != Applying && l.State != Watching {
		return
	}
	if back := l.SHA256 == ""; back != (a.settings.Running == cmp.Or(l.SHA256, l.Ran)) {
		l.State, l.Ran = Confirmed, a.settings.Running
	} else {
		l.State, l.Code = RolledBack, Interrupted
		l.Problems = []string{"the gateway ended while the configuration was being put in place; raise version to try it again"}
	}
	a.save()
}

// compare finds out that somebody has put another configuration in place since.
func (a *Agent) compare() {
	l := &a.kept.Last
	switch {
	case l.State == Confirmed && a.settings.Running != l.Ran:
		l.State = Overridden
		l.Problems = []string{"put in its place by: " + a.settings.Origin}
		a.opts.Event("config_overridden", a.settings.Origin)
	case l.State == Overridden && a.settings.Running == l.Ran:
		l.State, l.Problems = Confirmed, nil
	default:
		return
	}
	a.save()
}

func (a *Agent) save() {
	if err := a.write(); err != nil {
		a.opts.Log.Warn("what became of a configuration from afar could not be kept", "error", err)
	}
}

func (a *Agent) write() error {
	text, err := json.Marshal(a.kept)
	if err != nil {
		return err
	}
	return a.opts.Files.Write(stateName, text)
}

// Desired takes a document. Of several that come at once the newest counts.
func (a *Agent) Desired(document []byte) {
	a.mu.Lock()
	a.mail = document
	a.mu.Unlock()
	a.ring()
}

// reported is the message.
type reported struct {
	V        int      `json:"v"`
	Mode     string   `json:"mode"`
	Version  int64    `json:"version,omitempty"`
	SHA256   string   `json:"sha256,omitempty"`
	State    State    `json:"state"`
	Code     Code     `json:"code,omitempty"`
	Until    string   `json:"until,omitempty"`
	Running  string   `json:"running"`
	By       string   `json:"by"`
	Problems []string `json:"problems,omitempty"`
	Need     []string `json:"need,omitempty"`
}

// Bounds of what is reported.
const maxProblems, maxProblem = 20, 400

// render makes the report, and says whether it is another one.
func (a *Agent) render() bool {
	if a.settings.Mode == "" {
		a.last.Store(nil)
		return a.set(nil)
	}
	l := &a.kept.Last
	if a.refused != nil {
		l = a.refused
	}
	r := reported{V: 1, Mode: a.settings.Mode, Version: l.Version, SHA256: l.SHA256, State: l.State, Code: l.Code,
		Running: a.settings.Running, By: a.settings.Origin, Need: l.need}
	if r.State == "" {
		r.State = None
	}
	if r.State != None {
		a.last.Store(&[2]string{string(r.State), a.said(l)})
	}
	if !l.until.IsZero() {
		r.Until = l.until.UTC().Format(time.RFC3339)
	}
	for _, p := range l.Problems[:min(len(l.Problems), maxProblems)] {
		r.Problems = append(r.Problems, p[:min(len(p), maxProblem)])
	}
	text, err := json.Marshal(r)
	if err != nil {
		a.opts.Log.Error("the report of the configuration cannot be JSON", "error", err)
		return false
	}
	return a.set(text)
}

func (a *Agent) set(text []byte) bool {
	if bytes.Equal(a.Reported(), text) {
		return false
	}
	a.report.Store(&text)
	return true
}

// Reported is the report as it is now; nil: nothing is reported.
func (a *Agent) Reported() []byte {
	if text := a.report.Load(); text != nil {
		return *text
	}
	return nil
}

// Last is what became of the last document: its state, and a sentence for a person,
// which says too what runs if that is another one. Empty: none has come, or nothing
// is reported.
func (a *Agent) Last() (state, said string) {
	if l := a.last.Load(); l != nil {
		return l[0], l[1]
	}
	return "", ""
}

// said is the sentence. Anybody who can publish can have a document refused, so it
// does not leave open what runs.
func (a *Agent) said(l *last) string {
	text := "version " + strconv.FormatInt(l.Version, 10) // 0: it has none
	if _, signer, is := strings.Cut(l.By, ":"); is {
		text += ", signed by " + signer
	}
	text += ": " + strings.ReplaceAll(string(l.State), "_", " ")
	if l.Code != "" {
		text += " (" + string(l.Code) + ")"
	}
	runs := &a.kept.Last
	switch {
	case l.State == Confirmed:
		return text
	case l.State == Rejected:
		text += "; what runs has stayed, by "
	default:
		text += "; what runs is by "
	}
	if text += a.settings.Origin; runs != l && runs.State == Confirmed {
		text += ", version " + strconv.FormatInt(runs.Version, 10)
	}
	return text
}
