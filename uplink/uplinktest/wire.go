package uplinktest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	packets5 "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// wire is one version of MQTT, from the broker's end.
type wire interface {
	// connect reads CONNECT.
	connect(r io.Reader) (Connect, error)
	// read reads one of the packets below, or something else.
	read(r io.Reader) (any, error)
	connack(w io.Writer, f *Fault) error
	puback(w io.Writer, id uint16, code byte) error
	suback(w io.Writer, id uint16, code byte) error
	unsuback(w io.Writer, id uint16) error
	pingresp(w io.Writer) error
	forward(w io.Writer, m Sent) error
	// disconnect does nothing where a broker has no DISCONNECT.
	disconnect(w io.Writer, code byte) error
}

type publish struct {
	Received
	size int // bytes of the packet
}

type subscribe struct {
	id      uint16
	topic   string
	options byte // MQTT 5, 3.8.3.1; under 3.1.1 the QoS
}

type puback struct {
	id   uint16
	code byte
}

type unsubscribe struct {
	id    uint16
	topic string
}

type ping struct{}

type goodbye struct{}

var errNotConnect = errors.New("uplinktest: the first packet is not a CONNECT")

// detect finds the version out without reading: the protocol name has four
// bytes, the level comes after it (MQTT 5, 3.1.2).
func detect(r *bufio.Reader) (wire, error) {
	for n := 2; n <= 5; n++ {
		head, err := r.Peek(n)
		if err != nil {
			return nil, err
		}
		if head[0] != 0x10 {
			return nil, errNotConnect
		}
		if head[n-1] >= 0x80 {
			continue
		}
		if head, err = r.Peek(n + 7); err != nil {
			return nil, err
		}
		if head[n+6] == 5 {
			return wire5{}, nil
		}
		return wire3{}, nil
	}
	return nil, errNotConnect
}

// wire3 is MQTT 3.1.1.
type wire3 struct{}

func (wire3) connect(r io.Reader) (Connect, error) {
	first, err := packets.ReadPacket(r)
	p, ok := first.(*packets.ConnectPacket)
	if err != nil || !ok {
		return Connect{}, errNotConnect
	}
	return Connect{
		ClientID: p.ClientIdentifier, Username: p.Username, Password: string(p.Password),
		Clean: p.CleanSession, KeepAlive: p.Keepalive, Version: p.ProtocolVersion,
		WillTopic: p.WillTopic, WillPayload: string(p.WillMessage), WillRetain: p.WillRetain, WillQoS: p.WillQos,
	}, nil
}

func (wire3) read(r io.Reader) (any, error) {
	packet, err := packets.ReadPacket(r)
	if err != nil {
		return nil, err
	}
	switch p := packet.(type) {
	case *packets.PublishPacket:
		return publish{Received: Received{ID: p.MessageID, Topic: p.TopicName, Payload: string(p.Payload), Retain: p.Retain, Dup: p.Dup, QoS: p.Qos}}, nil
	case *packets.SubscribePacket:
		if len(p.Topics) != 1 {
			return nil, fmt.Errorf("uplinktest: SUBSCRIBE with %d topics", len(p.Topics))
		}
		return subscribe{p.MessageID, p.Topics[0], p.Qoss[0]}, nil
	case *packets.PubackPacket:
		return puback{id: p.MessageID}, nil
	case *packets.UnsubscribePacket:
		return unsubscribe{p.MessageID, p.Topics[0]}, nil
	case *packets.PingreqPacket:
		return ping{}, nil
	case *packets.DisconnectPacket:
		return goodbye{}, nil
	}
	return packet, nil
}

func (wire3) connack(w io.Writer, f *Fault) error {
	p := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	p.ReturnCode = f.Refuse
	return p.Write(w)
}

func (wire3) puback(w io.Writer, id uint16, _ byte) error {
	p := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
	p.MessageID = id
	return p.Write(w)
}

func (wire3) suback(w io.Writer, id uint16, code byte) error {
	p := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	p.MessageID, p.ReturnCodes = id, []byte{code}
	return p.Write(w)
}

func (wire3) unsuback(w io.Writer, id uint16) error {
	p := packets.NewControlPacket(packets.Unsuback).(*packets.UnsubackPacket)
	p.MessageID = id
	return p.Write(w)
}

func (wire3) pingresp(w io.Writer) error {
	return packets.NewControlPacket(packets.Pingresp).Write(w)
}

