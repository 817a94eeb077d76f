package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/scripts/test/rig"
)

// examples are the fenced blocks of a document in one language, in order.
func examples(t *testing.T, document, language string) (list []string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/" + document)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllSubmatch(text, -1) {
		if string(m[1]) == language {
			list = append(list, string(m[2]))
		}
	}
	return list
}

// An integrator who copies the examples of docs/COMMANDS.md, one after the other,
// gets what the document says.
func TestExamplesOfTheDocument(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"jq", "openssl"} {
		rig.Need(t, program, program)
	}
	configs, scripts, replies, rules := examples(t, "COMMANDS.md", "yaml"), examples(t, "COMMANDS.md", "sh"), examples(t, "COMMANDS.md", "json"), examples(t, "COMMANDS.md", "")
	if len(configs) != 4 || len(scripts) != 4 || len(replies) != 3 || len(rules) != 1 {
		t.Fatalf("%d configurations, %d scripts, %d pieces of JSON, %d rules", len(configs), len(scripts), len(replies), len(rules))
	}
	p := newPlantWith(t, plantOptions{protocol: "5", idle: true})
	p.reconfigure(func(text string) string {
		port := regexp.MustCompile(`port: (\S+)`).FindStringSubmatch(text)[1]
		uplink := regexp.MustCompile(`(?m)^uplink:.*$`).FindString(text)
		mine := strings.Replace(configs[0], "/dev/ttyS1", port, 1)
		mine = regexp.MustCompile(`(?m)^ *min_interval:.*\n`).ReplaceAllString(mine, "") // the examples come one after the other
		return "gateway: {id: gw-01, clock: trusted}\nbuffer: {path: buffer}\n" + strings.Replace(uplink, `topic: "site/{gateway}/{source}", `, "", 1) + "\n" + mine
	})
	acl := "user gw\ntopic readwrite fieldferry/gw-01/#\nuser witness\ntopic read #\n" + rules[0]
	if err := os.WriteFile(filepath.Join(p.broker.dir, "acl"), []byte(acl), 0o600); err != nil {
		t.Fatal(err)
	}
	p.broker.restart(t)
	p.witness = p.broker.follow(t, "witness", "fieldferry/gw-01/line1")
	p.daemon = startDaemon(t, p.config)
	p.daemon.Until("the subscription", func() bool { return strings.Contains(p.broker.Said(), "fieldferry/gw-01/cmd/+/req (QoS 1)") })
	p.daemon.Until("an epoch", func() bool {
		return strings.Contains(p.as("alice", "mosquitto_sub", "-t", "fieldferry/gw-01/status", "-C", "1", "-W", "2"), `"epoch"`)
	})

	out := p.shell(scripts[0] + scripts[1])
	got := lines(out)
	if len(got) != 2 {
		t.Fatalf("the first two examples gave %s", out)
	}
	if want := members(t, replies[0]); !slices.Equal(members(t, got[0]), want) || !strings.Contains(got[0], `"code":"ok"`) {
		t.Errorf("the reply is %s, the document has %s", got[0], replies[0])
	}
	if !strings.Contains(got[1], `"id":"rr-1"`) || !strings.Contains(got[1], `"code":"ok"`) {
		t.Errorf("mosquitto_rr got %s", got[1])
	}
	p.slave.Do(func(units map[byte]*modbustest.Unit) { units[3].Holding[setpoint] = 600 })
	if out := p.shell(scripts[2]); !strings.Contains(out, "was 60, is 62.5") || !strings.Contains(out, "boiler.setpoint: done (ok), 62.5") {
		t.Errorf("the verbs gave %s", out)
	}
	// The document's record has been asked for by MQTT with a reason, and its
	// value was read before, as max_change needs it.
	p.daemon.Until("the record of the command of the verb", func() bool { return p.record(`"by":"cli"`) != "" })
	want := members(t, replies[1])
	if got := members(t, p.record(`"by":"cli"`)); !slices.Equal(got, want) {
		t.Errorf("a record has %v, that of the document %v", got, want)
	}
	p.exampleOfSignatures(configs[2], scripts[0], scripts[3])
	p.exampleOfReading(configs[3], replies[2])
	p.exampleOnCAN(configs[1])
}

// lines are those of an output that are not empty.
func lines(out string) (list []string) {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// members are the names in a JSON object.
func members(t *testing.T, text string) []string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return slices.Sorted(maps.Keys(m))
}

