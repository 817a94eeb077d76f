package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/buffer"
)

func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "crash")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
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
	if err := exec.Command("strace", "-o", os.DevNull, "true").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("strace: %v", err)
		}
		t.Skipf("strace is missing or may not trace here (scripts/deps test): %v", err)
	}
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

// stored makes a buffer with ten records of source a.
func stored(t *testing.T, data func(seq uint64) []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	b, err := buffer.Open(buffer.Config{Dir: dir, SyncInterval: time.Hour}, nil)
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
		"more was promised": {good, "session 1\nsynced a 11\n", "number 11 of a"},
		"another session":   {good, "session 1\nsession 2\nsynced a 1\n", "number 1 of a in session 2"},
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
