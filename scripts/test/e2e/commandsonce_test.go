package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/gateway/ledger"
)

// The same request, byte by byte, is sent 100 times while the broker restarts
// five times and the daemon three times, once by kill -9: it is written once,
// and all answers are the same. After two max_ttl on one connection it is still
// not written again; another request is.
func TestOneCommandAHundredTimes(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "5", strings.Replace(boiler, "max_ttl: 10s", "max_ttl: 20s", 1))
	alice := p.listen("alice")
	e := p.epoch()
	text := fmt.Sprintf(`{"v":1,"id":"same","point":"boiler.setpoint","value":62.5,"epoch":%q}`, e)
	for n := range 100 {
		switch { // after the first 8 answers, and so on
		case n%16 == 8 && n < 80:
			p.restartBroker()
			e = p.online(e)
		case n == 40:
			p.daemon.Kill()
			p.daemon = startDaemon(t, p.config)
			e = p.online(e)
		case n%40 == 20:
			stop(t, p.daemon)
			p.daemon = startDaemon(t, p.config)
			e = p.online(e)
		}
		p.ask(alice, "alice", "same", text, n+1)
	}
	var first string
	for i, r := range raw(alice, "same") {
		if r.duplicate != (i > 0) {
			t.Errorf("answer %d: %s", i, r.text)
		}
		if first == "" {
			first = r.text
		}
		if r.text != first {
			t.Errorf("answer %d is %s, the first %s", i, r.text, first)
		}
	}
	if w := p.writes(setpoint); !slices.Equal(w, []uint16{625}) {
		t.Errorf("written %v", w)
	}
	time.Sleep(2*20*time.Second + time.Second) // two max_ttl: the passing of time is what is tested
	if r := p.ask(alice, "alice", "same", text, 101); r.State != "rejected" && !r.Duplicate {
		t.Errorf("after two max_ttl: %+v", r)
	}
	if r := p.ask(alice, "alice", "other", fmt.Sprintf(`{"id":"other","point":"boiler.setpoint","value":63,"epoch":%q}`, p.epoch()), 1); r.Code != "ok" {
		t.Errorf("the control: %+v", r)
	}
	if w := p.writes(setpoint); !slices.Equal(w, []uint16{625, 630}) {
		t.Errorf("written %v", w)
	}
}

type rawReply struct {
	text      string // without the mark of a duplicate
	duplicate bool
}

// raw are the answers to an id as they came.
func raw(s *subscriber, id string) (list []rawReply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, payload := range s.payloads {
		if bytes.Contains(payload, []byte(`"id":"`+id+`"`)) {
			text := strings.Replace(string(payload), `,"duplicate":true`, "", 1)
			list = append(list, rawReply{text, text != string(payload)})
		}
	}
	return list
}

// A request that the broker keeps is there before the daemon connects, and at
// ten more connections, of which half are those of a new process: it is not
// carried out. One that is sent live with the retain flag is refused under MQTT
// 5; under 3.1.1, where nothing shows it, it is carried out once.
func TestRetainedCommandsOverTenConnections(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"3.1.1", "5"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			p := newPlantWith(t, plantOptions{protocol: protocol, commands: strings.Replace(boiler, "max_ttl: 10s", "max_ttl: 10m", 1), trace: true, idle: true})
			alice := p.listen("alice")
			issued := func(id, value string) string {
				return fmt.Sprintf(`{"id":%q,"point":"boiler.setpoint","value":%s,"issued":%q,"ttl":"10m"}`, id, value, time.Now().UTC().Format(time.RFC3339Nano))
			}
			p.as("alice", "mosquitto_pub", "-q", "1", "-r", "-t", "site/gw-e2e/cmd/alice/req", "-m", issued("before", "41"))
			p.daemon = startDaemon(t, p.config)
			e := p.epoch()
			live := 0
			if r := p.ask(alice, "alice", "live", issued("live", "42"), 1, "-r"); protocol == "5" && r.Code != "retained" {
				t.Errorf("sent live: %+v", r)
			}
			if protocol == "3.1.1" {
				live = 1
			}
			for n := range 10 {
				if n%2 == 0 {
					p.tap.cut()
				} else {
					p.daemon.Kill()
					p.daemon = startDaemon(t, p.config)
				}
				e = p.online(e)
				// Whatever the connection brought came before what is asked now.
				p.ask(alice, "alice", fmt.Sprint("r", n), fmt.Sprintf(`{"id":"r%d","read":"boiler.setpoint","epoch":%q}`, n, e), 1)
			}
			if n := p.tap.connections(); n < 11 {
				t.Errorf("only %d connections", n)
			}
			if w := p.writes(setpoint); len(w) != live || slices.Contains(w, 410) {
				t.Errorf("written %v", w)
			}
			for _, id := range []string{"before", "live"} {
				for i, r := range answers(alice, id) {
					if r.Code != "retained" && !(id == "live" && protocol == "3.1.1" && (r.Code == "ok" && i == 0)) {
						t.Errorf("%s, answer %d: %+v", id, i, r)
					}
				}
			}
			if r := p.ask(alice, "alice", "control", issued("control", "43"), 1); r.Code != "ok" {
				t.Errorf("the control: %+v", r)
			}
		})
	}
}

