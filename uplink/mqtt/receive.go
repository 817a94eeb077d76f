package mqtt

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Subscription is what somebody wants to receive, with QoS 1.
type Subscription struct {
	// Filter is a topic, or many by + and # (MQTT 3.1.1, 4.7). Of several that
	// match a message the first gets it.
	Filter string
	// MaxBytes is the longest payload; 0 means 32 KiB. What is longer is
	// answered, thrown away and counted.
	MaxBytes int
	// KeepRetain lets Received.Retained say whether the message was published
	// with the flag; without it, and under MQTT 3.1.1, it says that the message
	// is a replay. NoReplay leaves replays out. Both are for MQTT 5 alone.
	KeepRetain, NoReplay bool
	// Handle gets each message. The broker is told that it came once Handle has
	// returned, so that what must not get lost can be on disk by then. Calls come
	// one after the other, those of all subscriptions, and must return soon after
	// ctx has ended; delivery does not wait for them.
	Handle func(ctx context.Context, m Received)
	// Granted says that the broker has granted the subscription, or, with a
	// reason, that it has not; then it is asked again every ten minutes. Calls
	// come from the goroutine of Run and must not block. It may be nil.
	Granted func(reason string)
	// TooLarge is told of what is thrown away for its size, by whoever reads the
	// connection: it must not block. It may be nil.
	TooLarge func(topic string, size int)
}

// Received is a message from the broker. All of it is the receiver's to keep.
type Received struct {
	Topic      string
	Payload    []byte
	Retained   bool // see Subscription.KeepRetain
	Dup        bool // it may have been delivered before
	QoS        byte
	Properties Properties // MQTT 5 only
}

// Properties are those of MQTT 5 that a message may have. Under 3.1.1 they are
// not sent.
type Properties struct {
	ContentType   string
	ResponseTopic string
	Correlation   []byte
	Expiry        time.Duration // in whole seconds, rounded up; 0: none
	User          [][2]string
}

// How much may wait for Handle, and be received at all.
const (
	DefaultReceived  = 32 << 10 // bytes of a payload
	MaxReceived      = 1 << 20
	MaxSubscriptions = 64

	receiveMaximum = 64 // messages, announced under MQTT 5; mosquitto without a limit of its own sends more
	// MaxWaiting messages wait for their handlers, and MaxWaitingBytes; that is
	// more than the windows of brokers.
	MaxWaiting      = 1024
	MaxWaitingBytes = 4 << 20

	maxTopicIn = 4096 // bytes of a topic that anybody may have subscribed to
	healPause  = 10 * time.Minute
)

// Check says what is wrong with a subscription, and fills in the default.
func (s *Subscription) Check(bad func(format string, args ...any)) {
	if err := ValidateFilter(s.Filter); err != nil {
		bad("subscription %q: %w", s.Filter, err)
	}
	if s.MaxBytes == 0 {
		s.MaxBytes = DefaultReceived
	}
	if s.MaxBytes < 1 || s.MaxBytes > MaxReceived {
		bad("subscription %q: messages must have 1 to %d bytes, not %d", s.Filter, MaxReceived, s.MaxBytes)
	}
	if s.Handle == nil {
		bad("subscription %q: nobody handles it", s.Filter)
	}
}

// options are those of MQTT 5, 3.8.3.1; under 3.1.1 it is the QoS.
func (s *Subscription) options(v5 bool) byte {
	o := byte(1)
	if v5 && s.KeepRetain {
		o |= 1 << 3
	}
	if v5 && s.NoReplay {
		o |= 2 << 4
	}
	return o
}

// matches says whether a topic is one of a filter's (MQTT 3.1.1, 4.7).
func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		f, fRest, fMore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, tRest, tMore := strings.Cut(topic, "/")
		switch {
		case f != "+" && f != t:
			return false
		case !tMore:
			return !fMore || fRest == "#"
		case !fMore:
			return false
		}
		filter, topic = fRest, tRest
	}
}

// inbound is a message on its way to Handle.
type inbound struct {
	conn *Conn
	id   uint16
	code byte          // of its PUBACK, under MQTT 5
	sub  *Subscription // nil: there is only the answer
	msg  Received
	size int
}

// Receiver hands messages to their handlers and answers them then. It outlives
// connections, so that handlers are never called side by side.
type Receiver struct {
	received, unwanted, dropped atomic.Uint64

	Patient bool   // the connection waits for room: it has nothing else to do
	heal    func() // makes a new connection

	mu    sync.Mutex
	queue []inbound
	bytes int
	full  bool // something was dropped for want of room since heal
	over  bool // nothing comes any more
	wake  chan struct{}
	room  chan struct{} // something was taken out
}

