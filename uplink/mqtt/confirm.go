package mqtt

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
)

// What Prove may find out.
var (
	ErrProofRefused = errors.New("the broker refuses the subscription that would show it")
	ErrProofSilent  = errors.New("the broker does not answer the subscription that would show it")
	ErrProofMissing = errors.New("the first message was acknowledged and did not come back: the broker's access rules do not allow it to be published, or not to be read")
	ErrProofOpen    = errors.New("the broker answers nothing any more")
)

// Confirm makes the broker show that it lets m, published next, through to
// subscribers: the channel gets nil when it does, or why that cannot be found out.
// A nil channel means that the acknowledgement says it. Else it has taken a
// permission.
func (c *Conn) Confirm(m Packet) <-chan error {
	if c.v5 {
		return nil
	}
	result := make(chan error, 1)
	e := c.echoes.expect(m, c.cfg.Seen)
	sub := c.ask(m.Topic, 0)
	c.beside.Go(func() {
		// A broker that knows no subscriptions cannot show anything.
		unanswered := time.NewTimer(c.time.Confirm / 4)
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

// Prove finds out the same once m, published next, was acknowledged, and calls
// done from another goroutine, or never if the connection ends first. Nil means
// that the acknowledgement says it. Else it has taken a permission.
func (c *Conn) Prove(m Packet, done func(error)) *Proof {
	if c.v5 {
		return nil
	}
	e := c.echoes.expect(m, nil)
	sub := c.ask(m.Topic, 0)
	pr := &Proof{Asked: sub, Sent: make(chan Token, 1)}
	c.beside.Go(func() {
		defer c.echoes.forget(e)
		if why, is := c.await(pr, e, sub, m.Topic); is {
			done(why)
		}
	})
	return pr
}

// await returns false when the connection has ended first.
func (c *Conn) await(pr *Proof, e *echo, sub *answer, topic string) (why error, is bool) {
	var t Token
	select {
	case t = <-pr.Sent:
	case <-c.gone:
		return nil, false
	}
	select { // on a slow link that alone may take its time
	case <-t.Done():
	case <-c.gone:
		return nil, false
	}
	c.within(c.time.Confirm/2, e.back, sub.done)
	if isClosed(sub.done) && sub.code > 2 {
		return ErrProofRefused, true
	}
	c.within(c.time.Confirm/2, e.back, nil)
	// What comes back comes before the answer to this.
	end := c.unsubscribe(topic)
	if end == nil {
		return nil, false
	}
	c.within(c.time.Confirm/2, end.done, nil)
	switch {
	case isClosed(e.back):
		return nil, true
	case isClosed(c.gone) || isClosed(c.lostCh):
		return nil, false
	case !isClosed(sub.done):
		return ErrProofSilent, true
	case !isClosed(end.done): // whoever answers nothing any more has shown nothing
		return ErrProofOpen, true
	}
	return ErrProofMissing, true
}

// within waits for one of two events, or the end, but not for long.
func (c *Conn) within(d time.Duration, one, other <-chan struct{}) {
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

// Subscribe asks for what s says, and calls done from another goroutine with
// the broker's answer, unless the connection ends before. It needs a permission.
func (c *Conn) Subscribe(s *Subscription, done func(error)) Token {
	sub := c.ask(s.Filter, s.options(c.v5))
	c.beside.Go(func() {
		c.within(c.time.Confirm/4, sub.done, nil)
		switch {
		case isClosed(sub.done):
			done(subackError(sub.code))
		case !isClosed(c.lostCh) && !isClosed(c.gone):
			done(ErrSubscribeSilent)
		}
	})
	return sub
}

// ErrSubscribeSilent is what Subscribe finds out when there is no answer.
var ErrSubscribeSilent = errors.New("it does not answer the subscription")

// subackText is what MQTT 5, 3.9.3, calls a code beside those of PUBACK.
func subackText(code byte) string {
	switch code {
	case 0x8F:
		return "topic filter invalid"
	case 0x9E:
		return "shared subscriptions not supported"
	case 0xA1:
		return "subscription identifiers not supported"
	case 0xA2:
		return "wildcard subscriptions not supported"
	}
	return ""
}

// subackError is nil for a subscription that was granted.
func subackError(code byte) error {
	if code <= 2 {
		return nil
	}
	if text := subackText(code) + pubackText(code); text != "" && code != 0x80 {
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
