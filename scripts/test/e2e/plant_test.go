package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/scripts/test/rig"
)

// plant is a boiler on a line, a broker with rules, and the daemon between them.
type plant struct {
	*bench
	slave  *modbustest.Slave
	daemon *rig.Process
	proto  string
	tap    *tap // nil: nobody listens in
}

// rules let everybody ask under his own name only.
const rules = `user gw
topic readwrite site/#
topic readwrite other/#
user witness
topic read #
user reader
topic read #
user bob
topic read site/gw-e2e/meta
topic read site/gw-e2e/config/reported
pattern write site/+/cmd/%u/req
pattern read site/+/cmd/%u/resp
pattern read site/+/status
`

// The boiler's registers.
const setpoint, pump = 100, 4

// plantOptions says how a plant differs from the usual one.
type plantOptions struct {
	protocol, commands string
	line, registers    string // further keys of the line, further registers of the boiler
	uplink             string // further keys
	unit               *modbustest.Unit
	pace               rtu.Mode
	trace              bool // the daemon reaches the broker through plant.tap
	idle               bool // the daemon is not started
}

func newPlant(t *testing.T, protocol, commands string) *plant {
	t.Helper()
	return newPlantWith(t, plantOptions{protocol: protocol, commands: commands})
}

// layPlant is newPlant without the daemon.
func layPlant(t *testing.T, protocol, commands string) *plant {
	t.Helper()
	return newPlantWith(t, plantOptions{protocol: protocol, commands: commands, idle: true})
}

func newPlantWith(t *testing.T, o plantOptions) *plant {
	t.Helper()
	p := &plant{bench: &bench{t: t, dir: t.TempDir(), account: newAccount(t)}, proto: o.protocol}
	p.broker = startMosquitto(t, "127.0.0.1")
	p.broker.protect(t, "gw", "alice", "bob", "witness", "reader")
	t.Cleanup(func() {
		if said := strings.Split(p.broker.Said(), "\n"); t.Failed() {
			t.Logf("the last of what the broker said:\n%s", strings.Join(said[max(0, len(said)-60):], "\n"))
		}
	})
	pty, err := modbustest.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	if o.unit == nil {
		o.unit = &modbustest.Unit{Holding: map[uint16]uint16{setpoint: 600}, Coils: map[uint16]bool{pump: false}}
	}
	p.slave = modbustest.NewSlave(map[byte]*modbustest.Unit{3: o.unit})
	p.slave.Pace = o.pace
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { p.slave.Run(ctx, pty) })
	t.Cleanup(func() {
		cancel()
		pty.Close()
		group.Wait()
	})
	broker := p.broker.Addr()
	if o.trace {
		p.tap = newTap(t, broker)
		broker = p.tap.addr()
	}
	text := fmt.Sprintf(`gateway: {id: gw-e2e, clock: trusted}
modbus:
  - name: line1
    port: %s
%s    devices:
      - name: boiler
        unit_id: 3
        interval: 200ms
        registers:
          - {name: setpoint, register: holding, address: %d, type: int16, scale: 0.1}
          - {name: pump, register: coil, address: %d}
%sbuffer: {path: buffer}
uplink: {servers: ["mqtt://%s"], username: gw, password: secret, protocol: %q, topic: "site/{gateway}/{source}", compress: none%s}
%s`, pty.Path, o.line, setpoint, pump, o.registers, broker, o.protocol, o.uplink, o.commands)
	p.config = filepath.Join(p.dir, "fieldferry.yaml")
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if !o.idle {
		p.daemon = startDaemon(t, p.config)
	}
	return p
}

const boiler = `commands:
  enabled: true
  max_ttl: 10s
  max_per_minute: 6000
  read: {}
  points:
    - {name: boiler.setpoint, line: line1, device: boiler, register: setpoint, min: 40, max: 75, step: 0.5, fallback: {value: 50, after: 1h}}
    - {name: boiler.pump, line: line1, device: boiler, register: pump, allow: [alice]}
`

// as runs a program of mosquitto's as a user.
func (p *plant) as(user, program string, args ...string) string {
	p.t.Helper()
	args = append([]string{"-h", "127.0.0.1", "-p", fmt.Sprint(p.broker.Port), "-u", user, "-P", "secret"}, args...)
	out, err := exec.Command(rig.Need(p.t, program, "mosquitto-clients"), args...).Output()
	if err != nil && program != "mosquitto_sub" {
		p.t.Fatalf("%s %q: %v", program, args, err)
	}
	return strings.TrimSpace(string(out))
}

