package rig

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Binary builds fieldferry as it ships for a target of `make cross`, as armv7
// or amd64, and returns the file. It stays in .cache, where the next build has
// nothing to do.
func Binary(target string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "fieldferry").Output()
	if err != nil {
		return "", fmt.Errorf("where fieldferry is: go list -m: %w", err)
	}
	root := strings.TrimSpace(string(out))
	dir := filepath.Join(root, ".cache", "rig")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a directory of the tree
		return "", err
	}
	lock, err := os.Create(filepath.Join(dir, "lock")) // the tests of several packages run at the same time
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if out, err := exec.Command("make", "-s", "-C", root, "cross-"+target, "DIST="+dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make cross-%s: %w\n%s", target, err, out)
	}
	path := filepath.Join(dir, "fieldferry-linux-"+target)
	_, err = os.Stat(path)
	return path, err
}

var host = sync.OnceValues(func() (string, error) {
	target := runtime.GOARCH
	if target == "arm" {
		target = "armv6"
	}
	return Binary(target)
})

// Fieldferry is the program for this machine.
func Fieldferry(tb testing.TB) string {
	tb.Helper()
	bin, err := host()
	if err != nil {
		tb.Fatal(err)
	}
	return bin
}

// Pending is how many records `fieldferry buffer info` finds unacknowledged.
func Pending(tb testing.TB, dir string) uint64 {
	tb.Helper()
	out, err := exec.Command(Fieldferry(tb), "buffer", "info", "--json", dir).CombinedOutput()
	var info struct {
		Pending *uint64 `json:"pending"`
	}
	if err == nil {
		err = json.Unmarshal(out, &info)
	}
	if err == nil && info.Pending == nil {
		err = errors.New("it says nothing of what is pending")
	}
	if err != nil {
		tb.Fatalf("buffer info --json: %v\n%s", err, out)
	}
	return *info.Pending
}
