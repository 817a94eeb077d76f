package promise

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fieldferry/scripts/test/rig"
)

func TestLegacies(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.tar.gz")
	if err != nil || len(archives) == 0 {
		t.Fatal(archives, err)
	}
	for _, archive := range archives {
		name := strings.TrimSuffix(archive, ".tar.gz")
		t.Run(filepath.Base(name), func(t *testing.T) {
			dir, records := folder(t, filepath.Base(name)), left(t, name+".txt")
			rig.Fieldferry(t) // it is built where the source is
			if out, err := exec.Command("tar", "-C", dir, "-xzf", archive).CombinedOutput(); err != nil {
				t.Fatalf("tar: %v\n%s", err, out)
			}
			dump, err := os.ReadFile(name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(dir) // it ran in its folder too
			l := &legacy{left: records}
			l.configurations(t)
			l.buffer(t, string(dump))
			l.former(t)
			l.run(t)
		})
	}
}

// folder is the place where a legacy was made: the copy of a configuration knows
// its parts by their paths.
func folder(t *testing.T, name string) string {
	t.Helper()
	dir := "/tmp/fieldferry-legacy-" + name
	lock, err := os.Create(dir + ".lock") // of the tests of another tree
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err == nil {
		err = errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.RemoveAll(dir)
		lock.Close()
	})
	return dir
}

// legacy is what a gateway has left.
type legacy struct {
	left map[string]string // records by session, source and number
}

// Names in the folder of a legacy, which is the working directory.
const state, site = "state", "fieldferry.yaml"

// left reads what the version of the legacy said was in its buffer.
func left(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]string{}
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(part) != 3 {
			t.Fatalf("%s: %q", file, line)
		}
		records[key(t, part[0], part[1], part[2])] = part[2]
	}
	if len(records) < 100 {
		t.Fatalf("%d records in %s", len(records), file)
	}
	return records
}

func key(t *testing.T, session, source, body string) string {
	t.Helper()
	var r struct{ Seq, From uint64 }
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return fmt.Sprint(session, " ", source, " ", r.Seq, " ", r.From)
}

// fieldferry runs the program of today.
func fieldferry(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(rig.Fieldferry(t), args...)
	// Of the configurations that take text from the environment.
	cmd.Env = append(os.Environ(), "MQTT_PASSWORD=p", "SITE=s", "UNIT=1", "HOST=h", "BAUD=9600")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// configurations: what was right stays right.
func (l *legacy) configurations(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("configurations/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, site) {
		if out, err := fieldferry(t, "check", "-c", file); err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(file), err, out)
		}
	}
}

func (l *legacy) buffer(t *testing.T, dump string) {
	t.Helper()
	if out, err := fieldferry(t, "buffer", "verify", state); err != nil {
		t.Errorf("buffer verify: %v\n%s", err, out)
	}
	out, err := fieldferry(t, "buffer", "dump", state)
	if err != nil {
		t.Errorf("buffer dump: %v\n%s", err, out)
	}
	if out != dump {
		t.Errorf("buffer dump has changed:\n%.2000s", out)
	}
}

// former: the copy of the configuration that last ran can still be used.
func (l *legacy) former(t *testing.T) {
	t.Helper()
	const broken = "broken.yaml"
	if err := os.WriteFile(broken, []byte("gateway: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := fieldferry(t, "check", "-c", broken, "--config-store", filepath.Join(state, "config")); err != nil {
		t.Errorf("the configuration that last ran cannot be used: %v\n%s", err, out)
	}
}

// run has a gateway of today take over: every record arrives as it was, the
// alarms end under their numbers, and nothing is said to be lost or damaged.
func (l *legacy) run(t *testing.T) {
	t.Helper()
	broker := rig.StartMosquitto(t, rig.Unbounded, "log_type subscribe")
	sub := rig.Start(t, nil, rig.Need(t, "mosquitto_sub", "mosquitto-clients"), "-h", "127.0.0.1", "-p", strconv.Itoa(broker.Port), "-q", "1", "-t", "fieldferry/#")
	sub.Until("a subscription", func() bool { return strings.Contains(broker.Said(), "fieldferry/#") })
	daemon := rig.StartDaemon(t, nil, site, "--config-store", filepath.Join(state, "config"), "--set", fmt.Sprintf("uplink.servers=[%q]", "mqtt://"+broker.Addr()))
	sub.Until("the records that were left", func() bool {
		came := l.came(t, sub.Log.String())
		for k := range l.left {
			if _, is := came[k]; !is {
				return false
			}
		}
		for k, want := range l.left {
			if !strings.HasPrefix(came[k], strings.TrimSuffix(want, "}")) { // the signals follow
				t.Errorf("%s came as\n%s\nand was\n%s", k, came[k], want)
			}
		}
		return true
	})
	for _, record := range l.left {
		var e struct {
			Event, State string
			ID           uint64
		}
		if json.Unmarshal([]byte(record), &e) == nil && e.Event == "uplink_down" && e.State == "raised" {
			ends := fmt.Sprintf(`"event":"uplink_down","state":"cleared","id":%d`, e.ID)
			sub.Says(ends)
		}
	}
	daemon.Stop()
	for _, bad := range []string{`"type":"loss"`, `"event":"commands_forgotten"`, `"event":"disk_fault"`} {
		if strings.Contains(sub.Log.String(), bad) {
			t.Errorf("the subscriber was given %s", bad)
		}
	}
	for line := range strings.Lines(daemon.Log.String()) {
		if strings.Contains(line, "level=ERROR") && !strings.Contains(line, "gone") && !strings.Contains(line, "line") {
			t.Error(line)
		}
	}
}

// came are the records in messages, without what a way through a backlog adds.
func (l *legacy) came(t *testing.T, text string) map[string]string {
	t.Helper()
	records := map[string]string{}
	for line := range strings.Lines(text) {
		var m struct {
			Session uint64
			Source  string
			Records []json.RawMessage
		}
		if !strings.HasSuffix(line, "\n") || json.Unmarshal([]byte(line), &m) != nil {
			continue
		}
		for _, r := range m.Records {
			body := strings.Replace(string(r), `,"late":true}`, "}", 1)
			records[key(t, strconv.FormatUint(m.Session, 10), m.Source, body)] = body
		}
	}
	return records
}
