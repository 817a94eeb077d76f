// Package browser tests the page in a real browser against a real daemon with a
// simulated engine, simulated Modbus slaves and a broker. It is a module of its
// own so that what drives the browser is no dependency of fieldferry.
package browser

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
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
web: {listen: "127.0.0.1:0", metrics: {signals: [line1/meter/voltage_l1, engine/EngineSpeed]}}
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

// start runs a daemon until the test ends.
func start(t *testing.T, account bool) *site {
	t.Helper()
	s, dir, bin := &site{}, t.TempDir(), rig.Fieldferry(t)
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
	slaves := rig.Start(t, nil, bin, "modbus", "simulate", filepath.Join(dir, "map.yaml"))
	port := slaves.Finds(regexp.MustCompile(`(/dev/pts/\d+)`))
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
	}
	d := rig.StartDaemon(t, nil, path, "--config-store", filepath.Join(dir, "configs"))
	s.stop = func() { d.Stop() }
	if account {
		s.url = d.Finds(regexp.MustCompile(`url=(\S+)`))[1]
		return s
	}
	found := d.Finds(regexp.MustCompile(`url=(\S+) code=(\S+)`))
	s.url, s.code = found[1], found[2]
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
