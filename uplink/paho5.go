package uplink

import (
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/log"
)

// paho5Publisher is MQTT 5 by eclipse/paho.golang: one client for one
// connection, clean start, no session at the broker. What paho keeps in a
// session is replaced by [ledger5], which keeps nothing but who waits for
// which PUBACK.
type paho5Publisher struct {
	cfg    *Config
	server Server
	dialer dialer
	time   timing

	client   *paho.Client
	ledger   *ledger5
	announce limits
	noRetain bool
	slots    chan struct{}
	out      chan *token5 // to the writer; never full by the permissions
	quitOnce sync.Once
	quit     chan struct{}
	written  sync.WaitGroup // the writer

	guard *guard

	mu     sync.Mutex
	broken *Error // what paho found wrong; guarded by mu

	lostOnce sync.Once
	lostCh   chan struct{}
}

func newPaho5Publisher(cfg *Config, s Server, d dialer, t timing) *paho5Publisher {
	p := &paho5Publisher{
		cfg: cfg, server: s, dialer: d, time: t, ledger: newLedger5(),
		slots: make(chan struct{}, 2), out: make(chan *token5, 2),
		quit: make(chan struct{}), lostCh: make(chan struct{}),
	}
	p.slots <- struct{}{}
	p.slots <- struct{}{}
	return p
}

func (p *paho5Publisher) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.time.connect)
	defer cancel()
	packet, err := p.packet()
	if err != nil {
		return err
	}
	conn, l, err := p.dialer.dial(ctx, p.server, p.cfg.TLS)
	if err != nil {
		return err
	}
	p.guard = newGuard(conn, l, p.slots, p.setLost)
	p.guard.v5 = true
	p.client = paho.NewClient(paho.ClientConfig{
		Conn:              &packetConn{guard: p.guard},
		Session:           p.ledger,
		AuthHandler:       noAuth{}, // paho calls it unasked when a CONNACK names a method
		PingHandler:       pinger5{p},
		PacketTimeout:     p.time.connect,
		OnClientError:     func(err error) { p.fail(reasonError(ReasonProtocol, err)) },
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){ignore}, // the guard lets none pass
	})
	stop := context.AfterFunc(ctx, l.kill)
	ack, err := p.client.Connect(ctx, packet)
	if stopped := stop(); err == nil && stopped {
		err = p.read(ack)
	} else if err == nil { // it did connect, but ctx has ended
		err = dialError(ctx.Err())
	} else {
		err = p.connectError(ctx, err)
	}
	if err != nil {
		l.kill()
		if ack != nil {
			_ = p.client.Disconnect(&paho.Disconnect{}) // waits for its goroutines; the connection is gone
		}
		return err
	}
	p.written.Go(p.write)
	return nil
}

func (p *paho5Publisher) connectError(ctx context.Context, err error) error {
	if cause := p.guard.cause.Load(); cause != nil {
		return cause
	}
	if ctx.Err() != nil {
		return reasonError(ReasonNoConnack, ctx.Err())
	}
	return reasonError(ReasonProtocol, err)
}

// packet is the CONNECT, made anew so that credentials are read anew.
func (p *paho5Publisher) packet() (*paho.Connect, error) {
	user, password, err := p.cfg.credentials(p.server)
	if err != nil {
		return nil, reasonError(ReasonSecret, err)
	}
	// The broker sends nothing but answers; what it may send is kept small.
	few, largest := uint16(8), uint32(maxAnswer)
	c := &paho.Connect{
		ClientID:     p.cfg.ClientID,
		CleanStart:   true,
		KeepAlive:    uint16(p.cfg.KeepAlive / time.Second), //nolint:gosec // normalize bounds it
		Username:     user,
		UsernameFlag: user != "",
		Password:     []byte(password),
		PasswordFlag: password != "",
		Properties:   &paho.ConnectProperties{ReceiveMaximum: &few, MaximumPacketSize: &largest, RequestProblemInfo: true},
	}
	if w := p.cfg.Will; w != nil {
		c.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: w.Payload, QoS: 1, Retain: true}
		c.WillProperties = &paho.WillProperties{}
	}
	return c, nil
}

// read takes what the broker announces (MQTT 5, 3.2.2.3).
func (p *paho5Publisher) read(ack *paho.Connack) error {
	a := ack.Properties
	if a == nil {
		return nil
	}
	if a.MaximumQoS != nil && *a.MaximumQoS < 1 {
		return reasonError(ReasonQoS, nil)
	}
	if a.ReceiveMaximum != nil {
		if *a.ReceiveMaximum == 0 {
			return reasonError(ReasonProtocol, errors.New("receive maximum 0"))
		}
		p.announce.inFlight = int(*a.ReceiveMaximum)
	}
	if a.MaximumPacketSize != nil {
		if *a.MaximumPacketSize == 0 {
			return reasonError(ReasonProtocol, errors.New("maximum packet size 0"))
		}
		p.announce.packet = int(min(*a.MaximumPacketSize, math.MaxInt32))
	}
	p.noRetain = !a.RetainAvailable
	return nil
}

