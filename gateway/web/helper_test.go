package web

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/live"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory are files in memory.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
}

func (m *memory) Read(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.files[name]; ok {
		return bytes.Clone(b), nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) Write(name string, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = map[string][]byte{}
	}
	m.files[name] = bytes.Clone(b)
	return nil
}

// newView is a gateway with one CAN bus.
func newView() *live.Look {
	v := &live.Look{Buses: map[string]live.Bus{"engine": {Frames: &live.Frames{}}}}
	v.History = live.NewHistory()
	v.Notes.Size, v.Disconnects.Size = 200, 20
	v.Lines = map[string]live.Line{"line1": live.NewLine(&modbus.LineConfig{Name: "line1", Port: "/dev/ttyS1", BaudRate: 19200, DataBits: 8, Parity: 'E', StopBits: 1,
		Devices: []modbus.Device{{Name: "meter", UnitID: 1, MaxRegisters: 125, Registers: []modbus.Register{{Name: "u", Type: modbus.Uint16, Interval: time.Second}}}}},
		func() []modbus.Exchange {
			return []modbus.Exchange{{At: time.Unix(1, 0), Unit: 1, Request: []byte{1, 3}, Err: "timeout"}}
		})}
	v.Publish(&live.Snapshot{Gateway: "gw-01", Session: 1, Taken: time.Now(), Clock: live.Clock{Trusted: true}, Uplink: live.Uplink{Connected: true},
		Sources: []live.Source{{Name: "engine", Kind: "can", State: live.Receives}, {Name: "line1", Kind: "modbus", State: live.Receives, Modbus: &live.Modbus{Units: []live.Unit{}}}}, Alarms: []live.Alarm{}})
	return v
}

func send(v *live.Look, id uint32, data ...byte) {
	f := can.Frame{ID: id, Time: time.Now().UnixNano(), Len: uint8(len(data))}
	copy(f.Data[:], data)
	v.Buses["engine"].Frames.Note([]can.Frame{f})
}

// bench is a server with its own files and audit.
type bench struct {
	*Server
	t     *testing.T
	files *memory
	view  *live.Look
	mu    sync.Mutex
	log   []Audit
}

func newBench(t *testing.T, cfg Config, change ...func(*Options)) *bench {
	b := &bench{t: t, files: &memory{}, view: newView()}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	opts := Options{Files: b.files, View: b.view, Log: slog.New(slog.DiscardHandler), Audit: func(a Audit) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.log = append(b.log, a)
	}}
	for _, c := range change {
		c(&opts)
	}
	b.Server = New(cfg, opts)
	return b
}

// start serves on a port of loopback until the test ends.
func (b *bench) start() (base string) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = b.Run(ctx) }()
	b.t.Cleanup(func() { cancel(); <-ended })
	at, err := b.Addr(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	return "http://" + at.String()
}

// ask sends one request to the handler itself.
func (b *bench) ask(method, target, body string, header ...string) *http.Response {
	b.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8090"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.Handler().ServeHTTP(w, r)
	return w.Result()
}

// askFrom asks as another machine does.
func (b *bench) askFrom(remote, method, target string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	r.Host, r.RemoteAddr = "127.0.0.1:8090", remote
	w := httptest.NewRecorder()
	b.Handler().ServeHTTP(w, r)
	return w.Result()
}

func (b *bench) token(role Role) string {
	b.t.Helper()
	token, err := NewToken(b.files, "t-"+string(role), role, 0, time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	b.accounts.cache.Lock()
	b.accounts.fetched = time.Time{}
	b.accounts.cache.Unlock()
	return "Bearer " + token
}

func (b *bench) audited(action string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.log {
		if a.Action == action {
			n++
		}
	}
	return n
}

func decode(t *testing.T, r io.Reader) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.NewDecoder(r).Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}
