package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
)

// Where a push can be killed.
const (
	inStage    = "stage"    // waiting for its parts, noting them, checking it, copying it
	inApply    = "apply"    // opening its gateway
	inWatch    = "watch"    // it runs, and has to prove itself
	inRollback = "rollback" // the former one is opened and noted
	inConfirm  = "confirm"  // somebody has kept it, and that is noted
	afterwards = "afterwards"
)

var pushPhases = []string{inStage, inApply, inWatch, inRollback, inConfirm}

// killed is a plant that is pushed to, and whose daemon is killed.
type killed struct {
	*afar
	base   string // the site's file without what the pushes change
	number int    // of the push
	runs   int    // the version that has to run
}

// pushed is the configuration of a version; 0 is the site's file.
func (k *killed) pushed(version int) string {
	return strings.Replace(k.base, "interval: 200ms", fmt.Sprintf("interval: %dms", 200+version), 1) +
		fmt.Sprintf("can: [{interface: \"sim:ramp?rate=%d\", name: a, dbc: [plant.dbc]}]\n", 20+version)
}

const chunkSize = 256 << 10

// dbc is the file that comes with a version, in two chunks. A signal names it.
func (k *killed) dbc(version int) string {
	text := fmt.Sprintf("VERSION \"\"\nBU_: X\nBO_ 291 Ramp: 8 X\n SG_ Version%d : 0|8@1+ (1,0) [0|255] \"\" X\n", version)
	return text + strings.Repeat("\n", chunkSize)
}

// chunk starts to send one of the two. The function it returns waits until the
// broker has it.
func (k *killed) chunk(n int) (sent func()) {
	k.t.Helper()
	text := k.dbc(k.number)
	file := filepath.Join(k.dir, "chunk")
	if err := os.WriteFile(file, []byte(text[n*chunkSize:min((n+1)*chunkSize, len(text))]), 0o600); err != nil {
		k.t.Fatal(err)
	}
	cmd := exec.Command(rig.Need(k.t, "mosquitto_pub", "mosquitto-clients"), "-h", "127.0.0.1", "-p", fmt.Sprint(k.broker.Port), "-u", "gw", "-P", "secret",
		"-q", "1", "-t", fmt.Sprintf("site/gw-e2e/config/part/%s/%d", sumOf(text), n), "-f", file)
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	return func() {
		if err := cmd.Wait(); err != nil {
			k.t.Errorf("mosquitto_pub: %v", err)
		}
	}
}

// whole returns as soon as the part is whole on disk.
func (k *killed) whole() {
	k.t.Helper()
	part := filepath.Join(k.store, "parts", sumOf(k.dbc(k.number)))
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
		if _, err := os.Stat(part); err == nil || strings.Contains(k.daemon.Log.String(), "a configuration is put in place") {
			return
		}
	}
	k.t.Fatal("the part never became whole")
}

// heard is how many messages have come to the follower of reports.
func (k *killed) heard() int {
	k.said.mu.Lock()
	defer k.said.mu.Unlock()
	return len(k.said.payloads)
}

// saidSince are the last report and the version that the last meta message has,
// among what came since.
func (k *killed) saidSince(n int) (r reportedConfig, version int, is bool) {
	k.said.mu.Lock()
	defer k.said.mu.Unlock()
	version = -1
	for _, payload := range k.said.payloads[n:] {
		if v := versionOf(payload); v >= 0 {
			version = v
		} else {
			r, is = reportedConfig{}, true
			_ = json.Unmarshal(payload, &r)
		}
	}
	return r, version, is
}

var versionName = regexp.MustCompile(`"Version(\d+)"`)

// versionOf is the version of the DBC file that a meta message has; -1: it is none.
func versionOf(payload []byte) int {
	m := versionName.FindSubmatch(payload)
	if m == nil {
		return -1
	}
	v, _ := strconv.Atoi(string(m[1]))
	return v
}

// push sends the next version, and kills the daemon where target says, or nearby.
func (k *killed) push(target string) (phase string) {
	k.t.Helper()
	text := k.pushed(k.number)
	k.desire(int64(k.number), text, fmt.Sprintf(`,"watch":"1h","parts":{"plant.dbc":%q}`, sumOf(k.dbc(k.number))))
	k.reports(int64(k.number), "waiting")
	const chunks = 2
	stop := chunks
	if target == inStage {
		stop = rand.IntN(chunks + 1)
	}
	for n := range min(stop, chunks-1) {
		k.chunk(n)()
	}
	within := 15 * time.Millisecond
	switch {
	case stop < chunks:
	case target == inStage:
		defer k.chunk(chunks - 1)()
		k.whole()
		within = 2 * time.Millisecond
	default:
		k.chunk(chunks - 1)()
	}
	switch target {
	case inStage:
	case inApply:
		k.daemon.Says("a configuration is put in place")
	default:
		k.reports(int64(k.number), "watching")
		within = 300 * time.Millisecond
	}
	switch target {
	case inRollback:
		k.as("gw", "mosquitto_pub", "-r", "-q", "1", "-t", "site/gw-e2e/config/desired", "-m", `{"rollback":true}`)
		k.daemon.Says("the former one comes back")
		within = 15 * time.Millisecond
	case inConfirm:
		keep := exec.Command(rig.Fieldferry(k.t), "config", "keep", "-c", k.config)
		if err := keep.Start(); err != nil {
			k.t.Fatal(err)
		}
		defer func() { _ = keep.Wait() }() // it may lose the daemon
		k.daemon.Says("the configuration is kept")
		within = 10 * time.Millisecond
	}
	time.Sleep(rand.N(within)) // the kill comes somewhere, nothing is synchronised by it
	k.daemon.Kill()
	return phaseOf(k.daemon.Log.String())
}

