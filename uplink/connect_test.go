package uplink

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// firstError runs an uplink against a server and returns the first error.
func firstError(t *testing.T, cfg Config, tweak func(*Uplink)) *Error {
	t.Helper()
	obs := newEvents()
	_, stop := run(t, cfg, newTestQueue(t, 1), obs, tweak)
	defer stop()
	return obs.lost(t)
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		fault  uplinktest.Fault
		reason Reason
	}{
		{"version", uplinktest.Fault{Refuse: 1}, ReasonVersion},
		{"client id", uplinktest.Fault{Refuse: 2}, ReasonClientID},
		{"unavailable", uplinktest.Fault{Refuse: 3}, ReasonUnavailable},
		{"bad user", uplinktest.Fault{Refuse: 4}, ReasonUser},
		{"not authorised", uplinktest.Fault{Refuse: 5}, ReasonUser},
		{"code 6", uplinktest.Fault{Refuse: 6}, ReasonRefused},
		{"code 0x87", uplinktest.Fault{Refuse: 0x87}, ReasonRefused},
		{"code 0xFE", uplinktest.Fault{Refuse: 0xFE}, ReasonRefused},
		{"code 0xFF", uplinktest.Fault{Refuse: 0xFF}, ReasonRefused},
		{"no CONNACK", uplinktest.Fault{NoConnack: true}, ReasonNoConnack},
		{"HTTP", uplinktest.Fault{Connack: []byte("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n")}, ReasonNotMQTT},
		{"PUBACK first", uplinktest.Fault{Connack: []byte{0x40, 2, 0, 1}}, ReasonNotMQTT},
		{"long CONNACK", uplinktest.Fault{Connack: []byte{0x20, 0xff, 0xff, 0xff, 0x7f}}, ReasonNotMQTT},
		{"half a CONNACK", uplinktest.Fault{Connack: []byte{0x20, 2}}, ReasonNoConnack},
		{"SSH", uplinktest.Fault{Connack: []byte("SSH-2.0-OpenSSH_9.2\r\n")}, ReasonNotMQTT},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := faultBroker(t, tt.fault)
			e := firstError(t, Config{Servers: []string{"tcp://" + b.Addr()}}, func(u *Uplink) {
				if tt.reason == ReasonNoConnack {
					u.time.Connect = 300 * time.Millisecond
				}
			})
			if e.Reason != tt.reason {
				t.Errorf("got %v: %v; want %v", e.Reason, e, tt.reason)
			}
			if want := "mqtt://" + b.Addr(); e.Server != want || !strings.Contains(e.Error(), want) {
				t.Errorf("server %q in %q, want %q", e.Server, e, want)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	b := embeddedBroker(t, uplinktest.Transport{})
	b.Stop()
	refuses := b.Addr()

	l, err := net.Listen("tcp", "127.0.0.1:0") // its backlog takes connections, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	silent := l.Addr().String()

	short := func(u *Uplink) { u.time.Connect = 300 * time.Millisecond }
	tests := []struct {
		name, url string
		reason    Reason
		tweak     func(*Uplink)
	}{
		{"nobody listens", "mqtt://" + refuses, ReasonConnRefused, nil},
		{"nobody listens, TLS", "mqtts://" + refuses, ReasonConnRefused, nil},
		{"nobody listens, WebSocket", "ws://" + refuses, ReasonConnRefused, nil},
		{"black hole", "mqtt://" + silent, ReasonNoConnack, short},
		{"black hole, TLS", "mqtts://" + silent, ReasonNoConnack, short},
		{"black hole, WebSocket", "ws://" + silent, ReasonNoConnack, short},
		{"black hole, TLS and WebSocket", "wss://" + silent, ReasonNoConnack, short},
		{"no such host", "mqtt://no-such-host.invalid", ReasonNoSuchHost, nil}, // RFC 6761
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if e := firstError(t, Config{Servers: []string{tt.url}}, tt.tweak); e.Reason != tt.reason {
				t.Errorf("got %v: %v; want %v", e.Reason, e, tt.reason)
			}
		})
	}
}

