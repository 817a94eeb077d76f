package systemd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fieldferry/scripts/test/vm"
)

const (
	root   = "../../../.cache/systemd/root"
	kernel = "../../../.cache/vm/uml/usr/bin/linux.uml"
)

func TestPackageUnderSystemd(t *testing.T) {
	if os.Getenv("SYSTEMD_GUEST") == "" {
		t.Skip("it takes minutes, root and a Debian; make systemd-test runs it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	disk := makeDisk(ctx, t)
	for _, phase := range []string{"first", "boot"} {
		t.Run(phase, func(t *testing.T) { steps(t, bootPhase(ctx, t, disk, phase), phase) })
	}
}

// steps makes a test of each step that the guest spoke of.
func steps(t *testing.T, console, phase string) {
	t.Helper()
	n := 0
	for line := range strings.Lines(console) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "STEP ok "); ok {
			n++
			t.Log(name)
		} else if _, ok := strings.CutPrefix(line, "STEP failed "); ok {
			t.Error(line)
		} else if text, ok := strings.CutPrefix(line, "STATUS "); ok {
			t.Log("STATUS=" + text)
		}
	}
	if n == 0 || !strings.Contains(console, "STEP end "+phase) {
		t.Errorf("the guest did not come to the end:\n%s", console[max(0, len(console)-4000):])
	}
}

// makeDisk makes a disk of the root, the package and the steps.
func makeDisk(ctx context.Context, t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("the disk's files belong to root, so making it takes root")
	}
	if _, err := os.Stat(root); err != nil {
		t.Fatalf("%v: run scripts/test/systemd/root", err)
	}
	dir := t.TempDir()
	inside := filepath.Join(dir, "root")
	run(ctx, t, "cp", "-a", root, inside)
	binary := filepath.Join(dir, "fieldferry")
	if err := vm.UML.Build(ctx, "fieldferry/cmd/fieldferry", binary); err != nil {
		t.Fatal(err)
	}
	run(ctx, t, "../../deb/build", "amd64", binary, dir)
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatal(debs, err)
	}
	run(ctx, t, "cp", debs[0], filepath.Join(inside, "root", "fieldferry.deb"))
	run(ctx, t, "cp", "testdata/steps", filepath.Join(inside, "root", "steps"))
	disk := filepath.Join(dir, "disk")
	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(800 << 20); err != nil { // mostly a hole
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	run(ctx, t, "/sbin/mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", "-d", inside, disk)
	return disk
}

func run(ctx context.Context, t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// bootPhase boots the disk and returns what the console said until the guest
// was off.
func bootPhase(ctx context.Context, t *testing.T, disk, phase string) string {
	t.Helper()
	dir := t.TempDir()
	begin := time.Now()
	cmd := exec.CommandContext(ctx, kernel, "mem=384M", "ubd0="+disk, "root=/dev/ubda", "rw", "quiet", "panic=-1",
		"con=null", "con0=null,fd:1", "uml_dir="+dir, "console=tty0", "systemd.show_status=0", "phase="+phase)
	path := filepath.Join(dir, "console")
	console, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	cmd.Stdout, cmd.Stderr = console, console
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // user-mode-linux keeps its memory there
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: run scripts/test/vm/fetch uml", err)
	}
	t.Logf("the guest boots: tail -f %s", path)
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what is left of the group
	t.Logf("the guest ended after %.0f s, %v", time.Since(begin).Seconds(), err)
	text, readErr := os.ReadFile(path)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return strings.ReplaceAll(string(text), "\r", "")
}
