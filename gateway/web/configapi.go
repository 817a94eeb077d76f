package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"fieldferry/gateway/live"
)

// Configs is where the configuration is to be seen.
type Configs interface {
	// Config returns the file as it is now, without secrets.
	Config() (ConfigText, error)
	// Check says what is wrong with a text in place of the file.
	Check(text []byte) []ConfigProblem
}

// Changer puts configurations in place. Who asks is named as web:NAME.
type Changer interface {
	LookAtConfig(effective bool) live.ConfigState
	// ApplyConfig and RollBackConfig return when a candidate is on its way or
	// refused; what becomes of it is in the state.
	ApplyConfig(ctx context.Context, by string, c live.ConfigCandidate) (live.ConfigAttempt, error)
	RollBackConfig(ctx context.Context, by string, watch time.Duration) (live.ConfigAttempt, error)
	KeepConfig(ctx context.Context, by string) error
	Attempted() *live.ConfigAttempt
}

// ConfigText is a configuration file without its secrets.
type ConfigText struct {
	Path     string          `json:"path"`
	Text     string          `json:"text"`
	SHA256   string          `json:"sha256"` // of the file itself
	Read     time.Time       `json:"read"`   // when the one in use was read
	Running  bool            `json:"running"`
	Problems []ConfigProblem `json:"problems"` // of the file as it is now
	Changes  []Change        `json:"changes"`  // from what runs to the file, without secrets
	Previous *ConfigBefore   `json:"previous,omitempty"`

	Tag     string              `json:"tag"`               // the ETag: another one after any change of the file and of what runs
	By      string              `json:"by"`                // who has put in place what runs: file, mqtt, mqtt:SIGNER, web:NAME, cli:NAME
	Note    string              `json:"note"`              // what runs and why, when it is not the site's file
	Runs    string              `json:"runs,omitempty"`    // the text that runs, when it is not the file's
	Attempt *live.ConfigAttempt `json:"attempt,omitempty"` // the last one since the daemon's start; on trial, with the seconds left
	Remote  json.RawMessage     `json:"remote,omitempty"`  // what is reported of a configuration from afar

	History []ConfigEntry `json:"history"` // what became of configurations, the newest last
}

// ConfigBefore is the configuration that ran before.
type ConfigBefore struct {
	ID      string   `json:"id"`
	Changes []Change `json:"changes"` // from it to what runs, without secrets
}

// ConfigEntry is one thing that became of a configuration.
type ConfigEntry = live.ConfigEntry

// ConfigProblem is something wrong with a configuration.
type ConfigProblem = live.ConfigProblem

// Sum is how a text is named in ConfigText.
func Sum(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// config is GET /api/v1/config.
func (s *Server) config(w http.ResponseWriter, _ *http.Request) {
	if s.opts.Configs == nil {
		problem(w, http.StatusNotImplemented, "config", "This server does not show the configuration.")
		return
	}
	c, err := s.opts.Configs.Config()
	if err != nil {
		problem(w, http.StatusInternalServerError, "config", err.Error())
		return
	}
	c.Problems = append([]ConfigProblem{}, c.Problems...) // a list, also without any
	c.Changes = append([]Change{}, c.Changes...)
	c.History = append([]ConfigEntry{}, c.History...)
	if s.opts.Changer != nil {
		now := s.opts.Changer.LookAtConfig(false)
		c.Tag, c.By, c.Note, c.Attempt, c.Remote = now.Tag, now.By, now.Note, now.Attempt, now.Remote
		if !now.InFile {
			c.Runs = now.Text
		}
	}
	w.Header().Set("ETag", strconv.Quote(c.Tag))
	writeJSON(w, c)
}

// checkConfig is POST /api/v1/config/check, with the text as the body.
func (s *Server) checkConfig(w http.ResponseWriter, r *http.Request) {
	if s.opts.Configs == nil {
		problem(w, http.StatusNotImplemented, "config", "This server does not check a configuration.")
		return
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		problem(w, http.StatusRequestEntityTooLarge, "size", "The text is larger than "+itoa(maxBody)+" bytes.")
		return
	}
	list := s.opts.Configs.Check(text)
	ok := true
	for _, p := range list {
		ok = ok && p.Warning
	}
	reply := map[string]any{"ok": ok, "problems": append([]ConfigProblem{}, list...)}
	if s.opts.Changer != nil {
		reply["changes"] = append([]Change{}, Diff(s.opts.Changer.LookAtConfig(false).Text, string(s.opts.Redact(text)))...)
	}
	writeJSON(w, reply)
}

// logs is GET /api/v1/logs?since=SEQ.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	if s.opts.Logs == nil {
		problem(w, http.StatusNotImplemented, "logs", "This server does not keep the log.")
		return
	}
	since, err := strconv.ParseUint(r.URL.Query().Get("since"), 10, 64)
	if err != nil && r.URL.Query().Has("since") {
		problem(w, http.StatusBadRequest, "since", "Write since as the number of a line.")
		return
	}
	writeJSON(w, map[string][]live.LogLine{"lines": s.opts.Logs.Since(since)})
}
