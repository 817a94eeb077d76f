package web

import (
	"flag"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/gateway/live"
)

var update = flag.Bool("update", false, "write the golden files")

// everything is a snapshot in which everything is there.
func everything() *live.Snapshot {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	return &live.Snapshot{Taken: at, Gateway: "gw-01", Version: "v0.9.0", Session: 3, Started: at.Add(-time.Hour), Up: time.Hour,
		Clock: live.Clock{Trusted: true}, Process: live.Process{Memory: 20 << 20, CPUSeconds: 12.5, Goroutines: 30},
		Buffer: live.Buffer{Records: 10, Disk: 4096, Limit: 1 << 20, LostBy: map[string]uint64{"evicted": 5, "corrupt": 0}, OldestAge: 2.5, Written: 99},
		Uplink: live.Uplink{Connected: true, Sent: 100, Acked: 98, InFlight: 2,
			Acks: live.Histogram{Bounds: []float64{0.005, 0.25, 30}, Counts: []uint64{40, 97, 97}, Count: 98, Sum: 41.5}},
		Sources: []live.Source{
			{Name: `en"gi\ne` + "\n", Kind: "can", State: live.Receives, Records: 1000, Age: 0.5, ReadAge: 0.25, CAN: &live.CAN{Up: true, Controller: "error-active", Load: 12.5, Frames: 1000}},
			{Name: "line1", Kind: "modbus", State: live.Partial, Records: 7, Age: -1, ReadAge: -1, Modbus: &live.Modbus{Requests: 70, Timeouts: 3, Units: []live.Unit{
				{Name: "meter", ID: 1, Answered: 60, Timeouts: 2, Exceptions: map[string]uint64{"2": 4}, P50: 37, P95: 44},
				{Name: "tank", ID: 12, Offline: true, Timeouts: 305, P50: -1, P95: -1}}}},
			{Name: "gateway", Kind: "gateway", State: live.Receives, Records: 3}},
		Counts: []live.AlarmCount{{Code: "uplink_down", Times: 4}, {Code: "slave_offline", Raised: 1, Times: 1}}}
}

func TestMetrics(t *testing.T) {
	b := newBench(t, Config{})
	b.view.Publish(everything())
	r := b.ask("GET", "/metrics", "", "Authorization", b.token(Read))
	got, _ := io.ReadAll(r.Body)
	const golden = "testdata/metrics.txt"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(got) != string(want) {
		t.Errorf("%v\n%s", err, got)
	}
	if path, err := exec.LookPath("promtool"); err == nil {
		c := exec.Command(path, "check", "metrics")
		c.Stdin = strings.NewReader(string(got))
		if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool: %v\n%s", err, out)
		}
	} else if os.Getenv("CI") == "true" {
		t.Error("promtool is missing: scripts/deps test")
	}
}

func TestWhoMayReadMetrics(t *testing.T) {
	for _, c := range []struct {
		open   bool
		remote string
		want   int
	}{{false, "127.0.0.1:5", 401}, {true, "127.0.0.1:5", 200}, {true, "[::1]:5", 200}, {true, "192.0.2.1:5", 401}} {
		b := newBench(t, Config{Metrics: Metrics{OpenOnLoopback: c.open}})
		if got := b.askFrom(c.remote, "GET", "/metrics"); got.StatusCode != c.want {
			t.Errorf("%+v: %s", c, got.Status)
		}
	}
}