// A broker that stands still for five seconds delivers a request whose time was
// two: it is not carried out.
func TestABrokerThatStoodStill(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "5", boiler)
	alice := p.listen("alice")
	e := p.epoch()
	v := p.voice("alice")
	issued := func(id, more string) string {
		return fmt.Sprintf(`{"id":%q,"point":"boiler.setpoint","value":70,"issued":%q,"ttl":"2s"%s}`, id, time.Now().UTC().Format(time.RFC3339Nano), more)
	}
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(p.broker.PID(), s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	v.say(t, issued("plain", ""))
	v.say(t, issued("both", fmt.Sprintf(`,"epoch":%q`, e)))
	time.Sleep(5 * time.Second) // it stands still
	signal(syscall.SIGCONT)
	for _, id := range []string{"plain", "both"} {
		if r := p.answered(alice, id, 1); r.Code != "expired" {
			t.Errorf("%s: %+v", id, r)
		}
	}
	if w := p.writes(setpoint); len(w) > 0 {
		t.Errorf("written %v", w)
	}
	v.say(t, issued("control", ""))
	if r := p.answered(alice, "control", 1); r.Code != "ok" {
		t.Errorf("the control: %+v", r)
	}
}

// A thousand commands with an outage of the broker and a kill -9 in between, of
// the daemon at work: each is written once at most, and has one account at an
// independent subscriber, in a stream without a gap.
func TestAThousandCommandsAndTheirAccounts(t *testing.T) {
	t.Parallel()
	count := 120
	if whole() {
		count = 1000
	}
	p := newPlantWith(t, plantOptions{protocol: "5", unit: &modbustest.Unit{Holding: map[uint16]uint16{setpoint: 600, counter: 0}, Coils: map[uint16]bool{pump: false}},
		registers: fmt.Sprintf("          - {name: counter, register: holding, address: %d, type: uint16}\n", counter),
		commands: `commands:
  enabled: true
  max_ttl: 3s
  max_per_minute: 6000
  points: [{name: counter, line: line1, device: boiler, register: counter, min: 0, max: 65535}]
`})
	p.witness = p.broker.follow(t, "witness", "site/gw-e2e/#")
	c := &campaign{plant: p, alice: p.listen("alice"), status: p.broker.follow(t, "bob", "site/gw-e2e/status"), accounts: map[string][]string{}}
	p.epoch()
	c.voice = p.voice("alice")
	// The gateway remembers 1,000 requests, each of these for 16 s, and what it finds
	// at a start for 16 s more: 20 a second are at most 640.
	pace := time.NewTicker(250 * time.Millisecond)
	defer pace.Stop()
	for n := 0; n < count; {
		const together = 5 // of both counts a quarter is a multiple of it
		c.batch(n, together)
		n += together
		<-pace.C
		switch n {
		case count / 4:
			c.outage()
		case count / 2:
			c.kill()
		}
	}
	c.finish(count)
}

// campaign is a requester who does not stop before each request has its final
// answer.
type campaign struct {
	*plant
	alice    *subscriber
	status   *subscriber
	voice    *voice
	accounts map[string][]string // by id, without those that were given again

	next                    int // see other
	asked, atMachine, again int // commands at the machine itself, and accounts of them; accounts that say "again"
}

// batch sends requests at once and waits for their final answers.
func (c *campaign) batch(from, n int) {
	c.t.Helper()
	for i := from; i < from+n; i++ {
		c.send(i)
	}
	for i := from; i < from+n; i++ {
		c.final(i)
	}
}

func (c *campaign) send(i int) {
	c.t.Helper()
	c.voice.say(c.t, fmt.Sprintf(`{"id":"n%d","point":"counter","value":%d,"epoch":%q}`, i, i, c.fresh()))
}

// fresh is the epoch of the newest status message.
func (c *campaign) fresh() (epoch string) {
	c.status.mu.Lock()
	defer c.status.mu.Unlock()
	for _, payload := range c.status.payloads {
		var status struct{ Epoch string }
		if json.Unmarshal(payload, &status) == nil && status.Epoch != "" {
			epoch = status.Epoch
		}
	}
	return epoch
}

// counter is a register to which each command of a campaign writes its own number;
// those besides the numbered ones begin at others.
const counter, others = 200, 10_000

// final waits for the final answer, and asks again by the same id if none comes.
func (c *campaign) final(i int) {
	c.t.Helper()
	id := fmt.Sprint("n", i)
	for tries := 0; tries < 10; tries++ {
		for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
			if last := lastOf(answers(c.alice, id)); last.State != "" && last.State != "accepted" {
				return
			}
		}
		c.plant.epoch()
		c.send(i)
	}
	c.t.Fatalf("%s has no final answer", id)
}

