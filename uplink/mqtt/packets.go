package mqtt

import (
	"bytes"
	"encoding/binary"
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
			p.WillFlag, p.WillQos, p.WillRetain, p.WillTopic, p.WillMessage = true, w.qos(), w.Retain, w.Topic, w.Payload
		}
		return write(nil, p)
	}
	return h.connect5(seconds)
}

// connect5 is written here: the library leaves most properties of a will out.
func (h *hello) connect5(keepAlive uint16) []byte {
	flags := byte(1 << 1) // clean start
	b := binary.BigEndian.AppendUint16(append(appendText(nil, "MQTT"), 5, 0), keepAlive)
	const atFlags = 2 + len("MQTT") + 1
	b = binary.BigEndian.AppendUint16(append(b, 3+5, propReceiveMaximum), h.receive)
	b = binary.BigEndian.AppendUint32(append(b, propMaximumPacket), h.largest)
	b = appendText(b, h.clientID)
	if w := h.will; w != nil {
		flags |= 1<<2 | w.qos()<<3
		if w.Retain {
			flags |= 1 << 5
		}
		properties := w.Properties.of(w.ContentType).Pack(packets5.PUBLISH) // a will has the same
		b = append(binary.AppendUvarint(b, uint64(len(properties))), properties...)
		b = appendText(appendText(b, w.Topic), w.Payload)
	}
	if h.user != "" {
		flags |= 1 << 7
		b = appendText(b, h.user)
	}
	if h.password != "" {
		flags |= 1 << 6
		b = appendText(b, h.password)
	}
	b[atFlags] = flags
	return append(binary.AppendUvarint([]byte{typeConnect << 4}, uint64(len(b))), b...)
}

// appendText appends a string or binary data, of at most 65535 bytes.
func appendText[T string | []byte](b []byte, text T) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...) //nolint:gosec // see Config
}

// publish puts a PUBLISH in the place of b. The id is for QoS 1 alone.
func (m *Packet) publish(b []byte, id uint16, v5 bool) []byte {
	if !v5 {
		p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		p.TopicName, p.MessageID, p.Payload, p.Qos, p.Retain = m.Topic, id, m.Payload, m.qos(), m.Retain
		return write(b, p)
	}
	return write5(b, &packets5.Publish{
		Topic: m.Topic, PacketID: id, Payload: m.Payload, QoS: m.qos(), Retain: m.Retain, Properties: m.Properties.of(m.ContentType),
	})
}

func (m *Packet) qos() byte {
	if m.Once {
		return 0
	}
	return 1
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
