package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fieldferry/gateway/payload/native"
)

// What a message may have. A gateway sends no more than 10,000 records in one,
// and its names have at most 128 bytes.
const (
	maxRecords = 16384
	maxName    = 256
	maxSeq     = 1 << 53 // JSON's numbers are exact up to here
)

// Message is an envelope as a consumer reads it.
type Message struct {
	V       int     `json:"v"`
	Gateway string  `json:"gateway"`
	Session uint64  `json:"session"`
	Source  string  `json:"source"`
	Seq     uint64  `json:"seq"`
	Count   int     `json:"count"`
	Records Records `json:"records"`
}

// Records are the records of a message as they came.
type Records []json.RawMessage

// UnmarshalJSON counts them first: a slice of a million nothings takes 15 times
// the memory of the text it came from.
func (r *Records) UnmarshalJSON(data []byte) error {
	if n := Elements(data); n > maxRecords {
		return fmt.Errorf("%d records; there may be %d", n, maxRecords)
	}
	return json.Unmarshal(data, (*[]json.RawMessage)(r))
}

// Elements counts the elements of a JSON array, or the members of an object,
// without taking memory for them. The text must be valid.
func Elements(data []byte) int {
	depth, n, empty := 0, 0, true
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '"':
			empty = empty && depth != 1
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			empty = empty && depth != 1
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 1 {
				n++
			}
		case ' ', '\t', '\r', '\n', ':':
		default:
			empty = empty && depth != 1
		}
	}
	if empty {
		return 0
	}
	return n + 1
}

// Head is what every record says of itself.
type Head struct {
	_ [0]func() // nobody compares them: saves the code for it

	Seq    uint64    `json:"seq"`
	Time   time.Time `json:"ts"`
	Type   string    `json:"type"`
	Clock  string    `json:"clock"` // "corrected", "unsynced", or empty: Time was right from the start
	From   uint64    `json:"from"`  // loss records only
	To     uint64    `json:"to"`
	Count  uint64    `json:"count"`
	Reason string    `json:"reason"`
	Late   bool      `json:"late"` // of the backlog: live records may have overtaken it
}

// Parse reads an envelope and refuses what is not one.
func Parse(data []byte) (*Message, error) {
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("not a fieldferry message: %w", err)
	}
	if m.V != native.Version || m.Source == "" {
		return nil, errors.New("not a fieldferry message: no version or no source")
	}
	if len(m.Gateway) > maxName || len(m.Source) > maxName {
		return nil, fmt.Errorf("not a fieldferry message: a name of more than %d bytes", maxName)
	}
	return &m, nil
}
