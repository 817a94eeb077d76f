// Package alarm keeps account of what is wrong: every condition that lasts is
// raised once and cleared once in the stream of its source, under an id that
// no other alarm of this gateway ever has.
//
// # Nouns
//
// A [Condition] is a row of the [Table]: what can be wrong, and what to do
// about it. An alarm is a condition that holds of a source (and of one of its
// devices, the subject), and that the consumer is told of. A note is one
// record about it in the stream.
//
// # Promise
//
// Notes of one alarm alternate: raised, cleared. An alarm whose clearing may
// not have reached the disk is cleared once more after a restart; one that
// goes on is raised once more under the same id, marked as such. The note
// "started" has the ids of all that go on: any other alarm of an earlier life
// is over, whatever a crash has cost.
//
// # Caveats
//
// Reports never wait, neither for the disk nor for the network. What reports
// more than the rate at which notes are told waits here, at most one raising
// and one clearing for each alarm: what comes and goes meanwhile is counted.
// Sources and subjects come from the configuration, which bounds the memory.
package alarm

import "time"

// Severity says how soon somebody should look.
type Severity uint8

// The severities.
const (
	Info     Severity = iota // for the record
	Warning                  // nothing is lost, but something is not as it should be
	Error                    // data is missing or late until it ends
	Critical                 // data that was taken is being lost
)

// String returns the word of the payload.
func (s Severity) String() string { return severities[s&3] }

var severities = [4]string{Info: "info", Warning: "warning", Error: "error", Critical: "critical"}

// Condition is what can be wrong, or happen.
type Condition struct {
	Code     string   // in records, metrics and documents; never given a second meaning
	Severity Severity //
	Title    string   // in a few words
	Text     string   // what it means
	Help     string   // what to do about it
	// Momentary things happen and do not last.
	Momentary bool
	// After is how long the condition has to last before anybody is told.
	After time.Duration
	// Start is how long after the start of the gateway nobody is told: at boot an
	// interface or an adapter may come up a little later than the service.
	Start time.Duration
	// HiddenBy are the codes of conditions of the same source that explain
	// this one: as long as one of them holds it is not raised.
	HiddenBy []string
}

// Alarm is one that is raised.
type Alarm struct {
	ID       uint64    `json:"id"`
	Code     string    `json:"code"`
	Source   string    `json:"source"`
	Subject  string    `json:"subject,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Severity string    `json:"severity,omitempty"`
	Title    string    `json:"title,omitempty"`
	Flapping bool      `json:"flapping,omitempty"`
	// Detail is what was reported last; not to be changed. Of an unseen one there
	// is none.
	Detail map[string]any `json:"detail,omitempty"`
	// Unseen says that it was raised before the start, and nothing is known
	// of it since.
	Unseen bool `json:"unseen,omitempty"`

	weight Severity
}

// worse orders alarms by severity, then by age.
func worse(a, b *Alarm) bool {
	return a.weight > b.weight || a.weight == b.weight && a.ID < b.ID
}

// Count is what there was of one condition since New.
type Count struct {
	_ [0]func() // nobody compares them: saves the code for it

	Code   string
	Raised uint64 // how often it was raised, or happened; one of before that continues included
	Active int    // alarms raised now
	Hidden int    // conditions that hold, and are explained by others that do
}
