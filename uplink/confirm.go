package uplink

import (
	"errors"
	"fmt"
	"time"
)

// A broker of MQTT 3.1.1 acknowledges what its access rules throw away. That a
// message got through shows only in that it comes back to a subscription.

var (
	errNoSubscription = errors.New("it refuses the subscription to the client's own status topic")
	errNoAnswer       = errors.New("it does not answer the subscription to the client's own status topic")

	errProofRefused = errors.New("the broker refuses the subscription that would show it")
	errProofSilent  = errors.New("the broker does not answer the subscription that would show it")
	errProofMissing = errors.New("the first message was acknowledged and did not come back: the broker's access rules do not allow it to be published, or not to be read")
	errProofCut     = errors.New("the first message was acknowledged, and the connection ended before it came back, twice in a row")
	errProofOpen    = errors.New("the broker answers nothing any more")
	errProofMany    = errors.New("there are more topics than are looked at")
	errProofEnds    = errors.New("connections end with the subscription that would show it")
)

// confirm subscribes to the message's topic, to see it come back.
func (c *connection) confirm(m packet) <-chan error {
	if c.v5 {
		return nil
	}
	result := make(chan error, 1)
	e := c.echoes.expect(m, c.cfg.Seen)
	sub := c.ask(m.topic, 0)
	c.beside.Go(func() {
		// A broker that knows no subscriptions cannot show anything.
		unanswered := time.NewTimer(c.time.confirm / 4)
		defer unanswered.Stop()
		select {
		case <-unanswered.C:
			result <- errNoAnswer
			return
		case <-sub.done:
			if sub.code > 2 { // MQTT 3.1.1, 3.9.3
				result <- errNoSubscription
				return
			}
		case <-e.back: // some brokers answer the subscription last
		case <-c.gone:
			return
		}
		select {
		case <-e.back:
			result <- nil
		case <-c.gone:
		}
	})
	return result
}

// prove is like confirm, for a topic of which nothing but this message is to
// come back.
func (c *connection) prove(m packet, done func(error)) *proof {
	if c.v5 {
		return nil
	}
	e := c.echoes.expect(m, nil)
	sub := c.ask(m.topic, 0)
	pr := &proof{asked: sub, sent: make(chan token, 1)}
	c.beside.Go(func() {
		defer c.echoes.forget(e)
		if why, is := c.await(pr, e, sub, m.topic); is {
			done(why)
		}
	})
	return pr
}

// await returns false when the connection has ended first.
func (c *connection) await(pr *proof, e *echo, sub *answer, topic string) (why error, is bool) {
	var t token
	select {
	case t = <-pr.sent:
	case <-c.gone:
		return nil, false
	}
	select { // on a slow link that alone may take its time
	case <-t.Done():
	case <-c.gone:
		return nil, false
	}
	c.within(c.time.confirm/2, e.back, sub.done)
	if isClosed(sub.done) && sub.code > 2 {
		return errProofRefused, true
	}
	c.within(c.time.confirm/2, e.back, nil)
	// What comes back comes before the answer to this.
	end := c.unsubscribe(topic)
	if end == nil {
		return nil, false
	}
	c.within(c.time.confirm/2, end.done, nil)
	switch {
	case isClosed(e.back):
		return nil, true
	case isClosed(c.gone) || isClosed(c.lostCh):
		return nil, false
	case !isClosed(sub.done):
		return errProofSilent, true
	case !isClosed(end.done): // whoever answers nothing any more has shown nothing
		return errProofOpen, true
	}
	return errProofMissing, true
}

// within waits for one of two events, or the end, but not for long.
func (c *connection) within(d time.Duration, one, other <-chan struct{}) {
	limit := time.NewTimer(d)
	defer limit.Stop()
	select {
	case <-one:
	case <-other:
	case <-limit.C:
	case <-c.lostCh:
	case <-c.gone:
	}
}

// subscribe asks for what s says, and calls done from another goroutine with
// the broker's answer, unless the connection ends before. It needs a permission.
func (c *connection) subscribe(s *Subscription, done func(error)) token {
	sub := c.ask(s.Filter, s.options(c.v5))
	c.beside.Go(func() {
		c.within(c.time.confirm/4, sub.done, nil)
		switch {
		case isClosed(sub.done):
			done(subackError(sub.code))
		case !isClosed(c.lostCh) && !isClosed(c.gone):
			done(errSubscribeSilent)
		}
	})
	return sub
}

var errSubscribeSilent = errors.New("it does not answer the subscription")

// subackCodes has the words for the codes that MQTT 5, 3.9.3, knows beside those of PUBACK.
var subackCodes = map[byte]string{
	0x8F: "topic filter invalid",
	0x9E: "shared subscriptions not supported",
	0xA1: "subscription identifiers not supported",
	0xA2: "wildcard subscriptions not supported",
}

// subackError is nil for a subscription that was granted.
func subackError(code byte) error {
	if code <= 2 {
		return nil
	}
	if text := subackCodes[code] + pubackCodes[code]; text != "" && code != 0x80 {
		return fmt.Errorf("SUBACK code 0x%02X, %s", code, text)
	}
	return fmt.Errorf("SUBACK code 0x%02X", code)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
