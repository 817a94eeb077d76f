package uplinktest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
)

// GateConfig is what a [Gate] wants and does.
type GateConfig struct {
	Target        string // host:port of the broker behind it
	Authorization string // that a handshake must have; empty: none
	Status        int    // not 0: every handshake is answered by this
	Location      string // and with this
	ProxyUser     string // user:password that CONNECT must have; empty: none
}

// Gate is a web server before a broker's WebSocket, and an HTTP proxy as well:
// it answers CONNECT by a tunnel to the target.
type Gate struct {
	server  *httptest.Server
	config  GateConfig
	tunnels atomic.Int32
}

// NewGate starts a gate at a free port of the loopback interface.
func NewGate(c GateConfig) *Gate {
	g := &Gate{config: c}
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: c.Target})
	behind.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodConnect:
			g.tunnel(w, r)
		case c.Status != 0:
			w.Header().Set("Location", c.Location)
			w.WriteHeader(c.Status)
		case c.Authorization != "" && r.Header.Get("Authorization") != c.Authorization:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			behind.ServeHTTP(w, r)
		}
	}))
	return g
}

// Addr is host:port.
func (g *Gate) Addr() string { return g.server.Listener.Addr().String() }

// Tunnels is how many CONNECT were answered by a tunnel.
func (g *Gate) Tunnels() int { return int(g.tunnels.Load()) }

// Close ends it, and the connections through it that belong to handshakes.
func (g *Gate) Close() {
	g.server.CloseClientConnections()
	g.server.Close()
}

func (g *Gate) tunnel(w http.ResponseWriter, r *http.Request) {
	r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization")) // for BasicAuth
	user, password, _ := r.BasicAuth()
	if g.config.Status != 0 {
		w.WriteHeader(g.config.Status)
		return
	}
	if want := g.config.ProxyUser; want != "" && user+":"+password != want {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	far, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer near.Close()
	g.tunnels.Add(1) // before the client can look
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(far, near)
		_ = far.Close()
	}()
	_, _ = io.Copy(near, far)
	_ = near.Close()
	<-done
}