// NewReceiver makes one. What it cannot take in costs the broker room for more,
// which a new connection gives back: then it calls heal, which may be nil.
func NewReceiver(heal func()) *Receiver {
	return &Receiver{heal: heal, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// Counts are the messages that were handled, that nobody had subscribed to, and
// that were too large or too many.
func (r *Receiver) Counts() (received, unwanted, dropped uint64) {
	return r.received.Load(), r.unwanted.Load(), r.dropped.Load()
}

// Waiting is how many messages, and bytes, wait for their handlers.
func (r *Receiver) Waiting() (messages, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue), r.bytes
}

// offer returns false when there is no room.
func (r *Receiver) offer(i *inbound) bool {
	for !r.put(i) {
		if !r.Patient {
			return false
		}
		select {
		case <-r.room:
		case <-i.conn.gone:
			return false
		}
	}
	return true
}

func (r *Receiver) put(i *inbound) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.queue); n >= MaxWaiting || n > 0 && r.bytes+i.size > MaxWaitingBytes {
		r.full = true
		return false
	}
	r.queue = append(r.queue, *i)
	r.bytes += i.size
	signal(r.wake)
	return true
}

// take returns the oldest message, if there is one.
func (r *Receiver) take() (i inbound, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		r.queue = nil
		return i, false
	}
	i = r.queue[0]
	r.queue[0] = inbound{}
	r.queue = r.queue[1:]
	r.bytes -= i.size
	signal(r.room)
	return i, true
}

// idle says what came to pass until the queue was empty.
func (r *Receiver) idle() (full, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	full, r.full = r.full, false
	return full, r.over
}

// Finish lets Run end once what has come is handled.
func (r *Receiver) Finish() {
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	signal(r.wake)
}

// Run handles messages until ctx ends.
func (r *Receiver) Run(ctx context.Context) {
	var healed time.Time
	for ctx.Err() == nil {
		if i, is := r.take(); is {
			r.handle(ctx, &i)
			continue
		}
		full, over := r.idle()
		if over {
			return
		}
		if full && r.heal != nil && (healed.IsZero() || time.Since(healed) >= healPause) {
			// A broker never sends what was dropped again on this connection, and
			// has that much less room for what comes.
			healed = time.Now()
			r.heal()
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		}
	}
}

func (r *Receiver) handle(ctx context.Context, i *inbound) {
	if !r.Patient && (isClosed(i.conn.lostCh) || isClosed(i.conn.gone)) {
		return // it comes again, or its sender knows
	}
	if i.sub != nil {
		i.sub.Handle(ctx, i.msg)
		r.received.Add(1)
	}
	if i.id == 0 || ctx.Err() != nil && i.sub != nil {
		return // a handler that was told to stop may not have finished
	}
	p := []byte{typePuback << 4, 2, byte(i.id >> 8), byte(i.id)}
	if i.code != 0 && i.conn.v5 {
		p = append(p, i.code)
		p[1]++
	}
	_ = i.conn.write(p) // a failure ends the connection
}

// codes of a PUBACK for what nobody handles (MQTT 5, 3.4.2.1).
const (
	codeNobody   = 0x10
	codeTooLarge = 0x83
)

// message looks at a message from the broker.
func (c *Conn) message(first byte, length int) error {
	qos, wanted := first>>1&3, c.receiver != nil && len(c.cfg.Subscriptions) > 0
	if qos == 3 { // MQTT 3.1.1, 3.3.1.2
		return unexpected(first, length)
	}
	longest := c.echoes.most()
	if wanted {
		longest = max(longest, maxTopicIn)
	}
	if longest == 0 || length < 2 {
		return c.stray(length, length)
	}
	var size [2]byte
	if _, err := io.ReadFull(c.r, size[:]); err != nil {
		return err
	}
	n, left := int(binary.BigEndian.Uint16(size[:])), length-2
	if n > left {
		return NewError(ReasonProtocol, errLength)
	}
	if n > longest {
		return c.stray(length, left)
	}
	c.topic = append(c.topic[:0], make([]byte, n)...)
	if _, err := io.ReadFull(c.r, c.topic); err != nil {
		return err
	}
	left -= n
	if wanted {
		return c.wanted(first, length, left)
	}
	// Not retained: it was sent because it came now. QoS 0: as subscribed.
	if first != typePublish<<4 {
		return c.stray(length, left)
	}
	return c.maybeEcho(length, left)
}

