package modbus

import (
	"bytes"
	"context"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/modbus/modbustest"
)

// relay joins two pseudo-terminals, so that two programs share a line.
func relay(t *testing.T) (ours, theirs string) {
	t.Helper()
	a, err := modbustest.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	b, err := modbustest.OpenPTY()
	if err != nil {
		a.Close()
		t.Fatal(err)
	}
	var copies sync.WaitGroup
	copies.Go(func() { _, _ = io.Copy(a, b) })
	copies.Go(func() { _, _ = io.Copy(b, a) })
	t.Cleanup(func() {
		a.Close()
		b.Close()
		copies.Wait()
	})
	return a.Path, b.Path
}

func needPymodbus(t *testing.T) string {
	t.Helper()
	const python = "/usr/bin/python3" // Debian's, which python3-pymodbus belongs to
	if out, err := exec.Command(python, "-c", "import pymodbus.server, serial").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("python3-pymodbus and python3-serial are needed: %v\n%s", err, out)
		}
		t.Skipf("python3-pymodbus and python3-serial cannot be used: %v\n%s", err, out)
	}
	return python
}

// until ends a run when a reading satisfies a condition.
type until struct {
	book
	ok   func(map[string]string) bool
	stop context.CancelFunc
}

func (u *until) Reading(r *Reading) {
	u.book.Reading(r)
	if u.ok(of(*r)) {
		u.stop()
	}
}

func (u *until) Event(e bus.Event) { u.book.Event(e) }

// TestAgainstPymodbus polls a slave written by others.
func TestAgainstPymodbus(t *testing.T) {
	python := needPymodbus(t)
	pollPeer(t, func(port string) *exec.Cmd { return exec.Command(python, "testdata/pymodbus_server.py", port) })
}

// TestAgainstLibmodbus polls a slave written by yet others.
func TestAgainstLibmodbus(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	server := filepath.Join(t.TempDir(), "server")
	why := "gcc is not installed"
	if err == nil {
		out, err := exec.Command(gcc, "-o", server, "testdata/libmodbus_server.c", "-lmodbus").CombinedOutput()
		why = ""
		if err != nil {
			why = string(out)
		}
	}
	if why != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("gcc and libmodbus-dev are needed: %s", why)
		}
		t.Skipf("gcc and libmodbus-dev cannot be used: %s", why)
	}
	pollPeer(t, func(port string) *exec.Cmd { return exec.Command(server, port) })
}

// pollPeer polls a program that answers as the files of testdata describe.
func pollPeer(t *testing.T, command func(port string) *exec.Cmd) {
	t.Helper()
	ours, theirs := relay(t)
	server := command(theirs)
	var said bytes.Buffer
	server.Stderr = &said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("the server said:\n%s", said.String())
		}
	}()
	line, err := NewLine(LineConfig{
		Name: "l", Port: ours, BaudRate: 115200, Timeout: 2 * time.Second,
		Devices: []Device{{Name: "d", UnitID: 1, MaxGap: 8, Registers: []Register{
			{Name: "h7", Address: 7}, {Name: "h9", Address: 9, Type: Uint32, Scale: 0.1},
			{Name: "i20", Table: Input, Address: 20, Type: Int16},
			{Name: "c3", Table: Coil, Address: 3, Type: Bool}, {Name: "c4", Table: Coil, Address: 4, Type: Bool},
			{Name: "d12", Table: Discrete, Address: 12, Type: Bool},
			{Name: "none", Address: 200},
			{Name: "h99", Address: 99}, {Name: "h100", Address: 100},
		}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"h7": "7", "h9": "58983.4", "i20": "1020", "c3": "1", "c4": "0", "d12": "1", "h99": "99",
		"none": "exception 2: illegal data address", "h100": "exception 2: illegal data address",
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	u := &until{stop: cancel, ok: func(m map[string]string) bool { return maps.Equal(m, want) }}
	if err := line.Run(ctx, u); err != nil {
		t.Fatal(err)
	}
	if len(u.readings) == 0 || !maps.Equal(of(u.readings[len(u.readings)-1]), want) {
		t.Errorf("got %v\nwant %v", u.readings, want)
	}
}
