package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// program starts the program itself with a file as its stderr.
func program(t *testing.T, stderr *os.File, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

// fillPipe writes into a pipe until it takes no more.
func fillPipe(t *testing.T, w *os.File) {
	t.Helper()
	fd := int(w.Fd()) // from here on it blocks
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for size := 4096; size > 0; {
		if _, err := syscall.Write(fd, make([]byte, size)); errors.Is(err, syscall.EAGAIN) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
}

// Whoever reads the log, stops reading it or is gone: records are delivered,
// and the end comes in time.
func TestTheLogIsNoDependency(t *testing.T) {
	needsChildren(t)
	for name, spoil := range map[string]func(t *testing.T, r, w *os.File){
		"stuck": func(t *testing.T, _, w *os.File) { fillPipe(t, w) },
		"gone":  func(t *testing.T, r, _ *os.File) { r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			defer broker.Close()
			came := make(chan struct{}, 1)
			if err := broker.Subscribe("site/#", func(topic string, _ []byte) {
				if topic == "site/bus" {
					select {
					case came <- struct{}{}:
					default:
					}
				}
			}); err != nil {
				t.Fatal(err)
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			spoil(t, r, w)
			config := write(t, "f.yaml", fmt.Sprintf(`gateway: {id: gw}
can: [{interface: "sim:ramp", name: bus}]
buffer: {path: %q}
uplink: {servers: ["mqtt://%s"], topic: "site/{source}"}
`, filepath.Join(t.TempDir(), "buffer"), broker.Addr()))
			cmd := program(t, w, "run", "-c", config, "--log-level", "debug")
			w.Close()
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case <-came:
			case err := <-ended:
				t.Fatalf("it ended: %v", err)
			case <-time.After(time.Minute):
				t.Fatal("nothing was delivered")
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("it ended with %v", err)
				}
			case <-time.After(time.Minute):
				t.Error("it does not end")
			}
		})
	}
}

// A start that fails must end as well, with nobody to hear why.
func TestAFailedStartEndsWithAStuckLog(t *testing.T) {
	needsChildren(t)
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fillPipe(t, w)
	cmd := program(t, w, "run", "-c", write(t, "bad.yaml", "can: [{interfac: can0}]\n"))
	w.Close()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitUsage {
		t.Errorf("it ended with %v", err)
	}
}

// A verb that writes into a pipe whose reader has gone is to end by that, as
// every tool does.
func TestAVerbEndsWithItsReader(t *testing.T) {
	needsChildren(t)
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "can", "dump", "sim:ramp")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("it ended with %v", err)
	}
}
