package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// The variables by which the test starts itself as the process that dies.
const (
	childDir  = "FIELDFERRY_DAEMON_DIR"
	childStep = "FIELDFERRY_DAEMON_STEP" // at which it ends
	childMode = "FIELDFERRY_DAEMON_MODE"
	// killsVariable is how often the process is killed at each step.
	killsVariable = "FIELDFERRY_DAEMON_KILLS"
)

// TestChild is the process that is killed: it starts on the old configuration
// and puts the new one in place.
func TestChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("only as a process of its own")
	}
	s := &site{t, dir, filepath.Join(dir, "f.yaml")}
	last, _ := strconv.Atoi(os.Getenv(childStep))
	mode := os.Getenv(childMode)
	if mode == "prove" {
		broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		s.put("broker", "mqtt://"+broker.Addr())
	}
	o := s.options(io.Discard)
	steps := 0
	o.Store.step = func(string) {
		if steps++; steps == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	d, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	hangup := make(chan os.Signal, 1)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, hangup) }()
	switch mode {
	case "apply", "prove":
		watch := time.Duration(0)
		server := nobody
		if mode == "prove" {
			watch = 2500 * time.Millisecond
			b, _ := os.ReadFile(filepath.Join(dir, "broker"))
			server = string(b)
		}
		if err := d.Apply(ctx, []byte(text("new", "b.dbc", server)), "anna", watch); err != nil {
			t.Error(err)
		}
	case "reload":
		s.put("f.yaml", text("new", "b.dbc", nobody))
		hangup <- syscall.SIGHUP
		for d.opts.Store.State().Previous == "" { // the other goroutine writes whole files
			time.Sleep(time.Millisecond)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	fmt.Println("steps:", steps)
}

// child runs the process; it returns how many steps it took, -1 when it was killed.
func (s *site) child(mode string, step int) int {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), exe, "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), childDir+"="+s.dir, childStep+"="+strconv.Itoa(step), childMode+"="+mode)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return -1
	}
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	_, after, _ := strings.Cut(string(out), "steps: ")
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(line)
	if err != nil {
		s.t.Fatalf("%s", out)
	}
	return n
}

// Killed at any step, the next start has the old configuration or the new one,
// whole, with its parts, even if the files of both are gone by then.
func TestKilledAtEachStep(t *testing.T) {
	if os.Getenv("FIELDFERRY_QEMU_USER") != "" {
		t.Skip("the kernel of an emulated program cannot start another one of its kind")
	}
	t.Parallel()
	modes, kills, stride := []string{"apply", "reload"}, 1, 10
	if n, _ := strconv.Atoi(os.Getenv(killsVariable)); n > 0 {
		modes, kills, stride = []string{"apply", "reload", "prove"}, n, 1
	}
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) { killEverywhere(t, mode, kills, stride) })
	}
}

// killEverywhere kills the process at every stride-th step until it survives.
func killEverywhere(t *testing.T, mode string, kills, stride int) {
	t.Helper()
	killed, old := 0, 0
	for step, alive := 1+rand.IntN(stride), 0; alive < kills; step += stride {
		alive = 0
		for range kills {
			is, survived := killedAt(t, mode, step)
			if survived {
				alive++
				continue
			}
			killed++
			if is == "old" {
				old++
			}
		}
	}
	t.Logf("killed %d times, %d times the old configuration ran then", killed, old)
	if killed == 0 || stride == 1 && (old == 0 || old == killed) {
		t.Error("the steps are not where the change is")
	}
}

func killedAt(t *testing.T, mode string, step int) (is string, survived bool) {
	t.Helper()
	s := newSite(t)
	s.put("f.yaml", text("old", "a.dbc", nobody))
	was := s.mustStart("old").cfg
	survived = s.child(mode, step) >= 0
	server := nobody
	if b, err := os.ReadFile(filepath.Join(s.dir, "broker")); err == nil {
		server = string(b)
	}
	becomes := s.load(text("new", "b.dbc", server))
	// Nothing of the site is left to help.
	for _, name := range []string{"a.dbc", "b.dbc", "tpl", "f.yaml"} {
		if name == "f.yaml" && mode != "reload" {
			continue // the store's candidate runs while the file is as it was
		}
		if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := s.starts()
	if err != nil {
		t.Fatalf("%s, step %d: %v", mode, step, err)
	}
	switch {
	case c.cfg.Same(was):
		is = "old"
	case c.cfg.Same(becomes):
		is = "new"
	default:
		t.Fatalf("%s, step %d: neither the old nor the new one: %+v", mode, step, c.cfg)
	}
	if survived && is != "new" {
		t.Errorf("%s: it was confirmed, and the start has the %s one", mode, is)
	}
	// The next start has the same, and nothing is left under way.
	again, err := s.starts()
	if err != nil || !again.cfg.Same(c.cfg) {
		t.Errorf("%s, step %d: another start, another configuration: %v", mode, step, err)
	}
	st := In(filepath.Join(s.dir, "store")).State()
	if st.Pending != "" || st.Confirmed == "" {
		t.Errorf("%s, step %d: %+v", mode, step, st)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "store", ".*.new")); len(left) > 0 && is == "new" && survived {
		t.Errorf("left behind: %v", left)
	}
	return is, survived
}
