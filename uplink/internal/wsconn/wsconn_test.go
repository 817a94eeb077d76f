package wsconn

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open connects to a server of gorilla's, which has nothing in common with this
// client.
func open(t *testing.T, serve func(*websocket.Conn), control func() error) *Conn {
	t.Helper()
	up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	ended := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		if r.Header.Get("X-More") != "1" || r.URL.RequestURI() != "/mqtt?a=b%20c" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.Close()
		if ws.Subprotocol() != "mqtt" {
			t.Error("no subprotocol")
		}
		serve(ws)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL + "/mqtt?a=b%20c")
	if err != nil {
		t.Fatal(err)
	}
	below, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := Dial(below, u, http.Header{"X-More": {"1"}}, control)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); <-ended })
	return c
}

// Whatever is sent comes back, in frames of every size and in pieces, with pings
// in between that are answered.
func TestStream(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, outBytes - 8, outBytes, outBytes + 1, 65535, 65536, 300_000} {
		pongs, pings := 0, 0
		c := open(t, func(ws *websocket.Conn) {
			ws.SetPongHandler(func(text string) error {
				if text == "there?" {
					pongs++
				}
				return nil
			})
			kind, got, err := ws.ReadMessage()
			if err != nil || kind != websocket.BinaryMessage || len(got) != size {
				t.Errorf("%d bytes: %d, %v", size, len(got), err)
				return
			}
			w, err := ws.NextWriter(websocket.BinaryMessage)
			if err != nil {
				t.Error(err)
				return
			}
			for len(got) > 0 {
				n := min(len(got), 50_000)
				_, _ = w.Write(got[:n])
				got = got[n:]
				_ = ws.WriteControl(websocket.PingMessage, []byte("there?"), time.Now().Add(time.Minute))
			}
			_ = w.Close()
			_ = ws.WriteMessage(websocket.BinaryMessage, []byte("end"))
			_, _, _ = ws.ReadMessage() // answers, until the client goes
		}, func() error { pings++; return nil })
		sent := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
		if n, err := c.Write(sent); n != size || err != nil {
			t.Errorf("%d: %v", n, err)
		}
		got := make([]byte, size+3)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, append(sent, "end"...)) {
			t.Errorf("%d bytes do not come back: %v", size, err)
		}
		c.Close()
		if want := (size + 49_999) / 50_000; pings != want {
			t.Errorf("%d pings of %d were seen", pings, want)
		}
	}
}

// One that pings is answered by whoever writes.
func TestPongs(t *testing.T) {
	answered := make(chan string, 1)
	c := open(t, func(ws *websocket.Conn) {
		ws.SetPongHandler(func(text string) error { answered <- text; return nil })
		_ = ws.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Minute))
		_, _, _ = ws.ReadMessage()
	}, nil)
	go func() { _, _ = io.Copy(io.Discard, c) }()
	if text := <-answered; text != "x" {
		t.Errorf("%q", text)
	}
}

// frames gives a client what a server sends, byte by byte.
func frames(t *testing.T, sent string) (got string, err error) {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		go func() { _, _ = io.Copy(io.Discard, there) }()
		for i := range len(sent) {
			if _, err := there.Write([]byte(sent[i : i+1])); err != nil {
				break
			}
		}
		there.Close()
	}()
	c := newConn(here, bufio.NewReader(here), nil)
	all, err := io.ReadAll(c)
	return string(all), err
}

// What the standard forbids a server ends the connection, and nothing of it is
// taken for data.
func TestFrames(t *testing.T) {
	long := "\x82\x7e\x01\x00" + strings.Repeat("l", 256)
	for _, c := range []struct {
		sent, want string
		err        error
	}{
		{"\x82\x02hi", "hi", nil},
		{"\x02\x01h\x80\x01i", "hi", nil},                       // in pieces
		{"\x02\x01h\x89\x01p\x00\x00\x80\x01i", "hi", nil},      // with a ping between, and an empty one
		{"\x82\x00\x82\x01x", "x", nil},                         // empty
		{long, strings.Repeat("l", 256), nil},                   // 16 bit of length
		{"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01x", "x", nil}, // 64 bit, though it need not be
		{"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x01x", "", errLength},
		{"\x81\x02hi", "", errText},
		{"\x82\x82\x00\x00\x00\x00hi", "", errMasked},
		{"\xc2\x02hi", "", errReserved},
		{"\x83\x02hi", "", errReserved},
		{"\x8b\x00", "", errReserved},
		{"\x80\x02hi", "", errOrder},
		{"\x02\x01h\x82\x01i", "h", errOrder},
		{"\x09\x00", "", errControl},
		{"\x89\x7e\x01\x00" + strings.Repeat("p", 256), "", errControl},
		{"\x82\x05hi", "hi", io.ErrUnexpectedEOF},
		{"\x82\x7e\x01", "", io.ErrUnexpectedEOF},
		{"\x82", "", io.ErrUnexpectedEOF},
		{"\x89\x05hi", "", io.ErrUnexpectedEOF},
	} {
		got, err := frames(t, c.sent)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%.30q: %.30q, %v; want %.30q, %v", c.sent, got, err, c.want, c.err)
		}
	}
	for sent, want := range map[string]string{"\x88\x02\x03\xe8": "with code 1000", "\x88\x00": "has closed"} {
		if _, err := frames(t, sent); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", sent, err)
		}
	}
}

// A flood of pings ends where the caller says so, and a write after one that
// failed fails too.
func TestErrorsStay(t *testing.T) {
	enough := errors.New("enough")
	here, there := net.Pipe()
	c := newConn(here, bufio.NewReader(here), func() error { return enough })
	go func() { _, _ = there.Write([]byte("\x89\x00")) }()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
	there.Close()
	_, first := c.Write([]byte("x"))
	if _, second := c.Write([]byte("x")); first == nil || !errors.Is(second, first) {
		t.Errorf("%v, then %v", first, second)
	}
	here.Close()
}

// Whoever does not do the handshake right is not a broker.
func TestHandshake(t *testing.T) {
	const right = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
	for what, answer := range map[string]string{
		"no key":      right + "\r\n",
		"wrong key":   right + "Sec-WebSocket-Accept: AAAA\r\n\r\n",
		"no upgrade":  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
		"an answer":   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"a redirect":  "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n",
		"not HTTP":    "SSH-2.0-x\r\n\r\n",
		"nothing":     "",
		"half a line": "HTTP/1.1 101",
	} {
		here, there := net.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		stop := context.AfterFunc(ctx, func() { here.Close() })
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(there)); err != nil {
				t.Error(err)
			}
			_, _ = there.Write([]byte(answer))
			there.Close()
		}()
		_, resp, err := Dial(here, &url.URL{Scheme: "http", Host: "broker:80", Path: "/"}, nil, nil)
		whole := strings.HasPrefix(answer, "HTTP") && strings.HasSuffix(answer, "\r\n\r\n")
		if err == nil || errors.Is(err, ErrHandshake) != whole || (resp != nil) != whole {
			t.Errorf("%s: %v %v", what, resp, err)
		}
		stop()
		cancel()
		here.Close()
	}
}
