package rig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Lines of a configuration of mosquitto.
const (
	// Unbounded lets a subscriber be slower than its publisher.
	Unbounded = "max_inflight_messages 0\nmax_queued_messages 0"
	// Quiet writes no log: whoever started it is measured.
	Quiet = "log_type none"
)

// Persistent keeps the sessions of subscribers in dir, so that a restart does
// not cost them anything.
func Persistent(dir string) string {
	return "persistence true\npersistence_location " + dir + "/\nautosave_interval 1"
}

// Mosquitto is a broker that can be killed and started again at its address.
type Mosquitto struct {
	Port int

	program, conf string
	log           *Log
	cmd           *exec.Cmd
	ended         chan struct{} // cmd has ended
}

// NewMosquitto starts one that has its files in dir and listens on an address
// of this machine, with further lines of configuration.
func NewMosquitto(dir, listen string, lines ...string) (*Mosquitto, error) {
	program, err := find("mosquitto")
	if err != nil {
		return nil, err
	}
	m := &Mosquitto{program: program, conf: filepath.Join(dir, "mosquitto.conf"), log: &Log{}}
	for range 20 {
		// Below the range from which the kernel takes ports for connections,
		// so that it is still free when the broker comes back.
		m.Port = 15000 + rand.IntN(15000)
		text := fmt.Sprintf("listener %d %s\nallow_anonymous true\nuser root\n%s\n", m.Port, listen, strings.Join(lines, "\n"))
		if err := os.WriteFile(m.conf, []byte(text), 0o600); err != nil {
			return nil, err
		}
		if err = m.Start(); err == nil {
			return m, nil
		}
	}
	return nil, err
}

// StartMosquitto starts one for a test, on the loopback interface.
func StartMosquitto(tb testing.TB, lines ...string) *Mosquitto {
	tb.Helper()
	return StartMosquittoOn(tb, tb.TempDir(), "127.0.0.1", lines...)
}

// StartMosquittoOn starts one for a test, with its files in dir.
func StartMosquittoOn(tb testing.TB, dir, listen string, lines ...string) *Mosquitto {
	tb.Helper()
	Need(tb, "mosquitto", "mosquitto")
	m, err := NewMosquitto(dir, listen, lines...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.Kill)
	return m
}

// Addr is where clients of this machine find it.
func (m *Mosquitto) Addr() string { return fmt.Sprintf("127.0.0.1:%d", m.Port) }

// PID is the number of the process.
func (m *Mosquitto) PID() int { return m.cmd.Process.Pid }

// Said is what it has logged so far.
func (m *Mosquitto) Said() string { return m.log.String() }

// Start returns when it takes connections. It must not be running.
func (m *Mosquitto) Start() error {
	cmd := exec.Command(m.program, "-c", m.conf)
	cmd.Stdout, cmd.Stderr = m.log, m.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	m.cmd, m.ended = cmd, ended
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if listens(cmd.Process.Pid, m.Port) {
			return nil
		}
		select {
		case <-ended: // the port was taken, or it does not like its configuration
			return fmt.Errorf("mosquitto has ended:\n%s", m.log)
		case <-tick.C:
		}
	}
	m.Kill()
	return errors.New("mosquitto does not listen")
}

// Kill ends it as a crash would.
func (m *Mosquitto) Kill() {
	_ = m.cmd.Process.Kill() // it may have ended
	<-m.ended
}

// Stop ends it in order, so that it keeps its sessions if it is persistent.
func (m *Mosquitto) Stop() {
	_ = m.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	<-m.ended
}

// Restart kills it and starts it again at the same address.
func (m *Mosquitto) Restart() error {
	m.Kill()
	return m.Start()
}

// listens reports whether a process has a socket that listens on a TCP port:
// a connection alone could have come about with somebody else (proc(5)).
func listens(pid, port int) bool {
	table, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	mine := map[string]bool{}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		target, _ := os.Readlink(fd)
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			mine[strings.TrimSuffix(inode, "]")] = true
		}
	}
	const address, state, inode, listening = 1, 3, 9, "0A"
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > inode && f[state] == listening && strings.HasSuffix(f[address], fmt.Sprintf(":%04X", port)) && mine[f[inode]] {
			return true
		}
	}
	return false
}
