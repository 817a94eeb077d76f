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
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
)

// mosquitto is a broker that keeps the sessions of its subscribers on disk,
// so that a restart does not cost a subscriber anything.
type mosquitto struct {
	*rig.Mosquitto
	dir string
}

func startMosquitto(t testing.TB, listen string) *mosquitto {
	t.Helper()
	dir := t.TempDir()
	return &mosquitto{rig.StartMosquittoOn(t, dir, listen, rig.Unbounded, rig.Persistent(dir)), dir}
}

// restart starts the broker again on the same port.
func (m *mosquitto) restart(t testing.TB) {
	t.Helper()
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
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
	s := m.listen(t, "-i", "witness", "-c", "-k", "5", "-t", topic)
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

// listen runs mosquitto_sub with QoS 1 until the test ends.
func (m *mosquitto) listen(t testing.TB, args ...string) *subscriber {
	t.Helper()
	s := &subscriber{changed: make(chan struct{}, 1), ended: make(chan struct{})}
	args = append([]string{"-h", "127.0.0.1", "-p", fmt.Sprint(m.Port), "-q", "1"}, args...)
	cmd := exec.Command(rig.Need(t, "mosquitto_sub", "mosquitto-clients"), args...)
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
	return s
}

// publish publishes one message with QoS 1, by mosquitto_pub.
func (m *mosquitto) publish(t testing.TB, topic, payload string) {
	t.Helper()
	out, err := exec.Command(rig.Need(t, "mosquitto_pub", "mosquitto-clients"), "-h", "127.0.0.1", "-p", fmt.Sprint(m.Port),
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
