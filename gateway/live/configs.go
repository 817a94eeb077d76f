package live

import (
	"encoding/json"
	"time"
)

// ConfigState is what there is to see of the gateway's configuration. It has no
// secrets in it.
type ConfigState struct {
	Path     string          `json:"path"`    // of the site's file
	Text     string          `json:"text"`    // of what runs
	SHA256   string          `json:"sha256"`  // names what runs, as MQTT does
	Tag      string          `json:"tag"`     // of what runs and the site's file; another one after any change
	By       string          `json:"by"`      // who has put it in place: file, mqtt, mqtt:SIGNER, web:NAME, cli:NAME
	Note     string          `json:"note"`    // what runs and why, when it is not the site's file
	InFile   bool            `json:"in_file"` // what runs is what stands in the site's file
	File     string          `json:"file,omitempty"`
	Previous string          `json:"previous,omitempty"` // text of what ran before
	Attempt  *ConfigAttempt  `json:"attempt,omitempty"`  // the last one since the daemon's start
	History  []ConfigEntry   `json:"history"`            // the newest last
	Remote   json.RawMessage `json:"remote,omitempty"`   // as it is reported by MQTT
	Settings []ConfigSetting `json:"settings,omitempty"` // what is in effect, if that was asked for
}

// ConfigSetting is one key as it is in effect.
type ConfigSetting struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default bool   `json:"default,omitempty"` // the configuration does not have it
}

// ConfigEntry is one thing that became of a configuration.
type ConfigEntry struct {
	_ [0]func() // nobody compares them: saves the code for it

	Time   time.Time `json:"time"`
	ID     string    `json:"id"`
	By     string    `json:"by"`
	Result string    `json:"result"` // confirmed, rejected, rolled_back or interrupted
	Why    string    `json:"why,omitempty"`
}

// ConfigCandidate is a configuration that somebody wants to put in place.
type ConfigCandidate struct {
	Text  []byte        `json:"text"`
	Tag   string        `json:"tag,omitempty"` // see [ConfigState]; another one now: a conflict. Empty: any
	Watch time.Duration `json:"watch"`         // how long it has to prove itself; 0: not at all
	Keep  bool          `json:"keep"`          // it goes back unless somebody keeps it within that time
}

// ConfigAttempt is a configuration that somebody wants to put in place, and how
// far it came.
type ConfigAttempt struct {
	ID       string          `json:"id"` // of the attempt
	By       string          `json:"by"`
	SHA256   string          `json:"sha256"`
	State    string          `json:"state"` // applying, watching, confirmed, rejected, rolled_back
	Conflict bool            `json:"conflict,omitempty"`
	Why      string          `json:"why,omitempty"`
	Problems []ConfigProblem `json:"problems,omitempty"`
	Until    time.Time       `json:"until,omitzero"`   // the end of the watch
	Left     float64         `json:"left_s,omitempty"` // seconds until then
	Keep     bool            `json:"keep,omitempty"`   // it goes back unless somebody keeps it
}

// Ended reports whether nothing more becomes of it.
func (a *ConfigAttempt) Ended() bool { return a.State != "applying" && a.State != "watching" }

// ConfigProblem is something wrong with a configuration.
type ConfigProblem struct {
	_ [0]func() // nobody compares them: saves the code for it

	Line    int    `json:"line"`           // of the text, all files counted
	File    string `json:"file,omitempty"` // of the folder conf.d that has the line
	Column  int    `json:"column"`
	Key     string `json:"key"`
	What    string `json:"what"`
	Fix     string `json:"fix"`
	Warning bool   `json:"warning,omitempty"`
}
