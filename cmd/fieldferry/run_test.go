package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/buffer"
)

// manager stands for systemd: it hears what the daemon notifies.
type manager struct {
	t       *testing.T
	conn    *net.UnixConn
	dir     string
	config  string
	stop    func()
	ended   chan result
	pings   int
	watched bool
}

// manage runs the daemon with a configuration until done is called. Buffers
// are in the directory of the configuration.
func manage(t *testing.T, config string, env map[string]string) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "ferry") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// The test must survive a SIGHUP that comes when the daemon has ended.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hangup) })
	m := &manager{t: t, dir: dir, config: filepath.Join(dir, "f.yaml"), ended: make(chan result, 1)}
	m.write(config)
	socket := filepath.Join(dir, "notify")
	if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.conn.Close() })
	if err := m.conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"NOTIFY_SOCKET": socket}
	maps.Copy(all, env)
	ctx, stop := context.WithCancel(t.Context())
	m.stop = stop
	go func() {
		r := fieldferry(ctx, all, "run", "-c", m.config)
		_ = m.conn.SetReadDeadline(time.Now()) // nothing more is to be heard
		m.ended <- r
	}()
	t.Cleanup(func() { stop(); m.ended <- <-m.ended })
	m.hears("READY=1")
	return m
}

func (m *manager) write(config string) {
	m.t.Helper()
	if err := os.WriteFile(m.config, []byte(config), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// next returns what is notified next besides signs of life, which it counts, and
// the state in a sentence.
func (m *manager) next() string {
	m.t.Helper()
	message := make([]byte, 2000)
	for {
		n, err := m.conn.Read(message)
		if err != nil {
			m.t.Fatalf("%v\n%s", err, m.done())
		}
		text := string(message[:n])
		if strings.HasPrefix(text, "STATUS=") {
			continue
		}
		if text != "WATCHDOG=1" {
			return text
		}
		if m.pings++; m.watched {
			return text
		}
	}
}

func (m *manager) hears(want string) {
	m.t.Helper()
	if got := m.next(); got != want {
		m.t.Fatalf("the daemon notified %q, want %q", got, want)
	}
}

// reload does what systemctl reload does, and waits for the end of it.
func (m *manager) reload() {
	m.t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		m.t.Fatal(err)
	}
	m.reloaded()
}

func (m *manager) reloaded() {
	m.t.Helper()
	text := m.next()
	match := regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=([0-9]+)$`).FindStringSubmatch(text)
	if match == nil {
		m.t.Fatalf("the daemon notified %q", text)
	}
	if usec, err := strconv.ParseUint(match[1], 10, 64); err != nil || usec == 0 {
		m.t.Errorf("time %q", match[1])
	}
	m.hears("READY=1")
}

// done stops the daemon and returns what it logged.
func (m *manager) done() string {
	m.t.Helper()
	m.stop()
	r := <-m.ended
	m.ended <- r
	if r.code != 0 {
		m.t.Errorf("exit code %d\n%s", r.code, r.stderr)
	}
	return r.stderr
}

// events are the starts and the alarms about the configuration in a buffer,
// each with its session before it. Every stream must be without gaps.
func (m *manager) events(name string) (events []string) {
	m.t.Helper()
	var session uint64
	lives := 0
	seqs := map[string]uint64{}
	r := fieldferry(m.t.Context(), nil, "buffer", "dump", "--json", filepath.Join(m.dir, name))
	if r.code != 0 {
		m.t.Fatalf("buffer dump: %s", r.stderr)
	}
	for line := range strings.Lines(r.stdout) {
		var l struct {
			Session uint64
			Source  string
			Record  struct {
				Seq                uint64
				Type, Event, State string
				Detail             struct {
					Count    int
					Problems []string
				}
			}
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			m.t.Fatal(err)
		}
		stream := fmt.Sprint(l.Session, l.Source)
		if seqs[stream]++; l.Record.Seq != seqs[stream] || l.Record.Type == "loss" || l.Session < session {
			m.t.Errorf("a gap before %s", line)
		}
		if l.Session > session {
			session = l.Session
			lives++
		}
		if l.Record.Event != "started" && l.Record.Event != "config_rejected" {
			continue
		}
		e := fmt.Sprint(lives, " ", l.Record.Event, " ", l.Record.State)
		if d := l.Record.Detail; d.Count > 0 {
			e += fmt.Sprint(" ", d.Count, " ", strings.ReplaceAll(d.Problems[0], m.dir+"/", ""))
		}
		events = append(events, e)
	}
	return events
}

// runConfig has a part of each kind, so that each is compared; its port and
// its broker are not there.
const runConfig = `gateway: {id: gw, clock: trusted}
can: [{interface: "sim:ramp?rate=200", name: engine, dbc: demo.dbc, limit: {min_interval: 10ms}, filters: ["100:000"]}]
modbus:
  - name: line1
    port: /dev/ttyS9
    devices: [{name: meter, unit_id: 3, registers: [{name: u, address: 0, type: float32}, {name: i, address: 2, scale: 0.1}]}]
buffer: {path: buffer, sync_interval: 50ms}
uplink: {servers: ["mqtt://127.0.0.1:1"], username: u, password: secret, topic: "a/{gateway}"}
`

func runConfigWithDBC(t *testing.T) string {
	t.Helper()
	dbc, err := filepath.Abs("demo.dbc")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(runConfig, "demo.dbc", dbc, 1)
}

// A file that is wrong changes nothing and is told of, one that says the same
// changes nothing, and one that says something else begins a new session.
func TestReload(t *testing.T) {
	good := runConfigWithDBC(t)
	m := manage(t, good, nil)
	m.write(strings.Replace(good, "unit_id: 3", "unit_id: 300", 1) + "nonsense: 1\n")
	m.reload()
	m.reload()
	m.write("# as before\n\n" + good)
	m.reload()
	m.write("")
	m.reload()
	m.write(strings.Replace(good, "rate=200", "rate=100", 1))
	m.reload()
	log := m.done()
	for _, want := range []string{":6:38: modbus[0].devices[0].unit_id: 300 ", ":9:1: nonsense: "} {
		if n := strings.Count(log, `level=ERROR msg="`+m.config+want); n != 2 {
			t.Errorf("%q is logged %d times, want 2", want, n)
		}
	}
	if n := strings.Count(log, "msg=ready"); n != 2 {
		t.Errorf("ready %d times, want 2", n)
	}
	want := []string{
		"1 started event", "1 config_rejected raised 2 f.yaml:6:38: modbus[0].devices[0].unit_id: 300 is not a unit id; write the device's unit id, 1 to 247", "1 config_rejected cleared",
		"1 config_rejected raised 1 f.yaml:1:1: nothing configured: the file is empty or holds only comments; begin with gateway:, can: or modbus:, and uplink:",
		"2 started event", "2 config_rejected cleared",
	}
	if got := m.events("buffer"); !slices.Equal(got, want) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if t.Failed() {
		t.Log(log)
	}
}

