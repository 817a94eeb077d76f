// Package payload is the seam between what is known and the form in which it is
// sent: a [Format] turns records into messages. Each form is a package below this
// one.
package payload

import "fieldferry/buffer"

// Format gives records the form in which they are sent, and says where to. What
// it says of a record may change from one connection to the next, never while
// one lasts: a record is encoded when it is sent, and again if it has to be sent
// again. All calls come from one goroutine at a time.
type Format interface {
	// Topic is where a record goes. Records of one topic, source and session
	// share messages.
	Topic(r *buffer.Record) string
	// ByRecord reports whether records of one source can have different topics.
	ByRecord() bool
	// Append appends a record to those a message has already, dst, with what
	// separates them. It returns an error and dst as it was for a record that it
	// cannot read, and never one for a loss.
	Append(dst []byte, it Item) ([]byte, error)
	// Overhead is how many bytes Seal adds to the records of a source at most.
	Overhead(source string) int
	// Seal makes the payload of a message of its records. It keeps none of them.
	Seal(h Head, records []byte) []byte
}

// Item is one record to be encoded.
type Item struct {
	_ [0]func() // nobody compares them: saves the code for it

	*buffer.Record
	Lost string // why it does not come, and those up to Seq+Record.Lost-1; empty: it does
	Late bool   // records taken after it may have been sent before
}

// Head is what the records of one message share.
type Head struct {
	_ [0]func() // nobody compares them: saves the code for it

	Session uint64
	Source  string
	Seq     uint64 // of the first record
	Count   int
}
