package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Kind is a kind of guest.
type Kind string

// The kinds of guests.
const (
	// UML is Debian's user-mode-linux kernel: a program like any other,
	// natively fast, but with slow system calls. For every day.
	UML Kind = "uml"
	// ARM is Debian's ARMv7 kernel under qemu-system-arm: the target's kernel
	// and instruction set. For releases.
	ARM Kind = "arm"
	// ARM64 is Debian's ARMv8 kernel under qemu-system-aarch64, with two CAN
	// controllers (can0 and can1, on one bus) that the ARMv7 kernel has no
	// driver for. They have bit timing and modes, but no errors: QEMU's bus
	// does not know bit rates. For releases.
	ARM64 Kind = "arm64"
)

// Target is what `make cross` calls the binaries that run in guests of this kind.
func (k Kind) Target() string {
	return map[Kind]string{UML: "amd64", ARM: "armv7", ARM64: "arm64"}[k]
}

// ErrMissing is wrapped by the errors that say that a kernel or a program
// the bench needs is not installed.
var ErrMissing = errors.New("not installed")

// kernel is where the parts of a guest's kernel package lie.
type kernel struct {
	image   string
	modules string // directory with all its modules
	slirp   string // UML: the program that is its network
}

// findKernel looks for what scripts/test/vm/fetch has put into the cache.
func findKernel(k Kind) (kernel, error) {
	root, err := moduleRoot()
	if err != nil {
		return kernel{}, err
	}
	dir := filepath.Join(root, ".cache", "vm", string(k))
	var found kernel
	var parts []part
	switch k {
	case UML:
		parts = []part{{&found.image, "usr/bin/linux.uml"}, {&found.modules, "usr/lib/uml/modules/*"}, {&found.slirp, "usr/bin/slirp-fullbolt"}}
	case ARM, ARM64:
		parts = []part{{&found.image, "boot/vmlinuz-*"}, {&found.modules, "lib/modules/*"}}
	default:
		return kernel{}, fmt.Errorf("unknown kind of guest %q; use %q, %q or %q", k, UML, ARM, ARM64)
	}
	for _, p := range parts {
		match, err := filepath.Glob(filepath.Join(dir, p.pattern))
		if err != nil {
			return kernel{}, err
		}
		if len(match) != 1 {
			return kernel{}, fmt.Errorf("kernel of the %s guest: %w: run scripts/test/vm/fetch %s", k, ErrMissing, k)
		}
		*p.path = match[0]
	}
	return found, nil
}

type part struct {
	path    *string
	pattern string
}

// moduleRoot is the directory of the go.mod above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working directory: run inside the source tree")
		}
	}
}

// Build compiles the main package pkg (a path as go build takes it) into the
// static binary out that runs in guests of this kind.
func (k Kind) Build(ctx context.Context, pkg, out string) error {
	return k.compile(ctx, out, "build", "-buildvcs=false", "-trimpath", "-o", out, pkg)
}

// BuildTest compiles the tests of the package pkg into the static binary out
// that runs in guests of this kind.
func (k Kind) BuildTest(ctx context.Context, pkg, out string) error {
	return k.compile(ctx, out, "test", "-trimpath", "-c", "-o", out, pkg)
}

func (k Kind) compile(ctx context.Context, out string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	switch k {
	case UML:
		cmd.Env = append(cmd.Env, "GOARCH=amd64")
	case ARM:
		cmd.Env = append(cmd.Env, "GOARCH=arm", "GOARM=7")
	case ARM64:
		cmd.Env = append(cmd.Env, "GOARCH=arm64")
	}
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, msg)
	}
	// go test -c succeeds without a binary when a package has no tests.
	if _, err := os.Stat(out); err != nil {
		return fmt.Errorf("go %v: nothing was built: %w", args, err)
	}
	return nil
}
