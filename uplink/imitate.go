package uplink

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"fieldferry/uplink/mqtt"
)

// Imitation is a broker without a network, for simulations whose time is that
// of testing/synctest. Its methods are called from one goroutine at a time.
type Imitation interface {
	// Connect is CONNECT: what CONNACK announces, or an error.
	Connect() (Announced, error)
	// Publish is a PUBLISH with QoS 1 that has arrived.
	Publish(topic string, payload []byte, retained bool) Answer
}

// Announced are the limits in a CONNACK; 0: none.
type Announced struct {
	InFlight int // receive maximum
	Packet   int // maximum packet size

	End <-chan struct{} // closed when the broker ends the connection; nil: it does not
}

// Answer is what a broker does about a PUBLISH.
type Answer struct {
	After time.Duration // until it does
	Code  byte          // of its PUBACK; MQTT 5 only
	Never bool          // there is no PUBACK
	Close bool          // the connection ends instead
}

// Imitate is [New] with a broker that is imitated, in place of those of cfg.
func Imitate(cfg Config, q Queue, obs Observer, log *slog.Logger, b Imitation) (*Uplink, error) {
	u, err := New(cfg, q, obs, log)
	if err != nil {
		return nil, err
	}
	u.watch = func(context.Context) {}
	u.connect = func(Server) publisher { return &imitated{broker: b} }
	u.answers = func(context.Context, Server) bool { return false }
	return u, nil
}

// imitated is one connection to an imitation.
type imitated struct {
	broker Imitation
	max    mqtt.Limits
	slots  chan struct{}

	hangUp <-chan struct{} // by the broker; nil: it does not
	once   sync.Once
	ended  chan struct{}
	after  sync.WaitGroup
}

func (p *imitated) Connect(context.Context) error {
	a, err := p.broker.Connect()
	p.max = mqtt.Limits{InFlight: a.InFlight, Packet: a.Packet}
	p.slots, p.ended = make(chan struct{}, 1), make(chan struct{})
	p.slots <- struct{}{}
	p.hangUp = a.End
	if err == nil && a.End != nil {
		p.after.Go(func() {
			select {
			case <-a.End:
				p.end()
			case <-p.ended:
			}
		})
	}
	return err
}

func (p *imitated) Limits() mqtt.Limits                        { return p.max }
func (p *imitated) Ready() <-chan struct{}                     { return p.slots }
func (p *imitated) Confirm(mqtt.Packet) <-chan error           { return nil }
func (p *imitated) Prove(mqtt.Packet, func(error)) *mqtt.Proof { return nil }

func (p *imitated) Subscribe(*Subscription, func(error)) mqtt.Token { return &imitatedToken{} }
func (p *imitated) Stalled() bool                                   { return false }
func (p *imitated) Lost() <-chan struct{}                           { return p.ended }
func (p *imitated) Err() error                                      { return mqtt.NewError(ReasonLost, errors.New("imitated")) }
func (p *imitated) end()                                            { p.once.Do(func() { close(p.ended) }) }
func (p *imitated) over() bool {
	select {
	case <-p.ended:
		return true
	case <-p.hangUp: // whoever waits for that may not have seen it yet
		return true
	default:
		return false
	}
}

func (p *imitated) Publish(m mqtt.Packet) mqtt.Token {
	t := &imitatedToken{done: make(chan struct{})}
	p.slots <- struct{}{}
	if p.over() {
		return t
	}
	a := p.broker.Publish(m.Topic, m.Payload, m.Retain)
	act := func() {
		switch {
		case p.over() || a.Never:
		case a.Close:
			p.end()
		default:
			if a.Code >= 0x80 {
				t.err = &mqtt.Refusal{Code: a.Code}
			}
			close(t.done)
		}
	}
	if a.After == 0 {
		act()
		return t
	}
	p.after.Go(func() {
		timer := time.NewTimer(a.After)
		defer timer.Stop()
		select {
		case <-timer.C:
			act()
		case <-p.ended:
		}
	})
	return t
}

func (p *imitated) Close(bool) {
	p.end()
	p.after.Wait()
}

// imitatedToken is the fate of one message.
type imitatedToken struct {
	done chan struct{}
	err  error // set before done is closed
}

func (t *imitatedToken) Done() <-chan struct{} { return t.done }
func (t *imitatedToken) Error() error          { return t.err }
