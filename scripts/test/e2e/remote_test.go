package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fieldferry/gateway/ledger"
)

// reportedConfig is the retained message about the configuration.
type reportedConfig struct {
	Version              int64
	State, Code, Running string
	Problems, Need       []string
}

// afar is a plant whose configuration comes from the broker.
type afar struct {
	*plant
	store  string
	said   *subscriber
	number int64
}

const (
	remoteApply = "remote_config: {mode: apply, allow: [modbus]}\n"
	remoteBoth  = "remote_config: {mode: apply, allow: [can, modbus]}\n"
)

func newAfar(t *testing.T, more string) *afar {
	t.Helper()
	a := &afar{plant: layPlant(t, "3.1.1", more)}
	a.store = filepath.Join(a.dir, "store")
	a.witness = a.broker.follow(t, "witness", "site/gw-e2e/line1")
	a.said = a.broker.follow(t, "reader", "site/gw-e2e/config/reported")
	a.run()
	return a
}

func (a *afar) run() {
	a.t.Helper()
	a.daemon = startDaemon(a.t, a.config, "--config-store", a.store)
}

func (a *afar) file() string {
	a.t.Helper()
	text, err := os.ReadFile(a.config)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(text)
}

func sumOf(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// push publishes a desired configuration, retained, and returns its version.
func (a *afar) push(text, more string) int64 {
	a.t.Helper()
	a.number++
	a.desire(a.number, text, more)
	return a.number
}

func (a *afar) desire(version int64, text, more string) {
	a.t.Helper()
	a.as("gw", "mosquitto_pub", "-r", "-q", "1", "-t", "site/gw-e2e/config/desired", "-m",
		fmt.Sprintf(`{"v":1,"version":%d,"sha256":%q,"content":%q%s}`, version, sumOf(text), text, more))
}

// reports waits for a report of a version in one of these states.
func (a *afar) reports(version int64, states ...string) (r reportedConfig) {
	a.t.Helper()
	a.daemon.Until(fmt.Sprintf("%d in %q", version, states), func() bool {
		a.said.mu.Lock()
		defer a.said.mu.Unlock()
		if len(a.said.payloads) == 0 {
			return false
		}
		r = reportedConfig{}
		_ = json.Unmarshal(a.said.payloads[len(a.said.payloads)-1], &r)
		return r.Version == version && slices.Contains(states, r.State)
	})
	return r
}

// complete waits until every record of the line has come, of so many sessions.
func (a *afar) complete(sessions int) {
	a.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var all ledger.Ledger
		a.witness.mu.Lock()
		for _, p := range a.witness.payloads {
			if m, err := ledger.Parse(p); err == nil {
				if _, err := all.Add(m); err != nil {
					a.t.Fatal(err)
				}
			}
		}
		a.witness.mu.Unlock()
		if all.Lost > 0 {
			a.t.Fatalf("%d records lost", all.Lost)
		}
		if len(all.Streams()) >= sessions && all.Missing(true) == 0 {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("of %v these are missing: %v", all.Streams(), all.Gaps(true))
		}
	}
}

