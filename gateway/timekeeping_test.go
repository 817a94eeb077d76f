package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/clock/clocktest"
	"fieldferry/gateway/config"
	"fieldferry/gateway/ledger"
	"fieldferry/gateway/source"
	"fieldferry/uplink/uplinktest"
)

// arrival is a record as a consumer reads it.
type arrival struct {
	ledger.Head
	Event, State, ID, Data string
	EventID                uint64
	Detail                 struct {
		Reason   string
		From, To time.Time
		By       float64
	}
}

func (a *arrival) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &a.Head); err != nil {
		return err
	}
	var id any
	err := json.Unmarshal(b, &struct {
		Event, State, Data, Detail any
		ID                         *any
	}{&a.Event, &a.State, &a.Data, &a.Detail, &id})
	switch id := id.(type) {
	case string:
		a.ID = id
	case float64:
		a.EventID = uint64(id)
	}
	return err
}

// site is a gateway, its broker, and a consumer.
type site struct {
	t      *testing.T
	link   *uplinktest.Link
	broker *uplinktest.Broker
	config string

	mu       sync.Mutex
	arrivals map[string][]arrival // by source, in the order of arrival
	news     chan struct{}

	gateway *Gateway
	stop    func()
}

func newSite(t *testing.T, can string, transport uplinktest.Transport) *site {
	t.Helper()
	s := &site{t: t, arrivals: map[string][]arrival{}, news: make(chan struct{}, 1)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{Transport: transport})
	must(err)
	t.Cleanup(func() { _ = broker.Close() })
	s.broker = broker
	must(broker.Subscribe("site/#", s.arrive))
	s.link, err = uplinktest.NewLink(broker.Addr())
	must(err)
	t.Cleanup(s.link.Close)
	s.config = fmt.Sprintf(`gateway: {id: gw}
can: [{interface: %q, name: bus}]
buffer: {path: %q, max_size: 16MiB, max_age: 24h}
uplink: {servers: ["mqtt://%s"], topic: "site/{source}", batch: {max_delay: 10ms}}
`, can, filepath.Join(t.TempDir(), "buffer"), s.link.Addr())
	return s
}

// open opens a gateway, which is not run yet.
func (s *site) open(opts Options) {
	s.t.Helper()
	cfg, problems := config.Parse("test.yaml", []byte(s.config), config.Options{})
	if cfg == nil {
		s.t.Fatal(problems)
	}
	var err error
	if s.gateway, err = Open(cfg, opts); err != nil {
		s.t.Fatal(err)
	}
}

// run runs it until stop.
func (s *site) run() {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.gateway.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(s.stop)
}

