package main

import (
	"strings"
	"testing"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// A refused address that looks like a manual's says how it is written, in every
// verb that takes one; a number that could be octal is not guessed.
func TestNumbersOfManuals(t *testing.T) {
	port := onPTY(t, func(_ int, q []byte) []modbustest.Step {
		if q[1] == 3 && q[2] == 0 {
			return []modbustest.Step{{Send: modbustest.Reply(q, make([]uint16, q[5])...)}}
		}
		return []modbustest.Step{{Send: modbustest.Exception(q, 2)}}
	})
	const advice = "30001 is taken as on the wire; the manual's 30001 is written 30001 or input:0"
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"read --unit 1 input:30001", advice, 1},
		{"read --unit 1 --json input:30001", advice, 1},
		{"read --unit 1 30001", "error: exception 2", 1},
		{"read --unit 1 holding:30001", "error: exception 2", 1},
		{"write --unit 1 --yes holding:40002 5", "the manual's 40002 is written 40002 or holding:1", 1},
		{"scan --units 1 --probe input:30001", advice, 0},
		{"read --unit 1 coil:00002", "octal", 2},
		{"read --unit 1 holding:010:2", "octal", 2},
		{"read --unit 1 holding:8:010", "from 1 to 125", 2},
		{"write --unit 1 --yes holding:8 010", "octal", 2},
		{"decode 010", "octal", 2},
		{"read --unit 1 --type float32 holding:1:1", "holding:1:1: a float32 takes 2 registers, not 1; write holding:1:2, or leave the count out", 2},
		{"read --unit 1 --type float32 40001:3", "write 40001:2", 2},
		{"read --unit 1 --type float32 holding:1:4", "0", 0},
	} {
		verb, rest, _ := strings.Cut(c.args, " ")
		args := []string{"modbus", verb}
		if verb != "decode" {
			args = append(args, "--port", port, "--timeout", "2s")
		}
		code, out, errs := cli(t, append(args, strings.Fields(rest)...)...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, out, errs)
		}
		if !strings.Contains(c.want, "manual") && strings.Contains(out+errs, "manual's") && c.code == 1 {
			t.Errorf("%s: advice that does not fit: %s%s", c.args, out, errs)
		}
	}
}

// What was read and is not of its type is a failure too.
func TestReadOfAnotherType(t *testing.T) {
	port := onPTY(t, func(_ int, q []byte) []modbustest.Step {
		return []modbustest.Step{{Send: modbustest.Reply(q, 0x00FF)}}
	})
	for _, flags := range [][]string{nil, {"--json"}} {
		args := append([]string{"modbus", "read", "--port", port, "--timeout", "2s", "--unit", "1", "--type", "bcd16", "holding:0"}, flags...)
		if code, out, errs := cli(t, args...); code != 1 || !strings.Contains(out, "not a BCD number: 0x00FF") {
			t.Errorf("%v: exit code %d\n%s%s", flags, code, out, errs)
		}
	}
}

// A port that the daemon has cannot be scanned, and nobody was asked then.
func TestScanOfAPortInUse(t *testing.T) {
	path := onPTY(t, func(int, []byte) []modbustest.Step { return nil })
	held, err := rtu.Open(rtu.PortConfig{Path: path, Mode: rtu.Mode{BaudRate: 9600, DataBits: 8, Parity: 'N', StopBits: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	code, out, errs := cli(t, "modbus", "scan", "--port", path, "--units", "1")
	for _, want := range []string{"fuser -v " + path, "stop it, or scan on the page under Commissioning"} {
		if !strings.Contains(errs, want) {
			t.Errorf("%q is missing in %s", want, errs)
		}
	}
	if code != 1 || out != "" || strings.Contains(errs, "asked") || strings.Contains(errs, "--line") {
		t.Errorf("exit code %d, %q, %s", code, out, errs)
	}
}
