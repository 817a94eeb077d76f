package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/scripts/test/rig"
)

// subscribed is what mosquitto logs of the subscription to requests.
const subscribed = "site/gw-e2e/cmd/+/req (QoS 1)"

// Commands over both protocols: written once, read back, answered and recorded;
// what nobody allowed is not written.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"3.1.1", "5"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t, protocol, boiler)
			p.witness = p.broker.follow(t, "witness", "site/gw-e2e/line1")
			alice, bob := p.listen("alice"), p.listen("bob")
			e := p.epoch()
			p.daemon.Until("the subscription", func() bool { return strings.Contains(p.broker.Said(), subscribed) })
			write := func(id, value string) string {
				return fmt.Sprintf(`{"v":1,"id":%q,"point":"boiler.setpoint","value":%s,"epoch":%q,"reason":"ticket"}`, id, value, e)
			}
			if r := p.ask(alice, "alice", "a1", write("a1", "62.5"), 1); r.State != "done" || r.Code != "ok" || string(r.Read) != "62.5" {
				t.Errorf("%+v", r)
			}
			for n := range 5 { // the same one again
				if r := p.ask(alice, "alice", "a1", write("a1", "62.5"), n+2); !r.Duplicate || r.Code != "ok" {
					t.Errorf("%+v", r)
				}
			}
			if r := p.ask(alice, "alice", "a2", write("a2", "75.5"), 1); r.Code != "range" {
				t.Errorf("%+v", r)
			}
			if r := p.ask(alice, "alice", "a3", strings.Replace(write("a3", "true"), "setpoint", "pump", 1), 1); r.Code != "ok" || string(r.Read) != "true" {
				t.Errorf("%+v", r)
			}
			if r := p.ask(bob, "bob", "b1", strings.Replace(write("b1", "false"), "setpoint", "pump", 1), 1); r.Code != "not_allowed" {
				t.Errorf("%+v", r)
			}
			if r := p.ask(alice, "alice", "r1", fmt.Sprintf(`{"id":"r1","read":"boiler.setpoint","epoch":%q}`, e), 1); string(r.Value) != "62.5" {
				t.Errorf("%+v", r)
			}
			// Alice on bob's topic: the broker does not let it through. Her next
			// request shows that the one before would have come.
			p.as("alice", "mosquitto_pub", "-q", "1", "-t", "site/gw-e2e/cmd/bob/req", "-m", write("b2", "70"))
			if r := p.ask(alice, "alice", "a4", write("a4", "63"), 1); r.Code != "ok" {
				t.Errorf("%+v", r)
			}
			p.retained(alice, write)
			if w := p.writes(setpoint); !slices.Equal(w, []uint16{625, 630}) {
				t.Errorf("setpoint was written %v", w)
			}
			if w := p.writes(pump); !slices.Equal(w, []uint16{1}) {
				t.Errorf("pump was written %v", w)
			}
			if len(answers(bob, "b2")) > 0 {
				t.Error("bob got an answer to what alice has sent")
			}
			p.accounts("a1", "a2", "a3", "b1", "r1", "a4")
		})
	}
}

// retained publishes a request that the broker keeps. A live one is taken under
// MQTT 3.1.1, where nothing shows it; a replay never is.
func (p *plant) retained(alice *subscriber, write func(id, value string) string) {
	p.t.Helper()
	if p.proto == "5" {
		if r := p.ask(alice, "alice", "kept", write("kept", "70"), 1, "-r"); r.Code != "retained" {
			p.t.Errorf("retained: %+v", r)
		}
		return
	}
	p.as("alice", "mosquitto_pub", "-q", "1", "-r", "-t", "site/gw-e2e/cmd/alice/req", "-m", write("a4", "63")) // known already
	stop(p.t, p.daemon)
	p.daemon = startDaemon(p.t, p.config)
	p.daemon.Until("the replay is answered", func() bool {
		list := answers(alice, "a4")
		return len(list) > 0 && list[len(list)-1].Code == "retained"
	})
}

// accounts waits for one record of each command.
func (p *plant) accounts(ids ...string) {
	p.t.Helper()
	for _, id := range ids {
		p.daemon.Until("the account of "+id, func() bool {
			p.witness.mu.Lock()
			defer p.witness.mu.Unlock()
			n := 0
			for _, payload := range p.witness.payloads {
				n += strings.Count(string(payload), `"type":"command","id":"`+id+`"`)
			}
			return n >= 1
		})
	}
}