func (s *site) arrive(_ string, data []byte) {
	m, err := ledger.Parse(data)
	if err != nil { // status and meta
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, raw := range m.Records {
		var a arrival
		if err := json.Unmarshal(raw, &a); err != nil {
			s.t.Errorf("%s: %v", raw, err)
		}
		s.arrivals[m.Source] = append(s.arrivals[m.Source], a)
	}
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// wait waits until ok holds for what has arrived of a source.
func (s *site) wait(what, source string, ok func([]arrival) bool) []arrival {
	s.t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		s.mu.Lock()
		got := append([]arrival(nil), s.arrivals[source]...)
		s.mu.Unlock()
		if ok(got) {
			return got
		}
		select {
		case <-s.news:
		case <-limit.C:
			s.t.Fatalf("%s has not come; %s: %+v", what, source, got)
		}
	}
}

// event waits for the nth event of a kind from the gateway itself.
func (s *site) event(code, state string, n int) (found arrival) {
	s.t.Helper()
	s.wait(code+" "+state, selfSource, func(got []arrival) bool {
		left := n
		for _, a := range got {
			if a.Event == code && a.State == state {
				if left--; left == 0 {
					found = a
					return true
				}
			}
		}
		return false
	})
	return found
}

// What is read before the clock is right waits in the buffer over a restart,
// and arrives with the right time; what can no longer be brought right is
// marked.
func TestTheClockBecomesGood(t *testing.T) {
	log := filepath.Join(t.TempDir(), "bus.log")
	if err := os.WriteFile(log, []byte("(1436509052.249713) can0 123#01\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong, right := time.Unix(60, 0), time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
	m := clocktest.New(wrong, false)
	s := newSite(t, "replay:"+log+"?time=log&speed=max", uplinktest.Transport{})
	s.link.Cut()
	engine := func() can.Handler { return handler(t, s.gateway) }
	meter, err := source.NewModbus(&modbus.LineConfig{Name: "engine", Port: "/dev/ttyS9", Devices: []modbus.Device{}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	frame := func() {
		m.Pass(time.Second)
		engine().Frames([]can.Frame{{Time: m.Time().UnixNano(), ID: 0x42, Len: 1}})
	}
	reading := func() {
		m.Pass(time.Second)
		meter.Handler(s.gateway.newFeed("engine")).Reading(&modbus.Reading{Time: m.Time(), Device: "meter"})
	}

	s.open(Options{Machine: m})
	s.run()
	frame() // of the boot before
	s.stop()

	m.Reboot(wrong)
	s.open(Options{Machine: m})
	s.run()
	frame()
	reading()
	s.stop()

	m.Pass(10 * time.Second)
	s.open(Options{Machine: m})
	s.run()
	frame()
	m.Pass(10 * time.Second)
	stale := can.Frame{Time: m.Time().UnixNano(), ID: 0x43, Len: 1} // in the socket while the clock is set
	m.SetSynced(right)
	engine().Frames([]can.Frame{stale})
	frame()
	reading()
	s.link.Restore()

	want := []struct {
		at   time.Time
		mark string
	}{
		{wrong.Add(time.Second), "unsynced"},
		{right.Add(-22 * time.Second), "corrected"},
		{right.Add(-21 * time.Second), "corrected"},
		{right.Add(-10 * time.Second), "corrected"},
		{right, "corrected"},
		{right.Add(time.Second), ""},
		{right.Add(2 * time.Second), ""},
	}
	got := s.wait("the backlog", "engine", func(a []arrival) bool { return len(a) >= len(want) })
	for i, w := range want {
		if !got[i].Time.Equal(w.at) || got[i].Clock != w.mark {
			t.Errorf("record %d: %v %q, want %v %q", i, got[i].Time, got[i].Clock, w.at.UTC(), w.mark)
		}
	}
	played := s.wait("the log", "bus", func(a []arrival) bool { return len(a) > 0 })
	if played[0].Clock != "" || played[0].Time.Year() != 2015 {
		t.Errorf("a log with times of its own: %+v", played[0])
	}
	step := s.event(alarm.ClockStep, "event", 1).Detail
	if !step.From.Equal(wrong.Add(23*time.Second)) || !step.To.Equal(right) || step.By != step.To.Sub(step.From).Seconds() {
		t.Errorf("%+v", step)
	}
	raised, cleared := s.event(alarm.ClockUnsynced, "raised", 3), s.event(alarm.ClockUnsynced, "cleared", 1)
	if raised.EventID == 0 || raised.EventID != cleared.EventID || raised.Detail.Reason != "before_build_date" {
		t.Errorf("%+v %+v", raised, cleared)
	}
	m.Set(right.Add(-time.Hour))
	if by := s.event(alarm.ClockStep, "event", 2).Detail.By; by > -3600 {
		t.Errorf("set back by %v s", by)
	}
	s.event(alarm.ClockUnsynced, "raised", 4)
	s.stop()
}

// handler takes frames into the stream "engine" of a gateway.
func handler(t *testing.T, g *Gateway) can.Handler {
	t.Helper()
	c, err := source.NewCAN(&config.CAN{Bus: can.Config{Interface: "sim:ramp"}, Name: "engine"}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c.Handler(g.newFeed("engine"))
}

// With clock: trusted nothing is marked although the kernel knows of no
// synchronisation.
func TestATrustedClock(t *testing.T) {
	m := clocktest.New(time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC), false)
	s := newSite(t, "sim:ramp?rate=1", uplinktest.Transport{})
	s.config = "gateway: {id: gw, clock: trusted}\n" + s.config[len("gateway: {id: gw}\n"):]
	s.open(Options{Machine: m})
	s.run()
	handler(t, s.gateway).Frames([]can.Frame{{Time: m.Time().UnixNano(), ID: 1}})
	if got := s.wait("the frame", "engine", func(a []arrival) bool { return len(a) > 0 }); got[0].Clock != "" {
		t.Errorf("%+v", got[0])
	}
	s.stop()
	for _, a := range s.arrivals[selfSource] {
		if a.Event == alarm.ClockUnsynced {
			t.Errorf("%+v", a)
		}
	}
}
