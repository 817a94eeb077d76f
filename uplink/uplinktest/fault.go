package uplinktest

import (
	"context"
	"errors"
	"sync"
)

// Ack is what a [FaultBroker] does with a PUBLISH.
type Ack uint8

// The ways to acknowledge.
const (
	AckNow      Ack = iota // at once
	AckNever               // not at all
	AckLate                // when Release is called
	AckTwice               // at once, and once more
	AckReversed            // in groups of four, the last one first
	AckUnknown             // at once, after PUBACKs for ids that are not in flight
	AckOther               // with SUBACK, UNSUBACK and PUBCOMP of the same id, never with PUBACK
)

// Fault is how a [FaultBroker] treats one connection. The zero value is a
// broker without fault.
type Fault struct {
	NoConnack   bool   // read CONNECT, answer nothing
	Refuse      byte   // not 0: CONNACK with this return code, then close
	Connack     []byte // not nil: these bytes instead of a CONNACK
	Ack         Ack
	DropAfter   int    // not 0: cut the connection on reading that PUBLISH, which is not acknowledged
	HalfOpen    int    // not 0: on that PUBLISH stop reading and answering, but keep the connection
	Garbage     []byte // sent instead of the PUBACK for PUBLISH number GarbageAt
	GarbageAt   int    // counted from 1; 0: no garbage
	IgnorePings bool   // no PINGRESP
	Noise       []byte // sent before every PUBACK

	// Poison cuts the connection at a message with this text in its payload,
	// PoisonTopic at a topic, MaxPayload at a payload of more bytes than this;
	// all without a word.
	Poison      string
	PoisonTopic string
	MaxPayload  int
	TakeOver    bool // end the connection after the first acknowledgement, as for a session taken over

	// What access rules of a broker of MQTT 3.1.1 do: it acknowledges what it
	// then throws away, and refuses subscriptions.
	Swallow          bool
	RefuseSubscribe  bool
	IgnoreSubscribes bool   // no SUBACK either
	SwallowTopics    string // like Swallow, of topics with this text
	CutSubscribes    string // cut the connection at a subscription with this text
	RefuseFilters    string // refuse subscriptions with this text
	RefuseCode       byte   // by this code; 0 means 0x80

	// MQTT 5 only.
	Reason          byte   // not 0: PUBACK with this code
	ReasonText      string // only for payloads with this text
	ReasonTopic     string // only for topics with this text
	Disconnect      byte   // not 0: DISCONNECT with this code instead of an acknowledgement
	DisconnectAt    int    // at that PUBLISH, counted from 1
	ReceiveMaximum  uint16 // announced, and kept: a client that sends more is cut off
	MaximumPacket   uint32 // likewise
	ServerKeepAlive uint16
	NoRetain        bool // retained messages are a protocol error
	MaximumQoS0     bool
}

// Received is a PUBLISH that a [FaultBroker] has read.
type Received struct {
	Conn    int // connection, from 0
	ID      uint16
	Topic   string
	Payload string
	Retain  bool
	Dup     bool
	QoS     byte
	Acked   bool // a PUBACK was sent, or at least begun to be sent, that says the message was taken

	ContentType string // MQTT 5
	Properties  string // MQTT 5: response, correlation, expiry and user properties
}

// Sent is a PUBLISH that a [FaultBroker] sends.
type Sent struct {
	ID      uint16
	Topic   string
	Payload string
	QoS     byte
	Dup     bool
	Retain  bool

	// MQTT 5 only.
	ResponseTopic, Correlation, ContentType string
	Expiry                                  uint32
	User                                    [][2]string
}

// Answer is a PUBACK that a [FaultBroker] has read.
type Answer struct {
	Conn int // connection, from 0
	ID   uint16
	Code byte // MQTT 5
}

// Connect is a CONNECT that a [FaultBroker] has read.
type Connect struct {
	ClientID    string
	Username    string
	Password    string
	Clean       bool
	KeepAlive   uint16
	Version     byte
	WillTopic   string
	WillPayload string
	WillRetain  bool
	WillQoS     byte

	WillContentType string // MQTT 5
	WillProperties  string // MQTT 5: as those of Received
}

// FaultBroker is a broker that breaks the protocol as told and records what
// it got. All methods may be called from any goroutine.
type FaultBroker struct {
	listener *listener
	done     chan struct{}

	mu          sync.Mutex
	changed     chan struct{} // closed and replaced at every change
	faults      []Fault
	conns       int
	open        int
	connects    []Connect
	received    []Received
	held        []held
	unacked     map[int]int // per connection
	broken      []string
	maxUnacked  int
	disconnects int

	asked         []string // topics of SUBSCRIBE
	options       map[string]byte
	answers       []Answer
	newest        *faultConn
	maxSubscribed int
}

