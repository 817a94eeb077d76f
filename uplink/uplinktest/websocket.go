package uplinktest

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/gorilla/websocket"
)

var errText = errors.New("a text message from a client")

// webSocket is a net.Conn on a WebSocket connection of gorilla's: a broker that
// has nothing in common with the client.
type webSocket struct {
	ws *websocket.Conn
	r  io.Reader // of the message being read; nil between messages
}

// Read reads from the current message, or waits for the next one.
func (c *webSocket) Read(p []byte) (int, error) {
	for {
		if c.r == nil {
			kind, r, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errText
			}
			c.r = r
		}
		n, err := c.r.Read(p)
		if errors.Is(err, io.EOF) { // of the message, not of the stream
			c.r, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

// Write sends p as one binary message.
func (c *webSocket) Write(p []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close closes the connection below without a closing handshake.
func (c *webSocket) Close() error { return c.ws.Close() }

// LocalAddr is the address of this end.
func (c *webSocket) LocalAddr() net.Addr { return c.ws.LocalAddr() }

// RemoteAddr is the address of the other end.
func (c *webSocket) RemoteAddr() net.Addr { return c.ws.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *webSocket) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline for reading; after it passed, the
// connection cannot be read any more.
func (c *webSocket) SetReadDeadline(t time.Time) error { return c.ws.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline for writing; after it passed, the
// connection cannot be written any more.
func (c *webSocket) SetWriteDeadline(t time.Time) error { return c.ws.SetWriteDeadline(t) }
