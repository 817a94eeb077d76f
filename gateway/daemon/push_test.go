package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fieldferry/gateway/ledger"
	"fieldferry/uplink/uplinktest"
)

// The variables by which the test starts itself as the daemon that is pushed to.
const (
	pushDir    = "FIELDFERRY_PUSH_DIR"
	pushServer = "FIELDFERRY_PUSH_SERVER"
	pushNumber = "FIELDFERRY_PUSH_NUMBER" // version to be pushed; 0: none
	pushTarget = "FIELDFERRY_PUSH_TARGET" // in which phase it is killed
	pushAfter  = "FIELDFERRY_PUSH_AFTER"  // so many steps, or milliseconds, into it
	// pushesVariable is how many pushes are killed; without it, a few.
	pushesVariable = "FIELDFERRY_PUSH_KILLS"
)

// Where a push can be killed.
const (
	inStage    = "stage"    // noting it, checking it, copying it to disk
	inApply    = "apply"    // opening its gateway
	inWatch    = "watch"    // it runs, and has to prove itself
	inRollback = "rollback" // the former one is opened and noted
	inConfirm  = "confirm"  // somebody has kept it, and that is noted
)

var pushPhases = []string{inStage, inApply, inWatch, inRollback, inConfirm}

// pushed is the configuration of a version; 0 is the site's file.
func pushed(version int, server string) string {
	return fmt.Sprintf(`gateway: {id: g, clock: trusted}
can: [{interface: "sim:ramp?rate=%d", name: a, dbc: %s.dbc}]
buffer: {path: buffer, sync_interval: 50ms}
uplink: {servers: [%q], compress: none}
remote_config: {mode: apply, allow: [can]}
`, 20+version, string("ab"[version%2]), server)
}

// verdict is what a start finds.
type verdict struct {
	Runs   string // SHA-256 of the text
	Whole  bool   // it is that configuration with all its parts
	Report told
}

// victim kills its own process where it is told to.
type victim struct {
	mu     sync.Mutex
	target string
	after  int
	phase  string // empty: nothing is pushed yet
	steps  int    // in the phase
}

func (v *victim) step(step string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.phase == "" {
		return
	}
	before := v.phase
	switch {
	case step == "open" && v.phase == inStage:
		v.phase = inApply
	case step == "open":
		v.phase = inRollback
	case step == "watch":
		v.phase = inWatch
	case step == "confirm" && v.phase == inWatch:
		v.phase = inConfirm
	}
	if v.steps++; v.phase != before {
		v.steps = 1
	}
	if v.phase != v.target {
		return
	}
	if timed := v.target == inApply || v.target == inWatch; timed && v.steps == 1 {
		time.AfterFunc(time.Duration(v.after)*time.Millisecond, v.kill)
	} else if !timed && v.steps == v.after {
		die(v.phase)
	}
}

func (v *victim) kill() {
	v.mu.Lock()
	die(v.phase)
}

