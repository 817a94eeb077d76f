package command

import (
	"crypto/rand"
	"time"
)

// skew is how far the clocks of a requester and of the gateway may differ.
const skew = 5 * time.Second

// epoch is a word that only those know who have seen the status message since.
type epoch struct {
	word string
	born time.Duration // since boot
}

// epochs are the present one and the one before it.
type epochs struct {
	_ [0]func() // nobody compares them: saves the code for it

	life time.Duration
	list [2]epoch
}

// renew makes a new one.
func (e *epochs) renew(now time.Duration) {
	e.list[1] = e.list[0]
	e.list[0] = epoch{rand.Text()[:16], now}
}

// left is how long a word is still good for; nothing: it is not known, or over.
func (e *epochs) left(word string, now time.Duration) time.Duration {
	for _, k := range e.list {
		if k.word != "" && k.word == word {
			return e.life - (now - k.born)
		}
	}
	return 0
}

// fresh says how long a request may still be begun, or why it may not at all.
// Who asks at the gateway itself does so now; a broker may have kept what it
// delivers, and a requester may have sent it long ago.
func (e *Engine) fresh(by Door, r *Request, now time.Duration) (time.Duration, *Refusal) {
	left := e.cfg.MaxTTL
	if r.ttl > 0 {
		left = min(left, r.ttl)
	}
	if r.Expiry > 0 {
		left = min(left, r.Expiry)
	}
	wall, trusted := e.cfg.Clock.Now()
	switch {
	case r.Issued != "" && r.TTL == "" && r.Epoch == "":
		return 0, refuse(Invalid, "issued stands without ttl")
	case r.Issued != "" && !trusted: // an epoch beside it does not make it young
		return 0, refuse(ClockDoubt, "the gateway's clock is not trusted; send the epoch of its status message, without issued")
	case r.Epoch != "":
		if left = min(left, e.epochs.left(r.Epoch, now)); left <= 0 {
			return 0, refuse(Expired, "the epoch is not one of the last two; take the one that the status message has now")
		}
	case r.Issued == "" && by == ByMQTT:
		return 0, refuse(Invalid, "epoch is missing, or issued and ttl: nobody could say how old the request is")
	}
	if r.Issued == "" {
		return left, nil
	}
	return e.sinceIssued(r, wall, left)
}

// sinceIssued takes the time that the requester's clock shows into account.
func (e *Engine) sinceIssued(r *Request, wall time.Time, left time.Duration) (time.Duration, *Refusal) {
	age := wall.Sub(r.issued)
	switch limit := min(e.cfg.MaxTTL, max(r.ttl, 0)); {
	case age < -skew:
		return 0, refuse(ClockDoubt, "issued is in the future: the requester's clock and the gateway's differ by more than 5 s")
	case r.TTL != "": // a clock that is wrong makes nothing older than twice its ttl
		left = min(left, limit-max(age, 0)+min(skew, limit), limit)
	case age > e.cfg.MaxTTL+skew:
		left = 0
	}
	if left <= 0 {
		return 0, refuse(Expired, "its time is over")
	}
	// Ids that could tell a request from its own repetition are kept only as
	// long as it could be taken; what a clock that was set back would make young
	// again, or what was asked before the journal began, is old for good.
	if r.Epoch == "" && r.issued.Before(e.floor(wall)) {
		return 0, refuse(Expired, "it was issued before the oldest request that the gateway still knows")
	}
	return left, nil
}

// floor is the time before which what was issued is old: that of the oldest
// request that was forgotten, and that of the start, which what a broker kept
// meanwhile may be older than. Ids from before the start are known.
func (e *Engine) floor(wall time.Time) time.Time {
	begun := wall.Add(e.opened - e.now())
	if low := e.journal.low; !low.Before(begun) {
		return low.Add(1)
	}
	return begun
}
