package uplink

import (
	"errors"
	"io"
	"syscall"
	"time"
)

// contest finds out that another client takes over our sessions. Under MQTT 5
// the broker says so. Under 3.1.1 it closes the connection without a word, as
// the other one connects again at once: connections that worked and were
// closed in an orderly way soon after, several in a row.
type contest struct {
	short int
}

const (
	contestLife  = 3 * time.Second
	contestCount = 5
)

// ended takes account of a session, and says whether it was taken over.
func (c *contest) ended(e *Error, lived time.Duration, proved bool) bool {
	if e.Reason == ReasonTakenOver {
		return true
	}
	if e.Reason != ReasonLost || !closedThere(e) || lived > contestLife {
		c.short = 0
		return false
	}
	if proved { // the other one may have been quicker than the first acknowledgement
		c.short++
	}
	return c.short >= contestCount
}

// closedThere says that the other end closed the connection. It does so with a
// reset, if there was something to read that it had not read.
func closedThere(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
