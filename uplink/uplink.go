// Package uplink delivers messages to an MQTT broker and reports which of
// them the broker has acknowledged.
//
// # Nouns
//
// A [Message] is one PUBLISH with QoS 1. The in-flight window is how many of
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
	"time"
)

// Message is one PUBLISH, QoS 1, not retained. The payload must not be
// changed until the message was acknowledged or never again.
type Message struct {
	Topic   string
	Payload []byte
	Token   uint64 // the queue's own name for the message
}

// Queue is where the uplink takes messages from. All methods are called from
// one goroutine at a time.
type Queue interface {
	// Next waits for the next message after those handed out since the last
	// Rewind. It returns an error only when ctx ends.
	Next(ctx context.Context) (Message, error)
	// Acked says that the broker has taken m. Messages are acknowledged in
	// the order in which Next handed them out.
	Acked(m Message)
	// Rewind says that what was handed out and not acknowledged was not
	// delivered: Next begins again with the first of it.
	Rewind()
}

// Observer is told how the uplink fares. Calls must not block.
type Observer interface {
	// Connected says that a broker accepted the connection.
	Connected(server string)
	// Disconnected says why there is no connection (any longer); it is
	// called after every failed attempt and every loss.
	Disconnected(server string, err error)
}

// Retained is a message a broker keeps for later subscribers.
type Retained struct {
	Topic   string
	Payload []byte
}

// Config says which broker to use and how.
type Config struct {
	Servers    []string // URLs tried in order: mqtt, mqtts, ws, wss
	ClientID   string
	Username   string
	Password   func() (string, error)      // asked at every connect; nil: none
	TLS        func() (*tls.Config, error) // asked at every connect; nil: system roots
	KeepAlive  time.Duration               // 0 means 30 s
	AckTimeout time.Duration               // 0 means 2 x KeepAlive
	InFlight   int                         // 0 means 100
	Will       *Retained                   // last will, retained
	Birth      func() []Retained           // published retained after every connect, before the queue
	Goodbye    func() []Retained           // published retained before a clean end
}
