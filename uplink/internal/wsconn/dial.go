package wsconn

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it, and nothing depends on its strength
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// ErrHandshake says that what answers speaks HTTP, and no WebSocket.
var ErrHandshake = errors.New("no WebSocket handshake")

// accepted is appended to the key before it is hashed (RFC 6455, 1.3).
const accepted = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Dial does the handshake for MQTT on a connection that has TLS already if the
// server wants it. With [ErrHandshake] the response is returned; its body is not
// to be read. control is called for every ping and pong, before it is answered;
// its error ends the connection. It may be nil. A deadline is the caller's.
func Dial(below net.Conn, u *url.URL, header http.Header, control func() error) (*Conn, *http.Response, error) {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // it never fails
	key := base64.StdEncoding.EncodeToString(nonce)
	h := header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
	h.Set("Sec-WebSocket-Key", key)
	h.Set("Sec-WebSocket-Version", "13")
	h.Set("Sec-WebSocket-Protocol", "mqtt") // [MQTT-6.0.0-3]
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", "fieldferry")
	}
	var request bytes.Buffer
	request.WriteString("GET " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\n")
	_ = h.Write(&request) // to memory
	request.WriteString("\r\n")
	if _, err := below.Write(request.Bytes()); err != nil {
		return nil, nil, err
	}
	r := bufio.NewReaderSize(below, 1024)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet, URL: u})
	if err != nil {
		return nil, nil, err
	}
	sum := sha1.Sum([]byte(key + accepted)) //nolint:gosec // see above
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols,
		!has(resp.Header, "Upgrade", "websocket"), !has(resp.Header, "Connection", "upgrade"),
		resp.Header.Get("Sec-Websocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]),
		resp.Header.Get("Sec-Websocket-Extensions") != "":
		return nil, resp, ErrHandshake
	}
	return newConn(below, r, control), resp, nil
}

// has reports whether a header has a word among others.
func has(h http.Header, name, word string) bool {
	for _, line := range h.Values(name) {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(item), word) {
				return true
			}
		}
	}
	return false
}
