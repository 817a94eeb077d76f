package uplink

import (
	"context"
	"time"
)

// publisher is one connection to one broker, from CONNECT to its end; it is
// used once. The protocol version is its own affair.
//
// connect is called first, the others only after it returned nil, all from
// one goroutine; ready and lost may be waited on from any.
type publisher interface {
	// connect returns when the broker has accepted the connection, or with
	// an error (with its Reason) in bounded time, promptly when ctx ends.
	// Nothing is left behind after an error.
	connect(ctx context.Context) error
	// ready gives one permission to publish for every value received.
	ready() <-chan struct{}
	// publish sends one message with QoS 1. It needs a permission and does
	// not wait for the network. Messages are sent in the order of the calls.
	publish(topic string, payload []byte, retained bool) token
	// lost is closed when the connection has ended by itself. Tokens whose
	// acknowledgement came before are settled by then.
	lost() <-chan struct{}
	// err is why the connection ended, with its Reason.
	err() error
	// close ends the connection in bounded time, with DISCONNECT if polite.
	// Tokens not settled are settled with an error, or never.
	close(polite bool)
}

// token is the fate of one message: settled when Done is closed, and then
// acknowledged by the broker if and only if Error is nil.
type token interface {
	Done() <-chan struct{}
	Error() error
}

// timing is what Config does not say.
type timing struct {
	connect   time.Duration // from the name lookup to CONNACK
	write     time.Duration // for the connection to take one byte
	farewell  time.Duration // for what is in flight and the goodbye at a clean end
	stable    time.Duration // a connection that lived so long was a good one
	retryMin  time.Duration // first pause after a failure
	retryMax  time.Duration
	refuseMin time.Duration // the same when the broker refused us
	refuseMax time.Duration
}

const (
	// closeTimeout bounds the end of a connection that takes no bytes.
	closeTimeout = 500 * time.Millisecond
	// handover bounds paho's Publish. By the permissions it never has to
	// wait for the network, only for another goroutine; but a Publish during
	// which paho itself gives the connection up sits this out.
	handover = time.Second
)

func defaultTiming() timing {
	return timing{
		connect:   20 * time.Second,
		write:     10 * time.Second,
		farewell:  1200 * time.Millisecond,
		stable:    time.Minute,
		retryMin:  time.Second,
		retryMax:  30 * time.Second,
		refuseMin: 15 * time.Second,
		refuseMax: 2 * time.Minute,
	}
}
