// Package wsconn is the client's end of a WebSocket (RFC 6455) as a byte stream,
// as MQTT wants it: binary messages whose borders mean nothing (MQTT 3.1.1, 6).
//
// The one noun is [Conn]. At most one goroutine may read and one may write at a
// time.
//
// # Caveats
//
// It offers no extension, and sends no closing frame but as an answer: a broker
// is told the end by MQTT.
package wsconn

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// The kinds of frames (RFC 6455, 5.2).
const (
	continuation = 0x0
	text         = 0x1
	binaryData   = 0x2
	closing      = 0x8
	ping         = 0x9
	pong         = 0xA

	final  = 0x80
	masked = 0x80

	maxControl = 125 // bytes in a frame that is not data
)

// What a server must not send.
var (
	errText     = errors.New("a WebSocket text message came where MQTT wants binary ones") // [MQTT-6.0.0-1]
	errMasked   = errors.New("the server masks its WebSocket frames")
	errReserved = errors.New("a WebSocket frame uses an extension that was not agreed on")
	errControl  = errors.New("a WebSocket control frame is too long or in pieces")
	errOrder    = errors.New("a WebSocket message begins or continues where it must not")
	errLength   = errors.New("a WebSocket frame has an impossible length")
)

// Conn is a net.Conn on a WebSocket connection.
type Conn struct {
	net.Conn
	control func() error // see [Dial]

	r      *bufio.Reader
	left   uint64 // of the payload of the frame being read
	inside bool   // a message is not over

	writing sync.Mutex
	failed  error // of a write; what comes after it would be in the middle of a frame
	out     []byte
	answer  atomic.Pointer[[]byte] // a frame that waits until writing is free
}

// outBytes are written at once.
const outBytes = 16 << 10

func newConn(below net.Conn, r *bufio.Reader, control func() error) *Conn {
	if control == nil {
		control = func() error { return nil }
	}
	return &Conn{Conn: below, r: r, control: control, out: make([]byte, 0, outBytes)}
}

// Read reads from the current message, or waits for the next one.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if uint64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= uint64(n) //nolint:gosec // n is never negative
	return n, cut(err)
}

// cut is an error within a frame: there is more to come.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next reads the head of a frame, and all of one that is not data.
func (c *Conn) next() error {
	var head [8]byte
	if _, err := io.ReadFull(c.r, head[:2]); err != nil {
		return err
	}
	kind, size := head[0], uint64(head[1]&^masked)
	switch {
	case kind&0x70 != 0:
		return errReserved
	case head[1]&masked != 0:
		return errMasked
	case kind&0x08 != 0:
		return c.controlFrame(kind, size)
	}
	switch size {
	case 126:
		if _, err := io.ReadFull(c.r, head[:2]); err != nil {
			return cut(err)
		}
		size = uint64(binary.BigEndian.Uint16(head[:2]))
	case 127:
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return cut(err)
		}
		if size = binary.BigEndian.Uint64(head[:]); size>>63 != 0 {
			return errLength
		}
	}
	switch kind &^ final {
	case text:
		return errText
	case binaryData:
		if c.inside {
			return errOrder
		}
	case continuation:
		if !c.inside {
			return errOrder
		}
	default:
		return errReserved
	}
	c.inside, c.left = kind&final == 0, size
	return nil
}

func (c *Conn) controlFrame(kind byte, size uint64) error {
	if kind&final == 0 || size > maxControl {
		return errControl
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return cut(err)
	}
	switch kind &^ final {
	case closing:
		c.say(closing, body)
		if len(body) < 2 {
			return errors.New("the server has closed the WebSocket")
		}
		return fmt.Errorf("the server has closed the WebSocket with code %d", binary.BigEndian.Uint16(body))
	case ping:
		if err := c.control(); err != nil {
			return err
		}
		c.say(pong, body)
		return nil
	case pong:
		return c.control()
	}
	return errReserved
}

// say has a control frame written, by whoever writes now or by the caller. Of
// several that wait the newest counts (RFC 6455, 5.5.3).
func (c *Conn) say(kind byte, body []byte) {
	frame := c.frame(nil, kind, body)
	c.answer.Store(&frame)
	c.flush()
}

// flush writes the control frame that waits, unless somebody writes, who does it
// then. An error is that of the next write.
func (c *Conn) flush() {
	for c.answer.Load() != nil && c.writing.TryLock() {
		if frame := c.answer.Swap(nil); frame != nil && c.failed == nil {
			_, c.failed = c.Conn.Write(*frame)
		}
		c.writing.Unlock()
	}
}

// frame appends a whole frame.
func (c *Conn) frame(b []byte, kind byte, body []byte) []byte {
	b, key := c.head(b, kind, len(body))
	return mask(b, body, key, 0)
}

// head appends the head of a frame, with the key of its mask.
func (c *Conn) head(b []byte, kind byte, size int) ([]byte, [4]byte) {
	b = append(b, kind|final)
	switch {
	case size <= maxControl:
		b = append(b, masked|byte(size))
	case size <= 0xFFFF:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(size))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), uint64(size)) //nolint:gosec // a length is never negative
	}
	var key [4]byte
	_, _ = rand.Read(key[:]) // it never fails
	return append(b, key[:]...), key
}

// mask appends what is at an offset of a payload, masked.
func mask(b, body []byte, key [4]byte, offset int) []byte {
	start := len(b)
	b = append(b, body...)
	for i := range body {
		b[start+i] ^= key[(offset+i)&3]
	}
	return b
}

// Write sends p as one binary message.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	n, err := c.send(p)
	c.writing.Unlock()
	c.flush()
	return n, err
}

func (c *Conn) send(p []byte) (done int, err error) {
	if c.failed != nil {
		return 0, c.failed
	}
	b, key := c.head(c.out[:0], binaryData, len(p))
	for {
		n := min(len(p)-done, outBytes-len(b))
		b = mask(b, p[done:done+n], key, done)
		if _, c.failed = c.Conn.Write(b); c.failed != nil {
			return done, c.failed
		}
		if done += n; done == len(p) {
			return done, nil
		}
		b = c.out[:0]
	}
}
