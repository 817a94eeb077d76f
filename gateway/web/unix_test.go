package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

// overSocket is a client of a socket.
func overSocket(t *testing.T, path string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// short is a directory whose name leaves room for that of a socket.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ff-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serveAt serves at a socket, and returns what ends it.
func serveAt(t *testing.T, cfg Config) (b *bench, end func()) {
	t.Helper()
	b = newBench(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = b.Run(ctx) }()
	if _, err := b.Addr(ctx); err != nil {
		t.Fatal(err)
	}
	end = func() { cancel(); <-ended }
	t.Cleanup(end)
	return b, end
}

// The page is served at a socket that only the service's user can open, with the
// same logins as anywhere, streams included. Afterwards the socket is gone.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(short(t), "page")
	b, end := serveAt(t, Config{Listen: "unix:" + path})
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	client := overSocket(t, path)
	get := func(target, token string) *http.Response {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+target, nil)
		r.Header.Set("Authorization", token)
		reply, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { reply.Body.Close() })
		return reply
	}
	if r := get("/api/v1/status", ""); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a login: %s", r.Status)
	}
	token := b.token(Read)
	if r := get("/api/v1/status", token); r.StatusCode != http.StatusOK {
		t.Errorf("with a token: %s", r.Status)
	}
	stream := get("/api/v1/events?topics=overview", token)
	if text, err := io.ReadAll(io.LimitReader(stream.Body, 40)); err != nil || !strings.Contains(string(text), "retry:") {
		t.Errorf("the stream says %q, %v", text, err)
	}
	for range failMost {
		r, err := client.Post("http://localhost/api/v1/login", "application/json", strings.NewReader(`{"name":"anna","password":"wrong password"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
	b.mu.Lock()
	if from := b.log[len(b.log)-1].From; from != "local" {
		t.Errorf("the audit says from %q", from)
	}
	b.mu.Unlock()
	end()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

// A group is let in only if the configuration names it. Loopback's privilege is
// not that of a socket, behind which there may be a proxy.
func TestUnixSocketOfAGroup(t *testing.T) {
	own, err := user.LookupGroupId("0")
	if os.Geteuid() != 0 || err != nil {
		t.Skip("giving a socket to a group needs root")
	}
	path := filepath.Join(short(t), "page")
	serveAt(t, Config{Listen: "unix:" + path, Group: own.Name, Metrics: Metrics{OpenOnLoopback: true}})
	if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	r, err := overSocket(t, path).Get("http://localhost/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusUnauthorized {
		t.Errorf("/metrics without a token: %s", r.Status)
	}
	other := filepath.Join(short(t), "page")
	if l, err := listenUnix(t.Context(), other, "no-such-group"); err == nil {
		l.Close()
		t.Error("a group that is not there is let in")
	}
	if _, err := os.Lstat(other); !errors.Is(err, os.ErrNotExist) {
		t.Error("a socket stays that nobody serves")
	}
}

// What a killed daemon has left is replaced; a file, a socket that answers and a
// folder of others are left alone.
func TestUnixSocketPath(t *testing.T) {
	dir := short(t)
	path := filepath.Join(dir, "page")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if l, err := listenUnix(t.Context(), path, ""); err == nil {
		l.Close()
		t.Error("a socket that answers is taken away")
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	l, err := listenUnix(t.Context(), path, "")
	if err != nil {
		t.Fatalf("what a killed daemon has left is in the way: %v", err)
	}
	l.Close()

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := listenUnix(t.Context(), file, ""); err == nil {
		l.Close()
		t.Error("a file is taken away")
	}
	if b, _ := os.ReadFile(file); string(b) != "x" {
		t.Error("a file is changed")
	}
	for _, mode := range []os.FileMode{0o777, 0o775, 0o777 | os.ModeSticky} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if l, err := listenUnix(t.Context(), path, ""); err == nil {
			l.Close()
			t.Errorf("a folder of mode %v will do", mode)
		}
	}
}
