package main

import (
	"os"
	"testing"
)

// needsChildren skips a test that runs this binary as another process where the
// kernel cannot run it: under qemu-user it is of another machine.
func needsChildren(t *testing.T) {
	t.Helper()
	if os.Getenv("FIELDFERRY_QEMU_USER") != "" {
		t.Skip("qemu-user runs one process of another machine, not its children")
	}
}
