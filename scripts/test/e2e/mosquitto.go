// Package e2e runs the built fieldferry against parts written by others: the
// mosquitto broker, its subscriber, and a pymodbus slave.
//
// # Caveats
//
// The parts come from Debian packages; scripts/deps installs them. Under
// CI=true a missing part fails the tests, else it skips them.
package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// need returns the path of a program, or ends the test with the reason.
func need(t testing.TB, program, pkg string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/usr/bin/"} {
		if path, err := exec.LookPath(dir + program); err == nil {
			return path
		}
	}
	reason := fmt.Sprintf("%s is missing; install the Debian package %s", program, pkg)
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
	return ""
}

// mosquitto is a broker that keeps the sessions of its subscribers on disk,
// so that a restart does not cost a subscriber anything.
type mosquitto struct {
	t       testing.TB
	program string
	dir     string
	port    int
	cmd     *exec.Cmd
	exited  chan struct{}
	log     *lockedBuffer
}

// startMosquitto starts a broker on a free port.
func startMosquitto(t testing.TB, listen string) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, program: need(t, "mosquitto", "mosquitto"), dir: t.TempDir(), log: &lockedBuffer{}}
	if err := os.Chmod(m.dir, 0o777); err != nil { // as root it runs as its own user
		t.Fatal(err)
	}
	for range 20 {
		// Below the range from which the kernel takes ports for connections,
		// so that it is still free when the broker restarts.
		m.port = 20000 + rand.IntN(10000)
		conf := fmt.Sprintf("listener %d %s\nallow_anonymous true\nuser root\npersistence true\npersistence_location %s/\n"+
			"autosave_interval 1\nmax_inflight_messages 0\nmax_queued_messages 0\n", m.port, listen, m.dir)
		if err := os.WriteFile(filepath.Join(m.dir, "mosquitto.conf"), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		if m.start() {
			t.Cleanup(m.kill)
			return m
		}
	}
	t.Fatalf("mosquitto does not start:\n%s", m.log)
	return nil
}

func (m *mosquitto) addr() string { return fmt.Sprintf("127.0.0.1:%d", m.port) }

// start starts the broker and says whether it is the one that listens.
func (m *mosquitto) start() bool {
	m.cmd = exec.Command(m.program, "-c", filepath.Join(m.dir, "mosquitto.conf"))
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	exited := make(chan struct{})
	m.exited = exited
	go func() { _ = m.cmd.Wait(); close(exited) }()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-exited: // the port was taken
			return false
		default:
		}
		if conn, err := net.Dial("tcp", m.addr()); err == nil {
			conn.Close()
			return true
		}
	}
	m.kill()
	return false
}

// restart starts the broker again on the same port.
func (m *mosquitto) restart() {
	m.t.Helper()
	if !m.start() {
		m.t.Fatalf("mosquitto does not start again:\n%s", m.log)
	}
}

func (m *mosquitto) kill() {
	_ = m.cmd.Process.Kill()
	<-m.exited
}

// subscriber is mosquitto_sub with a session of its own at the broker: an
// independent witness of what was delivered.
type subscriber struct {
	mu       sync.Mutex
	payloads [][]byte
	changed  chan struct{}
	ended    chan struct{}
}

func (m *mosquitto) subscribe(t testing.TB, topic string) *subscriber {
	t.Helper()
	s := &subscriber{changed: make(chan struct{}, 1), ended: make(chan struct{})}
	cmd := exec.Command(need(t, "mosquitto_sub", "mosquitto-clients"), "-h", "127.0.0.1", "-p", fmt.Sprint(m.port),
		"-i", "witness", "-c", "-q", "1", "-k", "5", "-t", topic)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(s.ended); s.read(out) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.ended
		_ = cmd.Wait()
	})
	// The broker must have saved the subscription before anybody publishes,
	// or kills it.
	db := filepath.Join(m.dir, "mosquitto.db")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if data, _ := os.ReadFile(db); bytes.Contains(data, []byte("witness")) && bytes.Contains(data, []byte(topic)) {
			return s
		}
		select {
		case <-s.ended:
			t.Fatal("mosquitto_sub ended")
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("mosquitto did not save the subscription")
		}
	}
}

// publish publishes one message with QoS 1, by mosquitto_pub.
func (m *mosquitto) publish(t testing.TB, topic, payload string) {
	t.Helper()
	out, err := exec.Command(need(t, "mosquitto_pub", "mosquitto-clients"), "-h", "127.0.0.1", "-p", fmt.Sprint(m.port),
		"-q", "1", "-t", topic, "-m", payload).CombinedOutput()
	if err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
}

// read takes mosquitto_sub's output, a payload a line.
func (s *subscriber) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Bytes()
		s.mu.Lock()
		s.payloads = append(s.payloads, bytes.Clone(line))
		s.mu.Unlock()
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}