// Without the section nothing is subscribed to, and nothing is written.
func TestNoCommands(t *testing.T) {
	t.Parallel()
	p := newPlantWith(t, plantOptions{protocol: "3.1.1", trace: true})
	before := p.slave.Requests()
	p.as("alice", "mosquitto_pub", "-q", "1", "-t", "site/gw-e2e/cmd/alice/req", "-m", `{"id":"x","point":"boiler.setpoint","value":50}`)
	p.daemon.Until("polls", func() bool { return p.slave.Requests() > before+10 })
	if w := p.slave.Writes(); len(w) > 0 {
		t.Errorf("written: %v", w)
	}
	const subscribe = 8
	if n := p.tap.count(subscribe, "/cmd"); n > 0 || strings.Contains(p.broker.Said(), subscribed) {
		t.Errorf("the daemon has subscribed to command topics, in %d packets", n)
	}
	// The control: the same daemon with the section.
	text, err := os.ReadFile(p.config)
	if err == nil {
		err = os.WriteFile(p.config, append(text, boiler...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.daemon.Signal(syscall.SIGHUP)
	p.daemon.Until("a subscription in the trace", func() bool { return p.tap.count(subscribe, "site/gw-e2e/cmd/+/req") == 1 })
	alice := p.listen("alice")
	if r := p.ask(alice, "alice", "y", fmt.Sprintf(`{"id":"y","point":"boiler.setpoint","value":50,"epoch":%q}`, p.epoch()), 1); r.Code != "ok" {
		t.Errorf("%+v", r)
	}
}

// A reply goes to a response topic below the requester's own only, though the
// broker would let the gateway publish elsewhere.
func TestResponseTopics(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "5", boiler)
	alice := p.listen("alice")
	p.witness = p.broker.follow(t, "witness", "#")
	e := p.epoch()
	for i, topic := range []string{"other/x", "site/other/x", "site/gw-e2e/cmd/bob/resp", "site/gw-e2e/cmd/alice/req", "site/gw-e2e/cmd/alice/+", "site/gw-e2e/status"} {
		id := fmt.Sprint("t", i)
		r := p.ask(alice, "alice", id, fmt.Sprintf(`{"id":%q,"read":"boiler.setpoint","epoch":%q}`, id, e), 1, "-V", "mqttv5", "-D", "publish", "response-topic", topic)
		if r.Code != "ok" {
			t.Errorf("%s: %+v", topic, r)
		}
	}
	own := "site/gw-e2e/cmd/alice/mine"
	p.as("alice", "mosquitto_pub", "-V", "mqttv5", "-q", "1", "-t", "site/gw-e2e/cmd/alice/req", "-D", "publish", "response-topic", own,
		"-m", fmt.Sprintf(`{"id":"own","read":"boiler.setpoint","epoch":%q}`, e))
	p.daemon.Until("the reply at her own topic", func() bool { return p.published(own) == 1 })
	for _, topic := range []string{"other/x", "site/other/x", "site/gw-e2e/cmd/bob/resp", "site/gw-e2e/cmd/alice/req"} {
		if n := p.published(topic); n > 0 {
			t.Errorf("the daemon published %d times to %s", n, topic)
		}
	}
}

// published is how often the broker got something for a topic from the daemon.
func (p *plant) published(topic string) (n int) {
	for line := range strings.Lines(p.broker.Said()) {
		if strings.Contains(line, "Received PUBLISH from gw-e2e ") && strings.Contains(line, "'"+topic+"'") {
			n++
		}
	}
	return n
}

// A request that the broker was too slow to deliver is not carried out.
func TestAStaleCommand(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "5", boiler)
	alice := p.listen("alice")
	e := p.epoch()
	text := fmt.Sprintf(`{"id":"late","point":"boiler.setpoint","value":70,"issued":%q,"ttl":"2s"}`, time.Now().Add(-8*time.Second).UTC().Format(time.RFC3339Nano))
	if r := p.ask(alice, "alice", "late", text, 1); r.Code != "expired" {
		t.Errorf("%+v", r)
	}
	if r := p.ask(alice, "alice", "now", fmt.Sprintf(`{"id":"now","point":"boiler.setpoint","value":70,"epoch":%q}`, e), 1); r.Code != "ok" {
		t.Errorf("%+v", r)
	}
	if w := p.writes(setpoint); !slices.Equal(w, []uint16{700}) {
		t.Errorf("written %v", w)
	}
}

// Request and response of MQTT 5, by mosquitto_rr, and by the verb on the spot.
func TestCommandsByOtherDoors(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "5", boiler)
	e := p.epoch()
	out := p.as("alice", "mosquitto_rr", "-V", "mqttv5", "-q", "1", "-t", "site/gw-e2e/cmd/alice/req", "-e", "site/gw-e2e/cmd/alice/resp", "-W", "10",
		"-m", fmt.Sprintf(`{"id":"rr","point":"boiler.setpoint","value":61,"epoch":%q}`, e))
	if !strings.Contains(out, `"state":"done"`) {
		t.Errorf("mosquitto_rr: %s", out)
	}
	verb := p.verb
	if out := verb(0, "command", "boiler.setpoint", "61.5", "--expect", "61"); !strings.Contains(out, "done (ok), was 61, is 61.5") {
		t.Errorf("%s", out)
	}
	if out := verb(1, "command", "boiler.setpoint", "61.3"); !strings.Contains(out, "rejected (step)") {
		t.Errorf("%s", out)
	}
	verb(0, "commands", "pause")
	if out := verb(1, "command", "boiler.setpoint", "62"); !strings.Contains(out, "rejected (disabled)") {
		t.Errorf("%s", out)
	}
	if out := verb(0, "commands"); !strings.Contains(out, "Paused by") || !strings.Contains(out, "done ok, is 61.5") {
		t.Errorf("%s", out)
	}
	verb(0, "commands", "resume")
	if out := verb(0, "command", "--read", "boiler.setpoint"); !strings.Contains(out, "61.5") {
		t.Errorf("%s", out)
	}
	if w := p.writes(setpoint); !slices.Equal(w, []uint16{610, 615}) {
		t.Errorf("written %v", w)
	}
}