// phaseOf is where a life ended whose log this is.
func phaseOf(log string) string {
	ready := strings.Count(log, "msg=ready")
	switch {
	case strings.Contains(log, "the configuration is kept"):
		return inConfirm
	case strings.Contains(log, "the former one comes back") && ready > 2:
		return afterwards
	case strings.Contains(log, "the former one comes back"):
		return inRollback
	case ready > 1:
		return inWatch
	case strings.Contains(log, "a configuration is put in place"):
		return inApply
	}
	return inStage
}

// staged says how far the parts had come when the daemon was killed.
func (k *killed) staged() string {
	files, _ := os.ReadDir(filepath.Join(k.store, "parts"))
	sum, chunks := sumOf(k.dbc(k.number)), 0
	for _, f := range files {
		if f.Name() == sum {
			return "all of the part"
		}
		if strings.HasPrefix(f.Name(), sum+".") {
			chunks++
		}
	}
	return fmt.Sprintf("%d chunks of the part", chunks)
}

// judge starts the daemon again and says what it found.
func (k *killed) judge(phase string) (isNew bool) {
	k.t.Helper()
	if phase == inStage { // else it would begin again, as it should
		k.as("gw", "mosquitto_pub", "-r", "-n", "-q", "1", "-t", "site/gw-e2e/config/desired")
	}
	before := k.heard()
	k.run()
	var r reportedConfig
	var version int
	k.daemon.Until("a report of this life", func() (is bool) {
		r, version, is = k.saidSince(before)
		return is && r.State != "applying" && r.State != "watching" && version >= 0
	})
	number := int64(k.number)
	where := fmt.Sprintf("push %d, killed in %s: %+v, and the DBC file is of version %d", number, phase, r, version)
	isNew = r.Running == sumOf(k.pushed(k.number))
	switch {
	case !isNew && (r.Running != sumOf(k.pushed(k.runs)) || version != k.runs), isNew && version != k.number:
		k.t.Errorf("%s: neither the old nor the new one, or not whole", where)
	case isNew && phase != inConfirm:
		k.t.Errorf("%s: the new one runs, and nobody has kept it", where)
	case isNew && (r.Version != number || r.State != "confirmed"):
		k.t.Errorf("%s: it runs and is not reported so", where)
	case !isNew && r.Version == number && r.State != "rolled_back":
		k.t.Errorf("%s: it does not run and is not reported so", where)
	case !isNew && r.Version != number && phase != inStage:
		k.t.Errorf("%s: what became of it is not reported", where)
	}
	if isNew {
		k.runs = k.number
	}
	return isNew
}

// Pushes with a file beside the YAML through the broker to the program as it
// ships, each killed somewhere on its way: the next start has the old
// configuration or the new one, whole, says truthfully which and what became of
// the version, does not try it again, and of the records nothing is missing.
func TestPushesOverKills(t *testing.T) {
	t.Parallel()
	kills, _ := strconv.Atoi(os.Getenv("FIELDFERRY_PUSH_KILLS"))
	kills = max(kills, len(pushPhases))
	a := newAfar(t, remoteBoth)
	a.said = a.broker.follow(t, "bob", "site/gw-e2e/meta", "site/gw-e2e/config/reported")
	k := &killed{afar: a, base: a.hide()}
	site := k.pushed(0)
	for name, text := range map[string]string{a.config: site, filepath.Join(a.dir, "plant.dbc"): k.dbc(0)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.daemon.Signal(syscall.SIGHUP)
	a.daemon.Until("the site's file", func() bool { return a.reports(0, "none").Running == sumOf(site) })
	stop(t, a.daemon)
	k.run()
	k.daemon.Says("uplink connected")

	done, tally, total := map[string]int{}, map[string]int{}, 0
	for began := time.Now(); total < kills; total++ {
		k.number++
		phase := k.push(slices.MinFunc(pushPhases, func(a, b string) int { return done[a] - done[b] }))
		if done[phase]++; phase == inStage {
			tally[phase+", "+k.staged()]++
		}
		outcome := "old"
		if k.judge(phase) {
			outcome = "new"
		}
		tally[phase+": "+outcome]++
		if total%50 == 49 {
			t.Logf("%d kills after %v", total+1, time.Since(began).Round(time.Second))
		}
	}
	for _, p := range pushPhases[:4] {
		if done[p] < min(20, kills/10) {
			t.Errorf("only %d were killed in %s", done[p], p)
		}
	}
	k.daemon.Until("what was left in the buffer", func() bool { return rig.Pending(t, filepath.Join(k.dir, "buffer")) < 100 })
	stop(t, k.daemon)
	k.complete(1)
	k.bornTrue()
	if k.file() != site {
		t.Error("the site's file was changed")
	}
	for _, what := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("killed in %s, %d times", what, tally[what])
	}
}

// bornTrue checks at every connection of the run that the configuration which is
// reported to run and the DBC file in use were of one version.
func (k *killed) bornTrue() {
	k.t.Helper()
	births, version := 0, -1
	for _, payload := range k.said.payloads {
		if v := versionOf(payload); v >= 0 {
			version = v
			continue
		}
		var r reportedConfig
		if err := json.Unmarshal(payload, &r); err != nil {
			k.t.Fatal(err)
		}
		if version >= 0 && r.Running != sumOf(k.pushed(version)) {
			k.t.Errorf("the DBC file is of version %d, and reported is %+v", version, r)
		}
		births++
	}
	k.t.Logf("%d reports, each of a configuration that was whole", births)
}
