package buffer

import (
	"crypto/rand"
	"errors"
	"math/big"
)

// Sessions are drawn, not counted: a number that one buffer has used must not
// be used by another one of the same gateway, nor by a copy of its own files.
// docs/decisions/identity.md has the reasons and the odds.
const (
	maxSession = 1<<31 - 1
	// firstSession is above every session of a version that counted them, and
	// every alarm id made of such a session.
	firstSession = 1 << 26
	lastFirst    = 1 << 30 // what is above is for the sessions that follow
	// apart is how far two sessions of a buffer are apart at least, so that
	// numbers derived from a session may run over.
	apart   = 256
	strides = 4096    // the share of the room that is left which one start may take
	reserve = 1 << 29 // for starts by the least distance: two million
	last    = 1 << 24 // for starts by one
	// unknownStarts is what is skipped when the last session is not known.
	unknownStarts = 1 << 24
	countedBy     = 239 // alarm ids of sessions that were counted were this far apart, in today's sessions
)

// errSessions says that a buffer has had every session there is.
var errSessions = errors.New("the session numbers of this buffer are used up; let it be emptied, then remove the directory")

// counting has all buffers count their sessions; for the tests of this package.
var counting bool

// draw returns the session after prev, the last one of this buffer. counted
// says that it is not known to have been drawn: there was none, or a version
// that counted has begun it.
func (b *Buffer) draw(prev uint64, counted bool) (uint64, error) {
	switch {
	case b.cfg.Draw != nil:
		return b.cfg.Draw(prev), nil
	case counting:
		return prev + 1, nil
	}
	return nextSession(prev, counted, random)
}

// random returns a number in [0,n). It is the system's: a copy of a machine
// must not draw what the original draws.
func random(n uint64) uint64 {
	v, _ := rand.Int(rand.Reader, new(big.Int).SetUint64(n)) // never fails
	return v.Uint64()
}

func nextSession(prev uint64, counted bool, random func(uint64) uint64) (uint64, error) {
	if prev >= maxSession {
		return 0, errSessions
	}
	if low := max(firstSession, (prev+1)*countedBy); counted && low < lastFirst {
		return low + random(lastFirst-low), nil
	}
	switch left := maxSession - prev; {
	case left > reserve:
		return prev + apart + random(max((left-reserve)/strides, 1)), nil
	case left > last:
		return prev + apart, nil
	default:
		return prev + 1, nil
	}
}
