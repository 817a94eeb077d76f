package mqtt

import (
	"bytes"
	"io"
	"math"
	"time"

	packets5 "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// What is sent is put together by the packets of paho, of the one library for
// MQTT 3.1.1 and of the other for 5. What is received is not taken apart by them:
// they allocate whatever a broker announces.

// write puts a packet of MQTT 3.1.1 in the place of b. Writing to memory does not fail.
func write(b []byte, p packets.ControlPacket) []byte {
	out := bytes.NewBuffer(b[:0])
	_ = p.Write(out)
	return out.Bytes()
}

// write5 puts a packet of MQTT 5 in the place of b.
func write5(b []byte, p io.WriterTo) []byte {
	out := bytes.NewBuffer(b[:0])
	_, _ = p.WriteTo(out)
	return out.Bytes()
}

// connect is the CONNECT of a clean session.
func (h *hello) connect() []byte {
	seconds := uint16(h.keepAlive / time.Second) //nolint:gosec // MaxKeepAlive bounds it
	if !h.v5 {
		p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
		p.ProtocolName, p.ProtocolVersion, p.CleanSession = "MQTT", 4, true
		p.ClientIdentifier, p.Keepalive = h.clientID, seconds
		p.UsernameFlag, p.Username = h.user != "", h.user
		p.PasswordFlag, p.Password = h.password != "", []byte(h.password)
		if w := h.will; w != nil {
			p.WillFlag, p.WillQos, p.WillRetain, p.WillTopic, p.WillMessage = true, 1, true, w.Topic, w.Payload
		}
		return write(nil, p)
	}
	p := &packets5.Connect{
		ProtocolName: "MQTT", ProtocolVersion: 5, CleanStart: true, ClientID: h.clientID, KeepAlive: seconds,
		UsernameFlag: h.user != "", Username: h.user, PasswordFlag: h.password != "", Password: []byte(h.password),
		Properties: &packets5.Properties{ReceiveMaximum: &h.receive, MaximumPacketSize: &h.largest},
	}
	if w := h.will; w != nil {
		p.WillFlag, p.WillQOS, p.WillRetain, p.WillTopic, p.WillMessage = true, 1, true, w.Topic, w.Payload
		p.WillProperties = &packets5.Properties{}
	}
	return write5(nil, p)
}

// publish puts a PUBLISH in the place of b. The id is for QoS 1 alone.
func (m *Packet) publish(b []byte, id uint16, v5 bool) []byte {
	qos := byte(1)
	if m.Once {
		qos = 0
	}
	if !v5 {
		p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		p.TopicName, p.MessageID, p.Payload, p.Qos, p.Retain = m.Topic, id, m.Payload, qos, m.Retain
		return write(b, p)
	}
	return write5(b, &packets5.Publish{
		Topic: m.Topic, PacketID: id, Payload: m.Payload, QoS: qos, Retain: m.Retain, Properties: m.Properties.of(m.ContentType),
	})
}

// of are the properties as the library has them.
func (p *Properties) of(contentType string) *packets5.Properties {
	out := &packets5.Properties{ContentType: contentType}
	if p == nil {
		return out
	}
	if contentType == "" {
		out.ContentType = p.ContentType
	}
	out.ResponseTopic, out.CorrelationData = p.ResponseTopic, p.Correlation
	if p.Expiry > 0 {
		seconds := p.seconds()
		out.MessageExpiry = &seconds
	}
	for _, u := range p.User {
		out.User = append(out.User, packets5.User{Key: u[0], Value: u[1]})
	}
	return out
}

// seconds is the expiry in whole seconds, rounded up.
func (p *Properties) seconds() uint32 {
	return uint32(min((p.Expiry+time.Second-1)/time.Second, math.MaxUint32)) //nolint:gosec // bounded
}

// subscribe puts a SUBSCRIBE for one filter in the place of b. Options are those
// of MQTT 5, 3.8.3.1, whose lowest bits are the QoS.
func subscribe(b []byte, id uint16, filter string, options byte, v5 bool) []byte {
	if !v5 {
		p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		p.MessageID, p.Topics, p.Qoss = id, []string{filter}, []byte{options}
		return write(b, p)
	}
	return write5(b, &packets5.Subscribe{
		PacketID: id, Properties: &packets5.Properties{},
		Subscriptions: []packets5.SubOptions{{
			Topic: filter, QoS: options & 3, NoLocal: options&4 != 0, RetainAsPublished: options&8 != 0, RetainHandling: options >> 4 & 3,
		}},
	})
}

// unsubscribe puts an UNSUBSCRIBE for one filter in the place of b.
func unsubscribe(b []byte, id uint16, filter string, v5 bool) []byte {
	if !v5 {
		p := packets.NewControlPacket(packets.Unsubscribe).(*packets.UnsubscribePacket)
		p.MessageID, p.Topics = id, []string{filter}
		return write(b, p)
	}
	return write5(b, &packets5.Unsubscribe{PacketID: id, Properties: &packets5.Properties{}, Topics: []string{filter}})
}
