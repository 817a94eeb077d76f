package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSamePortBySymlink names one port by two paths, as /dev/serial/by-id does.
func TestSamePortBySymlink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "meter")
	if err := os.Symlink("/dev/null", link); err != nil { // a character device everywhere
		t.Fatal(err)
	}
	const rest = "\n    devices: [{name: m, unit_id: 1, registers: [{name: x, address: 0}]}]\n"
	text := "uplink: {servers: [mqtts://h]}\nmodbus:\n  - port: /dev/null" + rest + "  - port: meter" + rest
	_, problems := Parse(filepath.Join(dir, "f.yaml"), []byte(text), surroundings())
	want := fmt.Sprintf("%s/f.yaml:5:11: modbus[1].port: the port is that of modbus[0] on line 3: %s leads to /dev/null; put the devices of one port under one line\n", dir, link)
	if got := lines(problems); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// One host and port has many spellings; Modbus TCP and RTU over TCP are two ways
// to use one.
func TestSamePortByNetwork(t *testing.T) {
	const rest = "\n    devices: [{name: m, unit_id: 1, registers: [{name: x, address: 0}]}]\n"
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"tcp://host", "tcp://host:502", true},
		{"tcp://host", "tcp://HOST:502/", true},
		{"tcp://plc.example:502", "rtu+tcp://PLC.example:502", true},
		{"tcp://[::1]", "tcp://[0:0::1]:502", true},
		{"tcp://[FE80::1]:502", "tcp://[fe80::1]", true},
		{"tcp://host", "tcp://host:503", false},
		{"tcp://host", "tcp://host2", false},
		{"tcp://[fe80::1%eth0]", "tcp://[fe80::1%ETH0]", false},
		{"/dev/null", "/dev/../dev//null", true},
	} {
		text := "uplink: {servers: [mqtts://h]}\nmodbus:\n  - name: a\n    port: \"" + c.a + "\"" + rest + "  - name: b\n    port: \"" + c.b + "\"" + rest
		_, problems := Parse("f.yaml", []byte(text), surroundings())
		want := ""
		if c.same {
			want = "f.yaml:7:11: modbus[1].port: the port is that of modbus[0] on line 4; put the devices of one port under one line\n"
		}
		if got := lines(problems); got != want {
			t.Errorf("%s and %s: %s", c.a, c.b, got)
		}
	}
}

