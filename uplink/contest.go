package uplink

import (
	"errors"
	"io"
	"syscall"
	"time"
)

// contest finds out that another client takes over our sessions. Under MQTT 5 a
// broker may say so; mosquitto 2.0.11 does not, and a reset right behind it may
// keep it from us. Else it closes the connection without a word, as the other one connects again
// at once: connections that worked and were closed in an orderly way soon after,
// several in a row, by a server that took every connection in between. One that
// refuses them has been restarted.
type contest struct {
	short  int
	server string // whose connections were short
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
	like := e.Reason == ReasonLost && closedThere(e) && lived <= contestLife
	if !like || e.Server != c.server {
		c.short, c.server = 0, e.Server
	}
	if !like {
		return false
	}
	if proved { // the other one may have been quicker than the first acknowledgement
		c.short++
	}
	return c.short >= contestCount
}

// failed takes account of an attempt that failed. Nobody who takes sessions
// over makes the broker's port refuse connections.
func (c *contest) failed(e *Error) {
	if e.Reason == ReasonConnRefused && e.Server == c.server {
		c.short = 0
	}
}

// closedThere says that the other end closed the connection. It does so with a
// reset, if there was something to read that it had not read.
func closedThere(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