// A configuration from afar over its whole life: refused with its line, rolled
// back when it silences a device, not tried again, confirmed, and kept over a
// start without a broker; nothing of the data is missing.
func TestRemoteConfig(t *testing.T) {
	t.Parallel()
	a := newAfar(t, remoteApply)
	old := a.file()
	r := a.reports(0, "none")
	if r.Running == "" || r.Running == sumOf(old) {
		t.Errorf("what runs is named by a hash that has the password in it: %+v", r)
	}
	// The site's password is in its file, and cannot come from afar.
	r = a.reports(a.push(old, ""), "rejected")
	if r.Code != "secret" || !strings.Contains(r.Problems[0], "uplink.password") || strings.Contains(r.Problems[0], "secret,") {
		t.Errorf("%+v", r)
	}
	// So it is put into a file at the site, as the documents say.
	if err := os.WriteFile(filepath.Join(a.dir, "mqtt.password"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	old = strings.Replace(old, "password: secret", "password_file: mqtt.password", 1)
	if err := os.WriteFile(a.config, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	a.daemon.Signal(syscall.SIGHUP)
	a.daemon.Until("the site's new file", func() bool {
		return a.reports(a.number, "rejected").Running == sumOf(old)
	})

	// Broken: refused, with line and column.
	r = a.reports(a.push(strings.Replace(old, "unit_id: 3", "unit_id: many", 1), ""), "rejected")
	if r.Code != "invalid" || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], ":7:18: modbus[0].devices[0].unit_id: ") {
		t.Errorf("%+v", r)
	}
	// One that silences a device: tried, and rolled back.
	silent := strings.Replace(old, "unit_id: 3", "unit_id: 9", 1)
	version := a.push(silent, `,"watch":"5s","base":"`+sumOf(old)+`"`)
	a.reports(version, "watching")
	r = a.reports(version, "rolled_back")
	if r.Code != "worse" || r.Running != sumOf(old) || !strings.Contains(strings.Join(r.Problems, " "), "slave_offline") {
		t.Errorf("%+v", r)
	}
	// The same again, and after a start too: no attempt.
	tried := func() int { return strings.Count(a.daemon.Log.String(), "a configuration is put in place") }
	before := tried()
	a.desire(version, silent, "")
	requests := a.slave.Requests()
	a.daemon.Until("polls", func() bool { return a.slave.Requests() > requests+10 })
	a.reports(version, "rolled_back")
	if tried() != before {
		t.Error("it was tried again")
	}
	a.complete(4)

	// A good one is confirmed.
	good := strings.Replace(old, "interval: 200ms", "interval: 100ms", 1)
	version = a.push(good, `,"watch":"5s"`)
	r = a.reports(version, "confirmed")
	if r.Running != sumOf(good) {
		t.Errorf("%+v", r)
	}
	// kill -9 in the watch of another one: the confirmed one runs, and says so.
	version = a.push(strings.Replace(old, "interval: 200ms", "interval: 300ms", 1), `,"watch":"1h"`)
	a.reports(version, "watching")
	a.daemon.Kill()
	a.run()
	r = a.reports(version, "rolled_back")
	if r.Code != "interrupted" || r.Running != sumOf(good) {
		t.Errorf("%+v", r)
	}
	a.complete(6) // the one that was killed may have delivered nothing
	// Without a broker it is there as well.
	stop(a.t, a.daemon)
	a.broker.Kill()
	requests = a.slave.Requests()
	a.run()
	a.daemon.Until("polls", func() bool { return a.slave.Requests() > requests+5 })
	if log := a.daemon.Log.String(); tried() > 0 || strings.Contains(log, "put in the place of the file cannot") {
		t.Error(log)
	}
	if text, err := os.ReadFile(a.config); err != nil || !bytes.Equal(text, []byte(old)) {
		t.Error("the site's file was changed")
	}
	state, err := os.ReadFile(filepath.Join(a.store, "state.json"))
	if err != nil || !strings.Contains(string(state), `"site": "`+sumOf(old)) {
		t.Errorf("%s %v", state, err)
	}
}

// swallower is a broker that takes every connection and acknowledges nothing.
func swallower(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(t.Context(), func() { c.Close() })
				defer stop()
				_, _ = c.Read(make([]byte, 1))
				_, _ = c.Write([]byte{0x20, 2, 0, 0}) // CONNACK
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return l.Addr().String()
}

// A push that cuts the uplink comes back by itself: refused where no broker
// answers, and rolled back at the end of the watch where one does and takes
// nothing. The data of that time arrives afterwards.
func TestRemoteConfigCutsTheUplink(t *testing.T) {
	t.Parallel()
	a := newAfar(t, "remote_config: {mode: apply, allow: [modbus, uplink]}\n")
	old := a.hide()
	r := a.reports(a.push(strings.Replace(old, a.broker.Addr(), "127.0.0.1:1", 1), ""), "rejected")
	if r.Code != "no_uplink" || r.Running != sumOf(old) {
		t.Errorf("%+v", r)
	}
	began := time.Now()
	r = a.reports(a.push(strings.Replace(old, a.broker.Addr(), swallower(t), 1), `,"watch":"5s"`), "rolled_back")
	if r.Code != "no_uplink" || r.Running != sumOf(old) {
		t.Errorf("%+v", r)
	}
	t.Logf("the uplink was back %v after a push with a watch of 5 s", time.Since(began).Round(time.Millisecond))
	a.complete(3)
}

// hide puts the password of the site's file into one of its own, and returns what
// then runs.
func (a *afar) hide() string {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, "mqtt.password"), []byte("secret\n"), 0o600); err != nil {
		a.t.Fatal(err)
	}
	old := strings.Replace(a.file(), "password: secret", "password_file: mqtt.password", 1)
	if err := os.WriteFile(a.config, []byte(old), 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.daemon.Signal(syscall.SIGHUP)
	a.daemon.Until("the site's new file", func() bool { return a.reports(0, "none").Running == sumOf(old) })
	return old
}

