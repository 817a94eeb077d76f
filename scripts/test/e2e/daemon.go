package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
)

// startDaemon starts the daemon and waits until it is ready.
func startDaemon(t testing.TB, config string, more ...string) *rig.Process {
	t.Helper()
	d := rig.StartDaemon(t, nil, config, more...)
	d.Says("msg=ready")
	return d
}

// stop asks the daemon to end, which it must do well within the time systemd
// gives it.
func stop(t testing.TB, d *rig.Process) {
	t.Helper()
	if took := d.Stop(); took > 5*time.Second {
		t.Errorf("the daemon took %v to stop", took)
	}
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
	socat := rig.Need(t, "socat", "socat")
	python := "/usr/bin/python3" // not whatever python stands first in the path: the package is Debian's
	if err := exec.Command(python, "-c", "import pymodbus").Run(); err != nil {
		rig.Need(t, "python3 with pymodbus", "python3-pymodbus")
	}
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "line"), filepath.Join(dir, "slave")
	rig.Start(t, nil, socat, "pty,raw,echo=0,link="+ours, "pty,raw,echo=0,link="+theirs)
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
	pid := rig.Start(t, nil, python, script, theirs).PID()
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
