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
	// limits are what the broker announced.
	limits() limits
	// ready gives one permission to publish for every value received.
	ready() <-chan struct{}
	// publish sends one message with QoS 1. It needs a permission and does
	// not wait for the network. Messages are sent in the order of the calls.
	publish(m packet) token
	// confirm makes the broker show that it lets m, published next, through
	// to subscribers: the channel gets nil when it does, or why that cannot be
	// found out. A nil channel means that the acknowledgement says it. Else it
	// has taken a permission.
	confirm(m packet) <-chan error
	// prove finds out the same once m, published next, was acknowledged, and
	// calls done from another goroutine, or never if the connection ends first.
	// Nil means that the acknowledgement says it. Else it has taken a permission.
	prove(m packet, done func(error)) *proof
	// subscribe asks for messages, and calls done from another goroutine with the
	// broker's answer, unless the connection ends before. It needs a permission.
	subscribe(s *Subscription, done func(error)) token
	// stalled says that the network answers nothing of what was sent, not
	// even below MQTT. It may be called from any goroutine.
	stalled() bool
	// lost is closed when the connection has ended by itself. Tokens whose
	// acknowledgement came before are settled by then.
	lost() <-chan struct{}
	// err is why the connection ended, with its Reason.
	err() error
	// close ends the connection in bounded time, with DISCONNECT if polite.
	// Tokens not settled are settled with an error, or never. Closing again
	// does nothing.
	close(polite bool)
}

// overhead is what a PUBLISH has beside topic and payload: fixed header 5,
// topic length 2, packet id 2, property length 4, and the content type.
const overhead = 13 + 3 + 64

// packet is one PUBLISH.
type packet struct {
	topic       string
	payload     []byte
	contentType string // MQTT 5 only; may be empty
	retained    bool
	once        bool // QoS 0
	properties  *Properties
}

// proof is a question whether a message gets through.
type proof struct {
	asked token      // the subscription
	sent  chan token // takes the fate of the message once it was published
}

// limits are what a broker announced; 0 means that it said nothing.
type limits struct {
	inFlight int // MQTT 5: receive maximum
	packet   int // MQTT 5: maximum packet size, in bytes
}

// token is the fate of one message: settled when Done is closed, and then
// acknowledged by the broker if and only if Error is nil. A *[refusal] means
// that the broker has answered and not taken it.
type token interface {
	Done() <-chan struct{}
	Error() error
}

// timing is what Config does not say.
type timing struct {
	connect   time.Duration // from the name lookup to CONNACK
	write     time.Duration // for the connection to take one byte
	confirm   time.Duration // for the first birth to be let through
	prove     time.Duration // from one proof of a topic to the next
	farewell  time.Duration // for what is in flight and the goodbye at a clean end
	look      time.Duration // how often a connection is looked at that acknowledges nothing
	stable    time.Duration // a connection that lived so long was a good one
	patient   time.Duration // an attempt younger than this goes on when the network changes
	networkUp time.Duration // longest pause after the network came back
	lookBack  time.Duration // how often a preferred server is tried
	dial      time.Duration // for the name lookup and TCP
	dialAgain time.Duration // in the mean, from one dial to the next while nobody answers
	retryMin  time.Duration // first pause after a failure
	retryMax  time.Duration
	refuseMin time.Duration // the same when the broker refused us
	refuseMax time.Duration
}

const (
	// closeTimeout bounds the end of a connection that takes no bytes.
	closeTimeout = 500 * time.Millisecond
)

func defaultTiming() timing {
	return timing{
		connect:   20 * time.Second,
		write:     10 * time.Second,
		confirm:   20 * time.Second,
		prove:     10 * time.Minute,
		farewell:  1200 * time.Millisecond,
		look:      time.Second,
		stable:    time.Minute,
		patient:   time.Second,
		networkUp: 500 * time.Millisecond,
		lookBack:  5 * time.Minute,
		dial:      10 * time.Second,
		dialAgain: time.Second,
		retryMin:  time.Second,
		retryMax:  30 * time.Second,
		refuseMin: 15 * time.Second,
		refuseMax: 2 * time.Minute,
	}
}

// nextDial is the time from one dial to the next, half to one and a half of
// the mean, so that gateways do not dial in step.
func (t *timing) nextDial(random float64) time.Duration {
	return t.dialAgain/2 + time.Duration(random*float64(t.dialAgain))
}
