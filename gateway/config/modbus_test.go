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
