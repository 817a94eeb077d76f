package uplink

import (
	"context"
	"time"

	"fieldferry/uplink/mqtt"
)

// publisher is one connection to one broker, from CONNECT to its end, used
// once: a [mqtt.Conn], which says what each method does.
//
// Connect is called first, the others only after it returned nil, all from
// one goroutine; Ready and Lost may be waited on from any, and Stalled called.
type publisher interface {
	Connect(ctx context.Context) error
	Limits() mqtt.Limits
	Ready() <-chan struct{}
	Publish(m mqtt.Packet) mqtt.Token
	Confirm(m mqtt.Packet) <-chan error
	Prove(m mqtt.Packet, done func(error)) *mqtt.Proof
	Subscribe(s *Subscription, done func(error)) mqtt.Token
	Stalled() bool
	Lost() <-chan struct{}
	Err() error
	Close(polite bool)
}

// timing is what Config does not say.
type timing struct {
	mqtt.Timing

	prove     time.Duration // from one proof of a topic to the next
	rest      time.Duration // without subscriptions, after a connection that ended before it answered one
	farewell  time.Duration // for what is in flight and the goodbye at a clean end
	look      time.Duration // how often a connection is looked at that acknowledges nothing
	stable    time.Duration // a connection that lived so long was a good one
	patient   time.Duration // an attempt younger than this goes on when the network changes
	networkUp time.Duration // longest pause after the network came back
	lookBack  time.Duration // how often a preferred server is tried
	retryMin  time.Duration // first pause after a failure
	retryMax  time.Duration
	refuseMin time.Duration // the same when the broker refused us
	refuseMax time.Duration
}

func defaultTiming() timing {
	return timing{
		Timing:    mqtt.DefaultTiming(),
		prove:     10 * time.Minute,
		rest:      time.Minute,
		farewell:  1200 * time.Millisecond,
		look:      time.Second,
		stable:    time.Minute,
		patient:   time.Second,
		networkUp: 500 * time.Millisecond,
		lookBack:  5 * time.Minute,
		retryMin:  time.Second,
		retryMax:  30 * time.Second,
		refuseMin: 15 * time.Second,
		refuseMax: 2 * time.Minute,
	}
}

// verdict is what a refusal means for the message. Only what is said of its bytes
// is final: a rule, a quota, or what a broker thinks of a topic can change.
func verdict(r *mqtt.Refusal) Verdict {
	return Verdict{Reason: r.Error(), Final: r.Code == 0x95 || r.Code == 0x99}
}
