package uplink

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"fieldferry/scripts/test/rig"
	"fieldferry/uplink/uplinktest"
)

// inbox collects payloads of a subscription.
type inbox struct {
	mu      sync.Mutex
	got     map[string]int
	changed chan struct{}
}

func newInbox() *inbox { return &inbox{got: make(map[string]int), changed: make(chan struct{}, 1)} }

func (i *inbox) put(payload []byte) {
	i.mu.Lock()
	i.got[string(payload)]++
	i.mu.Unlock()
	select {
	case i.changed <- struct{}{}:
	default:
	}
}

// wait waits until none of n messages is missing, and returns those that are.
func (i *inbox) wait(n int) []string {
	deadline := time.After(patience)
	for {
		missing := i.missing(n)
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-i.changed:
		case <-deadline:
			return missing
		}
	}
}

func (i *inbox) missing(n int) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []string
	for k := range n {
		if p := fmt.Sprintf("message %d", k); i.got[p] == 0 {
			out = append(out, p)
		}
	}
	return out
}

func TestEmbeddedBrokerRestarts(t *testing.T) {
	t.Parallel()
	b := embeddedBroker(t, uplinktest.Transport{})
	in := newInbox()
	if err := b.Subscribe("test/#", func(_ string, p []byte) { in.put(p) }); err != nil {
		t.Fatal(err)
	}
	q := newTestQueue(t, 0)
	u, stop := run(t, Config{
		Servers: []string{"mqtt://" + b.Addr()},
		Will:    &Message{Topic: "state", Payload: []byte("lost"), Retain: true},
		Birth:   func(int) []Message { return []Message{{Topic: "state", Payload: []byte("online"), Retain: true}} },
		Goodbye: func() []Message { return []Message{{Topic: "state", Payload: []byte("stopped"), Retain: true}} },
	}, q, nil, nil)
	total := 0
	for round := range 4 {
		q.add(2000)
		q.wait(total + 500) // in the middle of the stream
		total += 2000
		b.Stop()
		if got := string(b.Retained("state")); got != "lost" && got != "online" {
			t.Errorf("round %d: status %q after the cut", round, got)
		}
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
	}
	q.wait(total)
	if got := string(b.Retained("state")); got != "online" {
		t.Errorf("status %q while connected, want online", got)
	}
	stop()
	if got := string(b.Retained("state")); got != "stopped" {
		t.Errorf("status %q after the end, want stopped", got)
	}
	if missing := in.wait(total); len(missing) > 0 {
		t.Errorf("%d of %d messages never came, the first is %q", len(missing), total, missing[0])
	}
	if s := u.Stats(); s.Connects < 2 || s.Acked != uint64(total) || s.Sent < s.Acked || s.BytesUp == 0 || s.BytesDown == 0 || s.Connected {
		t.Errorf("stats: %+v", s)
	}
}

// mosquitto is a real broker of others.
type mosquitto struct {
	*rig.Mosquitto
	t    testing.TB
	addr string
}

func newMosquitto(t testing.TB, extra ...string) *mosquitto {
	t.Helper()
	// A subscriber slower than the publisher must not lose anything.
	lines := append([]string{"max_queued_messages 0"}, extra...)
	if !strings.Contains(strings.Join(extra, "\n"), "max_inflight_messages") {
		lines = append(lines, "max_inflight_messages 0")
	}
	m := rig.StartMosquitto(t, lines...)
	return &mosquitto{m, t, m.Addr()}
}

// restart kills mosquitto and starts it again at the same address.
func (m *mosquitto) restart() {
	m.t.Helper()
	if err := m.Restart(); err != nil {
		m.t.Fatal(err)
	}
}

// subscribe collects messages in a client of its own.
func (m *mosquitto) subscribe(in *inbox) (end func()) {
	m.t.Helper()
	o := mqtt.NewClientOptions().AddBroker("tcp://" + m.addr).SetClientID("checker")
	c := mqtt.NewClient(o)
	if tok := c.Connect(); tok.Wait() && tok.Error() != nil {
		m.t.Fatal(tok.Error())
	}
	if tok := c.Subscribe("test/#", 1, func(_ mqtt.Client, msg mqtt.Message) { in.put(msg.Payload()) }); tok.Wait() && tok.Error() != nil {
		m.t.Fatal(tok.Error())
	}
	return func() { c.Disconnect(250) }
}

func TestMosquittoDelivers(t *testing.T) {
	m := newMosquitto(t)
	in := newInbox()
	end := m.subscribe(in)
	defer end()
	q := newTestQueue(t, 3000)
	_, stop := run(t, Config{Servers: []string{"mqtt://" + m.addr}}, q, nil, nil)
	q.wait(3000)
	// PUBACK does not wait for subscribers.
	if missing := in.wait(3000); len(missing) > 0 {
		t.Errorf("%d messages never came, the first is %q", len(missing), missing[0])
	}
	stop()
}

// Kills mosquitto again and again; between the kills a message count shows
// that delivery goes on. What each life of the broker acknowledged is its own
// affair; the uplink must only have reported what was acknowledged, in order.
func TestMosquittoIsKilledAndRestarted(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t)
	q := newTestQueue(t, 0)
	u, stop := run(t, Config{Servers: []string{"mqtt://" + m.addr}}, q, nil, nil)
	total := 0
	for range 3 {
		q.add(3000)
		q.wait(total + 1000)
		total += 3000
		m.restart()
	}
	q.wait(total)
	stop()
	if s := u.Stats(); s.Connects < 2 || s.Acked != uint64(total) {
		t.Errorf("stats: %+v", s)
	}
}

func TestGoodbyeOverMosquitto(t *testing.T) {
	m := newMosquitto(t)
	q := newTestQueue(t, 1)
	state := func(s string) []Message { return []Message{{Topic: "root/status", Payload: []byte(s), Retain: true}} }
	_, stop := run(t, Config{Servers: []string{"mqtt://" + m.addr}, Birth: func(int) []Message { return state("online") }, Goodbye: func() []Message { return state("stopped") },
		Will: &Message{Topic: "root/status", Payload: []byte("lost"), Retain: true}}, q, nil, nil)
	q.wait(1)
	if got := m.retained("root/status"); got != "online" {
		t.Errorf("status %q while connected", got)
	}
	stop()
	if got := m.retained("root/status"); got != "stopped" {
		t.Errorf("status %q after a clean end: the last will must not be published", got)
	}
}

// retained is the retained message of a topic.
func (m *mosquitto) retained(topic string) string {
	m.t.Helper()
	got := make(chan string, 1)
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + m.addr).SetClientID("reader"))
	if tok := c.Connect(); tok.Wait() && tok.Error() != nil {
		m.t.Fatal(tok.Error())
	}
	defer c.Disconnect(250)
	c.Subscribe(topic, 1, func(_ mqtt.Client, msg mqtt.Message) {
		select {
		case got <- string(msg.Payload()):
		default:
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case s := <-got:
		return s
	case <-ctx.Done():
		m.t.Fatal("no retained message")
		return ""
	}
}