// held is a PUBACK that waits for Release.
type held struct {
	conn  *faultConn
	id    uint16
	index int // in received
}

// NewFaultBroker starts a broker at a free port of 127.0.0.1 that treats its
// first connection by the first fault and so on; the last fault is for all
// further ones. Without faults it has none. A connection counts when it says
// something.
func NewFaultBroker(t Transport, faults ...Fault) (*FaultBroker, error) {
	b := &FaultBroker{
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		faults:  faults,
		unacked: make(map[int]int),
	}
	var err error
	if b.listener, err = newListener("", t, b.serve); err != nil {
		return nil, err
	}
	return b, nil
}

// Addr is host:port.
func (b *FaultBroker) Addr() string { return b.listener.address.text }

// Close cuts all connections and returns when nothing is left of them.
func (b *FaultBroker) Close() {
	close(b.done)
	b.listener.close()
}

// Behave replaces the faults for connections to come, counted from the next.
func (b *FaultBroker) Behave(faults ...Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults, b.conns = faults, 0
}

// Received is a copy of all PUBLISH packets so far, in order.
func (b *FaultBroker) Received() []Received {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Received(nil), b.received...)
}

// Connects is a copy of all CONNECT packets so far, in order.
func (b *FaultBroker) Connects() []Connect {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Connect(nil), b.connects...)
}

// Disconnects is how many DISCONNECT packets came.
func (b *FaultBroker) Disconnects() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.disconnects
}

// MaxUnacked is the largest number of PUBLISH packets that were unacknowledged
// at one time on one connection.
func (b *FaultBroker) MaxUnacked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.maxUnacked
}

// Subscribed are the topics of every SUBSCRIBE, and how many there were at
// most at a time on one connection.
func (b *FaultBroker) Subscribed() (topics []string, most int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.asked...), b.maxSubscribed
}

// Options are the subscription options that a filter was last asked for with.
func (b *FaultBroker) Options(filter string) byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.options[filter]
}

// Answers are the PUBACKs that came.
func (b *FaultBroker) Answers() []Answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Answer(nil), b.answers...)
}

// WaitAnswers waits until n PUBACKs came.
func (b *FaultBroker) WaitAnswers(ctx context.Context, n int) error {
	return b.until(ctx, func() bool { return len(b.answers) >= n })
}

// until waits until cond, which is asked under the lock after every change, holds.
func (b *FaultBroker) until(ctx context.Context, cond func() bool) error {
	for {
		b.mu.Lock()
		ok, changed := cond(), b.changed
		b.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Send sends a message on the newest connection, whatever it has subscribed to.
func (b *FaultBroker) Send(m Sent) error {
	b.mu.Lock()
	c := b.newest
	b.mu.Unlock()
	if c == nil {
		return errNoConnection
	}
	c.Lock()
	defer c.Unlock()
	return c.forward(c, m)
}

// Cut ends the newest connection without a word.
func (b *FaultBroker) Cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.newest != nil {
		_ = b.newest.Close()
	}
}

var errNoConnection = errors.New("uplinktest: no connection")

// Acked says whether a PUBACK was sent for a message with that payload.
func (b *FaultBroker) Acked(payload string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.received) - 1; i >= 0; i-- {
		if b.received[i].Acked && b.received[i].Payload == payload {
			return true
		}
	}
	return false
}

// Violations are what clients did that MQTT or the broker's limits forbid.
func (b *FaultBroker) Violations() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.broken...)
}

// Wait waits until cond holds, which is asked again after every change. The
// broker's methods must not be called in cond.
func (b *FaultBroker) Wait(ctx context.Context, cond func(received []Received, connects, open int) bool) error {
	return b.until(ctx, func() bool { return cond(b.received, len(b.connects), b.open) })
}

// Release sends the PUBACKs held back by AckLate on connections still open.
func (b *FaultBroker) Release() {
	b.mu.Lock()
	held := b.held
	b.held = nil
	b.mu.Unlock()
	for _, h := range held {
		b.ack(h.conn, h.id, h.index)
	}
}

// change must be called with the lock held.
func (b *FaultBroker) change() {
	close(b.changed)
	b.changed = make(chan struct{})
}
