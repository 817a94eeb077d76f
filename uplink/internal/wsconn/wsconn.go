// Package wsconn makes a byte stream of a WebSocket connection, as MQTT wants
// it: binary messages whose borders mean nothing (MQTT 3.1.1, 6).
//
// The one noun is [Conn]. As with any gorilla connection, at most one
// goroutine may read and one may write at a time.
package wsconn

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/gorilla/websocket"
)

// errText is returned for a text message, which MQTT forbids [MQTT-6.0.0-1].
var errText = errors.New("a WebSocket text message came where MQTT wants binary ones")

// Conn is a net.Conn on a WebSocket connection.
type Conn struct {
	ws *websocket.Conn
	r  io.Reader // of the message being read; nil between messages
}

// New wraps ws, which must not be used otherwise afterwards. control is called
// for every ping and pong, before it is answered; its error ends the
// connection. It may be nil.
func New(ws *websocket.Conn, control func() error) *Conn {
	if control != nil {
		answer := ws.PingHandler()
		ws.SetPingHandler(func(data string) error {
			if err := control(); err != nil {
				return err
			}
			return answer(data)
		})
		ws.SetPongHandler(func(string) error { return control() })
	}
	return &Conn{ws: ws}
}

// Read reads from the current message, or waits for the next one.
func (c *Conn) Read(p []byte) (int, error) {
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
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close closes the connection below without a closing handshake.
func (c *Conn) Close() error { return c.ws.Close() }

// LocalAddr is the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.ws.LocalAddr() }

// RemoteAddr is the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.ws.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline for reading; after it passed, the
// connection cannot be read any more.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.ws.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline for writing; after it passed, the
// connection cannot be written any more.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.ws.SetWriteDeadline(t) }
