package uplink

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fieldferry/scripts/test/rig"
	"fieldferry/uplink/uplinktest"
)

// nginx starts one before a broker, and returns its host:port.
func nginx(t *testing.T, broker string) string {
	t.Helper()
	bin := rig.Need(t, "nginx", "nginx-light")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File() // inherited: no port is guessed
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	dir := readableDir(t)
	users := file(t, dir, "users", []byte("bob:{PLAIN}s3cr3t\n"))
	behind := "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_pass"
	conf := file(t, dir, "nginx.conf", fmt.Appendf(nil, `daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/1; proxy_temp_path %[1]s/2; fastcgi_temp_path %[1]s/3; uwsgi_temp_path %[1]s/4; scgi_temp_path %[1]s/5;
  server {
    listen %[2]s;
    location / { %[3]s http://%[4]s; }
    location /login { auth_basic broker; auth_basic_user_file %[5]s; %[3]s http://%[4]s; }
    location /alone { %[3]s http://127.0.0.1:1; }
    location /moved { return 302 https://elsewhere/there?sig=s3cr3t; }
    location /closed { return 403; }
    location /page { return 200 "<html>"; }
  }
}
`, dir, l.Addr(), behind, broker, users))
	c := exec.Command(bin, "-p", dir, "-c", conf)
	c.ExtraFiles = []*os.File{socket}
	c.Env = append(os.Environ(), "NGINX=3;")
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM) // it ends its worker
		_ = c.Wait()
		if t.Failed() {
			t.Log(filepath.Base(bin), said.String())
		}
	})
	return l.Addr().String()
}

// What a real web server before the broker says is named for what it is, and
// one that lets through is passed.
func TestNginxBeforeABroker(t *testing.T) {
	t.Parallel()
	b := embeddedBroker(t, uplinktest.Transport{WebSocket: true})
	addr := nginx(t, b.Addr())
	login := func(user, password string) func() (http.Header, error) {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return func() (http.Header, error) { return r.Header, nil }
	}
	protocols(t, func(t *testing.T, p Protocol) {
		for path, want := range map[string]Reason{
			"/login": ReasonGateLogin, "/closed": ReasonGateLogin, "/alone": ReasonGateAlone, "/moved": ReasonRedirect, "/page": ReasonNotMQTT,
		} {
			cfg := Config{Protocol: p, Servers: []string{"ws://" + addr + path}}
			if path == "/login" {
				cfg.Headers = login("bob", "wr0ng")
			}
			e := firstError(t, cfg, nil)
			if e.Reason != want || strings.Contains(e.Error(), "s3cr3t") || strings.Contains(e.Error(), "wr0ng") {
				t.Errorf("%s: %v, want %v: %v", path, e.Reason, want, e)
			}
			if (e.Reason == ReasonRedirect) != strings.Contains(e.Error(), "https://elsewhere/there") {
				t.Errorf("%s: %v", path, e)
			}
		}
		for _, path := range []string{"/", "/login"} {
			q := newTestQueue(t, 20)
			_, stop := run(t, Config{Protocol: p, Servers: []string{"ws://" + addr + path}, Headers: login("bob", "s3cr3t")}, q, nil, nil)
			q.wait(20)
			stop()
		}
	})
}
