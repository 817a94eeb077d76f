package daemon

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fieldferry/gateway/config"
)

// Names in the store.
const (
	stateFile  = "state.json"
	textFile   = "config.yaml"
	manifest   = "manifest.json"
	partPrefix = "part-"
)

// Limits of what is read out of the store.
const (
	maxState    = 1 << 20
	maxText     = 1 << 20
	maxManifest = 1 << 20
	maxPart     = config.MaxPart
	maxHistory  = 10
)

// Store is a directory of whole configurations, each the file with the DBC
// files, templates and authorities that it takes in, named by the SHA-256 of
// all of it; and one small file that says what they are to the gateway. The
// zero value keeps nothing. It belongs to one goroutine.
type Store struct {
	dir  string
	step func(string) // called before every change on disk; tests end the process there
}

// In returns the store in a directory, which is made when there is something
// to keep; empty: nothing is kept.
func In(dir string) Store { return Store{dir: dir} }

// State says what the configurations of a store are to the gateway. Its zero
// value is that of an empty store.
type State struct {
	Confirmed string  `json:"confirmed,omitempty"` // the one that last ran
	Previous  string  `json:"previous,omitempty"`  // the one before it
	Pending   string  `json:"pending,omitempty"`   // one that is being put in its place
	Site      string  `json:"site,omitempty"`      // SHA-256 of the site's file that Confirmed runs in the place of; empty: it is that file
	By        string  `json:"by,omitempty"`        // who has put Confirmed in its place
	History   []Entry `json:"history,omitempty"`   // the newest last
}

// Entry is one thing that became of a configuration.
type Entry struct {
	_ [0]func() // nobody compares them: saves the code for it

	Time   time.Time `json:"time"`
	ID     string    `json:"id"`
	By     string    `json:"by"`
	Result Result    `json:"result"`
	Why    string    `json:"why,omitempty"`
}

// Result is what became of a configuration.
type Result string

// The results.
const (
	Confirmed   Result = "confirmed"
	Rejected    Result = "rejected"    // it could not be opened
	RolledBack  Result = "rolled_back" // it opened and did not prove itself
	Interrupted Result = "interrupted" // the process ended before it was confirmed
)

// kept is a configuration of the store: its text, and where its parts are.
type kept struct {
	text  []byte
	parts map[string]string // by the path that the configuration names
}

// contents is the manifest of a configuration.
type contents struct {
	Text  string            `json:"text"`            // SHA-256 of the file
	Parts map[string]string `json:"parts,omitempty"` // SHA-256 by the path that it names
}

// isID reports whether a text is a SHA-256 in hex.
func isID(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// State returns what the store says. A store that is not there, or whose file
// cannot be read, says nothing.
func (s Store) State() (st State) {
	d, err := openFolder(s.dir)
	if err != nil {
		return State{}
	}
	defer d.close()
	text, err := d.read(stateFile, maxState)
	if err != nil || json.Unmarshal(text, &st) != nil {
		return State{}
	}
	for _, id := range []*string{&st.Confirmed, &st.Previous, &st.Pending} {
		if !isID(*id) {
			*id = ""
		}
	}
	return st
}

// Set replaces the state, whole or not at all, and removes the configurations
// that it no longer names.
func (s Store) Set(st State) error {
	if s.dir == "" {
		return nil
	}
	if n := len(st.History) - maxHistory; n > 0 {
		st.History = st.History[n:]
	}
	text, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	d, err := makeFolder(s.dir, s.step)
	if err != nil {
		return err
	}
	defer d.close()
	if old, err := d.read(stateFile, maxState); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := d.replace(stateFile, text); err != nil {
		return err
	}
	d.sweep(func(id string) bool { return slices.Contains([]string{st.Confirmed, st.Previous, st.Pending}, id) })
	return nil
}

// Put copies a configuration with its parts into the store and returns its
// name; all of it is on disk then. A part that has changed since cfg was read
// is an error: what would be kept is not what runs.
func (s Store) Put(cfg *config.Config) (id string, err error) {
	if s.dir == "" {
		return "", nil
	}
	c := contents{Text: sum(cfg.Text()), Parts: map[string]string{}}
	for _, f := range cfg.Files() {
		if f.Kind == config.FilePart {
			c.Parts[f.Absolute()] = hex.EncodeToString(f.Sum[:])
		}
	}
	list, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	id = sum(list)
	d, err := makeFolder(s.dir, s.step)
	if err != nil {
		return "", err
	}
	defer d.close()
	if _, err := s.get(d, id); err == nil {
		return id, nil
	}
	return id, d.putFolder(id, func(in *folder) error {
		if err := in.create(textFile, cfg.Text()); err != nil {
			return err
		}
		for _, f := range cfg.Files() {
			if f.Kind != config.FilePart {
				continue
			}
			want := hex.EncodeToString(f.Sum[:])
			if in.has(partPrefix + want) {
				continue
			}
			data, err := cfg.ReadPart(f)
			if err != nil {
				return err
			}
			if sum(data) != want {
				return fmt.Errorf("%s has changed meanwhile; reload", f.Path)
			}
			if err := in.create(partPrefix+want, data); err != nil {
				return err
			}
		}
		return in.create(manifest, list)
	})
}

// Get returns a configuration of the store, after a look at every byte of it.
func (s Store) Get(id string) (*kept, error) {
	d, err := openFolder(s.dir)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return s.get(d, id)
}

var errDamaged = errors.New("the copy is damaged")

func (s Store) get(d *folder, id string) (*kept, error) {
	if !isID(id) {
		return nil, fs.ErrNotExist
	}
	in, err := d.open(id)
	if err != nil {
		return nil, err
	}
	defer in.close()
	list, err := in.read(manifest, maxManifest)
	if err != nil {
		return nil, err
	}
	var c contents
	if err := json.Unmarshal(list, &c); err != nil || sum(list) != id {
		return nil, errDamaged
	}
	k := &kept{parts: map[string]string{}}
	if k.text, err = in.read(textFile, maxText); err != nil || sum(k.text) != c.Text {
		return nil, errors.Join(errDamaged, err)
	}
	for path, want := range c.Parts {
		data, err := in.read(partPrefix+want, maxPart)
		if err != nil || sum(data) != want {
			return nil, errors.Join(errDamaged, err)
		}
		k.parts[path] = filepath.Join(s.dir, id, partPrefix+want)
	}
	return k, nil
}

// load parses a configuration of the store. Relative paths in it are relative
// to the directory of name.
func (s Store) load(id, name string, opts config.Options) (*config.Config, []config.Problem) {
	k, err := s.Get(id)
	if err != nil {
		return nil, []config.Problem{{File: name, What: "no copy of the configuration can be read: " + err.Error()}}
	}
	opts.Parts = k.parts
	return config.Parse(name, k.text, opts)
}

// Former reports whether a start with the file name, which cannot be used, would
// use the configuration that last ran.
func (s Store) Former(name string, opts config.Options) bool {
	cfg, _ := s.load(s.State().Confirmed, name, opts)
	return cfg != nil
}
