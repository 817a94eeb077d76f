// Package mqtt is one connection to an MQTT broker, of 3.1.1 or 5: from the name
// lookup to its end, used once.
//
// # Nouns
//
// A [Conn] is the connection. A permission lets one packet be handed to it
// without waiting for the network. A [Token] is the fate of such a packet. The
// [Receiver] takes what a broker sends to the subscriptions, and outlives
// connections. An [Error] has a [Reason]: one word, what happened, what to do.
//
// # Promise
//
// A Token of a message succeeds only on the PUBACK for it. A message received is
// acknowledged only after its handler has returned. Whatever a broker sends,
// memory is bounded, and so is the time of the processor.
//
// # Caveats
//
// There is no session, no retry and no order beyond that of the calls: package
// uplink has them.
package mqtt

import (
	"crypto/tls"
	"time"
)

// Protocol is the version of MQTT.
type Protocol uint8

// The versions.
const (
	Protocol311 Protocol = iota // 3.1.1
	Protocol5                   // 5: the broker says what it thinks of a message
)

// Config says who connects, and what for. It must not be changed.
type Config struct {
	Protocol  Protocol
	ClientID  string
	Username  string                      // empty: that of the server's URL, if any
	Password  func() (string, error)      // asked at every connect; nil: none
	TLS       func() (*tls.Config, error) // asked at every connect; nil: system roots
	KeepAlive time.Duration               // whole seconds
	Will      *Packet                     // nil: none
	// Seen gets what arrives at the topic of Confirm after the message came
	// back. It must not block, nor keep the payload. It may be nil.
	Seen          func(payload []byte)
	Subscriptions []Subscription // that may be made on this connection
}

// credentials are those for a server, read anew.
func (c *Config) credentials(s Server) (user, password string, err error) {
	user = c.Username
	if user == "" && s.user != nil {
		user = s.user.Username()
		password, _ = s.user.Password()
	}
	if c.Password != nil {
		given, err := c.Password()
		if err != nil {
			return "", "", err
		}
		if given != "" {
			password = given
		}
	}
	return user, password, nil
}

// Packet is one PUBLISH.
type Packet struct {
	Topic       string
	Payload     []byte
	ContentType string // MQTT 5 only; empty: that of Properties
	Retain      bool
	Once        bool // QoS 0: settled as soon as it is written
	Properties  *Properties
}

// Overhead is what a PUBLISH has beside topic and payload: fixed header 5,
// topic length 2, packet id 2, property length 4, and the content type.
const Overhead = 13 + 3 + 64

// Limits are what a broker announced; 0 means that it said nothing.
type Limits struct {
	InFlight int // MQTT 5: receive maximum
	Packet   int // MQTT 5: maximum packet size, in bytes
}

// Token is the fate of one packet: settled when Done is closed, and then
// acknowledged by the broker if and only if Error is nil. A *[Refusal] means
// that the broker has answered and not taken it.
type Token interface {
	Done() <-chan struct{}
	Error() error
}

// Succeeded reports whether a packet was settled without an error.
func Succeeded(t Token) bool { return isClosed(t.Done()) && t.Error() == nil }

// Proof is a question whether a message gets through.
type Proof struct {
	Asked Token      // the subscription
	Sent  chan Token // takes the fate of the message once it was published
}

// Timing is how long a connection is patient.
type Timing struct {
	Connect   time.Duration // from the name lookup to CONNACK
	Write     time.Duration // for the connection to take one byte
	Confirm   time.Duration // for a message to be let through
	Dial      time.Duration // for the name lookup and TCP
	DialAgain time.Duration // in the mean, from one dial to the next while nobody answers
}

// DefaultTiming is for a link that may be slow.
func DefaultTiming() Timing {
	return Timing{
		Connect:   20 * time.Second,
		Write:     10 * time.Second,
		Confirm:   20 * time.Second,
		Dial:      10 * time.Second,
		DialAgain: time.Second,
	}
}

// CloseTimeout bounds the end of a connection that takes no bytes.
const CloseTimeout = 500 * time.Millisecond

// NextDial is the time from one dial to the next, half to one and a half of
// the mean, so that gateways do not dial in step.
func (t *Timing) NextDial(random float64) time.Duration {
	return t.DialAgain/2 + time.Duration(random*float64(t.DialAgain))
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