// A name that stays is suggested where udev has one for the port, and nothing
// is said where it has none.
func TestStableNames(t *testing.T) {
	dir := t.TempDir()
	for link, target := range map[string]string{
		"by-id/usb-FTDI_FT232R_A50285BI-if00-port0":       "../../ttyUSB0",
		"by-id/usb-Arduino_Uno-if00":                      "../../ttyACM1",
		"by-path/platform-3f980000.usb-usb-0:1.2:1.0-p0":  "../../ttyUSB0",
		"by-path/platform-3f980000.usb-usb-0:1.3:1.0-p0":  "../../ttyUSB1",
		"by-path/platform-3f980000.usb-usb-0:1.4:1.0-p12": "../../ttyUSB12",
	} {
		link = filepath.Join(dir, link)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	for port, want := range map[string]string{
		"/dev/ttyUSB0":   "by-id/usb-FTDI_FT232R_A50285BI-if00-port0",
		"/dev/ttyACM1":   "by-id/usb-Arduino_Uno-if00",
		"/dev/ttyUSB1":   "by-path/platform-3f980000.usb-usb-0:1.3:1.0-p0",
		"/dev/ttyUSB2":   "",
		"/dev/ttyS1":     "",
		"tcp://ttyUSB0":  "",
		"/srv/d/ttyUSB0": "",
	} {
		opts := surroundings()
		opts.SerialDir = dir
		text := "uplink: {servers: [mqtts://h]}\nmodbus:\n  - name: a\n    port: " + port + "\n    devices: [{name: m, unit_id: 1, registers: [{name: x, address: 0}]}]\n"
		cfg, problems := Parse("f.yaml", []byte(text), opts)
		if want != "" {
			want = fmt.Sprintf("f.yaml:4:11: modbus[0].port: warning: %s can be another adapter after a restart or when it is plugged in again; write port: %s\n",
				filepath.Base(port), filepath.Join(dir, want))
		}
		if got := lines(problems); got != want || cfg == nil {
			t.Errorf("%s: got  %s\nwant %s", port, got, want)
		}
	}
}

func TestLinesNeedNoName(t *testing.T) {
	cfg := load(t, "testdata/good/aliases.yaml", surroundings())
	line := cfg.Modbus[0]
	if line.Name != "ttyUSB0" || line.BaudRate != 9600 || line.Parity != 'N' || line.StopBits != 2 || line.DataBits != 8 {
		t.Errorf("line %+v", line)
	}
	if a, b := line.Devices[0].UnitID, line.Devices[1].UnitID; a != 1 || b != 247 {
		t.Errorf("unit ids %d and %d, want 1 and 247", a, b)
	}
	if a := line.Devices[1].Registers[0].Address; a != 255 {
		t.Errorf("address %d, want 0xFF", a)
	}
}

func TestBaudRates(t *testing.T) {
	for rate, want := range map[string]string{
		"1200": "", "9600": "", "115200": "", "31250": "", "460800": "",
		"9601": "error", "9599": "error", "115201": "error", "19201": "error", "0": "error", "-9600": "error", "9600.5": "error",
		"10400": "warning", "45450": "warning", "100000": "warning",
	} {
		text := "uplink: {servers: [mqtts://h]}\nmodbus:\n  - port: /dev/null\n    baud_rate: " + rate +
			"\n    devices: [{name: m, unit_id: 1, registers: [{name: x, address: 0}]}]\n"
		_, problems := Parse("f.yaml", []byte(text), surroundings())
		got := ""
		if len(problems) > 0 {
			got = map[bool]string{true: "warning", false: "error"}[problems[0].Warning]
		}
		if got != want || len(problems) > 0 && !strings.HasPrefix(problems[0].String(), "f.yaml:4:16: modbus[0].baud_rate: ") {
			t.Errorf("%s: want %q, got %s", rate, want, lines(problems))
		}
	}
}

// A register can be named as the file has it, whatever that counts from, and so can
// one that a repetition has made.
func TestAddressesAsWritten(t *testing.T) {
	for format, want := range map[string]string{
		"{name: m, unit_id: 1, registers: [{name: x, address: 109}]}":                                                                   "109+0",
		"{name: m, unit_id: 1, address_base: 1, registers: [{name: x, address: 110}]}":                                                  "109+1",
		"{name: m, unit_id: 1, address_format: modicon, registers: [{name: x, address: 40110}]}":                                        "109+40001",
		"{name: m, unit_id: 1, registers: [{name: x, address: 400110, address_format: modicon}]}":                                       "109+400001",
		"{name: m, unit_id: 1, address_format: modicon, registers: [{name: \"x{n}\", address: 30110, repeat: {count: 2, stride: 10}}]}": "109+30001 119+30001",
	} {
		text := "uplink: {servers: [mqtts://h]}\nmodbus:\n  - port: /dev/null\n    devices: [" + format + "]\n"
		cfg, problems := Parse("f.yaml", []byte(text), surroundings())
		if len(problems) > 0 {
			t.Errorf("%s: %s", format, lines(problems))
			continue
		}
		var got []string
		for _, r := range cfg.Modbus[0].Devices[0].Registers {
			got = append(got, fmt.Sprintf("%d+%d", r.Address, r.Base))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", format, got, want)
		}
	}
}

// A unit id that cannot be says which there are on that line.
func TestUnitIDSaysWhatThereIs(t *testing.T) {
	for port, want := range map[string]string{"/dev/ttyS1": "1 to 247", "tcp://127.0.0.1:1": "0 to 255"} {
		for _, id := range []string{"three", "300", "-1", "99999999999"} {
			_, problems := Parse("f.yaml", []byte("gateway: {id: g}\nuplink: {servers: [mqtts://h]}\nmodbus: [{name: a, port: \""+port+"\", devices: [{name: m, unit_id: "+id+", registers: [{name: x, address: 0}]}]}]\n"), Options{})
			if len(problems) == 0 || problems[0].Fix != "write the device's unit id, "+want {
				t.Errorf("%s on %s: %v", id, port, problems)
			}
		}
	}
}
