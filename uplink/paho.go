package uplink

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// pahoPublisher is MQTT 3.1.1 by paho.mqtt.golang, used in the one way in
// which its tokens do not lie: a new client for every connection, no
// automatic reconnection, clean session. A token then succeeds only on PUBACK;
// the guard sees to it that nothing else looks like one.
type pahoPublisher struct {
	cfg    *Config
	server Server
	dialer dialer
	time   timing

	client mqtt.Client
	slots  chan struct{}

	mu     sync.Mutex // guards closed, and guard until connect has returned
	guard  *guard
	closed bool

	lostOnce sync.Once
	lostCh   chan struct{}

	goneOnce sync.Once
	gone     chan struct{}  // closed by close
	beside   sync.WaitGroup // goroutines of confirm and the pulse
}

func newPahoPublisher(cfg *Config, s Server, d dialer, t timing) *pahoPublisher {
	p := &pahoPublisher{cfg: cfg, server: s, dialer: d, time: t, lostCh: make(chan struct{}), gone: make(chan struct{})}
	// Two permissions: one packet being written, one waiting for it inside
	// paho. With more, Publish would block where nothing can interrupt it.
	p.slots = make(chan struct{}, 2)
	p.slots <- struct{}{}
	p.slots <- struct{}{}
	return p
}

// options are made anew for every connection, so that credentials are read anew.
func (p *pahoPublisher) options(ctx context.Context) (*mqtt.ClientOptions, error) {
	o := mqtt.NewClientOptions()
	o.Servers = []*url.URL{{Scheme: p.server.Scheme, Host: p.server.Address()}}
	o.SetClientID(p.cfg.ClientID)
	o.SetProtocolVersion(4) // else a refusal is answered by trying MQTT 3.1
	o.SetCleanSession(true)
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetStore(noStore{})
	o.SetKeepAlive(0) // see pulse
	o.SetConnectTimeout(p.time.connect)
	o.SetWriteTimeout(handover)
	o.SetOrderMatters(true)
	if w := p.cfg.Will; w != nil {
		o.SetBinaryWill(w.Topic, w.Payload, 1, true)
	}
	user, password, err := p.cfg.credentials(p.server)
	if err != nil {
		return nil, reasonError(ReasonSecret, err)
	}
	o.SetUsername(user)
	o.SetPassword(password)
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return p.open(ctx) })
	o.SetConnectionLostHandler(func(mqtt.Client, error) { p.setLost() })
	return o, nil
}

// open is called by paho, in a goroutine of its own.
func (p *pahoPublisher) open(ctx context.Context) (net.Conn, error) {
	conn, l, err := p.dialer.dial(ctx, p.server, p.cfg.TLS)
	if err != nil {
		return nil, err
	}
	g := newGuard(conn, l, p.slots, func() {
		// paho tells about the loss once all tokens are settled. Should it
		// ever not, the session must end all the same.
		time.AfterFunc(closeTimeout, p.setLost)
	})
	g.keepAlive = p.cfg.KeepAlive
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		l.kill()
		return nil, dialError(context.Canceled)
	}
	p.guard = g
	return g, nil
}

func (p *pahoPublisher) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.time.connect)
	defer cancel()
	o, err := p.options(ctx)
	if err != nil {
		return err
	}
	p.client = mqtt.NewClient(o)
	t := p.client.Connect()
	stop := context.AfterFunc(ctx, p.kill)
	<-t.Done()
	stopped := stop()
	if err = t.Error(); err == nil && stopped {
		p.beside.Go(p.keepPulse)
		return nil
	}
	if err == nil { // it did connect, but ctx has ended
		p.close(false)
		return dialError(ctx.Err())
	}
	p.kill() // paho has nothing left to stop
	if cause := p.cause(); cause != nil {
		return cause
	}
	return err
}

// kill ends the connection, and the attempt to open it, at once.
func (p *pahoPublisher) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.guard != nil {
		p.guard.link.kill()
	}
}

func (p *pahoPublisher) cause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.guard == nil {
		return nil
	}
	if e := p.guard.cause.Load(); e != nil {
		return e
	}
	return nil
}

func (p *pahoPublisher) ready() <-chan struct{} { return p.slots }

func (p *pahoPublisher) limits() limits { return limits{} }

func (p *pahoPublisher) publish(m packet) token {
	if !p.guard.begin() {
		return notSent{}
	}
	defer p.guard.end()
	return p.client.Publish(m.topic, 1, m.retained, m.payload)
}

var (
	errNoSubscription = errors.New("it refuses the subscription to the client's own status topic")
	errNoAnswer       = errors.New("it does not answer the subscription to the client's own status topic")
)

// confirm subscribes to the message's topic, to see it come back.
func (p *pahoPublisher) confirm(m packet) <-chan error {
	result := make(chan error, 1)
	e := &echo{topic: m.topic, payload: m.payload, back: make(chan struct{}), seen: p.cfg.Seen}
	p.guard.echo.Store(e)
	if !p.guard.begin() {
		return result // the connection has ended, which is said elsewhere
	}
	sub := p.client.Subscribe(m.topic, 0, nil)
	p.guard.end()
	p.beside.Go(func() {
		// A broker that knows no subscriptions cannot show anything.
		unanswered := time.NewTimer(p.time.confirm / 4)
		defer unanswered.Stop()
		select {
		case <-unanswered.C:
			result <- errNoAnswer
			return
		case <-sub.Done():
			if t, ok := sub.(*mqtt.SubscribeToken); sub.Error() == nil && (!ok || t.Result()[m.topic] <= 2) { // MQTT 3.1.1, 3.9.3
				break
			}
			result <- errNoSubscription
			return
		case <-e.back: // some brokers answer the subscription last
		case <-p.gone:
			return
		}
		select {
		case <-e.back:
			result <- nil
		case <-p.gone:
		}
	})
	return result
}

func (p *pahoPublisher) stalled() bool { return p.guard.link.stalled() }

func (p *pahoPublisher) setLost() { p.lostOnce.Do(func() { close(p.lostCh) }) }

func (p *pahoPublisher) lost() <-chan struct{} { return p.lostCh }

func (p *pahoPublisher) err() error {
	if cause := p.cause(); cause != nil {
		return cause
	}
	// The connection itself had no error: paho has given it up.
	return reasonError(ReasonLost, nil)
}

// keepPulse pings until the connection ends, or ends it.
func (p *pahoPublisher) keepPulse() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-p.gone:
		case <-p.lostCh:
		case <-ctx.Done():
		}
		cancel()
	}()
	keep := pulse{guard: p.guard, keepAlive: p.cfg.KeepAlive, taken: p.guard.link.taken, dead: func() {
		_ = p.guard.fail(reasonError(ReasonKeepAlive, nil))
		p.guard.link.kill()
	}}
	keep.run(ctx)
}

func (p *pahoPublisher) close(polite bool) {
	if polite {
		p.client.Disconnect(uint(closeTimeout.Milliseconds()))
	}
	p.kill()
	// Waits until paho's goroutines have ended, in vain at most this long.
	p.client.Disconnect(uint(handover.Milliseconds()))
	p.goneOnce.Do(func() { close(p.gone) })
	p.beside.Wait()
}

// notSent is the token of a message for a connection that has ended.
type notSent struct{}

// settledAtOnce is closed.
var settledAtOnce = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

var errNotSent = errors.New("the connection has ended")

func (notSent) Done() <-chan struct{} { return settledAtOnce }
func (notSent) Error() error          { return errNotSent }

// noStore is paho's store for what outlives a connection: nothing does.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
