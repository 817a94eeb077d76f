package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// maxARM is what a binary for ARM may take of a small controller's flash, in bytes.
const maxARM = 12_000_000

// The binaries for ARM stay small: see docs/decisions/binary-size.md before
// adding a module.
func TestBinaryIsSmall(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("make", "-s", "-C", "../..", "cross-armv7", "cross-arm64", "DIST="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make cross: %v\n%s", err, out)
	}
	for _, arch := range []string{"armv7", "arm64"} {
		info, err := os.Stat(filepath.Join(dir, "fieldferry-linux-"+arch))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > maxARM {
			t.Errorf("the %s binary has %d bytes, more than %d", arch, info.Size(), maxARM)
		}
		t.Logf("the %s binary has %d bytes", arch, info.Size())
	}
}

// Packages that would each cost more than they are for. cobra imports
// text/template for help texts of one's own form, which this program does not
// have: the linker leaves it out.
func TestBinaryHasNoHeavyParts(t *testing.T) {
	const format = "{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}\n{{end}}"
	out, err := exec.Command("go", "list", "-deps", "-f", format, "fieldferry/cmd/fieldferry").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	heavy := []struct{ module, why string }{
		{"text/template", "1.8 MB; write the bytes"},
		{"html/template", "2.0 MB; pages are static files with JSON"},
		{"google.golang.org/protobuf", "a protobuf runtime; write the few fields"},
		{"github.com/prometheus/client_golang", "1.9 MB; write the text format"},
	}
	for line := range strings.Lines(string(out)) {
		from, to, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, h := range heavy {
			if strings.HasPrefix(to, h.module) && !strings.HasPrefix(from, h.module) && from != "github.com/spf13/cobra" {
				t.Errorf("%s imports %s: %s", from, to, h.why)
			}
		}
	}
}
