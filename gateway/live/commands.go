package live

import (
	"encoding/json"
	"time"
)

// Commands is what may be written, and how that fares.
type Commands struct {
	Paused    string         `json:"paused,omitempty"` // by whom; empty: not paused
	Suspended bool           `json:"suspended"`        // nothing of MQTT is taken for a while: another client took the connection over
	Fault     string         `json:"fault,omitempty"`  // why requests cannot be put on disk
	Denied    string         `json:"denied,omitempty"` // why the broker does not let the gateway hear requests
	Points    []CommandPoint `json:"points"`
}

// CommandPoint is a point that may be written.
type CommandPoint struct {
	Name     string   `json:"name"`
	Source   string   `json:"source"`
	What     string   `json:"what"` // the register or message, for a person
	Unit     string   `json:"unit,omitempty"`
	Min      string   `json:"min,omitempty"` // numbers, as they are configured
	Max      string   `json:"max,omitempty"`
	Step     string   `json:"step,omitempty"`
	Rounding bool     `json:"rounding"`          // the nearest value that the register holds is written
	OnlyIf   string   `json:"only_if,omitempty"` // what has to hold, for a person
	Switch   bool     `json:"switch"`            // on or off
	Readable bool     `json:"readable"`          // its present value can be read
	Allow    []string `json:"allow,omitempty"`
	Trial    bool     `json:"trial,omitempty"` // it waits until the configuration is confirmed

	Fallback  string          `json:"fallback,omitempty"`        // JSON
	FallsIn   *float64        `json:"fallback_in_s,omitempty"`   // until it is written; absent: it is not armed
	FellBack  bool            `json:"fallback_active,omitempty"` // it was written, and nothing since
	LastState string          `json:"last_state,omitempty"`      // of the last request that was carried out
	LastCode  string          `json:"last_code,omitempty"`
	LastValue json.RawMessage `json:"last_value,omitempty"`
	LastRead  json.RawMessage `json:"last_read,omitempty"`
	LastAt    time.Time       `json:"last_at,omitzero"`
}
