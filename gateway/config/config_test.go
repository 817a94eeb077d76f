package config

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus/can"
	"fieldferry/bus/modbus"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "record the problems of testdata anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// surroundings are the same on every machine.
func surroundings() Options {
	env := map[string]string{
		"SITE": "north", "EMPTY": "", "BAUD": "9600", "UNIT": "17", "HOST": "localhost", "MQTT_PASSWORD": "from the environment",
	}
	return Options{
		Getenv:   func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Hostname: "gw-host",
		DiskSize: func(string) (int64, error) { return 8 << 30, nil },
		// Not what the machine of the test has.
		SerialDir: "testdata",
	}
}

func lines(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// TestGolden compares the problems of every file of testdata with those
// recorded beside it; go test -run Golden -update records them.
func TestGolden(t *testing.T) {
	for _, folder := range []string{"good", "bad"} {
		files, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", folder, err)
		}
		for _, file := range files {
			t.Run(folder+"/"+strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
				cfg, problems := Load(file, surroundings())
				if (cfg == nil) != HasErrors(problems) {
					t.Errorf("a configuration is returned: %v, errors: %v", cfg != nil, HasErrors(problems))
				}
				if folder == "good" && len(problems) > 0 {
					t.Errorf("problems in a good file:\n%s", lines(problems))
				}
				if folder == "bad" && len(problems) == 0 {
					t.Error("a bad file is accepted")
				}
				if folder == "bad" {
					compare(t, strings.TrimSuffix(file, ".yaml")+".want", lines(problems))
				}
			})
		}
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// load returns the configuration of a good file.
func load(t *testing.T, file string, opts Options) *Config {
	t.Helper()
	cfg, problems := Load(file, opts)
	if cfg == nil {
		t.Fatalf("%s:\n%s", file, lines(problems))
	}
	return cfg
}

// ignorePlaces compares configurations by what they say.
var ignorePlaces = cmp.Options{
	cmpopts.IgnoreUnexported(Config{}),
	cmp.Comparer(func(a, b Secret) bool { return a.Reveal() == b.Reveal() }),
}

func TestFull(t *testing.T) {
	want := &Config{
		Gateway: Gateway{ID: "gw-01", HealthInterval: 5 * time.Minute},
		Log:     Log{Level: "warn", Format: "json"},
		CAN: []CAN{
			{Name: "engine", Bus: can.Config{Interface: "can0", FD: true, Filters: []can.Filter{
				{ID: 0x0CF00400 | 1<<31, Mask: 0x1FFFFFFF},
				{ID: 0x100, Mask: 0x7F0},
				{ID: 0x7DF, Mask: 0x7FF, Invert: true},
			}}},
			{Name: "replay:drive.log", Bus: can.Config{Interface: "replay:testdata/good/drive.log?speed=10&loop"}},
		},
		Modbus: []modbus.LineConfig{{
			Name: "line1", Port: "/dev/ttyS1", BaudRate: 19200, DataBits: 8, Parity: 'E', StopBits: 1,
			Timeout: 300 * time.Millisecond, Retries: 1, RS485: modbus.RS485{RTSHighDuringSend: true},
			Devices: []modbus.Device{{
				Name: "meter", UnitID: 1, MaxGap: 8, MaxRegisters: 125,
				Registers: []modbus.Register{
					{Name: "voltage_l1", Table: modbus.Input, Type: modbus.Float32, Scale: 1, Unit: "V", Interval: time.Second},
					{Name: "energy", Table: modbus.Holding, Address: 40, Type: modbus.Uint32, Scale: 0.01, Unit: "kWh", Interval: 10 * time.Second},
					{Name: "alarm", Table: modbus.Discrete, Address: 3, Type: modbus.Bool, Scale: 1, Interval: time.Second, OnChange: true},
				},
			}},
		}},
		Buffer: buffer.Config{Dir: "/var/lib/fieldferry", SyncInterval: time.Second, MaxSize: 512 << 20, MaxMemory: 16 << 20},
		Uplink: Uplink{
			Servers:  []string{"mqtts://broker.example:8883", "mqtts://[2001:db8::1]:8883", "wss://broker.example/mqtt"},
			ClientID: "gw-01", Username: "gw-01", Password: NewSecret("from the environment"),
			TLS:       &TLS{ServerName: "broker.example", MinVersion: 0x0303, ALPN: []string{"mqtt"}},
			KeepAlive: 30 * time.Second, AckTimeout: time.Minute, Topic: "fieldferry/{gateway}/{source}",
			Batch:    Batch{MaxRecords: 100, MaxDelay: 200 * time.Millisecond, MaxBytes: 64 << 10},
			InFlight: 100, Format: "json", Compress: "zstd", Protocol: "5", VerifyPublish: VerifyTopics, MaxRate: 64 << 10, MaxMessages: 50,
			Backlog: Backlog{Share: 0.3, MaxRate: 16 << 10, Order: "newest_first"},
		},
	}
	if diff := cmp.Diff(want, load(t, "testdata/good/full.yaml", surroundings()), ignorePlaces); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	cfg := load(t, "testdata/good/minimal.yaml", surroundings())
	want := &Config{
		Gateway: Gateway{ID: "gw-host", HealthInterval: 5 * time.Minute},
		Log:     Log{Level: "info", Format: "text"},
		CAN:     []CAN{{Name: "can0", Bus: can.Config{Interface: "can0"}}},
		Buffer:  buffer.Config{Dir: "/var/lib/fieldferry", SyncInterval: time.Second, MaxSize: 512 << 20, MaxMemory: 16 << 20},
		Uplink: Uplink{
			Servers: []string{"mqtt://localhost"}, ClientID: "gw-host",
			KeepAlive: 30 * time.Second, AckTimeout: time.Minute, Topic: "fieldferry/{gateway}/{source}",
			Batch:    Batch{MaxRecords: 100, MaxDelay: 200 * time.Millisecond, MaxBytes: 64 << 10},
			InFlight: 100, Format: "json", Compress: "none", Protocol: "3.1.1", VerifyPublish: VerifyStatus,
			Backlog: Backlog{Share: 0.5, Order: "oldest_first"},
		},
	}
	if diff := cmp.Diff(want, cfg, ignorePlaces); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestInheritance(t *testing.T) {
	line := load(t, "testdata/good/inherit.yaml", surroundings()).Modbus[0]
	type row struct {
		Name     string
		Table    modbus.Table
		Address  uint16
		Order    modbus.ByteOrder
		Interval time.Duration
	}
	want := []row{
		{"line", modbus.Holding, 0, modbus.CDAB, 5 * time.Second},
		{"own", modbus.Holding, 65535, modbus.BADC, 250 * time.Millisecond},
		{"base0", modbus.Holding, 9, modbus.CDAB, 5 * time.Second},
		{"h", modbus.Holding, 0, modbus.DCBA, time.Minute},
		{"hh", modbus.Holding, 65535, modbus.DCBA, time.Minute},
		{"i", modbus.Input, 10, modbus.DCBA, time.Minute},
		{"c", modbus.Coil, 0, modbus.DCBA, time.Minute},
		{"d", modbus.Discrete, 0, modbus.DCBA, time.Minute},
	}
	var got []row
	for _, d := range line.Devices {
		if d.MaxGap != 0 {
			t.Errorf("device %s: max_gap is %d, not the line's 0", d.Name, d.MaxGap)
		}
		for _, r := range d.Registers {
			got = append(got, row{r.Name, r.Table, r.Address, r.ByteOrder, r.Interval})
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("registers (-want +got):\n%s", diff)
	}
	if a, b := line.Devices[0].MaxRegisters, line.Devices[1].MaxRegisters; a != 16 || b != 125 {
		t.Errorf("max_registers %d and %d, want 16 and 125", a, b)
	}
}

func TestVariables(t *testing.T) {
	cfg := load(t, "testdata/good/variables.yaml", surroundings())
	line := cfg.Modbus[0]
	got := []any{cfg.Gateway.ID, cfg.CAN[0].Name, line.Port, line.BaudRate, line.Devices[0].UnitID, line.Devices[0].Registers[0].Unit, cfg.Uplink.Servers[0]}
	want := []any{"gw-north", "can1", "/dev/ttyS3", 9600, uint8(17), "${V}", "mqtt://localhost:1883"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

func TestWordsStayText(t *testing.T) {
	cfg := load(t, "testdata/good/words.yaml", surroundings())
	got := []string{cfg.Gateway.ID, cfg.CAN[0].Bus.Interface, cfg.CAN[0].Name, cfg.CAN[1].Bus.Interface, cfg.CAN[1].Name, cfg.Uplink.ClientID}
	if diff := cmp.Diff([]string{"on", "yes", "no", "y", "off", "123"}, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

func TestZeroWhereItHasMeaning(t *testing.T) {
	cfg := load(t, "testdata/good/zero.yaml", surroundings())
	want := buffer.Config{Dir: "testdata/good/spool", MaxSize: 3 << 29, Overflow: buffer.DropNewest, MaxMemory: 16 << 20}
	if diff := cmp.Diff(want, cfg.Buffer); diff != "" {
		t.Errorf("buffer (-want +got):\n%s", diff)
	}
	if cfg.Uplink.Batch.MaxDelay != 0 {
		t.Errorf("max_delay is %v, want 0", cfg.Uplink.Batch.MaxDelay)
	}
}

// TestLineEnds shows that a file reads the same with any line ends, with and
// without a byte order mark.
func TestLineEnds(t *testing.T) {
	data, err := os.ReadFile("testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := load(t, "testdata/good/full.yaml", surroundings())
	for name, variant := range map[string][]byte{
		"CRLF": bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")),
		"CR":   bytes.ReplaceAll(data, []byte("\n"), []byte("\r")),
		"BOM":  append([]byte("\ufeff"), data...),
	} {
		got, problems := Parse("testdata/good/full.yaml", variant, surroundings())
		if len(problems) > 0 {
			t.Errorf("%s: %s", name, lines(problems))
		}
		if diff := cmp.Diff(want, got, ignorePlaces); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestProblemsBeyondTheFile places a problem found after loading.
func TestProblemsBeyondTheFile(t *testing.T) {
	cfg := load(t, "testdata/good/full.yaml", surroundings())
	for path, want := range map[string]string{
		"modbus[0]":                                   "testdata/good/full.yaml:11:5: modbus[0]: warning: w; f",
		"modbus[0].devices[0].registers[1].name":      "testdata/good/full.yaml:30:13: modbus[0].devices[0].registers[1].name: warning: w; f",
		"modbus[0].devices[0].registers[1].bit.shift": "testdata/good/full.yaml:30:13: modbus[0].devices[0].registers[1].bit.shift: warning: w; f",
	} {
		if got := cfg.Problem(path, "w", "f", true).String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestEveryUnavailableKeyIsRefused keeps the table honest: each row is a key
// that the walker really comes to, and that no other part accepts.
func TestEveryUnavailableKeyIsRefused(t *testing.T) {
	for _, u := range unavailableKeys {
		path := strings.ReplaceAll(u.path, "[]", ".0")
		opts := surroundings()
		opts.Set = []string{path + "=x"}
		_, problems := Load("testdata/good/full.yaml", opts)
		if len(problems) != 1 || !strings.Contains(problems[0].What, "not in this version") {
			t.Errorf("%s:\n%s", u.path, lines(problems))
		}
		if u.accept != "" {
			opts.Set = []string{path + "=" + u.accept}
			if _, problems := Load("testdata/good/full.yaml", opts); len(problems) > 0 {
				t.Errorf("%s=%s:\n%s", u.path, u.accept, lines(problems))
			}
		}
	}
}

// TestGoldenHasNoStrays finds recorded problems whose file is gone.
func TestGoldenHasNoStrays(t *testing.T) {
	err := filepath.WalkDir("testdata/bad", func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".want") {
			if _, err := os.Stat(strings.TrimSuffix(path, ".want") + ".yaml"); err != nil {
				t.Error(err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestQuotaAndMountPoint(t *testing.T) {
	cfg := load(t, "testdata/good/quota.yaml", surroundings())
	want := buffer.Config{Dir: "/mnt/card/spool", SyncInterval: time.Second, MaxSize: 512 << 20, Quota: -1, MaxMemory: 16 << 20, MountPoint: "/mnt/card"}
	if diff := cmp.Diff(want, cfg.Buffer); diff != "" {
		t.Errorf("buffer (-want +got):\n%s", diff)
	}
}

func TestClock(t *testing.T) {
	for file, want := range map[string]bool{"clock": true, "full": false} {
		cfg, problems := Load("testdata/good/"+file+".yaml", surroundings())
		if cfg == nil || cfg.Gateway.TrustClock != want {
			t.Errorf("%s: %v, want the clock trusted: %v", file, problems, want)
		}
	}
}
