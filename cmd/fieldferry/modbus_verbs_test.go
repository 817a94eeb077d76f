package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// What a person writes with a minus is a number, and the flags around it stay flags.
func TestNegatives(t *testing.T) {
	root := (&app{}).newRootCommand()
	for in, want := range map[string]string{
		"modbus write -p /dev/x holding:0 -5 --yes":             "modbus write -p /dev/x --yes -- holding:0 -5",
		"modbus write --port=x -u 1 holding:0 5 -3 -t int16 7":  "modbus write --port=x -u 1 -t int16 -- holding:0 5 -3 7",
		"modbus write -yp x holding:0 -.5 --type float32 -- -7": "modbus write -yp x --type float32 -- holding:0 -.5 -7",
		"command x.y -5 --expect -4 -c f.yaml":                  "command --expect -4 -c f.yaml -- x.y -5",
		"modbus write --help":                                   "modbus write --help --",
		"modbus read holding:0 -5":                              "modbus read holding:0 -5",
		"modbus decode -t int16 1":                              "modbus decode -t int16 1",
	} {
		if got := negatives(root, strings.Fields(in)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s:\n got %q\nwant %s", in, got, want)
		}
	}
}

// stubborn is a slave that knows only some functions.
func stubborn(t *testing.T, holding map[uint16]uint16, knows ...byte) string {
	return onPTY(t, func(_ int, q []byte) []modbustest.Step {
		if !slices.Contains(knows, q[1]) {
			return []modbustest.Step{{Send: modbustest.Exception(q, 1)}}
		}
		at := uint16(q[2])<<8 | uint16(q[3])
		switch q[1] {
		case 6:
			holding[at] = uint16(q[4])<<8 | uint16(q[5])
			return []modbustest.Step{{Send: q}}
		case 16:
			for i := range int(q[5]) {
				holding[at+uint16(i)] = uint16(q[7+2*i])<<8 | uint16(q[8+2*i])
			}
			return []modbustest.Step{{Send: rtu.AppendCRC(slices.Clone(q[:6]))}}
		}
		words := make([]uint16, q[5])
		for i := range words {
			words[i] = holding[at+uint16(i)]
		}
		return []modbustest.Step{{Send: modbustest.Reply(q, words...)}}
	})
}

// A device that knows only function 16 is written by it; one that knows neither
// has refused, and nothing was written.
func TestWriteByAnotherFunction(t *testing.T) {
	holding := map[uint16]uint16{}
	port := stubborn(t, holding, 3, 16)
	run := func(port, args string) (int, string, string) {
		return cli(t, append([]string{"modbus", "write", "--port", port, "--unit", "1", "--timeout", "2s"}, strings.Fields(args)...)...)
	}
	if code, out, errs := run(port, "holding:40 5 --yes"); code != 0 || holding[40] != 5 || !strings.Contains(out, "written [5], before [0]") {
		t.Errorf("exit code %d, %v\n%s%s", code, holding, out, errs)
	}
	if code, _, errs := run(port, "--function 16 40042 -5 --yes"); code != 0 || holding[41] != 0xFFFB {
		t.Errorf("exit code %d, %v\n%s", code, holding, errs)
	}
	if code, _, errs := run(port, "--function 6 holding:40 7 --yes"); code != 1 || holding[40] != 5 || !strings.Contains(errs, "the device refused it, nothing was written") {
		t.Errorf("exit code %d, %v\n%s", code, holding, errs)
	}
	if code, _, errs := run(port, "--function 15 holding:40 7 --yes"); code != 2 || !strings.Contains(errs, "written by 6 or 16") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	other := map[uint16]uint16{}
	port = stubborn(t, other, 3, 6)
	if code, _, errs := run(port, "holding:40 5 --yes"); code != 0 || other[40] != 5 {
		t.Errorf("by function 6: exit code %d, %v\n%s", code, other, errs)
	}
}

