package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build builds fieldferry once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "fieldferry-e2e-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "fieldferry")
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "fieldferry/cmd/fieldferry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build fieldferry: %w\n%s", err, out)
	}
	return bin, nil
})

// daemon is one life of `fieldferry run`.
type daemon struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan struct{}
}

// lockedBuffer takes a process's output while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startDaemon(t testing.TB, config string) *daemon {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, log: &lockedBuffer{}, done: make(chan struct{})}
	d.cmd = exec.Command(bin, "run", "-c", config)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.cmd.Wait(); close(d.done) }()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.done
		if t.Failed() {
			t.Logf("log of the daemon:\n%s", d.log)
		}
	})
	d.waitLog("msg=ready")
	return d
}

// until waits until something is so, and fails the test if that does not come.
func (d *daemon) until(what string, so func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("%s: it never came", what)
		}
	}
}

// waitLog waits for a line in the daemon's log.
func (d *daemon) waitLog(text string) {
	d.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(d.log.String(), text); time.Sleep(10 * time.Millisecond) {
		select {
		case <-d.done:
			d.t.Fatalf("the daemon ended:\n%s", d.log)
		default:
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("no %q in the daemon's log:\n%s", text, d.log)
		}
	}
}

// kill kills the daemon as a crash would and returns when it was still alive.
func (d *daemon) kill() time.Time {
	at := time.Now()
	_ = d.cmd.Process.Kill()
	<-d.done
	return at
}

// stop asks the daemon to end, which it must do well within the time systemd
// gives it.
func (d *daemon) stop() {
	d.t.Helper()
	began := time.Now()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	select {
	case <-d.done:
	case <-time.After(30 * time.Second):
		d.t.Fatal("the daemon does not stop")
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Errorf("the daemon ended with code %d", code)
	}
	if took := time.Since(began); took > 5*time.Second {
		d.t.Errorf("the daemon took %v to stop", took)
	}
}

// pending is how many records `fieldferry buffer info` finds unacknowledged.
func pending(t testing.TB, dir string) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "buffer", "info", "--json", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("buffer info: %v\n%s", err, out)
	}
	return string(out)
}

// writeLog writes a candump -l log of n frames, one each period, whose data
// is their index.
func writeLog(t testing.TB, path string, n int, period time.Duration) {
	t.Helper()
	var b bytes.Buffer
	at := time.Duration(1_436_509_052) * time.Second
	for i := range n {
		var data [8]byte
		binary.BigEndian.PutUint64(data[:], uint64(i))
		fmt.Fprintf(&b, "(%d.%06d) can0 %s#%X\n", at/time.Second, at%time.Second/time.Microsecond,
			[]string{"123", "0CF00400", "7FF"}[i%3], data)
		at += period
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startSlave serves a pymodbus slave and returns the port to poll it on.
func startSlave(t testing.TB) string {
	t.Helper()
	socat := need(t, "socat", "socat")
	python := "/usr/bin/python3" // not whatever python stands first in the path: the package is Debian's
	if err := exec.Command(python, "-c", "import pymodbus").Run(); err != nil {
		need(t, "python3 with pymodbus", "python3-pymodbus")
	}
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "line"), filepath.Join(dir, "slave")
	run := func(name string, args ...string) int {
		cmd := exec.Command(name, args...)
		out := &lockedBuffer{}
		cmd.Stdout, cmd.Stderr = out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("%s: %s", filepath.Base(name), out)
			}
		})
		return cmd.Process.Pid
	}
	run(socat, "pty,raw,echo=0,link="+ours, "pty,raw,echo=0,link="+theirs)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err1 := os.Stat(ours)
		_, err2 := os.Stat(theirs)
		if err1 == nil && err2 == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("socat made no pseudo-terminals")
		}
	}
	script, err := filepath.Abs("testdata/pymodbus_slave.py")
	if err != nil {
		t.Fatal(err)
	}
	pid := run(python, script, theirs)
	device, err := filepath.EvalSymlinks(theirs)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); !hasOpen(pid, device); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("pymodbus does not open its port")
		}
	}
	return ours
}

// hasOpen says whether a process has a file open.
func hasOpen(pid int, path string) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return slices.ContainsFunc(fds, func(fd string) bool {
		target, err := os.Readlink(fd)
		return err == nil && target == path
	})
}