// record is a command's record that has a text.
func (p *plant) record(with string) string {
	p.witness.mu.Lock()
	defer p.witness.mu.Unlock()
	for _, payload := range p.witness.payloads {
		for _, r := range regexp.MustCompile(`\{"seq":\d+,"ts":"[^"]*","type":"command"[^{}]*\}`).FindAllString(string(payload), -1) {
			if strings.Contains(r, with) {
				return r
			}
		}
	}
	return ""
}

// shell runs an example as its reader would, with the broker and the
// configuration of the test.
func (p *plant) shell(script string) string {
	p.t.Helper()
	script = strings.ReplaceAll(script, "-h broker", "-h 127.0.0.1 -p "+fmt.Sprint(p.broker.Port))
	script = fmt.Sprintf("set -euo pipefail\nfieldferry() { %s \"$@\" -c %s; }\nsudo() { \"$@\"; }\n%s", rig.Fieldferry(p.t), p.config, script)
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = p.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Errorf("%v: %s\n%s", err, out, script)
	}
	return string(out)
}

// reconfigure changes the configuration file.
func (p *plant) reconfigure(change func(text string) string) {
	p.t.Helper()
	text, err := os.ReadFile(p.config)
	if err == nil {
		err = os.WriteFile(p.config, []byte(change(string(text))), 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// reload lets the daemon take the configuration, and waits for its new epoch.
func (p *plant) reload() {
	p.t.Helper()
	n := strings.Count(p.daemon.Log.String(), "code=started")
	p.daemon.Signal(syscall.SIGHUP)
	p.daemon.Until("the new configuration", func() bool { return strings.Count(p.daemon.Log.String(), "code=started") > n })
	p.daemon.Until("an epoch", func() bool {
		return strings.Contains(p.as("alice", "mosquitto_sub", "-t", "fieldferry/gw-01/status", "-C", "1", "-W", "2"), `"epoch"`)
	})
}

// exampleOfSignatures makes a key and signs with it as the document says.
func (p *plant) exampleOfSignatures(signers, first, script string) {
	p.t.Helper()
	g := strings.SplitAfterN(first, "\n", 3)
	keys := strings.SplitAfterN(script, "\n", 3)
	p.shell(keys[0] + keys[1])
	p.reconfigure(func(text string) string {
		line := strings.Replace(strings.TrimPrefix(signers, "commands:\n"), "/etc/fieldferry", p.dir, 1)
		return strings.Replace(text, "commands:\n", "commands:\n"+line, 1)
	})
	p.reload()
	if out := p.shell(g[0] + g[1] + keys[2]); !strings.Contains(out, `"id":"a-17","state":"done"`) {
		p.t.Errorf("a signed request: %s", out)
	}
}

// exampleOfReading asks for a value; in the example the epoch is left out.
func (p *plant) exampleOfReading(section, request string) {
	p.t.Helper()
	p.reconfigure(func(text string) string {
		text = regexp.MustCompile(`(?m)^ *signers:.*\n`).ReplaceAllString(text, "")
		return strings.Replace(text, "commands:\n", section, 1)
	})
	p.reload()
	out := p.shell(fmt.Sprintf(`G=fieldferry/gw-01
EPOCH=$(mosquitto_sub -h broker -u alice -P secret -t $G/status -C 1 | jq -r .epoch)
REQUEST='%s'
mosquitto_rr -V mqttv5 -h broker -u alice -P secret -q 1 -t $G/cmd/alice/req -e $G/cmd/alice/resp -m "${REQUEST/.../$EPOCH}"
`, strings.TrimSpace(request)))
	if !strings.Contains(out, `"id":"r-1","state":"done"`) || !strings.Contains(out, `"value":62.5`) {
		p.t.Errorf("reading: %s", out)
	}
}

// exampleOnCAN looks at the configuration only: there is no interface here.
func (p *plant) exampleOnCAN(section string) {
	p.t.Helper()
	const dbc = "VERSION \"\"\n\nBU_: Gateway\n\nBO_ 291 FanCmd: 3 Gateway\n SG_ Enable : 0|1@1+ (1,0) [0|1] \"\" Gateway\n SG_ Speed : 8|16@1+ (1,0) [0|3000] \"rpm\" Gateway\n"
	path := filepath.Join(p.dir, "can.yaml")
	text := "gateway: {id: gw-01}\nbuffer: {path: buffer}\nuplink: {servers: [\"mqtt://127.0.0.1:1\"]}\n" + strings.Replace(section, "id: 0x123", "id: 0x124", 1)
	for file, text := range map[string]string{path: text, filepath.Join(p.dir, "plant.dbc"): dbc} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	out, err := exec.Command(rig.Fieldferry(p.t), "check", "-c", path).CombinedOutput()
	if err != nil {
		p.t.Errorf("the example on CAN: %v: %s", err, out)
	}
}