// --every reads in rounds, and --trace shows both directions; a number of a
// manual names a table and an address.
func TestReadEvery(t *testing.T) {
	port := stubborn(t, map[uint16]uint16{352: 555}, 3)
	code, out, errs := cli(t, "modbus", "read", "--port", port, "--unit", "1", "--timeout", "2s", "--every", "1ms", "-n", "3", "--trace", "40353")
	if code != 0 || strings.Count(out, "  unit 1 holding   352    555  0x022B     555\n") != 3 ||
		strings.Count(errs, " -> 01 03 01 60 00 01 ") < 3 || strings.Count(errs, " <- ") < 3 {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if code, _, errs := cli(t, "modbus", "read", "--port", port, "--unit", "1", "-n", "3", "holding:0"); code != 2 || !strings.Contains(errs, "--every") {
		t.Errorf("rounds without --every: exit code %d\n%s", code, errs)
	}
	if code, _, errs := cli(t, "modbus", "read", "--port", port, "--unit", "1"); code != 2 || !strings.Contains(errs, "give items") {
		t.Errorf("no item: exit code %d\n%s", code, errs)
	}
}

// Lists of units, each asked for one thing after the other; what a gateway says
// of a unit that is not there is no answer.
func TestScanLists(t *testing.T) {
	port := onPTY(t, func(_ int, q []byte) []modbustest.Step {
		switch {
		case q[0] == 21:
			return []modbustest.Step{{Send: modbustest.Exception(q, 11)}}
		case q[1] == 4:
			return []modbustest.Step{{Send: modbustest.Reply(q, 7)}}
		}
		return []modbustest.Step{{Send: modbustest.Exception(q, 2)}}
	})
	code, out, errs := cli(t, "modbus", "scan", "--port", port, "--timeout", "2s", "--units", "8,5-6,21,5", "--probe", "holding:0", "--probe", "input:9")
	if want := "asked 4, found 3\n"; code != 0 || strings.Count(out, "input 9 = 7") != 3 || errs != want {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	for _, units := range []string{"5,", "0", "9-8", "1-300", "x"} {
		if code, _, errs := cli(t, "modbus", "scan", "--port", port, "--units", units); code != 2 || !strings.Contains(errs, "such as 5,8,21-24") {
			t.Errorf("%s: exit code %d, %s", units, code, errs)
		}
	}
}

// A port that cannot be used comes with what to do.
func TestPortAdvice(t *testing.T) {
	for cause, want := range map[error]string{
		rtu.ErrInUse:     "read through it with --line NAME",
		fs.ErrPermission: "sudo adduser $USER dialout",
		fs.ErrNotExist:   "there ",
	} {
		if got := advisePort("/nonexistent/ttyUSB0", "read through it with --line NAME", fmt.Errorf("open: %w", cause)).Error(); !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q in it", cause, got, want)
		}
	}
	if code, _, errs := cli(t, "modbus", "read", "--port", "/nonexistent/ttyUSB0", "--unit", "1", "holding:0"); code != 1 || !strings.Contains(errs, "there ") {
		t.Errorf("missing: exit code %d, %s", code, errs)
	}
	if code, _, errs := cli(t, "modbus", "read", "--port", "/dev/null", "--unit", "1", "holding:0"); code != 1 || !strings.Contains(errs, "not a serial port") {
		t.Errorf("no port: exit code %d, %s", code, errs)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "map.yaml")
	if err := os.WriteFile(file, []byte("units: [{unit_id: 1, registers: [{register: holding, address: 0, value: 1}]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for port, want := range map[string]string{"tcp://" + taken.Addr().String(): "choose another port", "/dev/null": "not a serial port"} {
		if code, _, errs := cli(t, "modbus", "simulate", "--port", port, file); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("simulate on %s: exit code %d, %s", port, code, errs)
		}
	}
}

// decode knows all types, and one character in each register.
func TestModbusDecodeTypes(t *testing.T) {
	for args, want := range map[string]string{
		"--type string --byte low 0x44 0x52 0x49 0x56 0x45 0x37 --byte-order ABCD": `"DRIVE7"`,
		"--type uint48 --byte-order ABCD 0x12 0x3456 0x789A":                       "78187493530",
		"--type modulo10000 --byte-order CDAB 5678 1234":                           "12345678",
		"--type bcd8 --high-byte --byte-order ABCD 0x4200":                         "42",
		"--type sign_magnitude16 --byte-order ABCD 0x8005":                         "-5",
	} {
		code, out, errs := cli(t, append([]string{"modbus", "decode"}, strings.Fields(args)...)...)
		if code != 0 || out != fmt.Sprintln(want) {
			t.Errorf("%s: exit code %d, %q\n%s", args, code, out, errs)
		}
	}
}
