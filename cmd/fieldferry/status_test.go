package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/gateway/live"
)

// waitFor asks again until the daemon has the state that is wanted.
func (m *manager) waitFor(socket string, ready func(*live.Snapshot) bool) result {
	m.t.Helper()
	var r result
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		r = fieldferry(m.t.Context(), nil, "status", "--socket", socket, "--json")
		var s live.Snapshot
		if r.code == 0 && json.Unmarshal([]byte(r.stdout), &s) == nil && ready(&s) {
			return r
		}
	}
	m.t.Fatalf("the state never came: %+v", r)
	return r
}

func TestStatus(t *testing.T) {
	dir, err := os.MkdirTemp("", "run") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := manage(t, runConfigWithDBC(t), map[string]string{"RUNTIME_DIRECTORY": dir})
	socket := filepath.Join(dir, "control")
	m.waitFor(socket, func(s *live.Snapshot) bool {
		return s.State == live.Outage && s.Buffer.Records > 0 && len(s.Sources) > 1 && s.Sources[0].Rate > 0
	})
	r := fieldferry(t.Context(), nil, "status", "--socket", socket)
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{"No connection to the broker", "SOURCE", "receives", "Buffer", "Uplink", "not connected", "Daemon"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("%q is not in\n%s", want, r.stdout)
		}
	}
	// By its configuration it is found as well, unless the package's is there.
	if path, err := (&app{}).controlSocket(filepath.Join(m.dir, "buffer")); err != nil || path == socket {
		t.Errorf("%s, %v", path, err)
	}
	if r := fieldferry(t.Context(), nil, "status", "--check", "--json", "--socket", socket); r.code != 1 || !strings.Contains(r.stdout, `"outage"`) {
		t.Errorf("in an outage: %+v", r)
	}
	// While somebody edits the file it has errors, and the daemon runs.
	own := filepath.Join(m.dir, "buffer", "control")
	if err := os.Symlink(socket, own); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(m.config)
	if err != nil {
		t.Fatal(err)
	}
	m.write(string(good) + "log: {level: loud}\n")
	if r := fieldferry(t.Context(), nil, "status", "-c", m.config); r.code != 0 || !strings.Contains(r.stdout, "No connection to the broker") || !strings.Contains(r.stderr, "has errors") {
		t.Errorf("with a file with errors: %+v", r)
	}
	m.write("gateway: {id: [\n")
	if r := fieldferry(t.Context(), nil, "status", "-c", m.config); r.code != 2 || !strings.Contains(r.stderr, "--socket PATH") {
		t.Errorf("with a file that is none: %+v", r)
	}
	message := make([]byte, 2000)
	n, err := m.conn.Read(message)
	if err != nil {
		t.Fatal(err)
	}
	m.done()
	if state := string(message[:n]); !strings.HasPrefix(state, "STATUS=No connection to the broker") {
		t.Errorf("the service manager was told %q", state)
	}
	if r := fieldferry(t.Context(), nil, "status", "--socket", socket); r.code != 1 || !strings.Contains(r.stderr, "fieldferry run -c FILE") {
		t.Errorf("after the end: %+v", r)
	}
}

func TestStatusText(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	s := &live.Snapshot{Taken: now, Gateway: "gw-01\x1b[2J", Version: "v1", Started: now.Add(-time.Hour), Session: 3, Sentence: "Everything works.",
		Sources: []live.Source{
			{Name: "engine", Kind: "can", Where: "can0", Word: "receives", Rate: 183.2, Age: 9, ReadAge: 0.1, Records: 12345, CAN: &live.CAN{Load: 10.4}},
			{Name: "line1", Kind: "modbus", Where: "/dev/ttyS1", Word: "2 of 3 devices answer", Rate: 6, Age: 0.2, ReadAge: 3, Records: 99, Lost: 1, Modbus: &live.Modbus{Timeouts: 305}},
			{Name: "gateway", Kind: "gateway"}},
		Buffer: live.Buffer{Records: 211588, Disk: 36595302, Limit: 8 << 30, Percent: 0.4, FullIn: 273600},
		Uplink: live.Uplink{Connected: true, Server: "mqtts://broker:8883", Since: now.Add(-341 * time.Second), Rate: 809, InFlight: 12, Window: 100},
		Alarms: []live.Alarm{{Severity: "error", Code: "slave_offline", Title: "Modbus device does not answer", Source: "line1", Subject: "tank",
			Since: now.Add(-9120 * time.Second), Means: "It means this.", Do: "Do that.", Detail: map[string]any{"unit_id": 3, "error": "timeout\x07", "names": []string{"a"}}}}}
	var b strings.Builder
	writeStatus(&b, s, false)
	want := "gw-01\\u001b[2J: Everything works.\n" + `
SOURCE  STATE                  RATE   LAST   RECORDS  LOST  DETAIL
engine  receives               183/s  < 1 s  12,345   0     can0, bus load 10 %, 0 error frames
line1   2 of 3 devices answer  6.0/s  3 s    99       1     /dev/ttyS1, 305 timeouts, 0 CRC errors

Buffer  211,588 records, 34.9 MiB of 8.00 GiB (0.4 %), full in about 3 d 4 h
Uplink  connected to mqtts://broker:8883 for 5 min 41 s, 809/s acknowledged, 12 of 100 messages in flight
Clock   not trusted: 
Daemon  v1, running for 1 h, 0 B of memory, 0.0 % of a core, session 3

ERROR: Modbus device does not answer (line1/tank, slave_offline, for 2 h 32 min)
  It means this.
  What to do: Do that.
  Detail: error: timeout\u0007; names: ["a"]; unit id: 3
`
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}

// What a script learns from the exit code of status --check.
func TestStatusCheck(t *testing.T) {
	for _, c := range []struct {
		state    live.State
		severity string
		want     bool
	}{
		{live.OK, "", true}, {live.OK, "warning", true}, {live.OK, "info", true}, {live.OK, "error", false}, {live.OK, "critical", false},
		{live.CatchingUp, "", true}, {live.CatchingUp, "critical", false}, {live.Starting, "", true}, {live.Starting, "error", false},
		{live.Attention, "", false}, {live.Outage, "", false}, {live.Losing, "", false},
	} {
		s := &live.Snapshot{State: c.state}
		if c.severity != "" {
			s.Alarms = []live.Alarm{{Severity: "info"}, {Severity: c.severity}}
		}
		if well(s) != c.want {
			t.Errorf("%s with %q: %v", c.state, c.severity, !c.want)
		}
	}
}
