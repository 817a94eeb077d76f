package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The password of watch is read as strictly as that of the daemon.
func TestReadPassword(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		write(t, "plain", "pass\r\n"):                 "pass",
		write(t, "bom", "\ufeffpass\n"):               "pass",
		write(t, "lines", "pass\n\n"):                 "!has more than one line",
		write(t, "large", strings.Repeat("x", 1<<20)): "!is larger than",
		"/dev/zero": "!is a device",
		fifo:        "!is a named pipe",
	} {
		got, err := readPassword(path)
		if wrong, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), wrong) {
				t.Errorf("%s: %v, want that it %s", path, err, wrong)
			}
		} else if err != nil || got != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}
