package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/config"
	"fieldferry/gateway/outbox"
	"fieldferry/gateway/payload/native"
	"fieldferry/gateway/source"
	"fieldferry/uplink"
)

// gatewayConfig loads a configuration; sources and more may be in extra.
func gatewayConfig(t *testing.T, dir, server, extra string) *config.Config {
	t.Helper()
	text := fmt.Sprintf("gateway: {id: gw, clock: trusted}\nuplink: {servers: [%q], batch: {max_delay: 10ms}}\n%s", server, extra)
	if !strings.Contains(extra, "buffer:") {
		text += fmt.Sprintf("buffer: {path: %q, max_size: 16MiB}\n", filepath.Join(dir, "buffer"))
	}
	if !strings.Contains(extra, "can:") {
		text += "can: [{interface: \"sim:ramp\", name: idle}]\n"
	}
	path := filepath.Join(t.TempDir(), "fieldferry.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, problems := config.Load(path, config.Options{})
	if cfg == nil {
		t.Fatal(problems)
	}
	return cfg
}

// told is an event record as it leaves.
type told struct {
	Source, Type, Event, State, Subject, Severity string
	ID                                            uint64
	Again                                         bool
	Detail                                        map[string]any
}

func (e told) String() string {
	s := strings.TrimSpace(e.Source + " " + e.Event + " " + e.Subject)
	if e.Again {
		s += " again"
	}
	return s + " " + e.State
}

// eventsIn reads the events that are in the buffer.
func eventsIn(t *testing.T, b *buffer.Buffer) (list []told) {
	t.Helper()
	var (
		batch buffer.Batch
		enc   native.Encoder
	)
	for from := b.First(); ; {
		next, err := b.Read(from, &batch, 1000, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range batch.Records {
			body, err := enc.AppendRecord(nil, r.Seq, r.Time, r.Data, nil)
			var e told
			if err == nil && json.Unmarshal(body, &e) == nil && e.Type == "event" {
				e.Source = r.Source
				list = append(list, e)
			}
		}
		if next == from {
			return list
		}
		from = next
	}
}

// wantEvents compares the events in the buffer, but for the start.
func wantEvents(t *testing.T, b *buffer.Buffer, want ...string) []told {
	t.Helper()
	var got []string
	list := eventsIn(t, b)
	ids := map[uint64]string{}
	for _, e := range list {
		if e.Event == alarm.Started {
			continue
		}
		got = append(got, e.String())
		name := e.Source + e.Event + e.Subject
		if e.ID == 0 || ids[e.ID] != "" && ids[e.ID] != name || e.State == "cleared" && ids[e.ID] == "" {
			t.Errorf("%v has id %d", e, e.ID)
		}
		ids[e.ID] = name
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("events %q, want %q", got, want)
	}
	return list
}

// bench is a gateway whose buses and uplink are played by the test.
type bench struct {
	*Gateway
	t *testing.T
	h *health
}

// withBench runs f on fake time; the gateway looks once a second.
func withBench(t *testing.T, extra string, f func(b *bench)) {
	dir := t.TempDir()
	cfg := gatewayConfig(t, dir, "mqtt://127.0.0.1:1", strings.ReplaceAll(extra, "DIR", dir))
	synctest.Test(t, func(t *testing.T) {
		g, err := Open(cfg, Options{Version: "1"})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{Gateway: g, t: t, h: g.newHealth()}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { g.alarms.Run(ctx); close(ended) }()
		b.h.look(time.Now())
		f(b)
		stop()
		<-ended
		if err := g.buffer.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (b *bench) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Second)
		synctest.Wait()
		b.h.look(time.Now())
	}
}

func TestDiskFaultAlarm(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	withBench(t, fmt.Sprintf("buffer: {path: %q, max_size: 16MiB}\n", filepath.Join(file, "buffer")), func(b *bench) {
		// Nothing can be told yet, and nothing is forgotten.
		for range 3 {
			b.pass(10 * time.Second)
		}
		if list := b.Stats().Alarms; len(list) != 0 {
			t.Errorf("told without a session: %+v", list)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		b.pass(10 * time.Second)
		events := wantEvents(t, b.buffer, "gateway disk_fault raised", "gateway disk_fault cleared")
		if len(events) != 3 || events[0].Event != alarm.Started || events[1].Severity != "critical" || len(events[0].Detail) != 3 || events[0].Detail["version"] != "1" || events[0].Detail["life"] == nil {
			t.Errorf("%+v", events)
		}
	})
}

func TestBufferAlarms(t *testing.T) {
	withBench(t, "buffer: {path: DIR/buffer, max_size: 8MiB}\n", func(b *bench) {
		src := b.buffer.Source("chatty")
		rng := rand.New(rand.NewPCG(1, 2))
		noise := make([]byte, 16<<10)
		fill := func(until func(buffer.Stats) bool) {
			for range 1000 {
				for i := range noise {
					noise[i] = byte(rng.Uint32())
				}
				src.Append(time.Now().UnixNano(), noise)
				b.pass(2 * time.Second)
				if until(b.buffer.Stats()) {
					return
				}
			}
			t.Fatalf("%+v", b.buffer.Stats())
		}
		fill(func(st buffer.Stats) bool { return st.DiskBytes*100 >= 80*8<<20 })
		b.pass(time.Second)
		wantEvents(t, b.buffer, "gateway buffer_high raised")
		fill(func(st buffer.Stats) bool { return st.LostBy[buffer.Evicted] > 20 })
		b.pass(30 * time.Second)
		wantEvents(t, b.buffer, "gateway buffer_high raised", "gateway buffer_evicting raised")
		if list := b.Stats().Alarms; len(list) != 2 || list[0].Code != alarm.BufferEvicting {
			t.Errorf("the worst is first: %+v", list)
		}
		b.pass(30 * time.Second)
		wantEvents(t, b.buffer, "gateway buffer_high raised", "gateway buffer_evicting raised", "gateway buffer_evicting cleared")
		// The broker has taken all of it: what follows is all there is.
		var batch buffer.Batch
		next := b.buffer.First()
		for {
			n, err := b.buffer.Read(next, &batch, 1000, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if n == next {
				break
			}
			next = n
		}
		b.buffer.Ack(b.buffer.First(), next)
		b.pass(10 * time.Second)
		for _, e := range eventsIn(t, b.buffer) {
			if e.String() != "gateway buffer_high cleared" {
				t.Error(e)
			}
		}
		if list := b.Stats().Alarms; len(list) != 0 {
			t.Errorf("%+v", list)
		}
		for _, c := range b.Stats().Counts {
			if c.Code == alarm.BufferHigh && (c.Raised != 1 || c.Active != 0) {
				t.Errorf("%+v", c)
			}
		}
	})
}

// What others put on the disk is seen while nothing is stored, too.
func TestCrowdedDisk(t *testing.T) {
	withBench(t, "", func(b *bench) {
		b.pass(time.Second) // the session begins
		st := buffer.Stats{Size: 1000}
		look := func(left int64) {
			st.Limit = left
			for range 70 {
				b.h.crowding(&st)
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		look(510)
		wantEvents(t, b.buffer)
		look(490)
		wantEvents(t, b.buffer, "gateway disk_crowded raised")
		look(590) // it stays until there is room for longer
		look(120)
		if list := b.alarms.Raised(); len(list) != 1 || fmt.Sprint(list[0].Detail["percent"]) != "12" {
			t.Errorf("%+v", list)
		}
		look(610)
		wantEvents(t, b.buffer, "gateway disk_crowded raised", "gateway disk_crowded cleared")
	})
}

// With drop_newest a full buffer is no fault of the disk.
func TestFullBufferIsNoDiskFault(t *testing.T) {
	withBench(t, "buffer: {path: DIR/buffer, max_size: 1MiB, overflow: drop_newest}\n", func(b *bench) {
		noise := make([]byte, 16<<10)
		rng := rand.New(rand.NewPCG(1, 2))
		for range 100 {
			for i := range noise {
				noise[i] = byte(rng.Uint32())
			}
			b.buffer.Source("chatty").Append(time.Now().UnixNano(), noise)
			b.pass(2 * time.Second)
		}
		codes := map[string]bool{}
		for _, a := range b.Stats().Alarms {
			codes[a.Code] = true
		}
		if !codes[alarm.BufferEvicting] || !codes[alarm.BufferHigh] || codes[alarm.DiskFault] {
			t.Errorf("raised: %v with fault %q", codes, b.buffer.Stats().Fault)
		}
	})
}

func TestLossesThatDoNotReport(t *testing.T) {
	for code, count := range map[string]func(st *buffer.Stats, frames *uint64) *uint64{
		alarm.RxOverflow:    func(_ *buffer.Stats, frames *uint64) *uint64 { return frames },
		alarm.MemoryFull:    func(st *buffer.Stats, _ *uint64) *uint64 { return &st.LostBy[buffer.Memory] },
		alarm.BufferDamaged: func(st *buffer.Stats, _ *uint64) *uint64 { return &st.LostBy[buffer.Corrupt] },
	} {
		t.Run(code, func(t *testing.T) {
			withBench(t, "can: [{interface: \"sim:ramp\", name: engine}]\n", func(b *bench) {
				var (
					frames uint64
					st     buffer.Stats
				)
				b.sources[0].Source = &posing{Source: b.sources[0].Source, lost: &frames}
				b.h = b.newHealth()
				n := count(&st, &frames)
				look := func(d time.Duration) {
					for range d / time.Second {
						time.Sleep(time.Second)
						for _, l := range b.h.losses {
							l.look(&st, time.Now())
						}
					}
				}
				look(5 * time.Second)
				for range 10 {
					*n += 7
					look(59 * time.Second)
				}
				source := "gateway"
				if code == alarm.RxOverflow {
					source = "engine"
				}
				wantEvents(t, b.buffer, source+" "+code+" raised")
				if list := b.alarms.Raised(); len(list) != 1 || fmt.Sprint(list[0].Detail["lost"]) != "70" {
					t.Errorf("shown while it lasts: %+v, want all 70", list)
				}
				look(2 * time.Second)
				events := wantEvents(t, b.buffer, source+" "+code+" raised", source+" "+code+" cleared")
				if lost := events[2].Detail["lost"]; lost != 70.0 {
					t.Errorf("%v lost, want 70", lost)
				}
			})
		})
	}
}

func TestUplinkAlarms(t *testing.T) {
	withBench(t, "", func(b *bench) {
		down := func(reason uplink.Reason) {
			b.Disconnected("mqtt://broker", &uplink.Error{Reason: reason, Err: errors.New("why")})
		}
		down(uplink.ReasonLost)
		b.pass(4 * time.Second)
		b.Connected("mqtt://broker") // nobody has to know
		b.pass(time.Minute)
		for range 20 {
			down(uplink.ReasonConnRefused)
			b.pass(time.Second)
		}
		for range 3 {
			b.Connected("mqtt://broker")
		}
		for range 20 { // the broker takes the connection and forbids everything
			b.pass(10 * time.Second)
			down(uplink.ReasonDenied)
		}
		b.Connected("mqtt://broker")
		b.Accepted("mqtt://broker")
		b.pass(10 * time.Minute)
		b.rejected(outbox.Rejection{Source: "engine", Reason: "too_large"})
		events := wantEvents(t, b.buffer, "gateway uplink_down raised", "gateway uplink_down cleared",
			"gateway uplink_denied raised", "gateway uplink_denied cleared", "gateway records_rejected event")
		if why := events[1].Detail["reason"]; why != "connection_refused" {
			t.Errorf("reason %v", why)
		}
	})
}

const canErrors = `
(1.000000) can0 123#00
(1.100000) can0 20000004#0004000000000000
(1.100001) can0 20000004#0004000000000000
(1.200000) can0 20000004#0010000000000000
(1.200001) can0 20000004#0010000000000000
(1.300000) can0 20000040#0000000000000000
(1.300001) can0 20000040#0000000000000000
(1.400000) can0 20000100#0000000000000000
(9.400000) can0 123#00
`

// The buses report through real ones where nothing but software is needed.
func TestBusAlarms(t *testing.T) {
	log := filepath.Join(t.TempDir(), "errors.log")
	if err := os.WriteFile(log, []byte(canErrors[1:]), 0o600); err != nil {
		t.Fatal(err)
	}
	withBench(t, fmt.Sprintf("can: [{interface: \"replay:%s\", name: engine}]\n", log)+`
modbus:
  - name: line1
    port: /dev/ttyS9
    baud_rate: 9600
    devices:
      - {name: meter, unit_id: 1, registers: [{name: x, register: holding, address: 0, type: uint16}]}
      - {name: pump, unit_id: 2, registers: [{name: x, register: holding, address: 0, type: uint16}]}
`, func(b *bench) {
		if err := b.sources[0].run(context.Background()); !errors.Is(err, can.ErrEnd) {
			t.Fatal(err)
		}
		wantEvents(t, b.buffer, "engine can_error_warning raised", "engine can_error_passive raised", "engine can_bus_off raised",
			"engine can_bus_off cleared", "engine can_error_passive cleared", "engine can_error_warning cleared")
		engine, line := b.sources[0].feed, b.sources[1].feed
		for range 3 {
			engine.raise(bus.LinkDown, nil)
			engine.raise(bus.BusOff, nil)
			line.raise(bus.PortLost, nil)
			line.Event(bus.Event{Time: time.Now(), Code: bus.SlaveOffline, Subject: "meter", State: bus.Raised})
		}
		for range 3 {
			engine.clear(bus.LinkDown, nil)
			engine.clear(bus.BusOff, nil)
			line.clear(bus.PortLost, nil)
		}
		b.pass(10 * time.Second)
		line.Event(bus.Event{Time: time.Now(), Code: bus.SlaveOffline, Subject: "meter", State: bus.Cleared})
		if got := eventsIn(t, b.buffer)[7:]; fmt.Sprint(got) != "[engine can_link_down raised line1 port_lost raised engine can_link_down cleared line1 port_lost cleared "+
			"line1 slave_offline meter raised line1 slave_offline meter cleared]" {
			t.Errorf("%v", got)
		}
	})
}

// What was raised before a restart ends under its id when the bus is seen well.
func TestDoubtsAfterRestart(t *testing.T) {
	const sources = `
buffer: {path: DIR/../../buffer, max_size: 16MiB}
can: [{interface: "sim:ramp", name: engine}]
modbus:
  - name: line1
    port: /dev/ttyS9
    baud_rate: 9600
    devices: [{name: meter, unit_id: 1, registers: [{name: x, register: holding, address: 0, type: uint16}]}]
`
	shared := t.TempDir()
	extra := strings.ReplaceAll(sources, "DIR/../../buffer", filepath.Join(shared, "buffer"))
	raised := []string{"engine can_bus_off raised", "engine can_link_down raised", "line1 slave_offline meter raised", "line1 port_lost raised", "gone can_link_down raised"}
	withBench(t, extra, func(b *bench) {
		b.pass(5 * time.Second) // the machine has booted
		engine, line := b.sources[0].feed, b.sources[1].feed
		engine.raise(bus.BusOff, nil)
		engine.raise(bus.LinkDown, nil)
		line.Event(bus.Event{Time: time.Now(), Code: bus.SlaveOffline, Subject: "meter", State: bus.Raised})
		line.raise(bus.PortLost, nil)
		b.newFeed("gone").raise(bus.LinkDown, nil)
		wantEvents(t, b.buffer, raised...)
	})
	withBench(t, extra, func(b *bench) {
		b.pass(5 * time.Second)
		raised = append(raised, "gone can_link_down cleared")
		wantEvents(t, b.buffer, raised...)
		ctx, stop := context.WithTimeout(context.Background(), 1500*time.Millisecond)
		go func() { _ = b.sources[0].run(ctx) }()
		b.pass(time.Second)
		line := b.sources[1].Source.(*source.Modbus).Handler(b.sources[1].feed)
		line.Reading(&modbus.Reading{Time: time.Now(), Device: "meter"}) // could not be asked
		line.Reading(&modbus.Reading{Time: time.Now(), Device: "meter", Answered: true, Failures: []modbus.Failure{{Name: "x", Err: "exception 2"}}})
		b.pass(time.Second)
		b.sources[1].Source = &posing{Source: b.sources[1].Source, fine: bus.PortLost}
		b.pass(time.Second)
		stop()
		synctest.Wait()
		raised = append(raised, "engine can_bus_off cleared", "engine can_link_down cleared", "line1 slave_offline meter cleared", "line1 port_lost cleared")
		wantEvents(t, b.buffer, raised...)
	})
}

// posing is a source that says something else of itself.
type posing struct {
	Source
	run  func() error
	lost *uint64
	fine string
}

func (p *posing) Run(ctx context.Context, to source.Sink) error {
	if p.run != nil {
		return p.run()
	}
	return p.Source.Run(ctx, to)
}

func (p *posing) Lost() uint64 {
	if p.lost == nil {
		return 0
	}
	return *p.lost
}

func (p *posing) Fine(code string) bool { return code == p.fine }