func (c *Conn) maybeEcho(length, left int) error {
	e, owed := c.echoes.of(c.topic, length-2)
	switch {
	case e == nil:
		return c.stray(length, left)
	case owed:
		c.allowed.grant(left)
	default:
		if err := c.allowed.spend(floodPacket); err != nil {
			return err
		}
	}
	return c.overhear(e, left)
}

// stray throws away what is left of a message that nobody waits for. Some
// brokers subscribe their clients to something by themselves.
func (c *Conn) stray(length, left int) error {
	if c.receiver != nil {
		c.receiver.unwanted.Add(1)
	}
	return c.discard(length, left)
}

func (c *Conn) discard(length, left int) error {
	cost := floodPacket // its bytes are counted by the link
	if length > floodBurst {
		cost = length // however slowly it would come
	}
	if err := c.allowed.spend(cost); err != nil {
		return err
	}
	_, err := c.r.Discard(left)
	return err
}

// wanted takes a message of a connection with subscriptions.
func (c *Conn) wanted(first byte, length, left int) error {
	qos := first >> 1 & 3
	i := inbound{conn: c, msg: Received{Topic: string(c.topic), Retained: first&1 != 0, Dup: first&8 != 0, QoS: qos}}
	for k := range c.cfg.Subscriptions {
		if s := &c.cfg.Subscriptions[k]; matches(s.Filter, i.msg.Topic) {
			i.sub = s
			break
		}
	}
	if i.sub == nil && first == typePublish<<4 {
		return c.maybeEcho(length, left)
	}
	if qos == 2 { // MQTT 3.1.1, 3.8.4: no more than was granted
		return NewError(ReasonProtocol, errors.New("a message with QoS 2"))
	}
	if qos == 1 {
		var id [2]byte
		if left < 2 {
			return NewError(ReasonProtocol, errLength)
		}
		if _, err := io.ReadFull(c.r, id[:]); err != nil {
			return err
		}
		i.id, left = binary.BigEndian.Uint16(id[:]), left-2
		if i.id == 0 {
			return NewError(ReasonProtocol, errors.New("packet id 0"))
		}
	}
	switch {
	case i.sub == nil:
		i.code = codeNobody
		c.receiver.unwanted.Add(1)
	case left > i.sub.MaxBytes+maxAnswer || !c.v5 && left > i.sub.MaxBytes:
		if i.sub.TooLarge != nil {
			i.sub.TooLarge(i.msg.Topic, left)
		}
		i.sub, i.code = nil, codeTooLarge
		c.receiver.dropped.Add(1)
	default:
		return c.receive(&i, left)
	}
	if qos == 1 {
		c.offer(&i)
	}
	if c.receiver.Patient { // whoever only looks has nothing that a flood could keep waiting
		_, err := c.r.Discard(left)
		return err
	}
	return c.discard(length, left)
}

// receive reads a message that is wanted.
func (c *Conn) receive(i *inbound, left int) error {
	if err := c.allowed.spend(floodPacket); err != nil {
		return err
	}
	body := make([]byte, left)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return err
	}
	if c.v5 {
		rest, err := cutProperties(body, i.msg.Properties.take)
		if err != nil {
			return protocolError(err)
		}
		body = rest
	}
	if len(body) > i.sub.MaxBytes {
		i.sub, i.code = nil, codeTooLarge
		c.receiver.dropped.Add(1)
		body = nil
	}
	i.msg.Payload, i.size = body, left
	if i.sub != nil || i.id != 0 {
		c.offer(i)
	}
	return nil
}

// offer hands a message to the receiver. What it has no room for stays
// unanswered: its sender must not take it for delivered.
func (c *Conn) offer(i *inbound) {
	i.size += len(i.msg.Topic) + 256
	if !c.receiver.offer(i) {
		c.receiver.dropped.Add(1)
	}
}

var errAlias = errors.New("a topic alias, which was not allowed")

// take takes a property of a message. Its texts are copied.
func (p *Properties) take(from property) error {
	switch from.id {
	case propExpiry:
		p.Expiry = max(time.Duration(from.number)*time.Second, 1)
	case propContentType:
		p.ContentType = string(from.text)
	case propResponseTopic:
		p.ResponseTopic = string(from.text)
	case propCorrelation:
		p.Correlation = append([]byte(nil), from.text...)
	case propUser:
		p.User = append(p.User, [2]string{string(from.text), string(from.value)})
	case propTopicAlias:
		return errAlias
	}
	return nil
}