func die(phase string) {
	fmt.Printf("\nkilled: %s\n", phase)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// TestPushChild is the daemon that is pushed to, and killed.
func TestPushChild(t *testing.T) {
	dir := os.Getenv(pushDir)
	if dir == "" {
		t.Skip("only as a process of its own")
	}
	s, server := &site{t, dir, filepath.Join(dir, "f.yaml")}, os.Getenv(pushServer)
	number, _ := strconv.Atoi(os.Getenv(pushNumber))
	after, _ := strconv.Atoi(os.Getenv(pushAfter))
	v := &victim{target: os.Getenv(pushTarget), after: after}
	o := s.options(io.Discard)
	o.Store.step = v.step
	d, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- d.Run(ctx, nil) }()
	found := s.settled(d, number, server)
	text, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nverdict: %s\n", text)
	if number > 0 {
		v.mu.Lock()
		v.phase = inStage
		v.mu.Unlock()
		s.pushUntilItEnds(d, v.target, number, server)
	} else {
		tick := time.NewTicker(10 * time.Millisecond)
		for now := d.page.looking.Snapshot(); now == nil || !now.Uplink.Connected || now.Uplink.Backlog > 0; now = d.page.looking.Snapshot() {
			<-tick.C
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// settled waits until nothing is under way any more, and says what runs.
func (s *site) settled(d *Daemon, number int, server string) (v verdict) {
	s.t.Helper()
	v.Report = s.reports(d, func(r told) bool {
		return r.State != "applying" && r.State != "watching" && In(filepath.Join(s.dir, "store")).State().Pending == ""
	})
	now := d.page.running.Load()
	v.Runs = now.sum
	for version := range number + 1000 {
		if text := pushed(version, server); sum([]byte(text)) == now.sum {
			v.Whole = now.cfg.Same(s.load(text))
			break
		}
	}
	return v
}

// pushUntilItEnds sends a version, again and again as a broker does to each new
// connection, and somebody decides in its trial.
func (s *site) pushUntilItEnds(d *Daemon, target string, number int, server string) {
	s.t.Helper()
	text := pushed(number, server)
	document := fmt.Appendf(nil, `{"v":1,"version":%d,"sha256":%q,"content":%q,"watch":"1h"}`, number, sum([]byte(text)), text)
	s.reports(d, func(r told) bool {
		switch {
		case d.Trial() == nil:
			d.agent.Desired(document)
		case target == inRollback:
			d.agent.Desired([]byte(`{"rollback":true}`))
		case target == inConfirm:
			_ = d.Keep(s.t.Context(), "cli:root")
		}
		return r.Version == int64(number) && slices.Contains([]string{"confirmed", "rejected", "rolled_back"}, r.State)
	})
}

// push runs the daemon, which says what it found, and is killed in a push.
func (s *site) push(server string, number int, target string, after int) (found verdict, killed string) {
	s.t.Helper()
	out, died := s.process("TestPushChild", pushDir+"="+s.dir, pushServer+"="+server, pushNumber+"="+strconv.Itoa(number), pushTarget+"="+target, pushAfter+"="+strconv.Itoa(after))
	for line := range strings.Lines(string(out)) {
		if text, ok := strings.CutPrefix(line, "verdict: "); ok {
			if err := json.Unmarshal([]byte(text), &found); err != nil {
				s.t.Fatal(err)
			}
		}
		if phase, ok := strings.CutPrefix(line, "killed: "); ok {
			killed = strings.TrimSpace(phase)
		}
	}
	if found.Runs == "" || killed != "" != died {
		s.t.Fatalf("killed in %q, %v: %s", killed, died, out)
	}
	return found, killed
}

// Pushes from afar, each killed somewhere on its way: the next start has the old
// configuration or the new one, whole, says truthfully which and what became of
// the version, and of the records nothing is missing.
func TestKilledPushes(t *testing.T) {
	if os.Getenv("FIELDFERRY_QEMU_USER") != "" {
		t.Skip("the kernel of an emulated program cannot start another one of its kind")
	}
	t.Parallel()
	kills, _ := strconv.Atoi(os.Getenv(pushesVariable))
	kills = max(kills, len(pushPhases))
	broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	var mu sync.Mutex
	var all ledger.Ledger
	if err := broker.Subscribe("fieldferry/g/a", func(_ string, payload []byte) {
		mu.Lock()
		defer mu.Unlock()
		m, err := ledger.Parse(payload)
		if err == nil {
			_, err = all.Add(m)
		}
		if err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	server := "mqtt://" + broker.Addr()
	s := newSite(t)
	s.put("f.yaml", pushed(0, server))
	runs, number, died, tally := 0, 0, "", map[string]int{}
	judge := func(found verdict) {
		old, becomes := sum([]byte(pushed(runs, server))), sum([]byte(pushed(number, server)))
		r := found.Report
		where := fmt.Sprintf("push %d, killed in %s: %+v", number, died, found)
		isNew := found.Runs == becomes && number > 0
		switch {
		case found.Runs != old && !isNew, !found.Whole, r.Running != found.Runs:
			t.Errorf("%s: neither the old nor the new one, or not whole, or not reported as what it is", where)
		case isNew && died != inConfirm && died != "":
			t.Errorf("%s: the new one runs, and nobody has kept it", where)
		case isNew && (r.Version != int64(number) || r.State != "confirmed"):
			t.Errorf("%s: it runs and is not reported so", where)
		case !isNew && number > 0 && r.Version == int64(number) && r.State != "rolled_back":
			t.Errorf("%s: it does not run and is not reported so", where)
		case !isNew && r.Version != int64(number) && died != inStage && number > 0:
			t.Errorf("%s: what became of it is not reported", where)
		}
		if number == 0 {
			return
		}
		outcome := died + ": old"
		if isNew {
			runs, outcome = number, died+": new"
		}
		if died != "" {
			tally[outcome]++
		}
	}
	done := map[string]int{}
	total := func() (n int) {
		for _, of := range done {
			n += of
		}
		return n
	}
	for total() < kills {
		target := slices.MinFunc(pushPhases, func(a, b string) int { return done[a] - done[b] })
		after := 1 + rand.IntN(map[string]int{inStage: 24, inApply: 8, inWatch: 250, inRollback: 9, inConfirm: 12}[target])
		found, killed := s.push(server, number+1, target, after)
		judge(found)
		number++
		if died = killed; killed != "" {
			done[killed]++
		}
	}
	last, _ := s.push(server, 0, "", 0)
	judge(last)
	for _, p := range pushPhases[:4] {
		if done[p] < min(20, kills/10) {
			t.Errorf("only %d were killed in %s", done[p], p)
		}
	}
	var report told
	if err := json.Unmarshal(broker.Retained("fieldferry/g/config/reported"), &report); err != nil || report.Running != last.Runs || report.Version != last.Report.Version || report.State != last.Report.State {
		t.Errorf("the broker has %+v %v, and %+v runs", report, err, last)
	}
	mu.Lock()
	defer mu.Unlock()
	if all.Lost > 0 || all.Missing(true) > 0 || all.Records == 0 || !all.Exact() {
		t.Errorf("%d records of %d streams, %d lost, missing: %v", all.Records, len(all.Streams()), all.Lost, all.Gaps(true))
	}
	for _, what := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("killed in %s, %d times", what, tally[what])
	}
	t.Logf("%d pushes, %d killed, %d records in %d sessions, none missing, %d came twice", number, total(), all.Records, len(all.Streams()), all.Duplicates)
}