func TestTLSErrors(t *testing.T) {
	now := time.Now()
	ca, other := newCA(t), newCA(t)
	good := ca.issue(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour))
	server := func(c tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}
	}
	wantsClient := server(good)
	wantsClient.ClientAuth, wantsClient.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool
	tests := []struct {
		name   string
		server *tls.Config // nil: none, plain MQTT
		client *tls.Config
		reason Reason
		says   string
	}{
		{"wrong CA", server(other.issue(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour))), nil, ReasonUnknownCA, "CA"},
		{"system roots only", server(good), &tls.Config{MinVersion: tls.VersionTLS12}, ReasonUnknownCA, "CA"},
		{"expired", server(ca.issue(t, "127.0.0.1", now.Add(-48*time.Hour), now.Add(-24*time.Hour))), nil, ReasonCertExpired, "expired"},
		{"not yet valid", server(ca.issue(t, "127.0.0.1", now.Add(24*time.Hour), now.Add(48*time.Hour))), nil, ReasonCertNotYetValid, "clock"},
		{"wrong host", server(ca.issue(t, "broker.example", now.Add(-time.Hour), now.Add(time.Hour))), nil, ReasonCertHostName, "another host"},
		{"no client certificate", wantsClient, nil, ReasonClientCert, "client certificate"},
		{"TLS 1.2 only", &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}, &tls.Config{RootCAs: ca.pool, MinVersion: tls.VersionTLS13}, ReasonTLSVersion, "min_version"},
		{"no such ALPN", &tls.Config{Certificates: []tls.Certificate{good}, NextProtos: []string{"h2"}}, &tls.Config{RootCAs: ca.pool, NextProtos: []string{"mqtt"}}, ReasonTLS, "application protocol"},
		{"plain MQTT", nil, nil, ReasonTLS, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := uplinktest.NewFaultBroker(uplinktest.Transport{TLS: tt.server})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(b.Close)
			client := tt.client
			if client == nil {
				client = &tls.Config{RootCAs: ca.pool, MinVersion: tls.VersionTLS12}
			}
			e := firstError(t, Config{
				Servers: []string{"mqtts://" + b.Addr()},
				TLS:     func() (*tls.Config, error) { return client, nil },
			}, nil)
			if e.Reason != tt.reason || !strings.Contains(e.Error(), tt.says) {
				t.Errorf("got %v: %v; want %v with %q", e.Reason, e, tt.reason, tt.says)
			}
		})
	}
}

// A board without a battery starts in 1970: every certificate is "not yet
// valid" until the time is known, and then the connection must come by itself.
func TestClockOf1970(t *testing.T) {
	ca := newCA(t)
	now := time.Now()
	cert := ca.issue(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour))
	b := embeddedBroker(t, uplinktest.Transport{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}})
	synced := make(chan struct{})
	clock := func() time.Time {
		select {
		case <-synced:
			return time.Now()
		default:
			return time.Unix(0, 0)
		}
	}
	obs := newEvents()
	q := newTestQueue(t, 5)
	_, stop := run(t, Config{
		Servers: []string{"mqtts://" + b.Addr()},
		TLS: func() (*tls.Config, error) {
			return &tls.Config{RootCAs: ca.pool, Time: clock, MinVersion: tls.VersionTLS12}, nil
		},
	}, q, obs, func(u *Uplink) { u.now = clock })
	e := obs.lost(t)
	if e.Reason != ReasonCertNotYetValid || !strings.Contains(e.Error(), "1970-01-01") {
		t.Errorf("got %v: %v; want %v and the date of the clock", e.Reason, e, ReasonCertNotYetValid)
	}
	close(synced)
	q.wait(5)
	stop()
}