// A DBC file comes along in chunks. What has come outlives a kill, the gateway
// names the chunk that is next, and nothing is tried before all are there.
func TestRemoteConfigWithParts(t *testing.T) {
	t.Parallel()
	const chunk = 256 << 10
	a := newAfar(t, remoteBoth)
	old := a.hide()
	dbc, err := os.ReadFile("../../../cmd/fieldferry/demo.dbc")
	if err != nil {
		t.Fatal(err)
	}
	dbc = append(dbc, bytes.Repeat([]byte("\n"), chunk)...) // two chunks
	sum := sumOf(string(dbc))
	send := func(n int) {
		t.Helper()
		file := filepath.Join(a.dir, "chunk")
		if err := os.WriteFile(file, dbc[n*chunk:min((n+1)*chunk, len(dbc))], 0o600); err != nil {
			t.Fatal(err)
		}
		a.as("gw", "mosquitto_pub", "-q", "1", "-t", fmt.Sprintf("site/gw-e2e/config/part/%s/%d", sum, n), "-f", file)
	}
	needs := func(version int64, n int) {
		t.Helper()
		a.daemon.Until(fmt.Sprintf("chunk %d is next", n), func() bool {
			return slices.Equal(a.reports(version, "waiting").Need, []string{fmt.Sprintf("%s/%d", sum, n)})
		})
	}
	version := a.push(old+"can: [{interface: \"sim:engine\", name: engine, dbc: [plant.dbc]}]\n", `,"watch":"5s","parts":{"plant.dbc":"`+sum+`"}`)
	needs(version, 0)
	send(0)
	needs(version, 1)
	a.daemon.Kill()
	a.said.mu.Lock()
	before := len(a.said.payloads)
	a.said.mu.Unlock()
	a.run()
	a.daemon.Until("a report of this life", func() bool { // from then on it listens
		a.said.mu.Lock()
		defer a.said.mu.Unlock()
		return len(a.said.payloads) > before
	})
	needs(version, 1)
	if r := a.reports(version, "waiting"); r.Running != sumOf(old) {
		t.Errorf("%+v", r)
	}
	send(1)
	a.reports(version, "confirmed")
	a.daemon.Until("a signal by the DBC file", func() bool {
		return strings.Contains(a.as("witness", "mosquitto_sub", "-t", "site/gw-e2e/engine", "-C", "3", "-W", "5"), `"EngineSpeed"`)
	})
	if _, err := os.Stat(filepath.Join(a.dir, "plant.dbc")); !os.IsNotExist(err) {
		t.Errorf("a file appeared at the site: %v", err)
	}
}

// Without the section nothing is subscribed to, nor reported.
func TestNoRemoteConfig(t *testing.T) {
	t.Parallel()
	a := newAfar(t, "")
	a.desire(1, strings.Replace(a.file(), "interval: 200ms", "interval: 100ms", 1), "")
	requests := a.slave.Requests()
	a.daemon.Until("polls", func() bool { return a.slave.Requests() > requests+10 })
	if strings.Contains(a.broker.Said(), "config/desired (QoS 1)") || strings.Contains(a.daemon.Log.String(), "put in place") {
		t.Error("a configuration from afar was heard")
	}
	a.said.mu.Lock()
	defer a.said.mu.Unlock()
	if len(a.said.payloads) > 0 {
		t.Errorf("reported: %s", a.said.payloads)
	}
}
