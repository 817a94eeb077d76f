// Package browser tests the page in a real browser against a real daemon with a
// simulated engine, simulated Modbus slaves and a broker. It is a module of its
// own so that what drives the browser is no dependency of fieldferry.
package browser

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

const (
	user     = "anna"
	password = "a long password"
	patience = 40 * time.Second
	hostile  = "<img src=x onerror=1>"
)

// site is a daemon that runs, with what it is connected to.
type site struct {
	url  string
	path string // of the configuration
	code string // of the set-up page; empty: there is an account
	link *uplinktest.Link
	stop func() // ends the daemon, and waits for it
}

const configuration = `gateway: {id: gw-07, clock: trusted}
can:
  - {interface: "sim:engine", name: engine, dbc: [engine.dbc]}
modbus:
  - name: line1
    port: %s
    baud_rate: 19200
    parity: E
    timeout: 100ms
    devices:
      - name: meter
        unit_id: 1
        interval: 500ms
        registers:
          - {name: voltage_l1, register: input, address: 0, type: float32, unit: V}
          - {name: energy, register: holding, address: 40, type: uint32, scale: 0.01, unit: "<img src=x onerror=1>", interval: 2s}
          - {name: limit, register: holding, address: 60, type: int16, scale: 0.1, unit: "%%", interval: 2s}
      - name: pump
        unit_id: 2
        interval: 1s
        registers:
          - {name: pressure, register: holding, address: 0, type: int16, scale: 0.01, unit: bar}
      - name: tank
        unit_id: 3
        interval: 1s
        registers:
          - {name: level, register: input, address: 4, type: float32, unit: m}
buffer: {path: %s, sync_interval: 200ms, max_size: 64MiB}
uplink:
  servers: ["mqtt://%s"]
  batch: {max_records: 100, max_delay: 200ms}
web: {listen: "127.0.0.1:0"}
commands:
  enabled: true
  points:
    - {name: meter.limit, line: line1, device: meter, register: limit, min: 0, max: 100, step: 0.5, fallback: {value: 100, after: 1h}}
`

const slaves = `units:
  - unit_id: 1
    registers:
      - {register: input, address: 0, type: float32, value: 230, moves: sine, amplitude: 2, period: 10s}
      - {register: holding, address: 40, type: uint32, value: 123456, moves: counter, rate: 20}
      - {register: holding, address: 60, value: 1000}
  - unit_id: 2
    registers:
      - {register: holding, address: 0, value: 250, moves: random, amplitude: 20}
    faults: {exception: 20%, exception_code: 6}
`

// binary is the program, built once.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(shared, "fieldferry")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	build := exec.Command("go", "build", "-o", path, "./cmd/fieldferry")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build fieldferry: %v\n%s", err, out)
	}
	return path
}

// start runs a daemon until the test ends.
func start(t *testing.T, account bool) *site {
	t.Helper()
	s, dir, bin := &site{}, t.TempDir(), binary(t)
	broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	if s.link, err = uplinktest.NewLink(broker.Addr()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.link.Close)

	write(t, dir, "map.yaml", slaves)
	dbc, err := os.ReadFile("../../../cmd/fieldferry/demo.dbc")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "engine.dbc", strings.Replace(string(dbc), `"km/h"`, `"`+hostile+`"`, 1))
	port, _ := run(t, regexp.MustCompile(`(/dev/pts/\d+)`), bin, "modbus", "simulate", filepath.Join(dir, "map.yaml"))
	path := write(t, dir, "fieldferry.yaml", fmt.Sprintf(configuration, port[1], filepath.Join(dir, "buffer"), s.link.Addr()))
	s.path = path
	if err := os.Mkdir(filepath.Join(dir, "buffer"), 0o700); err != nil {
		t.Fatal(err)
	}
	if account {
		c := exec.Command(bin, "web", "password", user, "--config", path)
		c.Stdin = strings.NewReader(password + "\n")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("web password: %v\n%s", err, out)
		}
		found, stop := run(t, regexp.MustCompile(`url=(\S+)`), bin, "run", "--config", path)
		s.url, s.stop = found[1], stop
		return s
	}
	found, stop := run(t, regexp.MustCompile(`url=(\S+) code=(\S+)`), bin, "run", "--config", path)
	s.url, s.code, s.stop = found[1], found[2], stop
	return s
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run starts a program that runs until the test ends, and returns what it says.
func run(t *testing.T, says *regexp.Regexp, name string, args ...string) ([]string, func()) {
	t.Helper()
	r, w := io.Pipe()
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = w, w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
		defer late.Stop()
		_ = c.Wait()
		_ = w.Close()
	})
	t.Cleanup(stop)
	found := make(chan []string, 1)
	go func() {
		var all strings.Builder
		for lines := bufio.NewScanner(r); lines.Scan(); {
			if m := says.FindStringSubmatch(lines.Text()); m != nil {
				found <- m
				break
			}
			fmt.Fprintln(&all, lines.Text())
		}
		_, _ = io.Copy(io.Discard, r)
		select {
		case found <- []string{all.String()}:
		default:
		}
	}()
	select {
	case m := <-found:
		if len(m) == 1 {
			t.Fatalf("%s %s has ended:\n%s", name, args[0], m[0])
		}
		return m, stop
	case <-time.After(patience):
		t.Fatalf("%s %s has not said %s", name, args[0], says)
		return nil, nil
	}
}

// login returns the cookie of a session.
func (s *site) login(t *testing.T) *http.Cookie {
	t.Helper()
	r, err := http.Post(s.url+"/api/v1/login", "application/json", strings.NewReader(`{"name":"`+user+`","password":"`+password+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if len(r.Cookies()) == 0 {
		t.Fatalf("login: %s", r.Status)
	}
	return r.Cookies()[0]
}

func (s *site) host(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
