package armcost

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
	"fieldferry/scripts/test/vm"
)

const (
	page    = "../../../docs/benchmarks-arm.md"
	candump = "../../../.cache/vm/candump" // scripts/test/vm/fetch
)

// The gateway takes no more instructions than the table says, compared with
// candump for the same frames in the same boot.
func TestCost(t *testing.T) {
	task := os.Getenv("ARMCOST")
	if task == "" {
		t.Skip("ARMCOST=check compares with the table, ARMCOST=write renews it (make bench-arm)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	now, kernel := measure(ctx, t)
	t.Logf("under %s\n%s", kernel, now)
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if task == "write" {
		before, rest, _ := strings.Cut(string(text), "| what |")
		_, after, _ := strings.Cut(rest, "\n\n")
		after = under.ReplaceAllString(after, "Measured under `"+kernel+"`")
		if err := os.WriteFile(page, []byte(before+now.String()+"\n"+after), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
		return
	}
	kept, err := parse(string(text))
	if err != nil {
		t.Fatalf("%s: %v", page, err)
	}
	worse, better := compare(now, kept)
	if m := under.FindStringSubmatch(string(text)); m == nil || m[1] != kernel {
		t.Skipf("Debian has another kernel than that of the table: make bench-arm renews it\n%s", strings.Join(worse, "\n"))
	}
	for _, line := range worse {
		t.Error(line)
	}
	if len(better) > 0 {
		t.Logf("better, make bench-arm renews the table:\n%s", strings.Join(better, "\n"))
	}
}

// under says of which kernel the table is: the work of the kernel counts too.
var under = regexp.MustCompile("Measured under `([^`]*)`")

func measure(ctx context.Context, t *testing.T) (got rows, kernel string) {
	t.Helper()
	bin, err := rig.Binary(vm.ARM.Target())
	if err != nil {
		t.Fatal(err)
	}
	libs := filepath.Join(candump, "lib", "arm-linux-gnueabihf")
	files := map[string]string{"/bin/fieldferry": bin, "/bin/site": filepath.Join(t.TempDir(), "site"),
		"/bin/candump":             filepath.Join(candump, "usr", "bin", "candump"),
		"/lib/ld-linux-armhf.so.3": filepath.Join(libs, "ld-linux-armhf.so.3"), "/lib/libc.so.6": filepath.Join(libs, "libc.so.6")}
	if err := vm.ARM.Build(ctx, "./testdata/site", files["/bin/site"]); err != nil {
		t.Fatal(err)
	}
	guest, err := vm.Boot(ctx, vm.Config{Kind: vm.ARM, Files: files, Memory: 256, Counted: true})
	if err != nil {
		t.Fatal(err, "; scripts/deps vm installs what a guest needs")
	}
	defer guest.Close()
	if err := guest.AddVCAN(ctx, "vcan0"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	status, err := guest.Run(ctx, vm.Command{Argv: []string{"/bin/site"}, Output: io.MultiWriter(&out, os.Stderr)})
	if err != nil || status != 0 {
		t.Fatalf("status %d, %v\n%s", status, err, &out)
	}
	var said struct {
		Kernel string
		Rows   rows
	}
	last := bytes.LastIndexByte(bytes.TrimSpace(out.Bytes()), '\n') + 1 // what comes before is how it went
	if err := json.Unmarshal(out.Bytes()[last:], &said); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return said.Rows, said.Kernel
}

func TestTheTableIsReadAsItIsWritten(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), kept.String()) {
		t.Errorf("the table of the document is not this:\n%s", kept)
	}
	if _, err := parse(strings.Replace(string(text), "| decoded frame |", "| coded frame |", 1)); err == nil {
		t.Error("a table without one of its rows is taken")
	}
}

func TestCompareSeesWhatIsWorse(t *testing.T) {
	kept := rows{}
	for _, name := range names {
		kept[name] = 1000
	}
	with := func(name string, n float64) rows {
		r := rows{}
		for _, other := range names {
			r[other] = 2000 // another scale is nobody's fault
		}
		r[name] = n
		return r
	}
	for _, c := range []struct {
		now           rows
		worse, better int
	}{
		{with(names[1], 2000), 0, 0},
		{with(names[1], 2059), 0, 0},
		{with(names[1], 2061), 1, 0},
		{with(names[1], 1930), 0, 1},
	} {
		worse, better := compare(c.now, kept)
		if len(worse) != c.worse || len(better) != c.better {
			t.Errorf("%v: worse %q, better %q", c.now, worse, better)
		}
	}
}