func lastOf(list []reply) (r reply) {
	if len(list) > 0 {
		r = list[len(list)-1]
	}
	return r
}

// outage stops the broker; meanwhile somebody at the machine goes on, and the
// daemon is killed.
func (c *campaign) outage() {
	c.t.Helper()
	before := c.fresh()
	c.broker.Stop()
	c.voice.end()
	for range 5 {
		c.verb(0, "command", "counter", c.other())
		c.asked++
	}
	c.daemon.Kill()
	c.daemon = startDaemon(c.t, c.config)
	c.daemon.Until("a command at the machine", func() bool {
		c.asked++
		return strings.Contains(c.verbAny("command", "counter", c.other()), "done")
	})
	if err := c.broker.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.reconnect(before)
}

// other is a value that no other command has.
func (c *campaign) other() string {
	c.next++
	return fmt.Sprint(others + c.next)
}

// kill kills the daemon while it carries commands out.
func (c *campaign) kill() {
	c.t.Helper()
	before, writes := c.fresh(), len(c.slave.Writes())
	for i := range 4 {
		c.voice.say(c.t, fmt.Sprintf(`{"id":"killed%d","point":"counter","value":%s,"epoch":%q}`, i, c.other(), c.fresh()))
	}
	c.daemon.Until("a write", func() bool { return len(c.slave.Writes()) > writes })
	c.daemon.Kill()
	c.daemon = startDaemon(c.t, c.config)
	c.reconnect(before)
}

// reconnect is when all are there again, behind the epoch before: whoever reads
// the status for c comes back to the broker in his own time.
func (c *campaign) reconnect(before string) {
	c.t.Helper()
	c.voice.end()
	c.online(before)
	c.daemon.Until("the new epoch", func() bool { return c.fresh() != before })
	c.voice = c.plant.voice("alice")
}

// finish looks at what the subscriber has got.
func (c *campaign) finish(count int) {
	c.t.Helper()
	stop(c.t, c.daemon)
	c.broker.publishAs(c.t, "gw", "site/gw-e2e/end", endMark)
	deadline := time.Now().Add(30 * time.Second)
	for ended := false; !ended && time.Now().Before(deadline); {
		c.witness.mu.Lock()
		ended = len(c.witness.payloads) > 0 && string(c.witness.payloads[len(c.witness.payloads)-1]) == endMark
		c.witness.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	var l ledger.Ledger
	lost := 0
	for _, payload := range c.witness.payloads {
		m, err := ledger.Parse(payload)
		if err != nil {
			continue
		}
		entries, err := l.Add(m)
		if err != nil {
			c.t.Fatal(err)
		}
		for i, e := range entries {
			switch {
			case e.Duplicate:
			case e.Type == "loss":
				lost++
			case e.Type == "command":
				c.account(m.Records[i])
			}
		}
	}
	if gaps := l.Gaps(true); len(gaps) > 0 || lost > 0 {
		c.t.Errorf("gaps %v, %d losses", gaps, lost)
	}
	once, ends := 0, map[string]int{}
	for i := range count {
		id := fmt.Sprint("n", i)
		if list := c.accounts[id]; len(list) == 1 {
			once++
			ends[list[0]]++
		} else {
			c.t.Errorf("%s has %d accounts: %v; answers %+v", id, len(list), list, answers(c.alice, id))
		}
	}
	times := map[uint16]int{}
	for _, w := range c.writes(counter) {
		if times[w]++; times[w] > 1 {
			c.t.Errorf("%d was written %d times", w, times[w])
		}
	}
	if len(times) < count*95/100 {
		c.t.Errorf("%d values were written", len(times))
	}
	if c.atMachine != c.asked {
		c.t.Errorf("%d of %d commands at the machine have an account", c.atMachine, c.asked)
	}
	// The kill came between two that were waited for. Where many tests share few
	// cores a reply of the slave may come too late.
	if n := ends["done ok"] + ends["failed no_reply"]; n != count || ends["done ok"] < count*95/100 {
		c.t.Errorf("%d commands ended as %v", count, ends)
	}
	c.t.Logf("%d of %d commands by MQTT have one account, %d of %d at the machine; %d were given again; %d writes",
		once, count, c.atMachine, c.asked, c.again, len(c.writes(counter)))
}

// account takes one record of a command.
func (c *campaign) account(raw json.RawMessage) {
	var r struct {
		ID, Who, By, State, Code string
		Again                    bool
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		c.t.Fatal(err)
	}
	what := r.State + " " + r.Code
	switch list := c.accounts[r.ID]; {
	case r.Again && slices.Contains(list, what): // the first one outlived the kill
		c.again++
		return
	case r.By == "cli":
		c.atMachine++
	case r.Again:
		c.again++
	}
	c.accounts[r.ID] = append(c.accounts[r.ID], what)
}