// A value that several nodes of a J1939 bus send is a series of each, and one that
// has no sender has no such label.
func TestMetricsBySender(t *testing.T) {
	file, _ := dbc.Parse("m.dbc", []byte("BO_ 2364540158 EEC1: 8 E\n SG_ Speed : 24|16@1+ (0.125,0) [0|8031.875] \"rpm\" E\nBO_ 291 Tank: 1 E\n SG_ Level : 0|8@1+ (1,0) [0|200] \"\" E\n"+
		"BA_DEF_ BO_ \"VFrameFormat\" ENUM \"StandardCAN\",\"ExtendedCAN\",\"reserved\",\"J1939PG\";\nBA_DEF_DEF_ \"VFrameFormat\" \"J1939PG\";\nBA_ \"VFrameFormat\" BO_ 291 0;\n"), dbc.Options{})
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	b := newBench(t, Config{Metrics: Metrics{OpenOnLoopback: true, Signals: []string{"engine/Speed", "engine/Level"}}})
	frames := b.view.Buses["engine"].Frames
	b.view.Buses["engine"] = live.Bus{Frames: frames, DB: db}
	b.view.Publish(everything())
	frames.Note([]can.Frame{
		{Time: 1, ID: 0x0CF00400, Flags: can.Extended, Len: 8, Data: [64]byte{3: 0xE0, 4: 0x2E}},
		{Time: 2, ID: 0x0CF00421, Flags: can.Extended, Len: 8, Data: [64]byte{4: 0x32}},
		{Time: 3, ID: 291, Len: 1, Data: [64]byte{50}},
	})
	got, _ := io.ReadAll(b.askFrom("127.0.0.1:1", "GET", "/metrics").Body)
	_, signals, _ := strings.Cut(string(got), "# TYPE fieldferry_signal gauge\n")
	signals, _, _ = strings.Cut(signals, "#")
	if want := "fieldferry_signal{name=\"engine/Speed\",sa=\"0\"} 1500\nfieldferry_signal{name=\"engine/Speed\",sa=\"33\"} 1600\nfieldferry_signal{name=\"engine/Level\"} 50\n"; signals != want {
		t.Errorf("the metrics say\n%s", signals)
	}
	values, _ := io.ReadAll(b.ask("GET", "/api/v1/sources/engine/values", "", "Authorization", b.token(Read)).Body)
	for _, want := range []string{`"id":"0CF00400","sa":0,"name":"Speed","value":1500`, `"id":"0CF00421","sa":33,"name":"Speed","value":1600`, `"id":"123","name":"Level","value":50`} {
		if !strings.Contains(string(values), want) {
			t.Errorf("%s is missing in %s", want, values)
		}
	}
}

// A gateway does not flood its monitoring, whatever it has raised, and no
// counter falls between two looks.
func TestMetricsAreBounded(t *testing.T) {
	b := newBench(t, Config{Metrics: Metrics{OpenOnLoopback: true}})
	s := everything()
	b.view.Publish(s)
	first, _ := io.ReadAll(b.askFrom("127.0.0.1:1", "GET", "/metrics").Body)
	if n := strings.Count(string(first), "\nfieldferry_"); n > 50+20*len(s.Sources) {
		t.Errorf("%d series for %d sources", n, len(s.Sources))
	}
	s = everything()
	s.Up += time.Second
	s.Uplink.Acked++
	b.view.Publish(s)
	second, _ := io.ReadAll(b.askFrom("127.0.0.1:1", "GET", "/metrics").Body)
	before := counters(string(first))
	for name, v := range counters(string(second)) {
		if v < before[name] {
			t.Errorf("%s falls from %v to %v", name, before[name], v)
		}
	}
}

// counters are the samples of a reply whose names end in _total.
func counters(text string) map[string]float64 {
	m := map[string]float64{}
	for line := range strings.Lines(text) {
		cut := strings.LastIndexByte(line, ' ')
		if name, _, _ := strings.Cut(line, "{"); strings.Contains(name, "_total") && line[0] != '#' {
			v, _ := strconv.ParseFloat(strings.TrimSpace(line[cut+1:]), 64)
			m[line[:cut]] = v
		}
	}
	return m
}

// An outage of the broker is no reason to restart the gateway.
func TestHealthDoesNotAskTheBroker(t *testing.T) {
	b := newBench(t, Config{})
	s := everything()
	s.Taken, s.Uplink.Connected = time.Now(), false
	b.view.Publish(s)
	for _, path := range []string{"/healthz", "/readyz"} {
		if r := b.ask("GET", path, ""); r.StatusCode != 200 {
			t.Errorf("%s in an outage: %s", path, r.Status)
		}
	}
}

// Ready means that what is read now would be on disk: whatever keeps it from
// there is named.
func TestReadyIsWhatTheDiskTakes(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*live.Snapshot)
		says   string
	}{
		"nobody looks":        {func(s *live.Snapshot) { s.Taken = time.Now().Add(-time.Hour) }, "does not look"},
		"a disk not there":    {func(s *live.Snapshot) { s.Session, s.Buffer.Fault = 0, "no such disk" }, "buffer is not open: no such disk"},
		"not open yet":        {func(s *live.Snapshot) { s.Session = 0 }, "buffer is not open."},
		"a disk that is full": {func(s *live.Snapshot) { s.Buffer.Fault = "no space left" }, "no records to disk: no space left"},
	} {
		b := newBench(t, Config{})
		s := everything()
		s.Taken, s.Clock.Trusted = time.Now(), true
		c.change(s)
		b.view.Publish(s)
		r := b.ask("GET", "/readyz", "")
		if detail, _ := decode(t, r.Body)["detail"].(string); r.StatusCode != 503 || !strings.Contains(detail, c.says) {
			t.Errorf("%s: %s, %q", what, r.Status, detail)
		}
	}
}
