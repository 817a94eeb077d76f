package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fieldferry/scripts/test/rig"
)

// packages are what the guest installs, one after the other.
type packages struct {
	built   string // as `make deb` makes it
	next    string // the same with a higher version
	refuses string // higher still: its program refuses a value that all others take
}

func makePackages(t *testing.T) packages {
	t.Helper()
	dir := t.TempDir()
	run(t, "../../deb/build", "amd64", rig.Fieldferry(t), dir)
	match, err := filepath.Glob(filepath.Join(dir, "fieldferry_*_amd64.deb"))
	if err != nil || len(match) != 1 {
		t.Fatal(match, err)
	}
	// It no longer takes a turnaround of more than 5 ms.
	overlay := rig.Overlay(t, "../../../gateway/config/modbus.go", "high: modbus.MaxTurnaround", "high: 5 * time.Millisecond")
	other := filepath.Join(dir, "other")
	cmd := exec.Command("go", "build", "-trimpath", "-overlay", overlay, "-o", other, "fieldferry/cmd/fieldferry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return packages{built: match[0], next: repack(t, match[0], "99.1", ""), refuses: repack(t, match[0], "99.2", other)}
}

// repack makes a package of another version, with another program.
func repack(t *testing.T, deb, version, program string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deb")
	run(t, "dpkg-deb", "-R", deb, dir)
	control := filepath.Join(dir, "DEBIAN", "control")
	text, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^Version: .*$`).ReplaceAll(text, []byte("Version: "+version))
	if err := os.WriteFile(control, text, 0o644); err != nil { //nolint:gosec // as dpkg wants it
		t.Fatal(err)
	}
	if program != "" {
		run(t, "install", "-m", "755", program, filepath.Join(dir, "usr/bin/fieldferry"))
	}
	out := filepath.Join(t.TempDir(), "fieldferry_"+version+"_amd64.deb")
	run(t, "dpkg-deb", "--root-owner-group", "-Zgzip", "-b", dir, out)
	return out
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}
