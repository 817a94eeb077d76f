package uplink

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// floods is a WebSocket broker that sends one frame again and again once it has
// accepted a connection.
func floods(t *testing.T, frame []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		if _, _, err := ws.ReadMessage(); err != nil { // CONNECT
			return
		}
		if ws.WriteMessage(websocket.BinaryMessage, []byte("\x20\x02\x00\x00")) != nil {
			return
		}
		go func() { // what comes back must not stop it
			for buf := bufio.NewReader(ws.NetConn()); ; {
				if _, err := buf.Discard(1); err != nil {
					return
				}
			}
		}()
		for many := []byte(strings.Repeat(string(frame), 1000)); ; {
			if _, err := ws.NetConn().Write(many); err != nil {
				return
			}
		}
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// Whatever comes without end below MQTT ends the connection with a reason.
func TestFloodsBelowMQTT(t *testing.T) {
	for name, frame := range map[string]string{
		"empty messages":      "\x82\x00",
		"pings":               "\x89\x00",
		"pongs":               "\x8a\x00",
		"a message of nought": "\x02\x00\x00\x00\x80\x00",
		"PINGRESP":            "\x82\x02\xd0\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := firstError(t, Config{Servers: []string{"ws://" + floods(t, []byte(frame))}}, nil)
			if e.Reason != ReasonFlood {
				t.Errorf("got %v: %v; want %v", e.Reason, e, ReasonFlood)
			}
		})
	}
}
