package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// childArgs, in the environment, has the test binary be fieldferry.
const childArgs = "FIELDFERRY_TEST_ARGS"

// memoryLimit is what a gateway may take of a small board, in KiB: VmHWM, with
// the pages of the program itself. The test binary is larger than the program.
const memoryLimit = 128 << 10

// TestMemoryChild is not a test: it is the process whose memory is measured.
func TestMemoryChild(t *testing.T) {
	args := os.Getenv(childArgs)
	if args == "" {
		t.Skip("only run by TestMemory")
	}
	a := &app{stdin: os.Stdin, stdout: io.Discard, stderr: os.Stderr, getenv: os.LookupEnv, hostname: os.Hostname}
	a.main(t.Context(), strings.Split(args, "\n"))
	fmt.Fprintln(os.Stderr, "peak", highWater(t, os.Getpid()))
}

// raced says that the race detector is at work.
var raced bool

func highWater(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the kernel does not say VmHWM")
	return 0
}

func child(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryChild$")
	c.Env = append(os.Environ(), childArgs+"="+strings.Join(args, "\n"))
	return c
}

// worstAccepted has as many messages, signals, labels and attributes as a DBC file may have;
// worstRefused has one signal more.
func worstAccepted() []byte {
	var b bytes.Buffer
	b.WriteString("VERSION \"\"\nBU_: E\n")
	for i := range 1 << 14 {
		fmt.Fprintf(&b, "BO_ %d Message%d: 8 E\n SG_ First%d : 0|8@1+ (1,0) [0|255] \"rpm\" E\n SG_ Second%d : 8|8@1+ (0.125,0) [0|30] \"km/h\" E\n", uint32(1<<31)+uint32(i), i, i, i)
	}
	for i := range 1 << 14 {
		fmt.Fprintf(&b, "VAL_ %d First%d", uint32(1<<31)+uint32(i), i)
		for k := range 8 {
			fmt.Fprintf(&b, " %d \"state %d of %d\"", k, k, i)
		}
		b.WriteString(" ;\n")
	}
	return b.Bytes()
}

func worstRefused() []byte {
	return append(worstAccepted(), "BO_ 1 One: 8 E\n SG_ TooMany : 0|8@1+ (1,0) [0|0] \"\" E\n"...)
}

// longLine is a line of 100 MB.
func longLine() io.Reader { return io.LimitReader(endless{}, 100<<20) }

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

var wholeMemory = flag.Bool("memory", false, "TestMemory tries all verbs, not the two that need most (20 s)")

// TestMemory: what reads a file stays below the high-water mark of a small
// board, also for the worst file that is accepted and the worst that is
// refused, and for input without an end. All of it:
//
//	go test ./cmd/fieldferry -run TestMemory -v -memory
func TestMemory(t *testing.T) {
	if raced {
		t.Skip("the race detector takes several times the memory")
	}
	needsChildren(t)
	dir := t.TempDir()
	put := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, bad := put("good.dbc", worstAccepted()), put("bad.dbc", worstRefused())
	faulty := put("faulty.dbc", bytes.Repeat([]byte("BO_ 1 M: x E\n SG_ bad : q\n"), (8<<20)/27))
	large := put("large.dbc", bytes.Repeat([]byte("x"), 17<<20))
	config := func(dbc string) string {
		return put(filepath.Base(dbc)+".yaml", []byte(fmt.Sprintf("can: [{interface: \"sim:ramp\", dbc: [%q]}]\nbuffer: {path: %q}\nuplink: {servers: [\"mqtt://127.0.0.1:1\"]}\n", dbc, filepath.Join(dir, "buffer"))))
	}
	long := filepath.Join(dir, "long.log")
	f, err := os.Create(long)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(100 << 20); err != nil { // zeros: one line that does not end
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	verbs := [][]string{
		{"decode", "--dbc", good, "-"}, {"check", "--quiet", "-c", config(good)}, {"check", "-c", config(bad)}, {"check", "-c", config(faulty)}, {"check", "-c", config(large)},
		{"check", "--json", "-c", config(faulty)}, {"check", "-c", long}, {"decode", "--dbc", bad, "-"},
		{"decode", "--dbc", large, "-"}, {"decode", "--dbc", long, "-"}, {"can", "dump", "replay:" + long, "--for", "2s"},
	}
	if !*wholeMemory {
		verbs = verbs[:1]
	}
	for _, args := range verbs {
		c := child(t, args...)
		c.Stdin = longLine()
		var errs bytes.Buffer
		c.Stderr = &errs
		if err := c.Run(); err != nil {
			t.Fatal(args, err, errs.String())
		}
		_, peak, _ := strings.Cut(errs.String(), "peak ")
		n, err := strconv.Atoi(strings.TrimSpace(peak))
		if err != nil || n > memoryLimit {
			t.Errorf("%v: %d KiB, %v", args, n, err)
		}
		t.Logf("%v: %d KiB", args, n)
	}
	t.Run("watch", watchInLittleMemory)
	t.Run("reload", func(t *testing.T) { reloadInLittleMemory(t, good, config(good)) })
}

// reloadInLittleMemory has a daemon with the worst file it accepts read the
// worst one it refuses, twice.
func reloadInLittleMemory(t *testing.T, dbc, config string) {
	c := child(t, "run", "-c", config)
	logged, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Signal(syscall.SIGKILL); _ = c.Wait() }()
	lines := bufio.NewScanner(logged)
	await := func(part string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), part) {
				return
			}
		}
		t.Fatalf("the log ended without %q", part)
	}
	await("msg=ready")
	if err := os.WriteFile(dbc, worstRefused(), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await("more than")
	}
	n := highWater(t, c.Process.Pid)
	if n > memoryLimit {
		t.Errorf("reload: %d KiB", n)
	}
	t.Logf("reload: %d KiB", n)
}