func (p *paho5Publisher) limits() limits { return p.announce }

func (p *paho5Publisher) ready() <-chan struct{} { return p.slots }

// overhead is what a PUBLISH has beside topic and payload: fixed header 5,
// topic length 2, packet id 2, property length 4, and the properties.
const overhead = 13 + 3 + 64

func (p *paho5Publisher) publish(m packet) token {
	t := &token5{done: make(chan struct{}), packet: paho.Publish{
		QoS: 1, Retain: m.retained && !p.noRetain, Topic: m.topic, Payload: m.payload,
	}}
	if m.contentType != "" {
		t.packet.Properties = &paho.PublishProperties{ContentType: m.contentType}
	}
	p.out <- t
	return t
}

// confirm is for a broker that acknowledges what it throws away; that of MQTT
// 5 says in its PUBACK that it did.
func (p *paho5Publisher) confirm(packet) <-chan error { return nil }

// write hands packets to paho, whose Publish waits for the network.
func (p *paho5Publisher) write() {
	for {
		select {
		case t := <-p.out:
			p.ledger.next = t
			_, err := p.client.PublishWithOptions(context.Background(), &t.packet,
				paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
			if err != nil { // the guard knows of a lost connection already
				p.fail(reasonError(ReasonProtocol, err))
			}
			t.packet = paho.Publish{} // the payload is the queue's
		case <-p.quit:
			return
		}
	}
}

// fail ends the connection for what is no failure of the network.
func (p *paho5Publisher) fail(e *Error) {
	p.mu.Lock()
	if p.broken == nil {
		p.broken = e
	}
	p.mu.Unlock()
	p.setLost()
}

func (p *paho5Publisher) stalled() bool { return p.guard.link.stalled() }

func (p *paho5Publisher) setLost() { p.lostOnce.Do(func() { close(p.lostCh) }) }

func (p *paho5Publisher) lost() <-chan struct{} { return p.lostCh }

func (p *paho5Publisher) err() error {
	if cause := p.guard.cause.Load(); cause != nil {
		return cause
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return p.broken
	}
	return reasonError(ReasonLost, nil)
}

func (p *paho5Publisher) close(polite bool) {
	if polite {
		kill := time.AfterFunc(closeTimeout, p.guard.link.kill)
		defer kill.Stop()
	} else {
		p.guard.link.kill()
	}
	_ = p.client.Disconnect(&paho.Disconnect{}) // waits for paho's goroutines
	p.guard.link.kill()
	p.quitOnce.Do(func() { close(p.quit) })
	p.written.Wait()
}

// token5 is the fate of one PUBLISH.
type token5 struct {
	packet paho.Publish
	done   chan struct{}
	err    error // set before done is closed
}

func (t *token5) Done() <-chan struct{} { return t.done }
func (t *token5) Error() error          { return t.err }

// pinger5 is the pulse in paho's terms.
type pinger5 struct{ p *paho5Publisher }

// Run implements [paho.Pinger].
func (p pinger5) Run(ctx context.Context, _ net.Conn, keepAlive uint16) error {
	keep := pulse{guard: p.p.guard, keepAlive: time.Duration(keepAlive) * time.Second, taken: p.p.guard.link.taken, dead: func() {
		_ = p.p.guard.fail(reasonError(ReasonKeepAlive, nil))
		p.p.guard.link.kill()
	}}
	if keep.keepAlive == 0 { // the broker wants none; a dead link is to be found all the same
		keep.keepAlive = p.p.cfg.KeepAlive
	}
	keep.run(ctx)
	return nil
}

// PacketSent implements [paho.Pinger].
func (pinger5) PacketSent() {}

// PacketReceived implements [paho.Pinger].
func (pinger5) PacketReceived() {}

// PingResp implements [paho.Pinger].
func (pinger5) PingResp() {}

// SetDebug implements [paho.Pinger].
func (pinger5) SetDebug(log.Logger) {}

func ignore(paho.PublishReceived) (bool, error) { return true, nil }

// noAuth has no answer to an authentication nobody asked for.
type noAuth struct{}

func (noAuth) Authenticate(*paho.Auth) *paho.Auth { return &paho.Auth{} }
func (noAuth) Authenticated()                     {}