// epoch is the word that the status message has now.
func (p *plant) epoch() string {
	p.t.Helper()
	var word string
	p.daemon.Until("an epoch", func() bool {
		var status struct{ State, Epoch string }
		_ = json.Unmarshal([]byte(p.as("alice", "mosquitto_sub", "-t", "site/gw-e2e/status", "-C", "1", "-W", "2")), &status)
		word = status.Epoch
		return status.State == "online" && word != ""
	})
	return word
}

// reply is what comes back.
type reply struct {
	ID, State, Code string
	Status          int
	Value, Read     json.RawMessage
	Duplicate       bool
}

// listen takes replies to a user.
func (p *plant) listen(user string) *subscriber {
	p.t.Helper()
	return p.broker.follow(p.t, user, "site/gw-e2e/cmd/"+user+"/resp")
}

// answers are the replies to an id until now.
func answers(s *subscriber, id string) (list []reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, payload := range s.payloads {
		var r reply
		if !bytes.Contains(payload, []byte(`"`+id+`"`)) {
			continue
		}
		if json.Unmarshal(payload, &r) == nil && r.ID == id {
			list = append(list, r)
		}
	}
	return list
}

// ask sends a request and returns its last answer, of n.
func (p *plant) ask(s *subscriber, user, id, text string, n int, more ...string) reply {
	p.t.Helper()
	p.as(user, "mosquitto_pub", append([]string{"-q", "1", "-t", "site/gw-e2e/cmd/" + user + "/req", "-m", text}, more...)...)
	p.daemon.Until("an answer to "+id, func() bool { return len(answers(s, id)) >= n })
	return answers(s, id)[n-1]
}

func (p *plant) writes(address uint16) (words []uint16) {
	for _, w := range p.slave.Writes() {
		if w.Address == address {
			words = append(words, w.Words...)
		}
	}
	return words
}

// whole reports whether the acceptance checks run at the size they are written
// for, as make commands-test does, and not at one that fits in make test.
func whole() bool { return os.Getenv("FIELDFERRY_COMMANDS") == "whole" }

// voice is mosquitto_pub as a user, connected: each line is one message, QoS 1.
type voice struct {
	lines io.WriteCloser
	cmd   *exec.Cmd
}

func (p *plant) voice(user string, args ...string) *voice {
	p.t.Helper()
	id := "voice-" + rand.Text()
	args = append([]string{"-h", "127.0.0.1", "-p", fmt.Sprint(p.broker.Port), "-u", user, "-P", "secret", "-i", id,
		"-q", "1", "-t", "site/gw-e2e/cmd/" + user + "/req", "-l"}, args...)
	cmd := exec.Command(rig.Need(p.t, "mosquitto_pub", "mosquitto-clients"), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	lines, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	v := &voice{lines, cmd}
	p.t.Cleanup(v.end)
	p.daemon.Until("mosquitto_pub is connected", func() bool { return strings.Contains(p.broker.Said(), "Sending CONNACK to "+id) })
	return v
}

// end lets it say nothing more.
func (v *voice) end() {
	_ = v.cmd.Process.Kill() // it may have ended
	_ = v.cmd.Wait()
}

// say publishes one message.
func (v *voice) say(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(v.lines, text+"\n"); err != nil {
		t.Fatal(err)
	}
}

// answered waits for the n-th answer to an id.
func (p *plant) answered(s *subscriber, id string, n int) reply {
	p.t.Helper()
	p.daemon.Until(fmt.Sprint("answer ", n, " to ", id), func() bool { return len(answers(s, id)) >= n })
	return answers(s, id)[n-1]
}

// restartBroker restarts the broker in order: its sessions outlive that.
func (p *plant) restartBroker() {
	p.t.Helper()
	p.broker.Stop()
	if err := p.broker.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// online waits until the status message says so, with an epoch other than one
// that was there before.
func (p *plant) online(before string) (epoch string) {
	p.t.Helper()
	p.daemon.Until("another epoch", func() bool { epoch = p.epoch(); return epoch != before })
	return epoch
}
