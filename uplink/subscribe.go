package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"fieldferry/uplink/mqtt"
)

// SubscribeConfig says what to listen to, and where.
type SubscribeConfig struct {
	Server   string                      // URL, see [ParseServer]
	Others   []string                    // URLs of servers that are tried after it, in turn
	Protocol Protocol                    // 0: MQTT 3.1.1
	Topic    string                      // topic filter; + and # as in MQTT 3.1.1, 4.7
	Username string                      // empty: that of the server's URL, if any
	Password func() (string, error)      // asked at every connect; nil: none
	TLS      func() (*tls.Config, error) // asked at every connect; nil: system roots
	// Headers and Proxy are as in [Config].
	Headers func() (http.Header, error)
	Proxy   func(Server) (*url.URL, error)

	MaxMessage int                          // the longest payload that is handed over; 0: [DefaultMaxMessage]
	TooLarge   func(topic string, size int) // told of each that is longer, and skipped; never beside handle; may be nil

	Connected    func(Server) // called after every subscription the broker accepted; may be nil
	Disconnected func(error)  // called after every failed attempt and every loss; may be nil
}

// subscribePause is the mean pause between two attempts to connect.
const subscribePause = time.Second

// Subscribe hands over the messages of a topic until ctx ends, and connects
// again whenever the connection is lost; what is published meanwhile is
// missed. It is the consumer's side, for looking at what arrives. All calls
// of handle come from one goroutine at a time; payload is handle's to keep.
// An error means that the configuration can never work.
func Subscribe(ctx context.Context, cfg SubscribeConfig, handle func(topic string, payload []byte, retained bool)) error {
	servers, err := cfg.servers()
	if err != nil {
		return err
	}
	if cfg.Topic == "" {
		return errors.New("the topic filter is empty; use # for everything")
	}
	if cfg.MaxMessage == 0 {
		cfg.MaxMessage = DefaultMaxMessage
	}
	var one sync.Mutex // messages are handled beside the reader, which skips
	take, tooLarge := handle, cfg.TooLarge
	handle = func(topic string, payload []byte, retained bool) {
		one.Lock()
		defer one.Unlock()
		take(topic, payload, retained)
	}
	cfg.TooLarge = func(topic string, size int) {
		one.Lock()
		defer one.Unlock()
		if tooLarge != nil {
			tooLarge(topic, size)
		}
	}
	report := func(err error) {
		if cfg.Disconnected != nil && ctx.Err() == nil {
			cfg.Disconnected(err)
		}
	}
	for i := 0; ctx.Err() == nil; i = (i + 1) % len(servers) {
		report(subscribeOnce(ctx, cfg, servers[i], handle))
		pause := time.NewTimer(subscribePause/2 + rand.N(subscribePause))
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
	return nil
}

func (c *SubscribeConfig) servers() ([]Server, error) {
	servers := make([]Server, 1+len(c.Others))
	for i, text := range append([]string{c.Server}, c.Others...) {
		var err error
		if servers[i], err = ParseServer(text); err != nil {
			return nil, err
		}
	}
	return servers, nil
}

// DefaultMaxMessage is much more than a gateway sends unless it is told to.
const DefaultMaxMessage = 4 << 20

// subscribeOnce is one connection. It returns why it ended.
func subscribeOnce(ctx context.Context, cfg SubscribeConfig, server Server, handle func(string, []byte, bool)) error {
	t := mqtt.DefaultTiming()
	r := mqtt.NewReceiver(nil)
	r.Patient = true
	conn := &mqtt.Config{
		Protocol:  cfg.Protocol,
		ClientID:  fmt.Sprintf("watch-%016x", rand.Uint64()),
		Username:  cfg.Username,
		Password:  cfg.Password,
		TLS:       cfg.TLS,
		KeepAlive: DefaultKeepAlive,
		Subscriptions: []Subscription{{Filter: cfg.Topic, MaxBytes: cfg.MaxMessage, TooLarge: cfg.TooLarge,
			Handle: func(_ context.Context, m Received) { handle(m.Topic, m.Payload, m.Retained) }}},
	}
	dialer := mqtt.NewDialer(t, t.Write)
	dialer.Headers, dialer.Proxy = cfg.Headers, cfg.Proxy
	c := mqtt.New(conn, server, dialer, t, r)
	if err := c.Connect(ctx); err != nil {
		return err
	}
	var handling sync.WaitGroup
	handling.Go(func() { r.Run(ctx) })
	defer handling.Wait()
	defer r.Finish()
	defer c.Close(true)
	<-c.Ready() // there is one at once
	granted := make(chan error, 1)
	c.Subscribe(&conn.Subscriptions[0], func(err error) { granted <- err })
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.Lost():
		return c.Err()
	case err := <-granted:
		if err != nil {
			return fmt.Errorf("subscribe to %s: the broker refuses it: %w", cfg.Topic, err)
		}
	}
	if cfg.Connected != nil {
		cfg.Connected(server)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-c.Lost():
		return errors.New("the connection was lost")
	}
}
