package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asProgram makes the test binary the program itself, for what only a process
// of its own shows.
const asProgram = "FIELDFERRY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// result is what one command line printed and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

func fieldferry(ctx context.Context, env map[string]string, args ...string) result {
	var stdout, stderr bytes.Buffer
	a := &app{
		stdout: &stdout, stderr: &stderr,
		getenv:   func(k string) (string, bool) { v, ok := env[k]; return v, ok },
		hostname: func() (string, error) { return "test-host", nil },
	}
	code := a.main(ctx, args)
	return result{stdout.String(), stderr.String(), code}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodConfig = `can: [{interface: "sim:ramp"}]
modbus:
  - name: line1
    port: /dev/ttyS9
    baud_rate: 9600
    devices:
      - name: meter
        unit_id: 3
        registers:
          - {name: u, register: input, address: 0, type: float32}
          - {name: i, register: input, address: 2, type: float32}
buffer: {path: buffer}
uplink: {servers: ["mqtt://127.0.0.1:1"]}
`

// A command line that cannot be understood, and a configuration that is
// wrong, end with 2; what goes wrong later with 1.
func TestExitCodes(t *testing.T) {
	bad := write(t, "bad.yaml", "can: [{interfac: can0}]\nuplink: {servers: [broker]}\n")
	for name, c := range map[string]struct {
		args []string
		code int
		err  string
	}{
		"help":              {[]string{"--help"}, 0, ""},
		"no such verb":      {[]string{"ferry"}, 2, `fieldferry has no verb "ferry"`},
		"no such flag":      {[]string{"version", "--jsn"}, 2, "unknown flag: --jsn"},
		"an argument":       {[]string{"version", "now"}, 2, "usage: fieldferry version"},
		"missing argument":  {[]string{"can", "down"}, 2, "an argument is missing; usage: fieldferry can down INTERFACE"},
		"no buffer named":   {[]string{"buffer", "info", "-c", "/nonexistent.yaml"}, 2, "/nonexistent.yaml"},
		"watch what":        {[]string{"watch"}, 2, "--server is missing"},
		"watch where":       {[]string{"watch", "--server", "broker:1883"}, 2, "--server or --topic: "},
		"no configuration":  {[]string{"check", "-c", "/nonexistent.yaml"}, 2, "/nonexistent.yaml"},
		"bad to check":      {[]string{"check", "-c", bad}, 2, bad + ":1:8: can[0].interfac: "},
		"bad to run":        {[]string{"run", "-c", bad}, 2, bad + ":1:8: can[0].interfac: "},
		"bad log level":     {[]string{"run", "-c", bad, "--log-level", "loud"}, 2, "--log-level"},
		"no buffer":         {[]string{"buffer", "info", "/nonexistent"}, 1, "/nonexistent"},
		"a buffer that not": {[]string{"buffer", "info", t.TempDir()}, 1, "no buffer"},
	} {
		t.Run(name, func(t *testing.T) {
			r := fieldferry(t.Context(), nil, c.args...)
			if r.code != c.code || !strings.Contains(r.stderr, c.err) {
				t.Errorf("code %d, want %d; stderr %q, want %q in it", r.code, c.code, r.stderr, c.err)
			}
		})
	}
}

func TestCheckAndRunRefuseAlike(t *testing.T) {
	bad := write(t, "bad.yaml", strings.ReplaceAll(goodConfig, "unit_id: 3", "unit_id: 300")+"nonsense: 1\n")
	check, run := fieldferry(t.Context(), nil, "check", "-c", bad), fieldferry(t.Context(), nil, "run", "-c", bad)
	if check.code != 2 || run.code != 2 || check.stderr != run.stderr || strings.Count(check.stderr, "\n") != 2 {
		t.Errorf("check: %d\n%s\nrun: %d\n%s", check.code, check.stderr, run.code, run.stderr)
	}
}

func TestCheckShowsThePlan(t *testing.T) {
	path := write(t, "good.yaml", goodConfig)
	r := fieldferry(t.Context(), nil, "check", "-c", path)
	want := regexp.MustCompile(`(?s)line line1: /dev/ttyS9, 9600 baud, 8E1\n.*meter +3 +input +0 +4 +1s +21 +[0-9.]+ ms +u, i\n.*% of the line.*: ok, 2 sources\n$`)
	if r.code != 0 || !want.MatchString(r.stdout) {
		t.Errorf("code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	r = fieldferry(t.Context(), nil, "check", "--json", "-c", path)
	var report checkReport
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || !report.OK || len(report.Lines) != 1 ||
		len(report.Lines[0].Requests) != 1 || report.Lines[0].LoadPercent <= 0 {
		t.Errorf("%v\n%s", err, r.stdout)
	}
}

func TestVersion(t *testing.T) {
	r := fieldferry(t.Context(), nil, "version", "--json")
	var v buildVersion
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || v.Go == "" || v.Version == "" || !strings.HasPrefix(v.Platform, "linux/") {
		t.Errorf("%v: %s", err, r.stdout)
	}
}

// Under systemd the daemon says when it is ready, although its broker and its
// port are not there, and ends in time when asked to.
func TestRunTellsSystemdAndStops(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan result, 1)
	go func() {
		ended <- fieldferry(ctx, map[string]string{"NOTIFY_SOCKET": socket, "JOURNAL_STREAM": "8:1"}, "run", "-c", write(t, "good.yaml", goodConfig))
	}()
	if err := listener.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, 100)
	n, err := listener.Read(message)
	stop()
	r := <-ended
	if err != nil || string(message[:n]) != "READY=1" {
		t.Errorf("systemd is told %q, %v", message[:n], err)
	}
	if r.code != 0 || !strings.Contains(r.stderr, "<6>level=INFO msg=ready") {
		t.Errorf("code %d\n%s", r.code, r.stderr)
	}
}

// TestDecodeByGroup: conflicts over two files are named, parts of a long message
// once, and reserved values are null unless they are to be kept.
func TestDecodeByGroup(t *testing.T) {
	const j1939 = "BA_ \"ProtocolType\" \"J1939\";\n"
	first := write(t, "first.dbc", "BO_ 2566844926 EngA: 8 E\n SG_ TempA : 0|8@1+ (1,-40) [-40|210] \"C\" X\nBO_ 2566848510 Fast: 43 E\n"+j1939)
	second := write(t, "second.dbc", "BO_ 2365518334 EngB: 8 E\n SG_ SpeedB : 0|16@1+ (0.1,0) [0|0] \"rpm\" X\n"+j1939)
	log := write(t, "drive.log", "(1.0) can0 18FEF100#FF27\n(1.1) can0 18FEFF00#002B\n(1.2) can0 18FEFF00#0102\n")
	const rest = `{"ts":1.1,"bus":"can0","id":"18FEFF00","data":"002B"}
{"ts":1.2,"bus":"can0","id":"18FEFF00","data":"0102"}
`
	r := fieldferry(t.Context(), nil, "decode", "--dbc", first, "--dbc", second, log)
	want := `{"ts":1.0,"bus":"can0","id":"18FEF100","name":"EngA","pgn":65265,"sa":0,"signals":{"TempA":null},"errors":{"TempA":"not available"}}` + "\n" + rest
	if r.code != 0 || r.stdout != want || strings.Count(r.stderr, "\n") != 2 ||
		!strings.Contains(r.stderr, "message EngB (PGN FEF1, source FE) is described differently by "+first) || !strings.Contains(r.stderr, "message Fast (PGN FEFF)") {
		t.Errorf("code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	want = `{"ts":1.0,"bus":"can0","id":"18FEF100","name":"EngA","pgn":65265,"sa":0,"signals":{"TempA":215},"out_of_range":["TempA"]}` + "\n" + rest
	for _, keep := range []string{"EngA", "EngA.TempA"} {
		if r := fieldferry(t.Context(), nil, "decode", "--dbc", first, "--keep-reserved", keep, log); r.code != 0 || r.stdout != want {
			t.Errorf("kept %s: code %d\n%s%s", keep, r.code, r.stdout, r.stderr)
		}
	}
	if r := fieldferry(t.Context(), nil, "decode", "--dbc", first, "--keep-reserved", "EngA.Nothing", log); r.code != 2 {
		t.Errorf("kept nothing: code %d\n%s", r.code, r.stderr)
	}
}

func TestDecode(t *testing.T) {
	log := write(t, "drive.log", "(1436509052.249713) vcan0 0CF00400#F17D7D6419000000\nnoise\n(1436509052.250000) vcan0 123#R\n")
	r := fieldferry(t.Context(), nil, "decode", "--dbc", "demo.dbc", log)
	want := `{"ts":1436509052.249713,"bus":"vcan0","id":"0CF00400","name":"EEC1","pgn":61444,"sa":0,"signals":{"EngineSpeed":812.5,"DriverDemandTorque":0,"ActualTorque":0}}
{"ts":1436509052.250000,"bus":"vcan0","id":"123","data":"","rtr":true}
`
	if r.code != 0 || r.stdout != want || !strings.Contains(r.stderr, log+": line 2") {
		t.Errorf("code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	faulty := write(t, "faulty.dbc", "VERSION \"\"\nBO_ 291 M: 8 E\n SG_ S : x|8@1+ (1,0) [0|0] \"\" E\n")
	if r := fieldferry(t.Context(), nil, "decode", "--dbc", faulty, log); r.code != 0 || !strings.Contains(r.stderr, faulty+":3:") {
		t.Errorf("code %d\n%s", r.code, r.stderr)
	}
	if r := fieldferry(t.Context(), nil, "decode", "--strict", "--dbc", faulty, log); r.code != 2 {
		t.Errorf("strict: code %d\n%s", r.code, r.stderr)
	}
	if r := fieldferry(t.Context(), nil, "decode", log); r.code != 2 || !strings.Contains(r.stderr, "--dbc is missing") {
		t.Errorf("without DBC: code %d\n%s", r.code, r.stderr)
	}
}