func (wire3) forward(w io.Writer, m Sent) error {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.MessageID, p.Qos, p.Dup, p.Retain = m.Topic, []byte(m.Payload), m.ID, m.QoS, m.Dup, m.Retain
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (wire3) disconnect(io.Writer, byte) error { return nil }

// wire5 is MQTT 5.
type wire5 struct{}

func (wire5) connect(r io.Reader) (Connect, error) {
	first, err := packets5.ReadPacket(r)
	if err != nil {
		return Connect{}, err
	}
	p, ok := first.Content.(*packets5.Connect)
	if !ok {
		return Connect{}, errNotConnect
	}
	var contentType, willProperties string
	if p.WillProperties != nil {
		contentType, willProperties = p.WillProperties.ContentType, properties(p.WillProperties)
	}
	return Connect{
		ClientID: p.ClientID, Username: p.Username, Password: string(p.Password),
		Clean: p.CleanStart, KeepAlive: p.KeepAlive, Version: p.ProtocolVersion,
		WillTopic: p.WillTopic, WillPayload: string(p.WillMessage), WillRetain: p.WillRetain, WillQoS: p.WillQOS,
		WillContentType: contentType, WillProperties: willProperties,
	}, nil
}

// counter counts what is read.
type counter struct {
	io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func (wire5) read(r io.Reader) (any, error) {
	count := &counter{Reader: r}
	packet, err := packets5.ReadPacket(count)
	if err != nil {
		return nil, err
	}
	switch p := packet.Content.(type) {
	case *packets5.Publish:
		return publish{Received{ID: p.PacketID, Topic: p.Topic, Payload: string(p.Payload), Retain: p.Retain,
			Dup: p.Duplicate, QoS: p.QoS, ContentType: p.Properties.ContentType, Properties: properties(p.Properties)}, count.n}, nil
	case *packets5.Subscribe:
		if len(p.Subscriptions) != 1 {
			return nil, fmt.Errorf("uplinktest: SUBSCRIBE with %d topics", len(p.Subscriptions))
		}
		o := p.Subscriptions[0]
		options := o.QoS | o.RetainHandling<<4
		if o.RetainAsPublished {
			options |= 1 << 3
		}
		return subscribe{p.PacketID, o.Topic, options}, nil
	case *packets5.Puback:
		return puback{p.PacketID, p.ReasonCode}, nil
	case *packets5.Unsubscribe:
		return unsubscribe{p.PacketID, p.Topics[0]}, nil
	case *packets5.Pingreq:
		return ping{}, nil
	case *packets5.Disconnect:
		return goodbye{}, nil
	}
	return packet, nil
}

// properties are those of a message in a form that can be compared.
func properties(p *packets5.Properties) string {
	var b strings.Builder
	if p.ResponseTopic != "" {
		fmt.Fprintf(&b, "response=%s ", p.ResponseTopic)
	}
	if len(p.CorrelationData) > 0 {
		fmt.Fprintf(&b, "correlation=%s ", p.CorrelationData)
	}
	if p.MessageExpiry != nil {
		fmt.Fprintf(&b, "expiry=%d ", *p.MessageExpiry)
	}
	for _, u := range p.User {
		fmt.Fprintf(&b, "%s=%s ", u.Key, u.Value)
	}
	return strings.TrimSpace(b.String())
}

func (wire5) connack(w io.Writer, f *Fault) error {
	p := packets5.Connack{ReasonCode: f.Refuse, Properties: &packets5.Properties{}}
	if f.ReceiveMaximum > 0 {
		p.Properties.ReceiveMaximum = &f.ReceiveMaximum
	}
	if f.MaximumPacket > 0 {
		p.Properties.MaximumPacketSize = &f.MaximumPacket
	}
	if f.ServerKeepAlive > 0 {
		p.Properties.ServerKeepAlive = &f.ServerKeepAlive
	}
	no := byte(0)
	if f.NoRetain {
		p.Properties.RetainAvailable = &no
	}
	if f.MaximumQoS0 {
		p.Properties.MaximumQOS = &no
	}
	_, err := p.WriteTo(w)
	return err
}

func (wire5) puback(w io.Writer, id uint16, code byte) error {
	p := packets5.Puback{PacketID: id, ReasonCode: code, Properties: &packets5.Properties{}}
	if code >= 0x80 {
		p.Properties.ReasonString = "a test"
	}
	_, err := p.WriteTo(w)
	return err
}

func (wire5) suback(w io.Writer, id uint16, code byte) error {
	p := packets5.Suback{PacketID: id, Reasons: []byte{code}, Properties: &packets5.Properties{}}
	_, err := p.WriteTo(w)
	return err
}

func (wire5) unsuback(w io.Writer, id uint16) error {
	p := packets5.Unsuback{PacketID: id, Reasons: []byte{0}, Properties: &packets5.Properties{}}
	_, err := p.WriteTo(w)
	return err
}

func (wire5) pingresp(w io.Writer) error {
	_, err := packets5.NewControlPacket(packets5.PINGRESP).WriteTo(w)
	return err
}

func (wire5) forward(w io.Writer, m Sent) error {
	p := packets5.Publish{Topic: m.Topic, Payload: []byte(m.Payload), PacketID: m.ID, QoS: m.QoS, Duplicate: m.Dup, Retain: m.Retain,
		Properties: &packets5.Properties{ResponseTopic: m.ResponseTopic, CorrelationData: []byte(m.Correlation), ContentType: m.ContentType}}
	if m.Expiry > 0 {
		p.Properties.MessageExpiry = &m.Expiry
	}
	for _, u := range m.User {
		p.Properties.User = append(p.Properties.User, packets5.User{Key: u[0], Value: u[1]})
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (wire5) disconnect(w io.Writer, code byte) error {
	p := packets5.Disconnect{ReasonCode: code, Properties: &packets5.Properties{}}
	_, err := p.WriteTo(w)
	return err
}