// The HTTP answers of a captive portal, to every kind of connection.
func TestCaptivePortal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1024))
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nLogin"))
			_ = c.Close()
		}
	}()
	defer func() { l.Close(); <-done }()
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		if e := firstError(t, Config{Servers: []string{scheme + "://" + l.Addr().String()}}, nil); e.Reason != ReasonNotMQTT {
			t.Errorf("%s: got %v: %v; want %v", scheme, e.Reason, e, ReasonNotMQTT)
		}
	}
}

func TestSecretsStaySecret(t *testing.T) {
	const secret = "s3cr3t-w0rd"
	var log bytes.Buffer
	b := faultBroker(t, uplinktest.Fault{Refuse: 4}, uplinktest.Fault{DropAfter: 1}, uplinktest.Fault{})
	q := newTestQueue(t, 3)
	obs := newEvents()
	u, stop := run(t, Config{Servers: []string{"mqtt://bob:" + secret + "@" + b.Addr()}}, q, obs, func(u *Uplink) {
		u.log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		u.report.log = u.log
	})
	q.wait(3)
	stop()
	if c := b.Connects()[0]; c.Username != "bob" || c.Password != secret {
		t.Errorf("the broker got user %q and password %q", c.Username, c.Password)
	}
	said := log.String() + u.Stats().LastError + u.Stats().Server
	for len(obs.ch) > 0 {
		ev := obs.next(t)
		said += ev.server
		if ev.err != nil {
			said += ev.err.Error()
		}
	}
	if strings.Contains(said, secret) || strings.Contains(said, "bob") {
		t.Errorf("the secret is in what was said: %s", said)
	}
}

func TestCredentialsAndConnect(t *testing.T) {
	b := faultBroker(t)
	calls := 0
	q := newTestQueue(t, 1)
	_, stop := run(t, Config{
		Servers: []string{"mqtt://url-user:url-word@" + b.Addr()}, ClientID: "gw-01", Username: "config-user",
		Password:  func() (string, error) { calls++; return "config-word", nil },
		KeepAlive: 1500 * time.Millisecond,
		Will:      &Message{Topic: "root/status", Payload: []byte("offline"), Retain: true},
	}, q, nil, nil)
	q.wait(1)
	stop()
	want := uplinktest.Connect{
		ClientID: "gw-01", Username: "config-user", Password: "config-word", Clean: true, KeepAlive: 2, Version: 4,
		WillTopic: "root/status", WillPayload: "offline", WillRetain: true, WillQoS: 1,
	}
	if got := b.Connects()[0]; got != want {
		t.Errorf("CONNECT\n got %+v\nwant %+v", got, want)
	}
	if calls != 1 {
		t.Errorf("the password was asked for %d times at one connect", calls)
	}
}

func TestUnreadableSecret(t *testing.T) {
	b := faultBroker(t)
	bad := errors.New("open gw.key: permission denied")
	e := firstError(t, Config{Servers: []string{"mqtt://" + b.Addr()}, Username: "u",
		Password: func() (string, error) { return "", bad }}, nil)
	if e.Reason != ReasonSecret || !errors.Is(e, bad) {
		t.Errorf("password: got %v: %v", e.Reason, e)
	}
	e = firstError(t, Config{Servers: []string{"mqtts://" + b.Addr()},
		TLS: func() (*tls.Config, error) { return nil, bad }}, nil)
	if e.Reason != ReasonSecret || !errors.Is(e, bad) {
		t.Errorf("TLS: got %v: %v", e.Reason, e)
	}
}

func TestRunTwice(t *testing.T) {
	b := faultBroker(t)
	q := newTestQueue(t, 1)
	u, stop := run(t, Config{Servers: []string{"mqtt://" + b.Addr()}}, q, nil, nil)
	q.wait(1)
	if err := u.Run(context.Background()); err == nil {
		t.Error("a second Run at the same time returned nil")
	}
	stop()
}
