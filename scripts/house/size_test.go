package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// maxARMv7 is what the binary may take of a small controller's flash, in bytes.
const maxARMv7 = 10_000_000

// The binary for ARMv7 stays small: see docs/decisions/binary-size.md before
// adding a module.
func TestBinaryIsSmall(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("make", "-s", "-C", "../..", "cross", "CROSS=armv7:arm:7:4096", "DIST="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make cross: %v\n%s", err, out)
	}
	info, err := os.Stat(filepath.Join(dir, "fieldferry-linux-armv7"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxARMv7 {
		t.Errorf("the ARMv7 binary has %d bytes, more than %d", info.Size(), maxARMv7)
	}
	t.Logf("the ARMv7 binary has %d bytes", info.Size())
}
