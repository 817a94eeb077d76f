package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// memory is how many kilobytes of memory a process has of a kind (proc(5)).
func memory(t *testing.T, pid int, kind string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(kind + `:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in %s", kind, text)
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// 100 requests a second: so many as max_per_minute are carried out, the rest is
// refused with rate, each is answered, at most 20 refusals a second are recorded
// and the rest is counted; neither memory nor journal grows with them.
func TestAFloodOfCommands(t *testing.T) {
	t.Parallel()
	seconds := 5
	if whole() {
		seconds = 60
	}
	const perSecond = 100
	p := newPlant(t, "5", strings.Replace(boiler, "max_per_minute: 6000", "max_per_minute: 60", 1))
	p.witness = p.broker.follow(t, "witness", "site/gw-e2e/line1")
	alice := p.listen("alice")
	e := p.epoch()
	v := p.voice("alice")
	began := time.Now()
	var before int
	tick := time.NewTicker(time.Second / 10)
	defer tick.Stop()
	for n := 0; n < seconds*perSecond; <-tick.C {
		for range perSecond / 10 {
			v.say(t, fmt.Sprintf(`{"id":"f%d","point":"boiler.setpoint","value":%s,"epoch":%q}`, n, fmt.Sprint(40+float64(n%71)/2), e))
			n++
		}
		if n == perSecond {
			before = memory(t, p.daemon.PID(), "VmRSS")
		}
		if n%(perSecond*4) == 0 { // it changes twice in max_ttl
			e = p.epoch()
		}
	}
	codes := map[string]int{}
	p.daemon.Until("an answer to each", func() bool {
		clear(codes)
		alice.mu.Lock()
		defer alice.mu.Unlock()
		n := 0
		for _, payload := range alice.payloads {
			if m := regexp.MustCompile(`"state":"(\w+)","code":"(\w+)"`).FindSubmatch(payload); m != nil && string(m[1]) != "accepted" {
				codes[string(m[2])]++
				n++
			}
		}
		return n >= seconds*perSecond
	})
	took := time.Since(began)
	grown := memory(t, p.daemon.PID(), "VmHWM") - before
	journal, err := os.Stat(filepath.Join(p.dir, "buffer", "gateway", "commands"))
	if err != nil {
		t.Fatal(err)
	}
	writes := len(p.writes(setpoint))
	allowed := 60 + int(took.Seconds()) + 1 // what is saved up, and what comes meanwhile
	if writes != codes["ok"] || writes < 60 || writes > allowed {
		t.Errorf("%d writes, %d are done; %d to %d are allowed", writes, codes["ok"], 60, allowed)
	}
	for code, n := range codes {
		if code != "ok" && code != "rate" && code != "busy" {
			t.Errorf("%d times %s", n, code)
		}
	}
	if codes["busy"] > 60 || codes["rate"] < seconds*perSecond-allowed-60 {
		t.Errorf("%v", codes)
	}
	if grown > 16<<10 || journal.Size() > 1<<20 {
		t.Errorf("memory grew by %d kB, the journal has %d bytes", grown, journal.Size())
	}
	time.Sleep(time.Second)                         // the one in which there are already 20
	p.verb(1, "command", "boiler.setpoint", "1000") // its record has what was counted
	told, counted := p.refusals()
	if refused := codes["rate"] + codes["busy"] + 1; told+counted != refused || told > 20*(int(took.Seconds())+2) {
		t.Errorf("%d refusals, %d recorded and %d counted", refused, told, counted)
	}
	t.Logf("%d requests in %v: %v; memory grew by %d kB from %d, the journal has %d bytes; %d refusals recorded, %d counted",
		seconds*perSecond, took.Round(time.Millisecond), codes, grown, before, journal.Size(), told, counted)
}

// refusals are those recorded and those counted until the last that was sent.
func (p *plant) refusals() (told, counted int) {
	p.t.Helper()
	refusal := regexp.MustCompile(`"state":"rejected"[^{}]*\}`)
	more := regexp.MustCompile(`"more":(\d+)`)
	p.daemon.Until("the record of the last refusal", func() bool {
		told, counted = 0, 0
		p.witness.mu.Lock()
		defer p.witness.mu.Unlock()
		last := false
		for _, payload := range p.witness.payloads {
			for _, r := range refusal.FindAllString(string(payload), -1) {
				told++
				if m := more.FindStringSubmatch(r); m != nil {
					n, _ := strconv.Atoi(m[1])
					counted += n
				}
			}
			last = last || strings.Contains(string(payload), `"value":1000`)
		}
		return last
	})
	return told, counted
}

// A line that takes the time of 19,200 baud, whose polls take 95 % of it, and 200
// writes: how long from a request to the first byte on the wire, and which rate
// is left to the polls. The bound of the wait is asserted of the whole run
// only, against exchanges and syncs of the same run; else it is that all are
// written and that polls keep their share.
func TestCommandsOnABusyLine(t *testing.T) {
	t.Parallel()
	count, every := 12, 500*time.Millisecond
	if whole() {
		count, every = 200, 250*time.Millisecond
	}
	o := busyLine(boiler)
	var mu sync.Mutex
	var requests []time.Time
	o.unit.Update = func(*modbustest.Unit, time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		requests = append(requests, time.Now())
	}
	p := newPlantWith(t, o)
	alice := p.listen("alice")
	v := p.voice("alice")
	alone := p.pollRate(max(time.Duration(count)*every/4, 4*time.Second))
	mu.Lock()
	exchange := gaps(requests)
	mu.Unlock()
	e := p.epoch()
	meanwhile := make(chan struct{})
	synced := make(chan []time.Duration)
	go func() { synced <- p.syncs(meanwhile) }()
	var waits []time.Duration
	from, polls := time.Now(), p.slave.Requests()
	var others uint64 // requests of commands
	for n := range count {
		if n%10 == 9 { // it changes twice in max_ttl
			e = p.epoch()
		}
		id, writes := fmt.Sprint("w", n), len(p.slave.Writes())
		asked := time.Now()
		v.say(t, fmt.Sprintf(`{"id":%q,"point":"boiler.setpoint","value":%s,"epoch":%q}`, id, fmt.Sprint(40+float64(n%71)/2), e))
		if r := p.answered(alice, id, 1); r.Code != "ok" && r.Code != "queued" {
			t.Errorf("%+v", r)
		}
		p.daemon.Until("the write", func() bool { return len(p.slave.Writes()) > writes })
		waits = append(waits, p.slave.Writes()[writes].At.Sub(asked))
		others += 2 // the write and reading back
		time.Sleep(time.Until(asked.Add(every + time.Duration(n%37)*time.Millisecond)))
	}
	rate := float64(p.slave.Requests()-polls-others) / time.Since(from).Seconds()
	close(meanwhile)
	syncs := <-synced
	slices.Sort(waits)
	p99, sync := waits[len(waits)*99/100], syncs[len(syncs)*99/100]
	// The longest gaps are those between the rounds, in which nothing is due.
	usual := exchange[len(exchange)/2]
	t.Logf("%d writes: from the request to the wire median %v, p99 %v, longest %v; an exchange %v, %v as this machine does it; a sync meanwhile median %v, p99 %v; polls %.1f/s alone, %.1f/s (%.0f %%) meanwhile",
		count, waits[len(waits)/2], p99, waits[len(waits)-1], busyExchange(), usual, syncs[len(syncs)/2], sync, alone, rate, 100*rate/alone)
	if n := len(p.writes(setpoint)); n != count {
		t.Errorf("%d writes", n)
	}
	if rate < 0.8*alone {
		t.Errorf("polls have %.1f/s of %.1f/s", rate, alone)
	}
	if bound := usual + 20*time.Millisecond + 2*sync; whole() && p99 > bound {
		t.Errorf("p99 is %v, more than %v", p99, bound)
	}
}

// The line of TestCommandsOnABusyLine: its polls are 34 exchanges a second, and 10 of the plant.
const busyRegisters = 34

func busyLine(commands string) plantOptions {
	unit := &modbustest.Unit{Holding: map[uint16]uint16{setpoint: 600}, Coils: map[uint16]bool{pump: false}, Delay: busyDelay}
	var registers strings.Builder
	for i := range uint16(busyRegisters) {
		address := 1000 + 200*i // too far apart to be asked for together
		unit.Holding[address] = i
		fmt.Fprintf(&registers, "          - {name: r%d, register: holding, address: %d, type: uint16, interval: 1s}\n", i, address)
	}
	return plantOptions{protocol: "5", commands: commands, unit: unit, pace: busyMode, line: "    baud_rate: 19200\n    parity: N\n", registers: registers.String()}
}

var (
	busyMode  = rtu.Mode{BaudRate: 19200, DataBits: 8, Parity: 'N', StopBits: 1}
	busyDelay = 10 * time.Millisecond
)

// busyExchange is how long a poll takes: 8 and 7 characters, and the silence
// before each.
func busyExchange() time.Duration {
	return 15*busyMode.CharTime() + 2*busyMode.Silence() + busyDelay
}

// gaps are the times from each request to the next.
func gaps(at []time.Time) (list []time.Duration) {
	for i := 1; i < len(at); i++ {
		list = append(list, at[i].Sub(at[i-1]))
	}
	slices.Sort(list)
	return list
}

// pollRate is how many requests a second there are without commands.
func (p *plant) pollRate(d time.Duration) float64 {
	from, n := time.Now(), p.slave.Requests()
	time.Sleep(d)
	return float64(p.slave.Requests()-n) / time.Since(from).Seconds()
}

// syncs are how long it takes to put a line of the journal on the disk that it is
// on, 20 times a second until there is enough.
func (p *plant) syncs(enough <-chan struct{}) (took []time.Duration) {
	f, err := os.Create(filepath.Join(p.dir, "buffer", "sync-of-the-test"))
	if err != nil {
		p.t.Error(err)
		return []time.Duration{0}
	}
	defer os.Remove(f.Name())
	defer f.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for more := true; more; {
		began := time.Now()
		_, err := f.Write(make([]byte, 300))
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			p.t.Error(err)
		}
		took = append(took, time.Since(began))
		select {
		case <-enough:
			more = false
		case <-tick.C:
		}
	}
	slices.Sort(took)
	return took
}
