package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fieldferry/scripts/test/rig"
)

// brokerOfTheDocument starts the broker of docs/broker.md, with an authority of
// its own.
func brokerOfTheDocument(t *testing.T) *mosquitto {
	t.Helper()
	rig.Need(t, "openssl", "openssl")
	broker := startMosquitto(t, "127.0.0.1")
	files, scripts := examples(t, "broker.md", ""), examples(t, "broker.md", "sh")
	if len(files) != 2 || len(scripts) != 3 {
		t.Fatalf("%d files, %d scripts", len(files), len(scripts))
	}
	shell(t, broker.dir, scripts[0])
	conf := strings.NewReplacer("listener 8883", fmt.Sprintf("listener %d 127.0.0.1", broker.Port), "/etc/mosquitto", broker.dir).Replace(files[0])
	put(t, filepath.Join(broker.dir, "acl"), files[1])
	put(t, filepath.Join(broker.dir, "mosquitto.conf"), conf+"user root\nlog_type all\n"+rig.Persistent(broker.dir)+"\n")
	broker.restart(t)
	return broker
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// shell runs an example as it is in the document, without what needs a machine of
// its own.
func shell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", strings.NewReplacer("sudo ", "", " -g fieldferry", "").Replace(script))
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// numbers adds those of the records of the source bus that came to a session of
// the broker, by session of the gateway.
func numbers(t *testing.T, out string, all map[uint64]map[uint64]bool) (started map[string]any) {
	t.Helper()
	for line := range strings.Lines(out) {
		var m struct {
			Session uint64
			Source  string
			Records []struct {
				Seq    uint64
				Event  string
				Detail map[string]any
			}
		}
		if json.Unmarshal([]byte(line), &m) != nil {
			continue
		}
		for _, r := range m.Records {
			switch {
			case r.Event == "started":
				started = r.Detail
			case m.Source == "bus" && all[m.Session] == nil:
				all[m.Session] = map[uint64]bool{r.Seq: true}
			case m.Source == "bus":
				all[m.Session][r.Seq] = true
			}
		}
	}
	return started
}

// Whoever moves a gateway to another broker with another authority as
// docs/broker.md says loses no record, and whoever decommissions it as
// docs/install.md says leaves nothing at the broker.
func TestMovesOfTheDocuments(t *testing.T) {
	t.Parallel()
	before, after := brokerOfTheDocument(t), brokerOfTheDocument(t)
	dir := t.TempDir()
	at := func(m *mosquitto, name string) somebody { return somebody{t, m.dir, m.Port, name} }
	take := func(from *mosquitto, to, what string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(from.dir, what))
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, to), string(text))
	}
	take(before, "ca.pem", "ca.pem")
	take(after, "new-ca.pem", "ca.pem")
	for _, m := range []*mosquitto{before, after} {
		take(m, fmt.Sprint(m.Port, ".pem"), "gw-01.pem")
		take(m, fmt.Sprint(m.Port, ".key"), "gw-01.key")
		at(m, "consumer").run("mosquitto_sub", "-t", "fieldferry/gw-01/+", "-i", "witness", "-c", "-E")
	}
	config := filepath.Join(dir, "fieldferry.yaml")
	write := func(m *mosquitto) {
		put(t, config, fmt.Sprintf(`gateway: {id: gw-01, clock: trusted}
can: [{interface: "sim:ramp?rate=100", name: bus}]
buffer: {path: buffer}
remote_config: {mode: apply}
uplink:
  servers: ["mqtts://127.0.0.1:%d"]
  tls: {ca: ca.pem, cert: "%[1]d.pem", key: "%[1]d.key", server_name: broker.example}
`, m.Port))
	}
	write(before)
	daemon := startDaemon(t, config, "--config-store", filepath.Join(dir, "store"))
	all := map[uint64]map[uint64]bool{}
	fetch := func(m *mosquitto) map[string]any {
		return numbers(t, at(m, "consumer").run("mosquitto_sub", "-t", "fieldferry/gw-01/+", "-i", "witness", "-c", "-W", "1"), all)
	}
	daemon.Until("records come to the old broker", func() bool { fetch(before); return len(all) == 1 })
	shell(t, dir, strings.ReplaceAll(examples(t, "broker.md", "sh")[2], "/etc/fieldferry/ca.pem", "trusted.pem")+"mv trusted.pem ca.pem\n")
	write(after)
	daemon.Signal(syscall.SIGHUP)
	var started map[string]any
	daemon.Until("the session at the old broker is complete, and another one began", func() bool {
		fetch(before)
		if detail := fetch(after); detail != nil {
			started = detail
		}
		session, _ := started["previous_session"].(float64)
		stored, _ := started["stored"].(map[string]any)
		last, _ := stored["bus"].(float64)
		missing := 0
		for n := uint64(1); n <= uint64(last); n++ {
			if !all[uint64(session)][n] {
				missing++
			}
		}
		return len(all) == 2 && last > 0 && missing == 0
	})
	shell(t, dir, "cp new-ca.pem ca.pem")
	stop(t, daemon)

	retained := func() string {
		return at(after, "consumer").run("mosquitto_sub", "-t", "fieldferry/gw-01/#", "--retained-only", "-F", "%t", "-W", "2")
	}
	at(after, "fleet").run("mosquitto_pub", "-r", "-t", "fieldferry/gw-01/config/desired", "-m", "{}")
	for _, want := range []string{"/status", "/meta", "/config/reported", "/config/desired"} {
		if got := retained(); !strings.Contains(got, "fieldferry/gw-01"+want) {
			t.Errorf("no %s is retained: %q", want, got)
		}
	}
	scripts := examples(t, "install.md", "sh")
	shell(t, after.dir, strings.ReplaceAll(scripts[len(scripts)-1], "-h broker.example -p 8883", fmt.Sprintf("-h 127.0.0.1 -p %d --insecure", after.Port)))
	if got := retained(); strings.Contains(got, "fieldferry/") {
		t.Errorf("still retained: %s", got)
	}
}

// What the document packs of an old machine is what a new one needs, unpacked.
func TestTheArchiveOfAnOldMachine(t *testing.T) {
	t.Parallel()
	was, is := t.TempDir(), t.TempDir()
	files := []string{"etc/fieldferry/fieldferry.yaml", "etc/fieldferry/conf.d/10-a.yaml", "etc/default/fieldferry", "var/lib/fieldferry/state", "var/lib/fieldferry/gateway/accounts.json"}
	for _, f := range files { // no drop-ins of the unit: there need be none
		if err := os.MkdirAll(filepath.Join(was, filepath.Dir(f)), 0o750); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(was, f), f)
	}
	n := 0
	for _, s := range examples(t, "install.md", "sh") {
		for line := range strings.Lines(s) {
			root := was
			if strings.Contains(line, "-xpzf") {
				root = is
			}
			if strings.HasPrefix(line, "sudo tar -C / ") {
				n++
				shell(t, filepath.Dir(is), strings.Replace(line, "-C /", "-C "+root, 1))
			}
		}
	}
	for _, f := range files {
		a, errA := os.Stat(filepath.Join(was, f))
		b, errB := os.Stat(filepath.Join(is, f))
		if errA != nil || errB != nil || a.Mode() != b.Mode() {
			t.Errorf("%s after %d commands: %v %v", f, n, errA, errB)
		}
	}
}
