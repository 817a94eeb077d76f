package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	// killsVariable is how often the process is killed at each step; without
	// it, it is killed once in each phase.
	killsVariable = "FIELDFERRY_DAEMON_KILLS"
)

// phase is what a change is doing.
type phase string

const (
	starting    phase = "starting"     // on the old configuration
	staging     phase = "staging"      // copying the candidate and noting that it is under way
	opening     phase = "opening"      // the candidate's gateway
	watching    phase = "watching"     // whether the candidate proves itself
	confirming  phase = "confirming"   // noting that the candidate runs from now on
	rollingBack phase = "rolling back" // opening the old one again, and noting so
)

// modes are the ways to put a configuration in place, and the phases of each.
var modes = map[string][]phase{
	"apply":    {starting, staging, opening, confirming},
	"reload":   {starting, staging, opening, confirming},
	"prove":    {starting, staging, opening, watching, confirming},
	"rollback": {starting, staging, opening, watching, rollingBack},
}

// journey follows the steps of a process that starts and changes once.
type journey struct {
	phase  phase
	opened int
}

func (j *journey) at(step string) phase {
	switch step {
	case "candidate", "reread":
		j.phase = staging
	case "open":
		j.opened++
		j.phase = []phase{starting, opening, rollingBack}[j.opened-1]
	case "watch":
		j.phase = watching
	case "confirm":
		if j.opened == 2 {
			j.phase = confirming
		}
	}
	return j.phase
}

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
	server := nobody
	if mode == "prove" {
		broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		server = "mqtt://" + broker.Addr()
		s.put("broker", server)
	}
	o := s.options(io.Discard)
	var d *Daemon
	var way journey
	steps := 0
	o.Store.step = func(step string) {
		steps++
		fmt.Printf("\nphase: %s\n", way.at(step))
		if steps == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		if step == "judge" && mode == "prove" {
			d.settle()
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
	if mode == "reload" {
		s.put("f.yaml", text("new", "b.dbc", nobody))
		hangup <- syscall.SIGHUP
		for d.opts.Store.State().Previous == "" { // the other goroutine writes whole files
			time.Sleep(time.Millisecond)
		}
	} else {
		s.apply(ctx, d, mode, text("new", "b.dbc", server))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// settle waits until the broker has acknowledged something, and the port that is not
// there has been missed, however slow the machine is. The alarm about that is not the
// candidate's.
func (d *Daemon) settle() {
	for {
		now := d.gateway.Look().Snapshot()
		if err, _ := proved(now, now); err == nil && len(now.Pending)+len(now.Alarms) > 0 {
			d.trial.before = now
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// apply has the candidate applied as the mode says.
func (s *site) apply(ctx context.Context, d *Daemon, mode, candidate string) {
	s.t.Helper()
	watch := time.Duration(0)
	if mode != "apply" {
		watch = time.Millisecond
	}
	err := d.Apply(ctx, Candidate{Text: []byte(candidate), By: "anna", Watch: watch})
	if mode != "rollback" {
		if err != nil {
			s.t.Error(err)
		}
		return
	}
	var failed *ApplyError
	if !errors.As(err, &failed) || failed.Result != RolledBack {
		s.t.Errorf("a candidate without a broker: %v", err)
	}
	// The reply to a rollback comes before it is noted.
	for d.opts.Store.State().Pending != "" {
		time.Sleep(time.Millisecond)
	}
}

// child runs the process, which kills itself at the given step (0: never). It
// returns the phase of each step there was, and whether it survived.
func (s *site) child(mode string, step int) (went []phase, survived bool) {
	s.t.Helper()
	out, killed := s.process("TestChild", childDir+"="+s.dir, childStep+"="+strconv.Itoa(step), childMode+"="+mode)
	for line := range strings.Lines(string(out)) {
		if p, ok := strings.CutPrefix(line, "phase: "); ok {
			went = append(went, phase(strings.TrimSpace(p)))
		}
	}
	return went, !killed
}

// process runs one test of this program in a process of its own, until it ends or
// kills itself, and returns what it said.
func (s *site) process(test string, env ...string) (out []byte, killed bool) {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), exe, "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), env...)
	out, err = cmd.CombinedOutput()
	var exit *exec.ExitError
	killed = errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && !killed {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return out, killed
}

// Killed at any step, the next start has the old configuration or the new one,
// whole, with its parts, even if the files of both are gone by then; and never
// one that has not proved itself when it has to.
func TestKilledAtEachStep(t *testing.T) {
	if os.Getenv("FIELDFERRY_QEMU_USER") != "" {
		t.Skip("the kernel of an emulated program cannot start another one of its kind")
	}
	t.Parallel()
	kills, _ := strconv.Atoi(os.Getenv(killsVariable))
	for mode, passes := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			killEverywhere(t, mode, passes, kills)
		})
	}
}

// killEverywhere kills the process at every step so many times, or, with 0, at
// one step of each phase. The first step is the end of a start and the last
// one the end of a change that nothing disturbs.
func killEverywhere(t *testing.T, mode string, passes []phase, kills int) {
	t.Helper()
	is, went, survived := killedAt(t, mode, 0)
	if want := map[bool]string{true: "old", false: "new"}[mode == "rollback"]; !survived || is != want {
		t.Errorf("undisturbed, the start after it has the %s one", is)
	}
	if seen := slices.Compact(slices.Clone(went)); !slices.Equal(seen, passes) {
		t.Fatalf("the phases are %q, want %q", seen, passes)
	}
	at := map[phase][]int{}
	for i, p := range went {
		at[p] = append(at[p], i+1)
	}
	var steps []int
	for _, of := range at {
		if kills == 0 {
			of = []int{of[rand.IntN(len(of))]}
		}
		for range max(kills, 1) {
			steps = append(steps, of...)
		}
	}
	tally := map[string]int{}
	for _, step := range steps {
		is, way, survived := killedAt(t, mode, step)
		if survived {
			t.Fatalf("step %d of %d is not reached", step, len(went))
		}
		p := way[len(way)-1]
		tally[string(p)+": "+is]++
		if is == "new" && p != confirming {
			t.Errorf("killed at step %d while %s, the new configuration runs", step, p)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("killed while %s, %d times", what, tally[what])
	}
}

func killedAt(t *testing.T, mode string, step int) (is string, went []phase, survived bool) {
	t.Helper()
	s := newSite(t)
	s.put("f.yaml", text("old", "a.dbc", nobody))
	was := s.mustStart("old").cfg
	went, survived = s.child(mode, step)
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
	return is, went, survived
}
