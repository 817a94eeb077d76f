package live

import "time"

// Stored is what the buffer holds of each source, and what was lost lately. It is
// looked at when somebody asks.
type Stored struct {
	Sources []Held `json:"sources"` // about
	Losses  []Loss `json:"losses"`  // the newest, the oldest first, at most 100
}

// Held is about what of one source waits to be acknowledged.
type Held struct {
	_ [0]func() // nobody compares them: saves the code for it

	Source  string `json:"source"`
	Records uint64 `json:"records"`
	Bytes   int64  `json:"disk_bytes"`
}

// Loss is a run of records of one source that were lost. The loss records in the
// stream name them.
type Loss struct {
	_ [0]func() // nobody compares them: saves the code for it

	Source  string    `json:"source"`
	Session uint64    `json:"session"`
	First   uint64    `json:"first"` // sequence numbers
	Last    uint64    `json:"last"`
	Reason  string    `json:"reason"`
	Time    time.Time `json:"time"` // of the last of them
}
