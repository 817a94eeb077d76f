// Package uplink delivers messages to an MQTT broker and reports which of
// them the broker has acknowledged.
//
// # Nouns
//
// A [Message] is one PUBLISH: data of the queue, a birth, the last will. The in-flight window is how many of
// them may wait for their PUBACK. A session is one connection, from CONNECT
// to its loss; nothing carries over from one session to the next.
//
// # Promise
//
// [Queue.Acked] is called for a message only after the PUBACK for it came on
// the connection that sent it, and in the order of the messages. Whatever is
// not acknowledged when a connection ends is asked for again (MQTT 3.1.1, 4.3.2).
package uplink

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"time"

	"fieldferry/uplink/mqtt"
)

// Message is one PUBLISH, with QoS 1 unless Once is set. The payload must not be
// changed until the message was acknowledged or never again.
type Message struct {
	Topic      string // must pass ValidateTopic: a broker answers others by closing the connection
	Payload    []byte
	Retain     bool        // the broker keeps it for later subscribers
	Once       bool        // QoS 0: acknowledged as soon as it is written
	Expendable bool        // not of the queue: if the broker does not take it, [Observer].Dropped is all that follows
	Properties *Properties // MQTT 5 only; may be nil. No text may have more than 65535 bytes
	Token      uint64      // the queue's own name for the message
	Size       int         // in Queue.Acked: bytes it took on the line, headers included
}

// packet is the message as it goes out, but for what Compress makes of it.
func (m *Message) packet() mqtt.Packet {
	return mqtt.Packet{Topic: m.Topic, Payload: m.Payload, Retain: m.Retain, Once: m.Once, Properties: m.Properties}
}

// Queue is where the uplink takes messages from. All methods are called from
// one goroutine at a time.
type Queue interface {
	// Next waits for the next message after those handed out since the last
	// Rewind. It returns an error only when ctx ends. That is not the end of
	// the uplink: ctx also ends when an acknowledgement came meanwhile, and
	// Next is called again after Acked. What Next has gathered so far, and
	// since when, must survive that.
	Next(ctx context.Context) (Message, error)
	// Acked says that the broker has taken m. Messages are acknowledged in
	// the order in which Next handed them out. It may still be called for a
	// short while after the context of Run has ended, never after Run returned.
	Acked(m Message)
	// Refused says that the broker has not taken m, and why. It is called in
	// order with, and instead of, Acked; what becomes of m is up to the queue.
	Refused(m Message, v Verdict)
	// Limit says how many bytes topic and payload of the messages from now on
	// may have together; 0 means that nothing is known to be too much. It is
	// called at the begin of a session. A message that cannot be made small
	// enough is handed out nevertheless, and refused. It returns false when
	// the queue could say nothing at all in so little.
	Limit(bytes int) bool
	// Rewind says that what was handed out and not acknowledged was not
	// delivered: Next begins again with the first of it. It is called at the
	// end of every session, also when nothing is outstanding.
	Rewind()
}

// Verdict is why a message was not taken.
type Verdict struct {
	Reason string // in a few words
	// Final says that the same bytes would be refused again, whatever anybody
	// does. An access rule is not of that kind: who writes it can correct it.
	Final bool
	// Ended says that connections end with the message, again and again, and
	// not without it. Whether that is for its bytes or its topic is not known.
	Ended bool
}

// Observer is told how the uplink fares. Calls must not block. They come from
// the goroutine of Run. Server names are without user and password.
type Observer interface {
	// Connected says that a broker accepted the connection, and, with
	// Config.Verify, that it lets this client publish.
	Connected(server string)
	// Accepted says that the broker takes what is published: it has passed
	// the check of Config.Verify, or acknowledged a message of the queue.
	Accepted(server string)
	// Announced says that the broker has taken a message of Birth or Announce,
	// or, with a reason, that it does not.
	Announced(topic, reason string)
	// Dropped says of an expendable message why it was not taken. Who sends it
	// again in the next births may lose one more connection.
	Dropped(topic, reason string)
	// Unproved says of a topic, with a reason, that the broker has not shown that
	// it lets messages to it through, see Config.VerifyTopics; without one, that
	// it has now. The empty topic stands for all others.
	Unproved(topic, reason string)
	// Disconnected says why there is no connection (any longer); it is
	// called after every failed attempt and every loss, and with a nil err
	// after a clean end. An err that is not nil is an *[Error].
	Disconnected(server string, err error)
}

// Config says which broker to use and how.
type Config struct {
	Protocol Protocol
	Servers  []string                    // URLs tried in order: mqtt, mqtts, ws, wss; see ParseServer
	ClientID string                      // 1 to 65535 bytes
	Username string                      // empty: that of the server's URL, if any
	Password func() (string, error)      // asked at every connect; nil: none
	TLS      func() (*tls.Config, error) // asked at every connect; nil: system roots
	// Headers are those of the WebSocket handshake, asked for at every connect;
	// nil: none but those that belong to it.
	Headers func() (http.Header, error)
	// Proxy is the HTTP proxy on the way to a server, asked for at every
	// connect; nil, and a nil URL: none.
	Proxy       func(Server) (*url.URL, error)
	KeepAlive   time.Duration // 1 s to 65535 s, in whole seconds (rounded up); 0 means 30 s
	AckTimeout  time.Duration // how long the oldest message in flight may wait; 0 means 2 x KeepAlive
	InFlight    int           // messages waiting for their PUBACK, 1 to 65000; 0 means 100
	MaxRate     int           // bytes a second of messages with their headers; 0: no limit
	MaxMessages int           // messages a second; 0: no limit
	Compress    Compression   // of the messages of the queue
	// Verify makes sure at every connect that the broker lets this client
	// publish, with the first of Birth, before anything of the queue is sent. A
	// broker of MQTT 3.1.1 acknowledges what its access rules throw away, so
	// the message has to come back to a subscription for its topic. One of
	// MQTT 5 says of each message whether it takes it, and nothing is done.
	Verify bool
	// VerifyTopics makes the broker of MQTT 3.1.1 send the first message to each
	// topic back as well, once a connection and at most every ten minutes. It
	// holds nothing up: a topic where that does not happen is reported, and sent
	// to all the same.
	VerifyTopics bool
	// Seen gets what arrives at the topic of the first of Birth after that has
	// come back, as Verify of MQTT 3.1.1 is subscribed there: messages of others,
	// and our own. It must not block, nor keep the payload. It may be nil.
	Seen func(payload []byte)
	// Subscriptions are made on each connection, once it is known to work.
	Subscriptions []Subscription
	Will          *Message // last will; nil: none
	// Birth gives what is published after every connect, before the queue:
	// messages of at most so many bytes of topic, payload and properties
	// together, 0 for no limit. What cannot be made so small it leaves out. The
	// first is published again to see that a connection lives, which shows less
	// with QoS 0.
	Birth   func(most int) []Message
	Goodbye func() []Message // published before a clean end
}
