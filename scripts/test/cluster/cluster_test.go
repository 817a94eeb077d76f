package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"fieldferry/gateway/ledger"
	"fieldferry/scripts/test/rig"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == nodeVerb { // see node.start
		fail(serve(os.Args[2]))
		return
	}
	os.Exit(m.Run())
}

const (
	rate     = 2000 // frames/s
	patience = time.Minute
)

// three starts a cluster of three nodes, and looks at what comes.
func three(t *testing.T) (*cluster, *witness) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	c, err := start(ctx, t.TempDir(), 3, "2m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c, subscribe(t, c)
}

// Two of three nodes are killed, one after the other, each time the one that
// the gateway is connected to: every record it had an acknowledgement for, and
// every one after, comes to a subscriber.
func TestNodesDieUnderLoad(t *testing.T) {
	c, w := three(t)
	d := startDaemon(t, c.urls())
	w.until(t, "data before the first kill", func() bool { return w.last() > 2*rate })

	for range 2 {
		n := c.at(d.server(t))
		killed := time.Now()
		n.kill()
		worked := d.works(t, killed)
		t.Logf("%s killed: %v until %s acknowledged a message", n.name, worked.Sub(killed).Round(time.Millisecond), c.at(d.server(t)).name)
		there := w.last()
		w.until(t, "two seconds of data more", func() bool { return w.last() > there+2*rate })
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
		if err := n.ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	there := w.last()
	w.until(t, "data after the last node is back", func() bool { return w.last() > there+rate })
	d.Stop()
	if pending := rig.Pending(t, d.buffer); pending > 2 { // what the gateway says of itself at the end
		t.Errorf("%d records are still in the buffer", pending)
	}
	w.end(t)
	// What was on its way to the subscriber through a node that died is sent to
	// it again after ack_wait, behind the end mark.
	w.until(t, "what was on its way", func() bool { return len(w.gaps()) == 0 })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ledger.Lost > 0 {
		t.Errorf("%d lost", w.ledger.Lost)
	}
	t.Logf("%d records came, %d twice, none is missing", w.ledger.Records, w.ledger.Duplicates)
}

// at is the node of a URL.
func (c *cluster) at(url string) *node {
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.url() == url })
	return c.nodes[i]
}

// witness is a subscriber with a session that the cluster keeps.
type witness struct {
	client  mqtt.Client
	mu      sync.Mutex
	ended   bool
	ledger  ledger.Ledger
	bad     error
	changed chan struct{}
}

func subscribe(t *testing.T, c *cluster) *witness {
	t.Helper()
	w := &witness{changed: make(chan struct{}, 1)}
	o := mqtt.NewClientOptions().SetClientID("witness").SetCleanSession(false)
	for _, url := range c.urls() {
		o.AddBroker(url)
	}
	o.SetConnectTimeout(patience).SetMaxReconnectInterval(time.Second).SetOrderMatters(true)
	w.client = mqtt.NewClient(o)
	wait := func(what string, token mqtt.Token) {
		t.Helper()
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("%s: %v", what, token.Error())
		}
	}
	wait("connect", w.client.Connect())
	wait("subscribe", w.client.Subscribe("site/#", 1, func(_ mqtt.Client, m mqtt.Message) { w.take(m.Payload()) }))
	t.Cleanup(func() { w.client.Disconnect(100) })
	return w
}

func (w *witness) take(data []byte) {
	m, err := ledger.Parse(data)
	w.mu.Lock()
	if err != nil { // status, meta, the end mark
		w.ended = w.ended || string(data) == endMark
	} else if _, err := w.ledger.Add(m); err != nil {
		w.bad = err
	}
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// endMark is no record: what comes before it was stored before it.
const endMark = "end"

// end waits for everything that the cluster had acknowledged.
func (w *witness) end(t *testing.T) {
	t.Helper()
	if token := w.client.Publish("site/end", 1, false, endMark); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("publish the end mark: %v", token.Error())
	}
	w.until(t, "the end mark", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.ended
	})
}

// engine is the stream of the frames; each test has one session.
func (w *witness) engine() ledger.Stream {
	for _, s := range w.ledger.Streams() {
		if s.Source == "engine" {
			return s
		}
	}
	return ledger.Stream{}
}

// last is the highest number that came.
func (w *witness) last() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ledger.Last(w.engine())
}

// gaps are the numbers missing below the highest one.
func (w *witness) gaps() []ledger.Gap {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ledger.Gaps(true)
}

func (w *witness) streams() []ledger.Stream {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ledger.Streams()
}

func (w *witness) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !ok() {
		select {
		case <-w.changed:
		case <-limit.C:
			t.Fatalf("waited in vain for %s: %d came, gaps %v", what, w.last(), w.gaps())
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bad != nil {
		t.Fatal(w.bad)
	}
}

// daemon is `fieldferry run` with a simulated bus.
type daemon struct {
	*rig.Process
	buffer string
}

func startDaemon(t *testing.T, urls []string) *daemon {
	t.Helper()
	return startDaemonWith(t, urls, "")
}

// startDaemonWith starts one with further buses.
func startDaemonWith(t *testing.T, urls []string, buses string) *daemon {
	t.Helper()
	dir := t.TempDir()
	buffer := filepath.Join(dir, "buffer")
	conf := filepath.Join(dir, "fieldferry.yaml")
	text := fmt.Sprintf(`gateway: {id: gw}
can:
  - {interface: "sim:ramp?rate=%d", name: engine}
%sbuffer: {path: %q}
uplink:
  servers: ["%s"]
  topic: "site/{gateway}/{source}"
`, rate, buses, buffer, strings.Join(urls, `", "`))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &daemon{rig.StartDaemon(t, nil, conf, "--log-format", "json"), buffer}
}

// said is a line of the daemon's log.
type said struct {
	Time    time.Time `json:"time"`
	Msg     string    `json:"msg"`
	Server  string    `json:"server"`
	Topic   string    `json:"topic"`
	Subject string    `json:"subject"`
}

// until waits for a line of the log.
func (d *daemon) until(t *testing.T, what string, ok func(said) bool) {
	t.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		if slices.ContainsFunc(d.lines(), ok) {
			return
		}
	}
	t.Fatal("the daemon did not say: " + what)
}

// count is how often the daemon said something.
func (d *daemon) count(msg string) (n int) {
	for _, s := range d.lines() {
		if s.Msg == msg {
			n++
		}
	}
	return n
}

func (d *daemon) lines() []said {
	var all []said
	for line := range strings.Lines(d.Log.String()) {
		var s said
		if json.Unmarshal([]byte(line), &s) == nil {
			all = append(all, s)
		}
	}
	return all
}

// server is the one the daemon is connected to.
func (d *daemon) server(t *testing.T) string {
	t.Helper()
	for _, s := range slices.Backward(d.lines()) {
		if s.Msg == "uplink connected" || s.Msg == worksAgain {
			return s.Server
		}
	}
	t.Fatal("the daemon was never connected")
	return ""
}

// worksAgain is said at the first acknowledgement after a failure.
const worksAgain = "uplink works again"

// works waits until the daemon says that its uplink works again, and returns
// when that was.
func (d *daemon) works(t *testing.T, since time.Time) time.Time {
	t.Helper()
	limit := time.Now().Add(patience)
	for ; time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		for _, s := range d.lines() {
			if s.Msg == worksAgain && s.Time.After(since) {
				return s.Time
			}
		}
	}
	t.Fatal("the uplink does not work again")
	return limit
}
