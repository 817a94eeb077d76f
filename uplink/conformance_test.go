package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldferry/uplink/mqtt"
	"fieldferry/uplink/uplinktest"
)

// newPublisherFunc makes the publisher that a conformance test is about.
type newPublisherFunc func(cfg *mqtt.Config, s Server, t timing, r *mqtt.Receiver) publisher

// TestPublisherConformance runs the suite for every publisher there is, over
// every transport.
func TestPublisherConformance(t *testing.T) {
	t.Parallel()
	publishers := map[string]newPublisherFunc{
		"mqtt 5": func(cfg *mqtt.Config, s Server, t timing, r *mqtt.Receiver) publisher {
			cfg.Protocol = Protocol5
			return mqtt.New(cfg, s, mqtt.NewDialer(t.Timing, time.Minute), t.Timing, r)
		},
		"mqtt 3.1.1": func(cfg *mqtt.Config, s Server, t timing, r *mqtt.Receiver) publisher {
			return mqtt.New(cfg, s, mqtt.NewDialer(t.Timing, time.Minute), t.Timing, r)
		},
	}
	ca := newCA(t)
	cert := ca.issue(t, "127.0.0.1", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	server := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	client := func() (*tls.Config, error) { return &tls.Config{RootCAs: ca.pool, MinVersion: tls.VersionTLS12}, nil }
	transports := map[string]uplinktest.Transport{
		"mqtt": {}, "mqtts": {TLS: server}, "ws": {WebSocket: true}, "wss": {TLS: server, WebSocket: true},
	}
	for name, newPublisher := range publishers {
		for scheme, transport := range transports {
			t.Run(name+"/"+scheme, func(t *testing.T) {
				suite := &publisherSuite{v5: name == "mqtt 5", newPublisher: newPublisher, scheme: scheme, transport: transport, tls: client}
				suite.run(t)
			})
		}
	}
}

// publisherSuite says what the uplink relies on in a publisher.
type publisherSuite struct {
	v5           bool
	newPublisher newPublisherFunc
	scheme       string
	transport    uplinktest.Transport
	tls          func() (*tls.Config, error)
	receiver     *mqtt.Receiver // of the next publisher
	will         *mqtt.Packet   // likewise
}

func (s *publisherSuite) run(t *testing.T) {
	t.Run("delivers in order", s.deliversInOrder)
	t.Run("last will has its own retain, QoS and properties", s.leavesWill)
	t.Run("message has its own retain, QoS and properties", s.publishesAsTold)
	t.Run("token fails when the connection is lost", s.tokenFails)
	t.Run("token of a lost connection keeps its success", s.tokenKeepsSuccess)
	t.Run("other packets are no acknowledgement", s.onlyPuback)
	t.Run("permissions are bounded and come back", s.permissions)
	t.Run("connect says why", s.connectSaysWhy)
	t.Run("connect ends with its context", s.connectEnds)
	t.Run("close is polite or not", s.closes)
	t.Run("receives, and answers afterwards", s.receives)
	t.Run("subscriptions have their own answers", s.subscribes)
	t.Run("close does not wait for a dead connection", s.closesDead)
}

func (s *publisherSuite) broker(t *testing.T, faults ...uplinktest.Fault) *uplinktest.FaultBroker {
	t.Helper()
	b, err := uplinktest.NewFaultBroker(s.transport, faults...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func (s *publisherSuite) publisher(t *testing.T, b *uplinktest.FaultBroker, tm timing, subs ...Subscription) publisher {
	t.Helper()
	srv, err := ParseServer(s.scheme + "://" + b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	cfg := &mqtt.Config{ClientID: "suite", KeepAlive: 30 * time.Second, TLS: s.tls, Will: s.will, Subscriptions: subs}
	for i := range subs {
		subs[i].MaxBytes = mqtt.DefaultReceived
	}
	return s.newPublisher(cfg, srv, tm, s.receiver)
}

func (s *publisherSuite) connected(t *testing.T, b *uplinktest.FaultBroker, subs ...Subscription) publisher {
	t.Helper()
	p := s.publisher(t, b, fast(), subs...)
	if err := p.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(false) })
	return p
}

// publish takes a permission and publishes.
func publish(t *testing.T, p publisher, payload string, retained bool) mqtt.Token {
	t.Helper()
	select {
	case <-p.Ready():
	case <-time.After(patience):
		t.Fatal("no permission to publish came")
	}
	return p.Publish(mqtt.Packet{Topic: "suite/topic", Payload: []byte(payload), Retain: retained})
}

func settled(t *testing.T, tok mqtt.Token) error {
	t.Helper()
	select {
	case <-tok.Done():
		return tok.Error()
	case <-time.After(patience):
		t.Fatal("the token was not settled")
		return nil
	}
}

func isLost(t *testing.T, p publisher) *Error {
	t.Helper()
	select {
	case <-p.Lost():
	case <-time.After(patience):
		t.Fatal("the loss was not noticed")
	}
	var e *Error
	if !errors.As(p.Err(), &e) {
		t.Fatalf("err is %T, want *Error", p.Err())
	}
	return e
}

func (s *publisherSuite) deliversInOrder(t *testing.T) {
	b := s.broker(t)
	p := s.connected(t, b)
	var tokens []mqtt.Token
	for i := range 100 {
		tokens = append(tokens, publish(t, p, fmt.Sprint(i), i%2 == 0))
	}
	for i, tok := range tokens {
		if err := settled(t, tok); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	for i, r := range b.Received() {
		if r.Payload != fmt.Sprint(i) || r.Retain != (i%2 == 0) || r.QoS != 1 || r.Dup || r.Topic != "suite/topic" {
			t.Errorf("message %d came as %+v", i, r)
		}
	}
}

// variants are the kinds of messages there are, and what arrives.
func (s *publisherSuite) variants() map[uplinktest.Received]mqtt.Packet {
	all := &Properties{ContentType: "application/x", ResponseTopic: "answers", Correlation: []byte{7}, Expiry: 90 * time.Second, User: [][2]string{{"k", "v"}}}
	return map[uplinktest.Received]mqtt.Packet{
		{Payload: "kept", Retain: true, QoS: 1}:              {Payload: []byte("kept"), Retain: true},
		{Payload: "kept, at most once", Retain: true}:        {Payload: []byte("kept, at most once"), Retain: true, Once: true},
		{Payload: "passing", QoS: 1}:                         {Payload: []byte("passing")},
		{Payload: "passing, at most once"}:                   {Payload: []byte("passing, at most once"), Once: true},
		{QoS: 1}:                                             {},
		s.told(uplinktest.Received{Payload: "told", QoS: 1}): {Payload: []byte("told"), Properties: all},
	}
}

// told adds the properties of variants to what arrives, where there are any.
func (s *publisherSuite) told(r uplinktest.Received) uplinktest.Received {
	if s.v5 {
		r.ContentType, r.Properties = "application/x", "response=answers correlation=\a expiry=90 k=v"
	}
	return r
}

func (s *publisherSuite) leavesWill(t *testing.T) {
	defer func() { s.will = nil }()
	for want, will := range s.variants() {
		b := s.broker(t)
		will.Topic = "suite/will"
		s.will = &will
		p := s.connected(t, b)
		if err := settled(t, publish(t, p, "1", false)); err != nil {
			t.Fatal(err)
		}
		c := b.Connects()[0]
		got := uplinktest.Received{Payload: c.WillPayload, Retain: c.WillRetain, QoS: c.WillQoS, ContentType: c.WillContentType, Properties: c.WillProperties}
		if got != want || c.WillTopic != "suite/will" || c.ClientID != "suite" {
			t.Errorf("last will\n got %+v\nwant %+v", got, want)
		}
	}
}

func (s *publisherSuite) publishesAsTold(t *testing.T) {
	b := s.broker(t)
	p := s.connected(t, b)
	n := 0
	for want, m := range s.variants() {
		m.Topic = "suite/topic"
		<-p.Ready()
		if err := settled(t, p.Publish(m)); err != nil {
			t.Fatal(err)
		}
		n++
		waitFor(t, b, "it came", func(got []uplinktest.Received, _, _ int) bool { return len(got) == n })
		got := b.Received()[n-1]
		got.ID, got.Topic, got.Acked = 0, "", false
		if got != want {
			t.Errorf("message\n got %+v\nwant %+v", got, want)
		}
	}
}

func (s *publisherSuite) tokenFails(t *testing.T) {
	b := s.broker(t, uplinktest.Fault{Ack: uplinktest.AckNever, DropAfter: 2})
	p := s.connected(t, b)
	tokens := []mqtt.Token{publish(t, p, "1", false), publish(t, p, "2", false)}
	if e := isLost(t, p); e.Reason != ReasonLost {
		t.Errorf("lost by %v", e)
	}
	p.Close(false)
	for i, tok := range tokens {
		select {
		case <-tok.Done():
			if tok.Error() == nil {
				t.Errorf("mqtt.Token %d succeeded without PUBACK", i)
			}
		default: // settled never, which is allowed as well
		}
	}
}

func (s *publisherSuite) tokenKeepsSuccess(t *testing.T) {
	b := s.broker(t, uplinktest.Fault{DropAfter: 2})
	p := s.connected(t, b)
	first := publish(t, p, "1", false)
	if err := settled(t, first); err != nil {
		t.Fatal(err)
	}
	publish(t, p, "2", false)
	isLost(t, p)
	p.Close(false)
	if first.Error() != nil {
		t.Errorf("the acknowledged message became %v", first.Error())
	}
}

func (s *publisherSuite) onlyPuback(t *testing.T) {
	b := s.broker(t, uplinktest.Fault{Ack: uplinktest.AckOther})
	p := s.connected(t, b)
	tok := publish(t, p, "1", false)
	if e := isLost(t, p); e.Reason != ReasonProtocol {
		t.Errorf("lost by %v", e)
	}
	p.Close(false)
	select {
	case <-tok.Done():
		if tok.Error() == nil {
			t.Error("the token succeeded without PUBACK")
		}
	default:
	}
}

func (s *publisherSuite) permissions(t *testing.T) {
	b := s.broker(t, uplinktest.Fault{Ack: uplinktest.AckNever})
	p := s.connected(t, b)
	for i := range 50 { // they do not depend on acknowledgements
		publish(t, p, fmt.Sprint(i), false)
	}
	waitFor(t, b, "all came", func(got []uplinktest.Received, _, _ int) bool { return len(got) == 50 })
	if n := len(p.Ready()); n > 16 {
		t.Errorf("%d permissions at once", n)
	}
}

func (s *publisherSuite) connectSaysWhy(t *testing.T) {
	codes := map[byte]Reason{4: ReasonUser, 2: ReasonClientID}
	if s.v5 {
		codes = map[byte]Reason{0x86: ReasonUser, 0x85: ReasonClientID, 0x84: ReasonVersion, 0x9D: ReasonMoved}
	}
	for code, reason := range codes {
		b := s.broker(t, uplinktest.Fault{Refuse: code})
		err := s.publisher(t, b, fast()).Connect(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Reason != reason {
			t.Errorf("refused with %d: %v, want %v", code, err, reason)
		}
	}
}

func (s *publisherSuite) connectEnds(t *testing.T) {
	b := s.broker(t, uplinktest.Fault{NoConnack: true})
	long := fast()
	long.Connect = time.Hour
	p := s.publisher(t, b, long)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Connect(ctx) }()
	waitFor(t, b, "CONNECT came", func(_ []uplinktest.Received, connects, _ int) bool { return connects == 1 })
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Error("connect returned nil without CONNACK")
		}
	case <-time.After(patience):
		t.Fatal("connect did not end with its context")
	}
}

func (s *publisherSuite) closes(t *testing.T) {
	b := s.broker(t)
	p := s.connected(t, b)
	if err := settled(t, publish(t, p, "1", false)); err != nil {
		t.Fatal(err)
	}
	p.Close(true)
	waitFor(t, b, "it was closed", func(_ []uplinktest.Received, _, open int) bool { return open == 0 })
	if b.Disconnects() != 1 {
		t.Errorf("%d DISCONNECT packets, want 1", b.Disconnects())
	}
	p = s.connected(t, b)
	p.Close(false)
	waitFor(t, b, "it was closed", func(_ []uplinktest.Received, _, open int) bool { return open == 0 })
	if b.Disconnects() != 1 {
		t.Error("DISCONNECT was sent by an impolite close")
	}
}

func (s *publisherSuite) receives(t *testing.T) {
	b := s.broker(t)
	h := newHandler(make(chan struct{}))
	sub := h.to("a/+")
	s.receiver = mqtt.NewReceiver(nil)
	p := s.connected(t, b, sub)
	ctx, cancel := context.WithCancel(t.Context())
	var handling sync.WaitGroup
	handling.Go(func() { s.receiver.Run(ctx) })
	defer handling.Wait()
	defer cancel()
	<-p.Ready()
	granted := make(chan error, 1)
	p.Subscribe(&sub, func(err error) { granted <- err })
	if err := <-granted; err != nil {
		t.Fatal(err)
	}
	for i := range uint16(20) {
		send(t, b, uplinktest.Sent{ID: i + 1, Topic: "a/b", Payload: strings.Repeat("x", 1000*int(i)), QoS: 1, Dup: i%2 == 1})
	}
	h.waitFor(t, 1)
	if err := settled(t, publish(t, p, "meanwhile", false)); err != nil {
		t.Fatal(err)
	}
	if a := b.Answers(); len(a) > 0 {
		t.Errorf("answered too early: %v", a)
	}
	close(h.gate)
	for i, a := range waitAnswers(t, b, 20) {
		if int(a.ID) != i+1 {
			t.Errorf("answer %d is for %d", i, a.ID)
		}
	}
	for i, m := range h.messages() {
		if m.Topic != "a/b" || len(m.Payload) != 1000*i || m.Dup != (i%2 == 1) {
			t.Errorf("message %d: %d bytes to %s, dup %v", i, len(m.Payload), m.Topic, m.Dup)
		}
	}
}

func (s *publisherSuite) subscribes(t *testing.T) {
	b := s.broker(t, uplinktest.Fault{RefuseFilters: "no"})
	yes, no := newHandler(nil).to("yes"), newHandler(nil).to("no")
	p := s.connected(t, b, yes, no)
	answers := make(chan error, 1)
	for _, sub := range []*Subscription{&yes, &no} {
		<-p.Ready()
		p.Subscribe(sub, func(err error) { answers <- err })
		if err := <-answers; (err == nil) != (sub == &yes) {
			t.Errorf("%s: %v", sub.Filter, err)
		}
	}
}

func (s *publisherSuite) closesDead(t *testing.T) {
	for _, polite := range []bool{true, false} {
		b := s.broker(t, uplinktest.Fault{HalfOpen: 1})
		long := fast()
		long.Write = time.Hour
		p := s.publisher(t, b, long)
		if err := p.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		big := strings.Repeat("x", 8<<20) // more than the kernel's buffers take
		var last mqtt.Token
		for range 2 {
			last = publish(t, p, big, false)
		}
		p.Close(polite) // hangs for an hour if it waits for the write
		select {
		case <-last.Done():
			if last.Error() == nil {
				t.Error("a message that was not sent succeeded")
			}
		default:
		}
	}
}
