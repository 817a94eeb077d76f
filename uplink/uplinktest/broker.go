// Package uplinktest has MQTT brokers for tests and demonstrations, all on
// 127.0.0.1 and in this process.
//
// # Nouns
//
// A [Broker] is a real one (mochi-mqtt) that can be stopped and started again
// at the same address, as in an outage. A [FaultBroker] speaks just enough
// MQTT 3.1.1 and 5 to break it in every way in which brokers and networks do, and
// records every message together with whether it acknowledged it.
//
// # Caveats
//
// Nothing here is kept on disk, asks for a password or listens on a network.
// The brokers need Linux. A subscriber over the network that cannot keep up
// loses messages, as with every broker; [Broker.Subscribe] never does.
package uplinktest

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// BrokerConfig says what [NewBroker] starts. The zero value is a broker at a
// free port, without TLS, that logs nothing.
type BrokerConfig struct {
	Address   string // host:port on the loopback; empty: 127.0.0.1 and a free port
	Transport Transport
	Log       *slog.Logger // of the broker itself, which is chatty; nil: none
}

// Broker is a real MQTT broker in this process. It is quiet, takes any user
// and keeps retained messages and subscriptions over Stop and Start, but not
// sessions of clients. All methods may be called from any goroutine.
type Broker struct {
	server   *mochi.Server
	listener *listener
	nextID   atomic.Int32

	mu     sync.Mutex
	closed bool
}

// NewBroker starts a broker.
func NewBroker(cfg BrokerConfig) (*Broker, error) {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Broker{server: mochi.New(&mochi.Options{InlineClient: true, Logger: log})}
	door := &door{server: b.server, gone: map[net.Conn]chan struct{}{}}
	if err := b.server.AddHook(door, nil); err != nil {
		return nil, fmt.Errorf("uplinktest: broker: %w", err)
	}
	// Without Serve: connections come from the listener below, and all else it
	// starts is housekeeping that needs an hour to matter. What it refers to,
	// an HTTP server among others, is 640 KiB of the binary.
	var err error
	b.listener, err = newListener(cfg.Address, cfg.Transport, func(c net.Conn) {
		defer door.enter(c)()
		// How a client's connection ended is the client's affair.
		_ = b.server.EstablishConnection("tcp", c)
	})
	if err != nil {
		_ = b.server.Close()
		return nil, err
	}
	return b, nil
}

// Addr is host:port, the same for the broker's life.
func (b *Broker) Addr() string { return b.listener.address.text }

// Stop cuts all connections without a word and refuses new ones until Start.
// It returns when nothing of them is left.
func (b *Broker) Stop() { b.listener.stop() }

var errClosed = errors.New("uplinktest: broker is closed")

// Start ends what Stop began, at the same address. It does nothing if the
// broker is not stopped.
func (b *Broker) Start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	return b.listener.start()
}

// Subscribe calls fn for every message that matches filter (with + and #),
// and at once for the retained ones. The calls come one after the other for
// each publishing client; fn must not block for long, nor keep payload
// without copying it.
func (b *Broker) Subscribe(filter string, fn func(topic string, payload []byte)) error {
	err := b.server.Subscribe(filter, int(b.nextID.Add(1)), func(_ *mochi.Client, _ packets.Subscription, pk packets.Packet) {
		fn(pk.TopicName, pk.Payload)
	})
	if err != nil {
		return fmt.Errorf("uplinktest: subscribe to %q: %w", filter, err)
	}
	return nil
}

// Publish publishes a message that is not retained, with QoS 1.
func (b *Broker) Publish(topic string, payload []byte) error {
	if err := b.server.Publish(topic, payload, false, 1); err != nil {
		return fmt.Errorf("uplinktest: publish to %q: %w", topic, err)
	}
	return nil
}

// Retained is the retained message of a topic, or nil.
func (b *Broker) Retained(topic string) []byte {
	pk, ok := b.server.Topics.Retained.Get(topic)
	if !ok {
		return nil
	}
	return append([]byte(nil), pk.Payload...)
}

// Close stops the broker for good.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	b.listener.close()
	return b.server.Close()
}

// door lets any user do anything (mochi's own hook of that kind would bring a
// YAML library along), and a client in when its former connection is gone. Else
// mochi 2.7.9 may forget both: the end of the old connection deletes what has
// the client's identifier, unless it knows already that it was taken over.
type door struct {
	mochi.HookBase
	server *mochi.Server

	mu   sync.Mutex
	gone map[net.Conn]chan struct{} // closed when nothing of the connection is left
}

// enter takes a connection into account, until the returned function is called.
func (d *door) enter(c net.Conn) (leave func()) {
	gone := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone[c] = gone
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.gone, c)
		close(gone)
	}
}

func (*door) ID() string { return "door" }

func (*door) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck || b == mochi.OnSessionEstablish
}

func (*door) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (*door) OnACLCheck(*mochi.Client, string, bool) bool { return true }

func (d *door) OnSessionEstablish(cl *mochi.Client, _ packets.Packet) {
	former, ok := d.server.Clients.Get(cl.ID)
	if !ok {
		return
	}
	_ = d.server.DisconnectClient(former, packets.ErrSessionTakenOver) // it says the code as an error
	d.mu.Lock()
	gone := d.gone[former.Net.Conn]
	d.mu.Unlock()
	if gone != nil {
		<-gone
	}
}
