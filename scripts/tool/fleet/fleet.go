package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fieldferry/gateway"
	"fieldferry/gateway/config"
)

// member is one gateway, and what its log says of its uplink. It is the
// handler of that log.
type member struct {
	slog.Handler
	gateway *gateway.Gateway

	mu    sync.Mutex
	lost  time.Time // when the connection was last lost
	works time.Time // when a message was acknowledged again after that
}

func (m *member) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (m *member) WithAttrs([]slog.Attr) slog.Handler           { return m }
func (m *member) WithGroup(string) slog.Handler                { return m }

// Handle looks for the two lines that matter.
func (m *member) Handle(_ context.Context, r slog.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch r.Message {
	case "uplink failed":
		if m.lost.IsZero() {
			m.lost = r.Time
		}
	case "uplink works again":
		m.works = r.Time
	}
	return nil
}

// forget begins anew.
func (m *member) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost, m.works = time.Time{}, time.Time{}
}

func (m *member) times() (lost, works time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost, m.works
}

func newMember(dir string, i, rate int, urls []string) (*member, error) {
	dir = filepath.Join(dir, fmt.Sprint(i))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	// The first server is the preferred one: each gateway begins with another.
	k := i % len(urls)
	servers := append(slices.Clone(urls[k:]), urls[:k]...)
	text := fmt.Sprintf(`gateway: {id: gw-%05d}
can:
  - {interface: "sim:ramp?rate=%d", name: engine}
buffer: {path: buffer, max_size: 16MiB}
uplink: {servers: ["%s"]}
`, i, rate, strings.Join(servers, `", "`))
	path := filepath.Join(dir, "fieldferry.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cfg, problems := config.Load(path, config.Options{})
	if cfg == nil {
		return nil, fmt.Errorf("configuration: %v", problems)
	}
	m := &member{Handler: slog.DiscardHandler}
	var err error
	m.gateway, err = gateway.Open(cfg, gateway.Options{Log: slog.New(m), Drain: time.Nanosecond})
	return m, err
}

// fleet is all of them.
type fleet []*member

// sum is what all gateways have done together.
type sum struct {
	connected                int
	acked, messages, pending uint64
	lost, attempts           uint64
}

func (f fleet) sum() sum {
	var s sum
	for _, m := range f {
		st := m.gateway.Stats()
		if st.Uplink.Connected {
			s.connected++
		}
		s.acked += st.Buffer.Acked
		s.pending += st.Buffer.Pending
		s.lost += st.Buffer.Lost
		s.messages += st.Uplink.Acked
		s.attempts += st.Uplink.Failures + st.Uplink.Connects
	}
	return s
}

// until waits until ok, and returns how long that took.
func until(ctx context.Context, limit time.Duration, what string, ok func() bool) (time.Duration, error) {
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > limit {
			return 0, fmt.Errorf("waited in vain until %s", what)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return time.Since(begin), nil
}

// measure runs a fleet and returns what it found.
func measure(ctx context.Context, o options, b broker, dir string) (*report, error) {
	r := &report{Broker: b.name(), Gateways: o.n, Rate: o.rate}
	before := memory()
	var f fleet
	for i := range o.n {
		m, err := newMember(dir, i, o.rate, b.urls())
		if err != nil {
			return nil, err
		}
		f = append(f, m)
	}
	running, stop := context.WithCancel(ctx)
	var ended sync.WaitGroup
	errs := make([]error, len(f))
	for i, m := range f {
		ended.Go(func() { errs[i] = m.gateway.Run(running) })
	}
	err := errors.Join(f.steady(ctx, o, b, r, before), f.outage(ctx, o, b, r, before))
	stop()
	ended.Wait()
	return r, errors.Join(err, errors.Join(errs...))
}

// steady measures while nothing happens.
func (f fleet) steady(ctx context.Context, o options, b broker, r *report, before int64) error {
	took, err := until(ctx, o.limit, "all are connected", func() bool { return f.sum().connected == len(f) })
	if err != nil {
		return err
	}
	r.Connected = took.Seconds()
	s, cpu, theirs, begin := f.sum(), cpuTime(), cpuOf(b.pids()), time.Now()
	select {
	case <-time.After(o.during):
	case <-ctx.Done():
		return ctx.Err()
	}
	e, seconds := f.sum(), time.Since(begin).Seconds()
	r.CPU = (cpuTime() - cpu).Seconds() / seconds
	r.BrokerCPU = (cpuOf(b.pids()) - theirs).Seconds() / seconds
	r.Records = float64(e.acked-s.acked) / seconds
	r.Messages = float64(e.messages-s.messages) / seconds
	r.Process = memory()
	r.Memory = (r.Process - before) / int64(len(f))
	return nil
}

// outage measures what a failure of the broker does.
func (f fleet) outage(ctx context.Context, o options, b broker, r *report, before int64) error {
	for _, m := range f {
		m.forget()
	}
	s := f.sum()
	var err error
	if r.Event, err = b.fail(ctx, o.away); err != nil || r.Event == "" {
		return err
	}
	event := time.Now()
	// A node's death is not noticed by all in the same moment.
	if _, err := until(ctx, o.limit, "those who lost their connection are back", func() bool {
		return time.Since(event) > time.Second && !slices.ContainsFunc(f, func(m *member) bool {
			lost, works := m.times()
			return !lost.IsZero() && works.Before(lost)
		}) && f.sum().connected == len(f)
	}); err != nil {
		return err
	}
	// No backlog: what has not been acknowledged is from the last two seconds.
	few := uint64(2 * o.rate * len(f))
	if _, err := until(ctx, o.limit, "the backlog is gone", func() bool { return f.sum().pending <= few }); err != nil {
		return err
	}
	r.Drained = time.Since(event).Seconds()
	for _, m := range f {
		if lost, works := m.times(); !lost.IsZero() {
			r.Returns = append(r.Returns, works.Sub(event).Seconds())
		}
	}
	slices.Sort(r.Returns)
	r.Hit = len(r.Returns)
	e := f.sum()
	r.Lost = e.lost
	r.Attempts = float64(e.attempts-s.attempts) / float64(max(r.Hit, 1))
	r.After = (memory() - before) / int64(len(f))
	return nil
}

// memory is what this process has for itself in memory, after collecting
// garbage: the files of the buffers, which are mapped, are not in it.
func memory() int64 {
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		var kilobytes int64
		if _, err := fmt.Sscanf(string(line), "RssAnon: %d kB", &kilobytes); err == nil {
			return kilobytes * 1024
		}
	}
	return 0
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuOf is the CPU time of processes (proc(5), stat).
func cpuOf(pids []int) time.Duration {
	const tick = 10 * time.Millisecond
	var ticks int64
	for _, pid := range pids {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // 0 for one that has ended
		_, rest, _ := bytes.Cut(data, []byte(") "))
		if fields := bytes.Fields(rest); len(fields) > 12 {
			var user, system int64
			_, _ = fmt.Sscan(string(fields[11])+" "+string(fields[12]), &user, &system)
			ticks += user + system
		}
	}
	return time.Duration(ticks) * tick
}