// A configuration that is found unusable only when it is used, and one that
// moves the buffer.
func TestReloadThatCannotBeUsed(t *testing.T) {
	good := runConfigWithDBC(t)
	m := manage(t, good, nil)
	if err := os.WriteFile(filepath.Join(m.dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := func(path string) string { return strings.Replace(good, "path: buffer", "path: "+path, 1) }
	m.write(elsewhere("file/buffer"))
	m.reload()
	taken, err := buffer.Open(buffer.Config{Dir: filepath.Join(m.dir, "taken")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	m.write(elsewhere("taken"))
	m.reload()
	m.write(elsewhere("other"))
	m.reload()
	log := m.done()
	var got []string
	for _, e := range m.events("buffer") {
		got = append(got, strings.Join(strings.Fields(e)[:3], " "))
	}
	want := []string{"1 started event", "2 started event", "2 config_rejected raised", "3 started event", "3 config_rejected raised"}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	if got := m.events("other"); !slices.Equal(got, []string{"1 started event"}) {
		t.Errorf("events of the other buffer %q", got)
	}
	for _, want := range []string{"level=WARN msg=\"records stay behind in the old buffer", "buffer.path cannot be used: ", "msg=ready"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log", want)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}

// A file that is wrong at the start does not keep the gateway from what it did
// before; the next reload of a good one ends the alarm.
func TestStartWithAWrongFile(t *testing.T) {
	state := t.TempDir()
	env := map[string]string{"STATE_DIRECTORY": state}
	good := runConfigWithDBC(t)
	m := manage(t, strings.Replace(good, "path: buffer", "path: "+state, 1), env)
	m.done()
	m = manage(t, "gateway: {id: 'hunter2\n", env)
	// check knows it beforehand, which is what an upgrade asks.
	for store, want := range map[string]int{filepath.Join(state, "config"): 0, t.TempDir(): 2} {
		r := fieldferry(t.Context(), nil, "check", "-c", filepath.Join(m.dir, "f.yaml"), "--config-store", store)
		if r.code != want || strings.Contains(r.stdout, "last ran") != (want == 0) || r.stderr == "" {
			t.Errorf("check with the store %s: %+v; want %d", store, r, want)
		}
	}
	m.write(strings.Replace(good, "path: buffer", "path: "+state, 1))
	m.reload()
	log := m.done()
	if strings.Contains(log, "hunter2") || !strings.Contains(log, "the one that last ran is used instead") {
		t.Error(log)
	}
	m.dir = state
	var got []string
	for _, e := range m.events("") {
		got = append(got, strings.Join(strings.Fields(e)[:3], " "))
	}
	want := []string{"1 started event", "2 started event", "2 config_rejected raised", "2 config_rejected cleared"}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q\n%s", got, want, log)
	}
}

// Many signals at once are followed, but not each.
// Without anything to run the daemon of a service waits, and a reload of a mended
// file makes it run.
func TestStartWithoutAnythingToRun(t *testing.T) {
	good := runConfigWithDBC(t)
	m := manage(t, good+"nonsense: 1\n", nil)
	m.reload()
	m.write(good)
	m.reload()
	log := m.done()
	for want, n := range map[string]int{":9:1: nonsense: ": 1, "nothing runs": 1, "attempts=2": 1, "msg=ready": 1, "msg=stopped": 1} {
		if got := strings.Count(log, want); got != n {
			t.Errorf("%q is logged %d times, want %d\n%s", want, got, n, log)
		}
	}
	m = manage(t, "", nil)
	if log := m.done(); !strings.Contains(log, "msg=stopped") { // a stop is not an error
		t.Error(log)
	}
}

func TestReloadStorm(t *testing.T) {
	good := runConfigWithDBC(t)
	m := manage(t, good, nil)
	m.write(strings.Replace(good, "rate=200", "rate=100", 1))
	for range 1000 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	m.reloaded()
	m.done()
	if got := m.events("buffer"); !slices.Equal(got, []string{"1 started event", "2 started event"}) {
		t.Errorf("events %q", got)
	}
}

// The daemon gives signs of life under a manager that waits for them, and
// none to one that waits for somebody else.
func TestSignsOfLife(t *testing.T) {
	m := manage(t, runConfigWithDBC(t), map[string]string{"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": strconv.Itoa(os.Getpid())})
	m.watched = true
	m.hears("WATCHDOG=1")
	m.watched = false
	m.done()
	m = manage(t, runConfigWithDBC(t), map[string]string{"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"})
	m.reload()
	m.done()
	if m.pings > 0 {
		t.Errorf("%d signs of life for another process", m.pings)
	}
}

func TestWatchdogTime(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want time.Duration
	}{
		{nil, 0},
		{map[string]string{"WATCHDOG_USEC": "60000000"}, time.Minute},
		{map[string]string{"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": strconv.Itoa(os.Getpid())}, time.Minute},
		{map[string]string{"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, 0},
		{map[string]string{"WATCHDOG_USEC": "7200000000"}, 2 * time.Hour}, // more than 32 bits
		{map[string]string{"WATCHDOG_USEC": "18446744073709551615"}, 0},
		{map[string]string{"WATCHDOG_USEC": "-1"}, 0},
		{map[string]string{"WATCHDOG_USEC": ""}, 0},
	} {
		a := &app{getenv: func(k string) (string, bool) { v, ok := c.env[k]; return v, ok }}
		if got := a.watchdogTime(); got != c.want {
			t.Errorf("%v: %v, want %v", c.env, got, c.want)
		}
	}
}

// Signs of life come in half of the time at least, not at each look, and end
// with the looks.
func TestWatchdog(t *testing.T) {
	for _, half := range []time.Duration{time.Second, 1500 * time.Millisecond, 5 * time.Second, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Time
			w := watchdog{half: half, notify: func(s string) {
				if s != "WATCHDOG=1" {
					t.Errorf("%q", s)
				}
				at = append(at, time.Now())
			}}
			begin := time.Now()
			for range 600 {
				w.alive()
				time.Sleep(time.Second)
			}
			last := begin
			for _, a := range at {
				if a.Sub(last) > half {
					t.Errorf("half %v: nothing for %v", half, a.Sub(last))
				}
				last = a
			}
			if n := len(at); n > int(10*time.Minute/max(half-time.Second, time.Second))+1 || time.Since(last) > half {
				t.Errorf("half %v: %d times, the last one %v ago", half, n, time.Since(last))
			}
			time.Sleep(time.Hour)
			if len(at) == 0 || at[len(at)-1] != last {
				t.Errorf("half %v: a sign of life from nobody", half)
			}
		})
	}
	none := watchdog{notify: func(string) { t.Error("a sign of life for nobody") }}
	none.alive()
	none.ping()
}
