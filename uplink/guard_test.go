package uplink

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	packets5 "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// bytesConn reads from memory and throws away what is written.
type bytesConn struct {
	net.Conn
	io.Reader
}

func (c bytesConn) Read(p []byte) (int, error)      { return c.Reader.Read(p) }
func (c bytesConn) Write(p []byte) (int, error)     { return len(p), nil }
func (c bytesConn) SetReadDeadline(time.Time) error { return nil }

func testGuard(r io.Reader) *guard {
	return newGuard(bytesConn{Reader: r}, nil, make(chan struct{}, 2), func() {})
}

func sendPublish(t testing.TB, g *guard, id uint16, topic string, payload int) {
	t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.Qos, p.MessageID, p.TopicName, p.Payload = 1, id, topic, make([]byte, payload)
	if err := p.Write(g); err != nil {
		t.Fatal(err)
	}
}

func TestGuard(t *testing.T) {
	const connack = "\x20\x02\x00\x00"
	tests := []struct {
		name, in, out string
		reason        Reason
	}{
		{"PUBACK for what was sent", connack + "\x40\x02\x00\x01", connack + "\x40\x02\x00\x01", ReasonLost},
		{"PUBACK twice", connack + "\x40\x02\x00\x01\x40\x02\x00\x01\x40\x02\x01\x02", connack + "\x40\x02\x00\x01\x40\x02\x01\x02", ReasonLost},
		{"PUBACK for what was not sent", connack + "\x40\x02\x00\x02\x40\x02\x00\x00\x40\x02\xff\xff", connack, ReasonLost},
		{"PINGRESP", connack + "\xd0\x00", connack, ReasonLost},
		{"PUBLISH", connack + "\x30\x05\x00\x01abc\x30\x00\xd0\x00\x40\x02\x00\x01", connack + "\x40\x02\x00\x01", ReasonLost},
		{"huge PUBLISH", connack + "\x30\xff\xff\xff\x7f", connack, ReasonFlood},
		{"large PUBLISH", connack + "\x30\x80\x80\x10" + strings.Repeat("x", 1<<18), connack, ReasonLost},
		{"PINGRESP without end", connack + strings.Repeat("\xd0\x00", 40_000), connack, ReasonFlood},
		{"PUBLISH without end", connack + strings.Repeat("\x30\x00", 40_000), connack, ReasonFlood},
		{"unknown PUBACK without end", connack + strings.Repeat("\x40\x02\x00\x07", 40_000), connack, ReasonFlood},
		{"SUBACK", connack + "\x90\x03\x00\x01\x01", connack, ReasonProtocol},
		{"PUBCOMP", connack + "\x70\x02\x00\x01", connack, ReasonProtocol},
		{"second CONNACK", connack + connack, connack, ReasonProtocol},
		{"PUBACK with flags", connack + "\x42\x02\x00\x01", connack, ReasonProtocol},
		{"PUBACK of MQTT 5", connack + "\x40\x03\x00\x01\x00", connack, ReasonProtocol},
		{"refused", "\x20\x02\x00\x05", "", ReasonUser},
		{"nothing", "", "", ReasonNoConnack},
	}
	for _, tt := range tests {
		for name, slow := range map[string]bool{"at once": false, "byte by byte": true} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				var r io.Reader = strings.NewReader(tt.in)
				if slow {
					r = iotest.OneByteReader(r)
				}
				g := testGuard(r)
				sendPublish(t, g, 1, "a", 3)
				sendPublish(t, g, 0x102, strings.Repeat("long/", 100), 20000)
				var out bytes.Buffer
				_, err := out.ReadFrom(g)
				var e *Error
				if !errors.As(err, &e) || e.Reason != tt.reason || out.String() != tt.out {
					t.Errorf("passed %q, %v; want %q, %v", &out, err, tt.out, tt.reason)
				}
			})
		}
	}
}

// Whatever a broker sends, paho gets only whole packets that it can take.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("\x20\x02\x00\x00\x40\x02\x00\x01\xd0\x00\x30\x05\x00\x01abc"))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("\x20\x02\x01\x00\x40\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, in []byte) {
		g := testGuard(bytes.NewReader(in))
		sendPublish(t, g, 1, "a", 1)
		acks, first := 0, true
		for {
			p, err := packets.ReadPacket(g)
			if err != nil {
				return
			}
			switch p := p.(type) {
			case *packets.ConnackPacket:
				if !first || p.ReturnCode != 0 {
					t.Fatalf("passed %v", p)
				}
			case *packets.PubackPacket:
				if acks++; p.MessageID != 1 || acks > 1 {
					t.Fatalf("passed %v, number %d", p, acks)
				}
			case *packets.PingrespPacket:
			default:
				t.Fatalf("passed %v", p)
			}
			first = false
		}
	})
}

// The same of a broker of MQTT 5.
func FuzzGuard5(f *testing.F) {
	f.Add([]byte("\x20\x03\x00\x00\x00\x40\x02\x00\x01\xd0\x00\x30\x05\x00\x01abc"))
	f.Add([]byte("\x20\x0b\x00\x00\x08\x21\x00\x0a\x27\x00\x00\x10\x00\x40\x04\x00\x01\x87\x00\xe0\x02\x8e\x00"))
	f.Add([]byte("\x20\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, in []byte) {
		g := testGuard(bytes.NewReader(in))
		g.v5 = true
		sendPublish(t, g, 1, "a", 1)
		acks := 0
		for first := true; ; first = false {
			p, err := packets5.ReadPacket(g)
			if err != nil {
				return
			}
			switch c := p.Content.(type) {
			case *packets5.Connack:
				if !first || c.ReasonCode != 0 {
					t.Fatalf("passed %v", c)
				}
			case *packets5.Puback:
				if acks++; first || c.PacketID != 1 || acks > 1 {
					t.Fatalf("passed %v, number %d", c, acks)
				}
			default:
				t.Fatalf("passed %v", p)
			}
		}
	})
}

func FuzzPublishID(f *testing.F) {
	f.Add([]byte{0x32, 7, 0, 1, 'a', 1, 2, 'x', 'y'})
	f.Add([]byte{0x32, 0x80})
	f.Fuzz(func(_ *testing.T, in []byte) {
		if len(in) > 0 {
			publishID(in)
		}
	})
}
