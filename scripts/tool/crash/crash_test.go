package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/scripts/test/rig"
)

func build(t *testing.T, flags ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "crash")
	if out, err := exec.Command("go", append(append([]string{"build"}, flags...), "-o", bin, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func TestKilledAtAnyInstantKeepsThePromise(t *testing.T) {
	cycles := "200"
	if testing.Short() {
		cycles = "20"
	}
	out, err := exec.Command(build(t), "kill", "-cycles", cycles, t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// Each system call by which the buffer meets the disk fails once. make test
// takes a sample; crash faults takes them all.
func TestEverySystemCallMayFail(t *testing.T) {
	needStrace(t)
	every := "61"
	if testing.Short() {
		every = "211"
	}
	out, err := exec.Command(build(t), "faults", "-every", every, t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func needStrace(t *testing.T) {
	t.Helper()
	err := exec.Command("strace", "-o", os.DevNull, "true").Run()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("strace: %v", err)
	}
	t.Skipf("strace is missing or may not trace here (scripts/deps test): %v", err)
}

// The power is cut at a sample of the places between system calls; crash cuts
// -places 0 takes them all.
func TestPowerCutsKeepThePromise(t *testing.T) {
	needStrace(t)
	places := "100"
	if testing.Short() {
		places = "20"
	}
	out, err := exec.Command(build(t), "cuts", "-lives", "2", "-places", places, t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// Each of these buffers breaks the promise in a way that only shows when the
// power fails, and has to be caught.
func TestPowerCutsFindABrokenBuffer(t *testing.T) {
	needStrace(t)
	for name, m := range map[string]struct{ file, old, new string }{
		"directories are not synced":     {"segment.go", "func syncDir(dir string) error {\n", "func syncDir(dir string) error {\n\tif dir != \"\" {\n\t\treturn nil\n\t}\n"},
		"records are not synced":         {"segment.go", "NoStatistics: true,", "NoStatistics: true, NoSync: true,"},
		"promised before it is synced":   {"chain.go", "if !k.synced && !k.logged {\n\t\t\ts.Unsynced +=", "if false {\n\t\t\ts.Unsynced +="},
		"the journal is not synced":      {"journal.go", "syscall.Fdatasync(int(j.f.Fd())); err", "(func(...any) error { return nil })(syscall.ENOSYS); err"},
		"the state is not synced":        {"state.go", "f.f.Sync(); err", "error(nil); err"},
		"removed before that was stored": {"chain.go", "noted = noted && s.sum.rows == 0", "noted = true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overlay := rig.Overlay(t, filepath.Join("../../../buffer", m.file), m.old, m.new)
			out, err := exec.Command(build(t, "-overlay", overlay), "cuts", "-lives", "4", "-places", "200", filepath.Join(t.TempDir(), "d")).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "power cut behind call") {
				t.Errorf("it was not caught: %v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// stored makes a buffer with ten records of source a.
func stored(t *testing.T, data func(seq uint64) []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	counted := func(prev uint64) uint64 { return prev + 1 }
	b, err := buffer.Open(buffer.Config{Dir: dir, SyncInterval: time.Hour, Draw: counted}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(10) {
		b.Source("a").Append(1, data(seq+1))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A checker that cannot fail proves nothing.
func TestCheckFindsABrokenPromise(t *testing.T) {
	good := stored(t, payload)
	cut := stored(t, payload)
	if err := os.Truncate(filepath.Join(cut, "00000001.db"), 0); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ dir, log, err string }{
		"kept":              {good, "session 1\nsynced a 10\nsynced a 1", ""},
		"acknowledged":      {good, "session 1\nacked 1 a 11 2\nsynced a 12\n", ""},
		"more was promised": {good, "session 1\nsynced a 11\n", "1 numbers of a in session 1, 11 to 11"},
		"another session":   {good, "session 1\nsession 2\nsynced a 1\n", "1 numbers of a in session 2, 1 to 1"},
		"session twice":     {good, "session 2\nsession 2\n", "follows"},
		"other data":        {stored(t, func(uint64) []byte { return []byte("x") }), "session 1\n", "has the data"},
		"damage":            {cut, "session 1\n", "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPromises()
			err := p.read(c.log)
			if err == nil {
				err = p.check(c.dir)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

// What strace prints of threads that end within a call is not a call that was made.
func TestLinesOfAnEndedProcess(t *testing.T) {
	for _, line := range []string{"+++ exited with 0 +++", "exit_group(0) = ?", "pwrite64(7, \"\\x00\", 1, 0) = ? <unavailable>", "???( <detached ...>", "fdatasync(8 <detached ...>"} {
		if _, err := parse(line); !errors.Is(err, errFailed) {
			t.Errorf("%s: %v", line, err)
		}
	}
	if e, err := parse("fsync(8) = 0"); err != nil || e.name != "fsync" || e.fd != 8 {
		t.Errorf("%+v, %v", e, err)
	}
}