// verb runs the program beside the daemon, which must end with want.
func (p *plant) verb(want int, args ...string) string {
	p.t.Helper()
	cmd := exec.Command(rig.Fieldferry(p.t), append(args, "-c", p.config)...)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != want {
		p.t.Errorf("%q: code %d: %s", args, code, out)
	}
	return string(out)
}

// A point that a new configuration no longer has gets its fallback before it
// goes; if the device does not take it, the new configuration is refused.
func TestAPointThatGoes(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "5", boiler)
	p.verb(0, "command", "boiler.setpoint", "70")
	text, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	without := []byte(strings.Replace(string(text), "  - {name: boiler.setpoint,", "  - {name: boiler.other,", 1))
	reload := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(p.config, text, 0o600); err != nil {
			t.Fatal(err)
		}
		p.daemon.Signal(syscall.SIGHUP)
	}
	p.slave.Do(func(units map[byte]*modbustest.Unit) { units[3].Silent = true })
	reload(without)
	p.daemon.Says("its fallback 50 cannot be written")
	if out := p.verb(0, "commands"); !strings.Contains(out, "boiler.setpoint") {
		t.Errorf("the configuration was taken: %s", out)
	}
	p.slave.Do(func(units map[byte]*modbustest.Unit) { units[3].Silent = false })
	p.daemon.Until("the device is back", func() bool { return strings.Contains(p.verbAny("command", "--read", "boiler.setpoint"), "done") })
	reload(without)
	p.daemon.Until("the new configuration", func() bool { return strings.Contains(p.verbAny("commands"), "boiler.other") })
	if w := p.writes(setpoint); w[0] != 700 || w[len(w)-1] != 500 {
		t.Errorf("written %v, want 700 first and 500 last", w)
	}
}

// verbAny is verb, however it ends.
func (p *plant) verbAny(args ...string) string {
	p.t.Helper()
	out, _ := exec.Command(rig.Fieldferry(p.t), append(args, "-c", p.config)...).CombinedOutput()
	return string(out)
}

// Another client with the gateway's client id: commands of MQTT are suspended,
// those of a person on the spot are not.
func TestATakeoverSuspendsCommands(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "5", boiler)
	p.epoch()
	// A broker need not say why it ends a connection: that it happens again and
	// again shows it.
	p.daemon.Until("commands are suspended", func() bool {
		p.as("gw", "mosquitto_sub", "-V", "mqttv5", "-i", "gw-e2e", "-t", "site/nothing", "-W", "1")
		return strings.Contains(p.verbAny("commands"), "suspended")
	})
	alice := p.listen("alice")
	e := p.epoch()
	if r := p.ask(alice, "alice", "s1", fmt.Sprintf(`{"id":"s1","point":"boiler.setpoint","value":60,"epoch":%q}`, e), 1); r.Code != "busy" {
		t.Errorf("%+v", r)
	}
	p.verb(0, "command", "boiler.setpoint", "61")
	if w := p.writes(setpoint); !slices.Equal(w, []uint16{610}) {
		t.Errorf("written %v", w)
	}
}
