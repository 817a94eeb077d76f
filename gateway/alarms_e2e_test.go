package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/ledger"
	"fieldferry/uplink/uplinktest"
)

// patience is how long a test waits for what must happen; it measures nothing.
const patience = 30 * time.Second

// cloud is what a consumer at the broker sees: events, and the retained status.
type cloud struct {
	t       *testing.T
	mu      sync.Mutex
	events  []told
	status  status
	ledger  ledger.Ledger
	changed chan struct{}
}

func (c *cloud) take(topic string, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		close(c.changed)
		c.changed = make(chan struct{})
	}()
	if strings.HasSuffix(topic, "/status") {
		c.status = status{}
		if err := json.Unmarshal(body, &c.status); err != nil {
			c.t.Errorf("status %s: %v", body, err)
		}
		return
	}
	m, err := ledger.Parse(body)
	if err != nil {
		return
	}
	entries, _ := c.ledger.Add(m)
	for i, e := range entries {
		var ev told
		if e.Duplicate || json.Unmarshal(m.Records[i], &ev) != nil || ev.Type != "event" {
			continue
		}
		ev.Source = m.Source
		c.events = append(c.events, ev)
	}
}

// wait returns the first event that is written like this.
func (c *cloud) wait(want string) told {
	c.t.Helper()
	var found told
	c.until(want, func() bool {
		i := slices.IndexFunc(c.events, func(e told) bool { return e.String() == want })
		if i >= 0 {
			found = c.events[i]
		}
		return i >= 0
	})
	return found
}

// listed waits until the status message lists these alarms.
func (c *cloud) listed(codes ...string) {
	c.t.Helper()
	c.until(fmt.Sprint("status with ", codes), func() bool {
		var got []string
		for _, a := range c.status.Alarms {
			got = append(got, a.Code)
		}
		return c.status.State == "online" && slices.Equal(got, codes) && c.status.AlarmsTotal == len(codes)
	})
}

func (c *cloud) until(what string, cond func() bool) {
	c.t.Helper()
	limit := time.After(patience)
	for {
		c.mu.Lock()
		ok, changed := cond(), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			c.t.Fatalf("waited in vain for %s; events %v, status %+v", what, c.events, c.status)
		}
	}
}

// runGateway runs a gateway until the returned function is called.
func runGateway(t *testing.T, dir, server, extra string) (stop func()) {
	t.Helper()
	conditions := slices.Clone(alarm.Table)
	for i := range conditions {
		conditions[i].After /= 1000
	}
	g, err := Open(gatewayConfig(t, dir, server, extra), Options{conditions: conditions})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// The whole way, with a real broker, a link that is cut, and slaves on a
// pseudo-terminal that lose their power.
func TestAlarmsReachTheCloud(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 s of real time")
	}
	t.Parallel()
	broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	link, err := uplinktest.NewLink(broker.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	pty, err := modbustest.OpenPTY()
	if err != nil {
		t.Skip("no pseudo-terminal: ", err)
	}
	slave := modbustest.NewSlave(map[byte]*modbustest.Unit{1: {Holding: map[uint16]uint16{0: 1}}, 2: {Holding: map[uint16]uint16{0: 1}}})
	serving := make(chan struct{})
	go func() { slave.Run(context.Background(), pty); close(serving) }()
	t.Cleanup(func() { _ = pty.Close(); <-serving })
	power := func(unit byte, on bool) { slave.Do(func(units map[byte]*modbustest.Unit) { units[unit].Silent = !on }) }

	c := &cloud{t: t, changed: make(chan struct{})}
	if err := broker.Subscribe("fieldferry/#", c.take); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	adapter := filepath.Join(dir, "adapter") // the terminal's own name may soon be another test's
	if err := os.Symlink(pty.Path, adapter); err != nil {
		t.Fatal(err)
	}
	const device = "      - {name: %s, unit_id: %d, interval: 50ms, registers: [{name: x, register: holding, address: 0, type: uint16}]}\n"
	line := fmt.Sprintf("modbus:\n  - name: line1\n    port: %s\n    baud_rate: 115200\n    timeout: 100ms\n    retries: 0\n    devices:\n", adapter) +
		fmt.Sprintf(device, "meter", 1) + fmt.Sprintf(device, "pump", 2)
	server := "mqtt://" + link.Addr()
	stop := runGateway(t, dir, server, line)

	c.wait("gateway started event")
	c.listed()
	power(1, false)
	raised := c.wait("line1 slave_offline meter raised")
	c.listed("slave_offline")
	link.Cut()
	c.until("the last will", func() bool { return c.status.State == "offline" })
	link.Restore()
	down := c.wait("gateway uplink_down raised")
	if up := c.wait("gateway uplink_down cleared"); up.ID != down.ID || up.ID == 0 || down.ID <= raised.ID {
		t.Errorf("ids %d, %d, %d", raised.ID, down.ID, up.ID)
	}
	stop()

	// After a restart the slave is still silent, and is told under the same id.
	stop = runGateway(t, dir, server, line)
	if again := c.wait("line1 slave_offline meter again raised"); again.ID != raised.ID {
		t.Errorf("id %d after a restart, %d before", again.ID, raised.ID)
	}
	c.listed("slave_offline")
	stop()

	// And after this one it answers at once.
	power(1, true)
	stop = runGateway(t, dir, server, line)
	if e := c.wait("line1 slave_offline meter cleared"); e.ID != raised.ID {
		t.Errorf("cleared as %d, raised as %d", e.ID, raised.ID)
	}
	c.listed()
	if err := errors.Join(os.Remove(adapter), pty.Close()); err != nil { // it is pulled
		t.Fatal(err)
	}
	c.wait("line1 port_lost raised")
	c.listed("port_lost")
	stop()

	// The line is no longer configured.
	runGateway(t, dir, server, "")
	c.wait("line1 port_lost cleared")
	c.listed()
	c.mu.Lock()
	defer c.mu.Unlock()
	var got []string
	for _, e := range c.events {
		if e.Event != alarm.Started && e.Event != alarm.UplinkDown {
			got = append(got, e.String())
		}
	}
	want := []string{"line1 slave_offline meter raised", "line1 slave_offline meter again raised", "line1 slave_offline meter cleared",
		"line1 port_lost raised", "line1 port_lost cleared"}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	var m meta
	if body := broker.Retained("fieldferry/gw/meta"); json.Unmarshal(body, &m) != nil || len(m.Alarms) != len(alarm.Table) {
		t.Errorf("meta message %s", body)
	}
}
