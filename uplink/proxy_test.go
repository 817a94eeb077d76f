package uplink

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"fieldferry/uplink/mqtt"
	"fieldferry/uplink/uplinktest"
)

func newGate(t *testing.T, c uplinktest.GateConfig) *uplinktest.Gate {
	t.Helper()
	g := uplinktest.NewGate(c)
	t.Cleanup(g.Close)
	return g
}

// What a web server before the broker says is named for what it is.
func TestGateReasons(t *testing.T) {
	const secret = "s3cr3t"
	for status, want := range map[int]struct {
		reason  Reason
		slow    bool
		contact mqtt.Contact
	}{
		200: {ReasonNotMQTT, false, mqtt.Reached},
		301: {ReasonRedirect, false, mqtt.Reached},
		302: {ReasonRedirect, false, mqtt.Reached},
		307: {ReasonRedirect, false, mqtt.Reached},
		401: {ReasonGateLogin, true, mqtt.Reached},
		403: {ReasonGateLogin, true, mqtt.Reached},
		404: {ReasonNotMQTT, false, mqtt.Reached},
		500: {ReasonNotMQTT, false, mqtt.Reached},
		502: {ReasonGateAlone, false, mqtt.HungUp},
		503: {ReasonGateAlone, false, mqtt.HungUp},
		504: {ReasonGateAlone, false, mqtt.HungUp},
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			g := newGate(t, uplinktest.GateConfig{Target: "127.0.0.1:1", Status: status, Location: "https://u:" + secret + "@elsewhere/there?sig=" + secret})
			for _, p := range []Protocol{Protocol311, Protocol5} {
				e := firstError(t, Config{Protocol: p, Servers: []string{"ws://" + g.Addr()}}, nil)
				if e.Reason != want.reason || e.Slow() != want.slow || e.Contact != want.contact || strings.Contains(e.Error(), secret) {
					t.Errorf("%v, slow %v, contact %v: %v", e.Reason, e.Slow(), e.Contact, e)
				}
				if (e.Reason == ReasonRedirect) != strings.Contains(e.Error(), "https://elsewhere/there") {
					t.Errorf("%v", e)
				}
			}
		})
	}
}

// A gate that wants a login is passed with headers, which are read again for
// every connection; without them it says so.
func TestHeadersPassAGate(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		b := embeddedBroker(t, uplinktest.Transport{WebSocket: true})
		g := newGate(t, uplinktest.GateConfig{Target: b.Addr(), Authorization: "Bearer right"})
		words := []string{"Bearer wrong", "Bearer right"}
		cfg := Config{Protocol: p, Servers: []string{"ws://" + g.Addr()}, Headers: func() (http.Header, error) {
			h := http.Header{"Authorization": {words[0]}}
			words = words[1:]
			return h, nil
		}}
		q, obs := newTestQueue(t, 3), newEvents()
		_, stop := run(t, cfg, q, obs, nil)
		if e := obs.lost(t); e.Reason != ReasonGateLogin || strings.Contains(e.Error(), "wrong") {
			t.Errorf("got %v: %v", e.Reason, e)
		}
		q.wait(3)
		stop()
	})
	bad := errors.New("open token: permission denied")
	g := newGate(t, uplinktest.GateConfig{})
	e := firstError(t, Config{Servers: []string{"ws://" + g.Addr()}, Headers: func() (http.Header, error) { return nil, bad }}, nil)
	if e.Reason != ReasonSecret || !errors.Is(e, bad) {
		t.Errorf("got %v: %v", e.Reason, e)
	}
}

func via(text string) func(Server) (*url.URL, error) {
	return func(Server) (*url.URL, error) { return url.Parse(text) }
}

// Every scheme goes through a proxy.
func TestProxy(t *testing.T) {
	now := time.Now()
	ca := newCA(t)
	serve := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour))}, MinVersion: tls.VersionTLS12}
	trust := func() (*tls.Config, error) { return &tls.Config{RootCAs: ca.pool, MinVersion: tls.VersionTLS12}, nil }
	for scheme, transport := range map[string]uplinktest.Transport{
		"mqtt": {}, "mqtts": {TLS: serve}, "ws": {WebSocket: true}, "wss": {TLS: serve, WebSocket: true},
	} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			protocols(t, func(t *testing.T, p Protocol) {
				b := embeddedBroker(t, transport)
				g := newGate(t, uplinktest.GateConfig{ProxyUser: "bob:s3cr3t"})
				q := newTestQueue(t, 3)
				u, stop := run(t, Config{Protocol: p, Servers: []string{scheme + "://" + b.Addr()}, TLS: trust, Proxy: via("http://bob:s3cr3t@" + g.Addr())}, q, nil, nil)
				q.wait(3)
				if g.Tunnels() != 1 {
					t.Errorf("%d tunnels", g.Tunnels())
				}
				if !u.answers(t.Context(), u.servers[0]) || g.Tunnels() != 2 {
					t.Error("that the server answers was not asked through the proxy")
				}
				stop()
			})
		})
	}
}

func TestProxyReasons(t *testing.T) {
	b := embeddedBroker(t, uplinktest.Transport{})
	gone := embeddedBroker(t, uplinktest.Transport{})
	gone.Stop()
	login := newGate(t, uplinktest.GateConfig{ProxyUser: "bob:right"})
	open := newGate(t, uplinktest.GateConfig{})
	forbids := newGate(t, uplinktest.GateConfig{Status: 403})
	odd := newGate(t, uplinktest.GateConfig{Status: 418})
	for name, tt := range map[string]struct {
		proxy, server string
		reason        Reason
		slow          bool
		contact       mqtt.Contact
	}{
		"no password":        {"http://" + login.Addr(), b.Addr(), ReasonProxyLogin, true, mqtt.Reached},
		"a wrong password":   {"http://bob:s3cr3t@" + login.Addr(), b.Addr(), ReasonProxyLogin, true, mqtt.Reached},
		"forbidden":          {"http://" + forbids.Addr(), b.Addr(), ReasonProxyLogin, true, mqtt.Reached},
		"an odd answer":      {"http://" + odd.Addr(), b.Addr(), ReasonProxy, false, mqtt.Reached},
		"no broker":          {"http://" + open.Addr(), gone.Addr(), ReasonProxy, false, mqtt.HungUp},
		"no proxy":           {"http://s3cr3t:s3cr3t@" + gone.Addr(), b.Addr(), ReasonConnRefused, false, mqtt.Unreached},
		"another kind":       {"socks5://s3cr3t@" + open.Addr(), b.Addr(), ReasonProxy, false, mqtt.Reached},
		"a broker, no proxy": {"http://" + b.Addr(), b.Addr(), ReasonProxy, false, mqtt.HungUp},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := firstError(t, Config{Servers: []string{"mqtt://" + tt.server}, Proxy: via(tt.proxy)}, nil)
			if e.Reason != tt.reason || e.Slow() != tt.slow || e.Contact != tt.contact || strings.Contains(e.Error(), "s3cr3t") {
				t.Errorf("%v, slow %v, contact %v: %v", e.Reason, e.Slow(), e.Contact, e)
			}
		})
	}
}
