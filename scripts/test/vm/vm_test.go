package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kinds are the guests the tests boot: user-mode-linux, and with
// VM_KINDS=uml,arm,arm64 the ARM ones too.
func kinds() []Kind {
	var ks []Kind
	for k := range strings.SplitSeq(os.Getenv("VM_KINDS"), ",") {
		if k != "" {
			ks = append(ks, Kind(k))
		}
	}
	if ks == nil {
		return []Kind{UML}
	}
	return ks
}

// eachKind runs a test under every kind of guest whose kernel is there.
func eachKind(t *testing.T, test func(ctx context.Context, t *testing.T, k Kind)) {
	for _, k := range kinds() {
		t.Run(string(k), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			test(ctx, t, k)
		})
	}
}

// boot boots a guest that has testdata/guest as /bin/guest.
func boot(ctx context.Context, t *testing.T, c Config) *Guest {
	t.Helper()
	if _, err := findKernel(c.Kind); errors.Is(err, ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	binary := filepath.Join(t.TempDir(), "guest")
	if err := c.Kind.Build(ctx, "./testdata/guest", binary); err != nil {
		t.Fatal(err)
	}
	if c.Files == nil {
		c.Files = map[string]string{}
	}
	c.Files["/bin/guest"] = binary
	g, err := Boot(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func guest(args ...string) Command { return Command{Argv: append([]string{"/bin/guest"}, args...)} }

// output collects what a program writes and tells when a text has come.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	want string
	seen chan struct{}
}

func waitFor(text string) *output { return &output{want: text, seen: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := strings.Contains(o.buf.String(), o.want)
	n, err := o.buf.Write(b)
	if !before && strings.Contains(o.buf.String(), o.want) {
		close(o.seen)
	}
	return n, err
}

func TestExitStatusComesBack(t *testing.T) {
	eachKind(t, func(ctx context.Context, t *testing.T, k Kind) {
		g := boot(ctx, t, Config{Kind: k})
		for _, want := range []int{7, 0} {
			status, err := g.Run(ctx, guest("exit", strconv.Itoa(want)))
			if err != nil || status != want {
				t.Errorf("exit %d: status %d, error %v", want, status, err)
			}
		}
		if status, err := g.Run(ctx, Command{Argv: []string{"/bin/nothing"}}); err == nil {
			t.Errorf("a program that is not there: status %d and no error", status)
		}
	})
}

func TestOutputComesBackWholeAndInOrder(t *testing.T) {
	eachKind(t, func(ctx context.Context, t *testing.T, k Kind) {
		g := boot(ctx, t, Config{Kind: k})
		var got bytes.Buffer
		c := guest("write", "2000")
		c.Output = &got
		if status, err := g.Run(ctx, c); err != nil || status != 0 {
			t.Fatalf("status %d, error %v", status, err)
		}
		lines := strings.Split(strings.TrimSpace(got.String()), "\n")
		if len(lines) != 2000 || lines[0] != "line 0" || lines[1999] != "line 1999" || !slices.IsSortedFunc(lines, byLength) {
			t.Errorf("got %d lines, from %q to %q", len(lines), lines[0], lines[len(lines)-1])
		}
	})
}

// byLength orders numbered lines whose numbers are not padded.
func byLength(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func TestProgramsRunSideBySideAndTakeSignals(t *testing.T) {
	eachKind(t, func(ctx context.Context, t *testing.T, k Kind) {
		g := boot(ctx, t, Config{Kind: k})
		out := waitFor("serving")
		c := guest("serve")
		c.Output = out
		server := g.Start(c)
		<-out.seen
		// A second program runs while the first one does.
		if status, err := g.Run(ctx, guest("exit", "4")); err != nil || status != 4 {
			t.Errorf("beside a running program: status %d, error %v", status, err)
		}
		if err := server.Signal(ctx, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if status, err := server.Wait(ctx); err != nil || status != 3 {
			t.Errorf("after SIGTERM: status %d, error %v", status, err)
		}
		if err := server.Signal(ctx, syscall.SIGTERM); err == nil {
			t.Error("signalling a program that has ended: no error")
		}
		out = waitFor("serving")
		c.Output = out
		server = g.Start(c)
		<-out.seen
		if err := server.Signal(ctx, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if status, err := server.Wait(ctx); err != nil || status != 128+9 {
			t.Errorf("after SIGKILL: status %d, error %v", status, err)
		}
	})
}

func TestCANLinksComeAndGo(t *testing.T) {
	eachKind(t, func(ctx context.Context, t *testing.T, k Kind) {
		g := boot(ctx, t, Config{Kind: k})
		up := func() string {
			var b bytes.Buffer
			c := guest("link", "vcan0")
			c.Output = &b
			if _, err := g.Run(ctx, c); err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(b.String())
		}
		if err := g.AddVCAN(ctx, "vcan0"); err != nil || up() != "true" {
			t.Fatalf("after adding it: error %v, up %q", err, up())
		}
		if err := g.SetLink(ctx, "vcan0", false); err != nil || up() != "false" {
			t.Errorf("after setting it down: error %v, up %q", err, up())
		}
		if err := g.SetLink(ctx, "vcan0", true); err != nil || up() != "true" {
			t.Errorf("after setting it up: error %v, up %q", err, up())
		}
		if err := g.DeleteLink(ctx, "vcan0"); err != nil || !strings.Contains(up(), "no such") {
			t.Errorf("after deleting it: error %v, up %q", err, up())
		}
		if err := g.DeleteLink(ctx, "vcan0"); err == nil {
			t.Error("deleting what is not there: no error")
		}
	})
}

func TestGuestReachesTheHostsLoopback(t *testing.T) {
	eachKind(t, func(ctx context.Context, t *testing.T, k Kind) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		served := make(chan struct{})
		go func() {
			defer close(served)
			if c, err := l.Accept(); err == nil {
				defer c.Close()
				io.Copy(c, c)
			}
		}()
		g := boot(ctx, t, Config{Kind: k, Network: true})
		_, port, _ := net.SplitHostPort(l.Addr().String())
		var b bytes.Buffer
		c := guest("echo", net.JoinHostPort(HostAddr, port), "300000")
		c.Output = &b
		if status, err := g.Run(ctx, c); err != nil || status != 0 || b.String() != "echoed 300000\n" {
			t.Errorf("status %d, error %v, output %q", status, err, &b)
		}
		l.Close()
		<-served
	})
}

func TestPanicIsToldApart(t *testing.T) {
	eachKind(t, func(ctx context.Context, t *testing.T, k Kind) {
		g := boot(ctx, t, Config{Kind: k})
		out := waitFor("serving")
		c := guest("serve")
		c.Output = out
		server := g.Start(c)
		<-out.seen
		var crash *Crash
		if err := g.Panic(ctx); !errors.As(err, &crash) || !crash.Panic || crash.Console == "" {
			t.Errorf("panicking the guest: %v", err)
		}
		if _, err := server.Wait(ctx); !errors.As(err, &crash) {
			t.Errorf("a program in a guest that panicked: %v", err)
		}
		if _, err := g.Run(ctx, guest("exit", "0")); !errors.As(err, &crash) {
			t.Errorf("a program after the panic: %v", err)
		}
	})
}

func TestEndOfTheContextKillsTheGuest(t *testing.T) {
	eachKind(t, func(ctx context.Context, t *testing.T, k Kind) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		g := boot(ctx, t, Config{Kind: k})
		out := waitFor("serving")
		c := guest("serve")
		c.Output = out
		server := g.Start(c)
		<-out.seen
		cancel()
		if _, err := server.Wait(context.WithoutCancel(ctx)); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of the context: %v", err)
		}
	})
}

func TestSuites(t *testing.T) {
	eachKind(t, func(ctx context.Context, t *testing.T, k Kind) {
		tmp := t.TempDir()
		config := Config{Kind: k, Files: map[string]string{}}
		suites := map[string]*Suite{}
		for _, name := range []string{"passes", "skips"} {
			s, err := k.BuildSuite(ctx, "./testdata/"+name, tmp)
			if err != nil {
				t.Fatal(err)
			}
			suites[name] = s
			for inside, src := range s.Files {
				config.Files[inside] = src
			}
		}
		g := boot(ctx, t, config)
		if err := g.RunSuite(ctx, suites["passes"], io.Discard); err != nil {
			t.Errorf("tests that pass: %v", err)
		}
		if err := g.RunSuite(ctx, suites["skips"], io.Discard); err == nil || !strings.Contains(err.Error(), "TestSkips") {
			t.Errorf("tests that skip: %v", err)
		}
		if err := g.RunSuite(ctx, suites["passes"], io.Discard, "-test.run=NoSuchTest"); err == nil {
			t.Error("a run without a test: no error")
		}
	})
}

func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		output string
		status int
		want   string // in the error; empty: none
	}{
		"passed":                {"=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n", 0, ""},
		"failed":                {"=== RUN   TestA\n--- FAIL: TestA (0.00s)\nFAIL\n", 1, "exit status 1"},
		"skipped":               {"=== RUN   TestA\n--- SKIP: TestA (0.00s)\nPASS\n", 0, "TestA"},
		"skipped in a subtest":  {"=== RUN   TestA\n    --- SKIP: TestA/b (0.00s)\nPASS\n", 0, "TestA/b"},
		"no tests":              {"testing: warning: no tests to run\nPASS\n", 0, "none ran"},
		"says SKIP in its text": {"=== RUN   TestA\n    a_test.go:1: no --- SKIP: here\n--- PASS: TestA (0.00s)\n", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var v verdict
			for b := range slices.Chunk([]byte(c.output), 5) {
				v.Write(b)
			}
			err := v.judge("p", c.status)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
