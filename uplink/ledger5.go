package uplink

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/log"
	pahosession "github.com/eclipse/paho.golang/paho/session"
)

// ledger5 knows which packet id belongs to which message of one connection.
// It is paho's session manager, without a session: what was not acknowledged
// when the connection ends is the queue's to send again, under a new id.
type ledger5 struct {
	next *token5 // whom the next packet belongs to; the writer's

	mu      sync.Mutex
	last    uint16
	waiting map[uint16]*token5
}

func newLedger5() *ledger5 { return &ledger5{waiting: map[uint16]*token5{}} }

var errNoPacketID = errors.New("no packet id is free")

// AddToSession implements [pahosession.SessionManager]: it gives the packet an id.
// That the broker's receive maximum is kept is up to the window.
func (l *ledger5) AddToSession(_ context.Context, p pahosession.Packet, _ chan<- packets.ControlPacket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= MaxInFlight {
		return errNoPacketID
	}
	for {
		l.last++
		if _, taken := l.waiting[l.last]; l.last != 0 && !taken {
			break
		}
	}
	p.SetIdentifier(l.last)
	l.waiting[l.last] = l.next
	return nil
}

// PacketReceived implements [pahosession.SessionManager]: a PUBACK settles.
func (l *ledger5) PacketReceived(p *packets.ControlPacket, _ chan<- *packets.Publish) error {
	ack, ok := p.Content.(*packets.Puback)
	if !ok {
		return nil // the guard lets nothing else pass
	}
	l.mu.Lock()
	t := l.waiting[ack.PacketID]
	delete(l.waiting, ack.PacketID)
	l.mu.Unlock()
	if t == nil {
		return nil
	}
	if ack.ReasonCode >= 0x80 {
		r := &refusal{code: ack.ReasonCode}
		if ack.Properties != nil {
			r.said = ack.Properties.ReasonString[:min(len(ack.Properties.ReasonString), maxSaid)]
		}
		t.err = r
	}
	close(t.done)
	return nil
}

// maxSaid is how much of a broker's reason string is kept.
const maxSaid = 200

// ConAckReceived implements [pahosession.SessionManager].
func (l *ledger5) ConAckReceived(io.Writer, *packets.Connect, *packets.Connack) error { return nil }

// ConnectionLost implements [pahosession.SessionManager].
func (l *ledger5) ConnectionLost(*packets.Disconnect) error { return nil }

// Ack implements [pahosession.SessionManager].
func (l *ledger5) Ack(*packets.Publish) error { return nil }

// Close implements [pahosession.SessionManager].
func (l *ledger5) Close() error { return nil }

// SetErrorLogger implements [pahosession.SessionManager].
func (l *ledger5) SetErrorLogger(log.Logger) {}

// SetDebugLogger implements [pahosession.SessionManager].
func (l *ledger5) SetDebugLogger(log.Logger) {}
