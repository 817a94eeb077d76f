package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/payload/native"
	"fieldferry/gateway/record"
	"fieldferry/uplink/uplinktest"
)

const docs = "../../../docs/"

func open(t *testing.T) *Set {
	t.Helper()
	s, err := Open(docs + "schema")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var when = time.Date(2026, 11, 20, 14, 0, 0, 123456789, time.UTC)

func engine(t *testing.T) *native.Decoding {
	t.Helper()
	text, err := os.ReadFile("../../../cmd/fieldferry/demo.dbc")
	if err != nil {
		t.Fatal(err)
	}
	file, _ := dbc.Parse("demo.dbc", text, dbc.Options{})
	db, _ := dbc.NewDatabase(dbc.MatchPGN, file)
	return &native.Decoding{DB: db}
}

// bodies is at least one body of each type, with every member that it can have.
func bodies() map[string][]byte {
	full := &can.Frame{ID: 0x0CF00400, Flags: can.Extended, Len: 8, Suppressed: 7}
	remote := &can.Frame{ID: 0x123, Flags: can.Remote, Len: 8}
	fd := &can.Frame{ID: 1, Flags: can.FD | can.BitRateSwitch | can.ErrorState, Len: 12}
	return map[string][]byte{
		"frame":  record.AppendFrame(nil, full),
		"remote": record.AppendFrame(nil, remote),
		"fd":     record.AppendFrame(nil, fd),
		"packet": record.AppendPacket(nil, &dbc.Packet{PGN: 0xFECA, Priority: 7, Source: 7, Destination: 0xFF, Data: make([]byte, 12)}),
		"modbus": record.AppendReading(nil, &modbus.Reading{Device: "meter", Values: []modbus.Value{
			{Name: "u", Kind: modbus.KindFloat, Float: 230.1}, {Name: "big", Kind: modbus.KindUint, Uint: 1<<53 + 1},
			{Name: "on", Kind: modbus.KindBool, Uint: 1}, {Name: "text", Kind: modbus.KindText, Text: "x"},
			{Name: "mode", Kind: modbus.KindUint, Uint: 1, Label: "run", Flags: []string{"a"}},
		}, Failures: []modbus.Failure{{Name: "energy", Err: "exception 2"}}}),
		"event": record.AppendEvent(nil, &record.Event{Event: bus.Event{Time: when, Code: "slave_offline", Subject: "meter", State: bus.Raised, Detail: map[string]any{"unit": 1}},
			ID: 9, Severity: "major", Since: when, Again: true, Flapping: true, Times: 3}),
		"audit":   record.AppendAudit(nil, &record.Audit{Action: "login", Who: "anna", By: "web", From: "::1", Detail: "x", More: 2}),
		"command": record.AppendCommand(nil, &record.Command{By: "mqtt", Who: "a", ID: "1", Point: "p", Value: "1", Old: "0", Read: "1", State: "done", Code: "ok", Reason: "r", Signer: "s", Exception: 2, TookMS: 4, More: 1}),
		"health":  record.AppendHealth(nil, []byte(`"interval_s":300,"state":"running","records":1,"lost":0,"can":{"up":true}`)),
	}
}

func TestEveryRecordIsOfTheSchema(t *testing.T) {
	s, d := open(t), engine(t)
	for name, body := range bodies() {
		e := native.Encoder{Late: true}
		text, err := e.AppendRecord(nil, 7, when.UnixNano(), body, d)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := s.Check("record.json", text); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	var e native.Encoder
	loss := e.AppendLoss(nil, 3, 9, when.UnixNano(), "evicted")
	head := native.Envelope{Gateway: "gw", Session: 1, Source: "can0", Seq: 3, Count: 1}
	if err := s.Check("envelope.json", head.Append(nil, loss)); err != nil {
		t.Errorf("%v\n%s", err, loss)
	}
}

// What a consumer must not meet is refused, so that the comparison is worth
// something.
func TestTheSchemaRefuses(t *testing.T) {
	s := open(t)
	for what, text := range map[string]string{
		"no seq":                 `{"ts":"2026-11-20T14:00:00Z","type":"can","id":"123","data":""}`,
		"lower hex":              `{"seq":1,"ts":"2026-11-20T14:00:00Z","type":"can","id":"123","data":"ab"}`,
		"a local time":           `{"seq":1,"ts":"2026-11-20T14:00:00+01:00","type":"can","id":"123","data":""}`,
		"an unknown type":        `{"seq":1,"ts":"2026-11-20T14:00:00Z","type":"lin"}`,
		"an unnamed member":      `{"seq":1,"ts":"2026-11-20T14:00:00Z","type":"can","id":"123","colour":1}`,
		"a loss without to":      `{"ts":"2026-11-20T14:00:00Z","type":"loss","from":1,"count":1,"reason":"evicted"}`,
		"a value that is a list": `{"seq":1,"ts":"2026-11-20T14:00:00Z","type":"modbus","device":"d","values":{"a":[1]}}`,
	} {
		if err := s.Check("record.json", []byte(text)); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

// The examples in the documents are messages too.
func TestExamplesInTheDocumentsAreOfTheSchema(t *testing.T) {
	s := open(t)
	text, err := os.ReadFile(docs + "payload.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, block := range strings.Split(string(text), "```") {
		lang, body, _ := strings.Cut(block, "\n")
		if i%2 == 0 || lang != "json" {
			continue
		}
		for line := range strings.Lines(body) {
			n++
			if err := s.Check(schemaOf([]byte(line), ""), []byte(line)); err != nil {
				t.Errorf("%v\n%s", err, line)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d examples", n)
	}
}

// schemaOf says which schema a text should follow.
func schemaOf(text []byte, topic string) string {
	var m map[string]any
	_ = json.Unmarshal(text, &m)
	switch {
	case m["v"] != nil && m["records"] != nil:
		return "envelope.json"
	case m["state"] != nil && m["alarms_total"] != nil:
		return "status.json"
	case m["part"] != nil || strings.Contains(topic, "/meta/"):
		return "meta-part.json"
	case m["sources"] != nil:
		return "meta.json"
	}
	return "record.json"
}

// TestAGatewaysMessagesAreOfTheSchema has a gateway read a simulated engine and
// a simulated meter, and compares everything that it publishes.
func TestAGatewaysMessagesAreOfTheSchema(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the daemon")
	}
	s, dir := open(t), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	binary := filepath.Join(dir, "fieldferry")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "fieldferry/cmd/fieldferry").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()

	var mu sync.Mutex
	types, files := map[string]int{}, map[string]int{}
	complete := make(chan struct{})
	err = broker.Subscribe("#", func(topic string, payload []byte) {
		mu.Lock()
		defer mu.Unlock()
		if len(payload) == 0 {
			return // clears a retained message
		}
		file := schemaOf(payload, topic)
		files[file]++
		if err := s.Check(file, payload); err != nil {
			t.Errorf("%s: %v\n%s", topic, err, payload)
		}
		var e struct{ Records []struct{ Type string } }
		_ = json.Unmarshal(payload, &e)
		for _, r := range e.Records {
			types[r.Type]++
		}
		if types["can"] > 100 && types["modbus"] > 1 && types["event"] > 1 && files["status.json"] > 0 && files["meta.json"] > 0 {
			select {
			case <-complete:
			default:
				close(complete)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "fieldferry.yaml")
	write(t, filepath.Join(dir, "map.yaml"), "units:\n  - unit_id: 1\n    registers:\n      - {register: input, address: 0, type: float32, value: 230}\n")
	port := simulate(ctx, t, binary, filepath.Join(dir, "map.yaml"))
	write(t, config, fmt.Sprintf(`gateway: {id: gw, clock: trusted}
can: [{interface: "sim:engine", name: engine, dbc: [%s]}]
modbus:
  - name: line1
    port: %s
    devices:
      - {name: meter, unit_id: 1, interval: 100ms, registers: [{name: u, register: input, address: 0, type: float32, unit: V}]}
      - {name: silent, unit_id: 2, interval: 100ms, timeout: 50ms, registers: [{name: u, register: input, address: 0}]}
buffer: {path: %s}
uplink: {servers: ["mqtt://%s"]}
`, abs(t, "../../../cmd/fieldferry/demo.dbc"), port, filepath.Join(dir, "buffer"), broker.Addr()))
	var log bytes.Buffer
	daemon := exec.CommandContext(ctx, binary, "run", "-c", config)
	daemon.Stderr = &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-complete:
	case <-ctx.Done():
		mu.Lock()
		t.Errorf("only %v, %v", types, files)
		mu.Unlock()
	}
	_ = daemon.Process.Signal(os.Interrupt)
	if err := daemon.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &log)
	}
	mu.Lock()
	defer mu.Unlock()
	t.Log(types, files)
}

// simulate starts a meter and returns its port.
func simulate(ctx context.Context, t *testing.T, binary, file string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, binary, "modbus", "simulate", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	text := make([]byte, 200)
	n, err := out.Read(text)
	port := ""
	for word := range strings.FieldsSeq(string(text[:n])) {
		if strings.HasPrefix(word, "/dev/pts/") {
			port = strings.TrimRight(word, ",;:")
		}
	}
	if err != nil || port == "" {
		t.Fatalf("it says %q, error %v", text[:n], err)
	}
	return port
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func abs(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
