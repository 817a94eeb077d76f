package mqtt

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	packets5 "github.com/eclipse/paho.golang/packets"
)

// bytesConn reads from memory and throws away what is written.
type bytesConn struct {
	net.Conn
	io.Reader
}

func (c bytesConn) Read(p []byte) (int, error)      { return c.Reader.Read(p) }
func (c bytesConn) Write(p []byte) (int, error)     { return len(p), nil }
func (c bytesConn) SetReadDeadline(time.Time) error { return nil }

// testConnection is one on which a broker says what r has.
func testConnection(p Protocol, r io.Reader, subs ...Subscription) *Conn {
	cfg := &Config{Protocol: p, ClientID: "x", KeepAlive: time.Minute, Subscriptions: subs}
	c := New(cfg, Server{}, Dialer{}, DefaultTiming(), NewReceiver(nil))
	c.use(bytesConn{Reader: r}, nil)
	return c
}

// read takes all that the broker says, and returns why it ended.
func (c *Conn) read() *Error {
	if err := c.greet(&hello{v5: c.v5}); err != nil {
		return AsError("", err)
	}
	c.readAll()
	return AsError("", c.Err())
}

// settledIDs are the packet ids of those answers that have come.
func settledIDs(of map[uint16]*answer) (ids []uint16) {
	for id, a := range of {
		if isClosed(a.done) && a.err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// owes lets the connection wait for a few answers, as if packets were sent.
func (c *Conn) owes(kind byte, ids ...uint16) map[uint16]*answer {
	of := map[uint16]*answer{}
	for _, id := range ids {
		c.waiting[id] = &answer{kind: kind, done: make(chan struct{})}
		of[id] = c.waiting[id]
	}
	return of
}

func TestConnection(t *testing.T) {
	const connack, connack5 = "\x20\x02\x00\x00", "\x20\x03\x00\x00\x00"
	both := []uint16{1, 0x102}
	for name, tt := range map[string]struct {
		in     string
		acked  []uint16
		reason Reason
	}{
		"PUBACK for what was sent":     {connack + "\x40\x02\x00\x01", both[:1], ReasonLost},
		"PUBACK twice":                 {connack + "\x40\x02\x00\x01\x40\x02\x00\x01\x40\x02\x01\x02", both, ReasonLost},
		"PUBACK for what was not sent": {connack + "\x40\x02\x00\x02\x40\x02\x00\x00\x40\x02\xff\xff", nil, ReasonLost},
		"PINGRESP":                     {connack + "\xd0\x00", nil, ReasonLost},
		"PUBLISH":                      {connack + "\x30\x05\x00\x01abc\x30\x00\xd0\x00\x40\x02\x00\x01", both[:1], ReasonLost},
		"huge PUBLISH":                 {connack + "\x30\xff\xff\xff\x7f", nil, ReasonFlood},
		"large PUBLISH":                {connack + "\x30\x80\x80\x10" + strings.Repeat("x", 1<<18), nil, ReasonLost},
		"PUBLISH with QoS 3":           {connack + "\x36\x05\x00\x01abc", nil, ReasonProtocol},
		"PINGRESP without end":         {connack + strings.Repeat("\xd0\x00", 40_000), nil, ReasonFlood},
		"PUBLISH without end":          {connack + strings.Repeat("\x30\x00", 40_000), nil, ReasonFlood},
		"unknown PUBACK without end":   {connack + strings.Repeat("\x40\x02\x00\x07", 40_000), nil, ReasonFlood},
		"SUBACK":                       {connack + "\x90\x03\x00\x01\x01", nil, ReasonProtocol},
		"UNSUBACK":                     {connack + "\xb0\x02\x00\x01", nil, ReasonProtocol},
		"PUBCOMP":                      {connack + "\x70\x02\x00\x01", nil, ReasonProtocol},
		"second CONNACK":               {connack + connack, nil, ReasonProtocol},
		"PUBACK with flags":            {connack + "\x42\x02\x00\x01", nil, ReasonProtocol},
		"PUBACK of MQTT 5":             {connack + "\x40\x03\x00\x01\x00", nil, ReasonProtocol},
		"an impossible length":         {connack + "\x40\xff\xff\xff\xff\x7f", nil, ReasonProtocol},
		"refused":                      {"\x20\x02\x00\x05", nil, ReasonUser},
		"HTTP":                         {"HTTP/1.1 200 OK\r\n\r\n", nil, ReasonNotMQTT},
		"nothing":                      {"", nil, ReasonNoConnack},

		"5: PUBACK":                 {connack5 + "\x40\x02\x00\x01\x40\x04\x01\x02\x00\x00", both, ReasonLost},
		"5: refused PUBACK":         {connack5 + "\x40\x03\x00\x01\x87", nil, ReasonLost},
		"5: bad properties":         {connack5 + "\x40\x05\x00\x01\x00\x02\x1f", nil, ReasonProtocol},
		"5: long PUBACK":            {connack5 + "\x40\x81\x80\x04", nil, ReasonProtocol},
		"5: DISCONNECT":             {connack5 + "\x40\x02\x00\x01\xe0\x02\x8e\x00", both[:1], ReasonTakenOver},
		"5: CONNACK of 3.1.1":       {connack, nil, ReasonVersion},
		"5: unknown property":       {"\x20\x05\x00\x00\x02\x7f\x00", nil, ReasonProtocol},
		"5: receive maximum 0":      {"\x20\x06\x00\x00\x03\x21\x00\x00", nil, ReasonProtocol},
		"5: QoS 0 at most":          {"\x20\x05\x00\x00\x02\x24\x00", nil, ReasonQoS},
		"5: bytes behind them":      {"\x20\x04\x00\x00\x00\x00", nil, ReasonProtocol},
		"5: not authorised":         {"\x20\x03\x00\x87\x00", nil, ReasonUser},
		"5: SUBACK for a PUBLISH":   {connack5 + "\x90\x04\x00\x01\x00\x00", nil, ReasonProtocol},
		"5: a short SUBACK":         {connack5 + "\x90\x03\x00\x01\x00", nil, ReasonProtocol},
		"5: AUTH":                   {connack5 + "\xf0\x00", nil, ReasonProtocol},
		"5: PUBACK with flags":      {connack5 + "\x44\x02\x00\x01", nil, ReasonProtocol},
		"5: DISCONNECT, no reason":  {connack5 + "\xe0\x00", nil, ReasonGoodbye},
		"5: CONNACK names a method": {"\x20\x07\x00\x00\x04\x15\x00\x01x\x40\x02\x00\x01", both[:1], ReasonLost},
	} {
		for how, slow := range map[string]bool{"at once": false, "byte by byte": true} {
			t.Run(name+"/"+how, func(t *testing.T) {
				var r io.Reader = strings.NewReader(tt.in)
				if slow {
					r = iotest.OneByteReader(r)
				}
				p := Protocol311
				if strings.HasPrefix(name, "5: ") {
					p = Protocol5
				}
				c := testConnection(p, r)
				of := c.owes(typePuback, both...)
				if e := c.read(); e.Reason != tt.reason {
					t.Errorf("ended by %v: %v, want %v", e.Reason, e, tt.reason)
				}
				if got := settledIDs(of); !slices.Equal(got, tt.acked) {
					t.Errorf("acknowledged: %v, want %v", got, tt.acked)
				}
			})
		}
	}
}

// Whatever a broker sends, only what is owed is settled, and what is kept of
// messages has its bounds.
func FuzzConnection(f *testing.F) {
	f.Add([]byte("\x20\x02\x00\x00\x40\x02\x00\x01\xd0\x00\x30\x05\x00\x01abc"), false)
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"), false)
	f.Add([]byte("\x20\x02\x01\x00\x40\xff\xff\xff\xff\x7f"), false)
	f.Add([]byte("\x20\x02\x00\x00\x32\x07\x00\x01a\x00\x05xy\x3a\x07\x00\x01a\x00\x05xy"), false)
	f.Add([]byte("\x20\x0b\x00\x00\x08\x21\x00\x0a\x27\x00\x00\x10\x00\x40\x04\x00\x01\x87\x00\xe0\x02\x8e\x00"), true)
	f.Add([]byte("\x20\x03\x00\x00\x00\x32\x13\x00\x01a\x00\x05\x0c\x08\x00\x01r\x09\x00\x01c\x02\x00\x00\x00\x07xy"), true)
	f.Add([]byte("\x20\xff\xff\xff\x7f"), true)
	f.Fuzz(func(t *testing.T, in []byte, five bool) {
		p := Protocol311
		if five {
			p = Protocol5
		}
		c := testConnection(p, bytes.NewReader(in), Subscription{Filter: "a/#", MaxBytes: 100})
		of := c.owes(typePuback, 1)
		of[2] = c.owes(typeSuback, 2)[2]
		e := c.read()
		if e == nil {
			t.Fatal("the end has no reason")
		}
		for _, i := range c.receiver.queue {
			if len(i.msg.Payload) > 100 || i.sub != nil && !strings.HasPrefix(i.msg.Topic+"/", "a/") {
				t.Fatalf("received %+v", i.msg)
			}
		}
		if len(c.waiting) > 2 {
			t.Fatal("more is owed than before")
		}
	})
}

// The length of a packet is written as it is read, whatever the protocol.
func TestLongPackets(t *testing.T) {
	for _, n := range []int{1, 100, 120, 127, 128, 129, 16_383, 16_384, 65_000} {
		filter := strings.Repeat("x", n)
		for v5, more := range map[bool]int{false: 0, true: 1} { // an empty list of properties
			p := subscribe([]byte("before"), 7, filter, 1, v5)
			length, rest, err := cutLength(p[1:])
			if err != nil || p[0] != 0x82 || length != len(rest) || len(rest) != 2+more+2+len(filter)+1 || !strings.HasSuffix(string(rest), filter+"\x01") {
				t.Errorf("%d bytes: %d, %v, first %x", n, length, err, p[0])
			}
		}
	}
}

// What is written here of CONNECT is what the library writes, byte for byte,
// wherever the library leaves nothing out.
func TestConnectIsAsTheLibraryWritesIt(t *testing.T) {
	for _, h := range []hello{
		{clientID: "gw"},
		{clientID: "gw", user: "u", keepAlive: 30 * time.Second},
		{clientID: "gw", password: "p", will: &Packet{Topic: "t", Once: true}},
		{clientID: strings.Repeat("c", 200), user: "u", password: "p", keepAlive: 65535 * time.Second, will: &Packet{Topic: "t", Payload: []byte("lost"), Retain: true}},
	} {
		h.v5, h.receive, h.largest = true, 20, 1<<20
		p := &packets5.Connect{
			ProtocolName: "MQTT", ProtocolVersion: 5, CleanStart: true, ClientID: h.clientID, KeepAlive: uint16(h.keepAlive / time.Second),
			UsernameFlag: h.user != "", Username: h.user, PasswordFlag: h.password != "", Password: []byte(h.password),
			Properties: &packets5.Properties{ReceiveMaximum: &h.receive, MaximumPacketSize: &h.largest},
		}
		if w := h.will; w != nil {
			p.WillFlag, p.WillQOS, p.WillRetain, p.WillTopic, p.WillMessage = true, w.qos(), w.Retain, w.Topic, w.Payload
			p.WillProperties = &packets5.Properties{}
		}
		if got, want := h.connect(), write5(nil, p); !bytes.Equal(got, want) {
			t.Errorf("%+v\n got %x\nwant %x", h, got, want)
		}
	}
}
