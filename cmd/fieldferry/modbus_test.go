package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

const millisecond = time.Millisecond

// cli runs one command line and returns its exit code and output.
func cli(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs, getenv: os.LookupEnv, hostname: os.Hostname}
	code = a.main(t.Context(), args)
	return code, out.String(), errs.String()
}

// onPTY runs a scripted slave on a pseudo-terminal and returns its path.
func onPTY(t *testing.T, answer func(n int, request []byte) []modbustest.Step) string {
	t.Helper()
	pty, err := modbustest.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { modbustest.Serve(ctx, pty, answer); close(done) }()
	t.Cleanup(func() { cancel(); pty.Close(); <-done })
	return pty.Path
}

// address answers with each register's own address.
func addressOf(request []byte) []byte {
	address, count := binary.BigEndian.Uint16(request[2:]), binary.BigEndian.Uint16(request[4:])
	if request[1] <= rtu.ReadDiscreteInputs {
		bits := make([]bool, count)
		for i := range bits {
			bits[i] = (int(address)+i)%3 == 0
		}
		return modbustest.BitReply(request, bits...)
	}
	words := make([]uint16, count)
	for i := range words {
		words[i] = address + uint16(i)
	}
	return modbustest.Reply(request, words...)
}

func after(d time.Duration, p ...[]byte) modbustest.Step {
	return modbustest.Step{At: d, Send: bytes.Join(p, nil)}
}

func TestModbusReadJSON(t *testing.T) {
	port := onPTY(t, func(_ int, q []byte) []modbustest.Step {
		switch {
		case q[0] == 18 && q[1] == rtu.ReadHoldingRegisters:
			return []modbustest.Step{after(0, modbustest.Exception(q, 2))}
		case q[0] == 19:
			return nil
		}
		return []modbustest.Step{after(0, addressOf(q))}
	})
	code, out, errs := cli(t, "modbus", "read", "--port", port, "--unit", "17", "--baud", "9600", "--parity", "N", "--timeout", "150ms", "--retries", "0",
		"--pause", "1ms", "--json", "holding:555", "18/holding:7:2", "coil:3:4", "input:0x10:2", "19/input:1", "18/discrete:4")
	want := `{"unit":17,"register":"holding","address":555,"count":1,"words":[555]}
{"unit":18,"register":"holding","address":7,"count":2,"error":"exception 2: illegal data address","exception":2}
{"unit":17,"register":"coil","address":3,"count":4,"bits":[true,false,false,true]}
{"unit":17,"register":"input","address":16,"count":2,"words":[16,17]}
{"unit":19,"register":"input","address":1,"count":1,"error":"timeout: no reply within 150ms"}
{"unit":18,"register":"discrete","address":4,"count":1,"bits":[false]}
`
	if code != 1 || out != want || strings.Contains(errs, "nobody") {
		t.Errorf("exit code %d\ngot\n%swant\n%s%s", code, out, want, errs)
	}
	code, _, errs = cli(t, "modbus", "read", "--port", port, "--unit", "19", "--baud", "9600", "--parity", "N", "--timeout", "50ms", "--retries", "0", "input:1", "input:2")
	if code != 1 || strings.Count(errs, "nobody has answered at 9600 8N1; fieldferry modbus scan") != 1 {
		t.Errorf("of a silent line: exit code %d, %s", code, errs)
	}
}

func TestModbusReadTypes(t *testing.T) {
	port := onPTY(t, func(_ int, q []byte) []modbustest.Step {
		return []modbustest.Step{after(0, modbustest.Reply(q, []uint16{0x4366, 0x199A, 0x4366, 0x199A}[:q[5]]...))}
	})
	code, out, errs := cli(t, "modbus", "read", "--port", port, "--unit", "1", "--type", "float32", "--json", "input:0", "input:0:4")
	want := `{"unit":1,"register":"input","address":0,"count":2,"words":[17254,6554],"type":"float32","byte_order":"ABCD","values":[230.1]}
{"unit":1,"register":"input","address":0,"count":4,"words":[17254,6554,17254,6554],"type":"float32","byte_order":"ABCD","values":[230.1,230.1]}
`
	if code != 0 || out != want {
		t.Errorf("exit code %d\ngot\n%swant\n%s%s", code, out, want, errs)
	}
	code, out, _ = cli(t, "modbus", "read", "-p", port, "-u", "1", "--type", "float32", "--scale", "10", "input:0")
	if code != 0 || !strings.HasSuffix(out, "  2301\n") {
		t.Errorf("exit code %d, %q", code, out)
	}
}

// readCase is a line with a fault on it, and what reading three registers of
// one device must bring: v a value, e an error, x an exception.
type readCase struct {
	name    string
	timeout string
	retries string
	answer  func(n int, q []byte) []modbustest.Step
	want    string
}

func spoiled(p []byte) []byte { p = bytes.Clone(p); p[len(p)-1] ^= 1; return p }

// firstly misbehaves once.
func firstly(f func(q []byte) []modbustest.Step) func(int, []byte) []modbustest.Step {
	return func(n int, q []byte) []modbustest.Step {
		if n == 0 {
			return f(q)
		}
		return []modbustest.Step{after(5*millisecond, addressOf(q))}
	}
}

func readCases() []readCase {
	type steps = []modbustest.Step
	var owed []byte
	all := func(f func(q []byte) steps) func(int, []byte) steps {
		return func(_ int, q []byte) steps { return f(q) }
	}
	babble := all(func([]byte) (s steps) {
		for i := range 600 {
			s = append(s, after(time.Duration(i)*10*millisecond, bytes.Repeat([]byte{0x55}, 8)))
		}
		return s
	})
	foreign := func(q []byte) (s steps) {
		for i := range 30 {
			other := append([]byte{byte(40 + i)}, q[1:]...)
			s = append(s, after(time.Duration(i+1)*5*millisecond, addressOf(other)))
		}
		return append(s, after(250*millisecond, addressOf(q)))
	}
	swapped := func(q []byte) steps {
		p := addressOf(q)
		n := len(p)
		p[n-1], p[n-2] = p[n-2], p[n-1]
		return steps{after(5*millisecond, p)}
	}
	return []readCase{
		{"late for the next request", "400ms", "0", firstly(func(q []byte) steps { return steps{after(900*millisecond, addressOf(q))} }), "evv"},
		{"late by two seconds", "300ms", "0", firstly(func(q []byte) steps { return steps{after(2*time.Second, addressOf(q))} }), "evv"},
		{"late behind the next request", "300ms", "0", func(n int, q []byte) steps {
			if n == 0 {
				owed = addressOf(q)
				return nil
			}
			// Both in one write: on a loaded machine the second could come after
			// the timeout otherwise, and a lone late reply looks right to anybody.
			s := steps{after(5*millisecond, owed, addressOf(q))}
			owed = nil
			return s
		}, "eev"},
		{"slow, with time", "1s", "0", all(func(q []byte) steps { return steps{after(500*millisecond, addressOf(q))} }), "vvv"},
		{"slow, by a retry", "400ms", "1", all(func(q []byte) steps { return steps{after(500*millisecond, addressOf(q))} }), "vvv"},
		{"gaps of 50 ms", "300ms", "0", all(func(q []byte) (s steps) {
			for i, b := range addressOf(q) {
				s = append(s, after(time.Duration(i)*50*millisecond, []byte{b}))
			}
			return s
		}), "vvv"},
		{"echo and noise", "300ms", "0", all(func(q []byte) steps {
			return steps{after(0, q), after(5*millisecond, []byte{0, 17, 3}), after(20*millisecond, addressOf(q), []byte{0xFF})}
		}), "vvv"},
		{"echo alone", "300ms", "0", all(func(q []byte) steps { return steps{after(0, q)} }), "eee"},
		{"damaged, then right", "300ms", "0", firstly(func(q []byte) steps { return steps{after(5*millisecond, spoiled(addressOf(q)))} }), "evv"},
		{"CRC swapped, again", "300ms", "1", firstly(swapped), "vvv"},
		{"cut, again", "300ms", "1", firstly(func(q []byte) steps { return steps{after(5*millisecond, addressOf(q)[:5])} }), "vvv"},
		{"wrong unit, then right", "400ms", "0", all(func(q []byte) steps {
			return steps{after(5*millisecond, addressOf(append([]byte{18}, q[1:]...))), after(60*millisecond, addressOf(q))}
		}), "vvv"},
		{"30 foreign frames", "600ms", "0", all(foreign), "vvv"},
		{"duplicates", "400ms", "0", all(func(q []byte) steps {
			return steps{after(5*millisecond, addressOf(q), addressOf(q))}
		}), "vvv"},
		{"babble for ever", "300ms", "0", babble, "eee"},
		{"exception in pieces", "300ms", "0", all(func(q []byte) steps {
			e := modbustest.Exception(q, 11)
			return steps{after(5*millisecond, e[:4]), after(30*millisecond, e[4:])}
		}), "xxx"},
	}
}

// Faults on real terminals: never a wrong value, and all in time. How far apart
// the bytes of a fault may come is tried in simulated time (rtu, commission):
// here a loaded machine would decide. One that stalls longer than a timeout
// makes an error of a value, and the case is tried again; a wrong value never is.
func TestModbusReadFaults(t *testing.T) {
	var running sync.WaitGroup
	defer running.Wait()
	for i, c := range readCases() {
		running.Go(func() {
			for tries := 1; ; tries++ {
				port := onPTY(t, readCases()[i].answer)
				_, out, errs := cli(t, "modbus", "read", "--port", port, "--unit", "17", "--timeout", c.timeout, "--retries", c.retries, "--json", "holding:100", "holding:200", "holding:300")
				got := outcomes(t, out)
				if got == c.want {
					return
				}
				if tries == 4 || strings.Contains(got, "W") {
					t.Errorf("%s: got %s, want %s:\n%s%s", c.name, got, c.want, out, errs)
					return
				}
			}
		})
	}
}

// outcomes is a letter per item: v, e, x, or W for a wrong value.
func outcomes(t *testing.T, out string) (got string) {
	for line := range strings.Lines(out) {
		var item itemJSON
		if err := json.Unmarshal([]byte(line), &item); err != nil {
			t.Errorf("%v in %q", err, line)
		}
		switch {
		case item.Exception != nil:
			got += "x"
		case item.Error != "":
			got += "e"
		case len(item.Words) == 1 && item.Words[0] == item.Address:
			got += "v"
		default:
			got += "W"
		}
	}
	return got
}

// An adapter that is pulled out in the middle of a reply and comes back under
// another number is found again by its stable name.
func TestModbusReadAfterUnplug(t *testing.T) {
	for name, sent := range map[string]int{"before the reply": 0, "within the reply": 4, "behind the reply": 7} {
		t.Run(name, func(t *testing.T) {
			link := filepath.Join(t.TempDir(), "adapter")
			back := onPTY(t, firstly(func(q []byte) []modbustest.Step { return []modbustest.Step{after(5*millisecond, addressOf(q))} }))
			first, err := modbustest.OpenPTY()
			if err != nil {
				t.Fatal(err)
			}
			defer first.Close()
			if err := os.Symlink(first.Path, link); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				request := make([]byte, 8)
				if _, err := io.ReadFull(first, request); err != nil {
					return
				}
				_, _ = first.Write(addressOf(request)[:sent])
				_ = os.Remove(link)
				_ = os.Symlink(back, link)
				first.Close()
			}()
			code, out, errs := cli(t, "modbus", "read", "--port", link, "--unit", "17", "--timeout", "500ms", "--retries", "3", "--json", "holding:100", "18/holding:200")
			if got := outcomes(t, out); code != 0 || got != "vv" {
				t.Errorf("exit code %d, %s:\n%s%s", code, got, out, errs)
			}
			<-done
		})
	}
}

func TestModbusWrite(t *testing.T) {
	unit := &modbustest.Unit{Holding: map[uint16]uint16{40: 1, 41: 2}}
	slave := modbustest.NewSlave(map[byte]*modbustest.Unit{17: unit})
	pty, err := modbustest.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { slave.Run(context.Background(), pty); close(done) }()
	t.Cleanup(func() { pty.Close(); <-done })
	base := []string{"modbus", "write", "--port", pty.Path, "--unit", "17"}
	if code, out, errs := cli(t, append(base, "--yes", "holding:40", "7")...); code != 0 || !strings.Contains(out, "written [7], before [1]") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	slave.Do(func(map[byte]*modbustest.Unit) {
		if unit.Holding[40] != 7 {
			t.Errorf("register 40 holds %d", unit.Holding[40])
		}
	})
	for _, bad := range [][]string{{"holding:40", "8"}, {"--yes", "input:40", "8"}, {"--yes", "holding:40", "65536"}, {"--yes", "0/holding:40", "8"}} {
		if code, out, errs := cli(t, append(base, bad...)...); code != 2 {
			t.Errorf("%v: exit code %d: %s%s", bad, code, out, errs)
		}
	}
	slave.Do(func(map[byte]*modbustest.Unit) {
		if unit.Holding[40] != 7 {
			t.Errorf("register 40 holds %d after refused writes", unit.Holding[40])
		}
	})
}

func TestModbusScan(t *testing.T) {
	port := onPTY(t, func(_ int, q []byte) []modbustest.Step {
		switch q[0] {
		case 3:
			return []modbustest.Step{after(0, addressOf(q))}
		case 5:
			return []modbustest.Step{after(0, modbustest.Exception(q, 2))}
		case 6:
			return []modbustest.Step{after(450*millisecond, addressOf(q))}
		}
		return nil
	})
	code, out, errs := cli(t, "modbus", "scan", "--port", port, "--units", "1-8", "--timeout", "300ms", "--probe", "holding:9", "--json")
	var units []byte
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var f foundJSON
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v in %q\n%s", err, line, errs)
		}
		units = append(units, f.Unit)
	}
	if code != 0 || !bytes.Equal(units, []byte{3, 5, 6}) {
		t.Errorf("exit code %d, units %v\n%s", code, units, errs)
	}
}

func TestModbusDecode(t *testing.T) {
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"--type float32 0x4366 0x199A", "byte order  float32\nABCD        230.1\nCDAB        1.5950449e-23\nBADC        2.3092602e+23\nDCBA        -3.1722265e-23\n", 0},
		{"--type uint32 --byte-order CDAB --scale 0.01 54919 18", "12345.67\n", 0},
		{"--type int16 --byte-order ABCD --json 65534", `{"type":"int16","byte_order":"ABCD","value":-2}` + "\n", 0},
		{"--type uint64 --byte-order ABCD --json 65535 65535 65535 65535", `{"type":"uint64","byte_order":"ABCD","value":"18446744073709551615"}` + "\n", 0},
		{"--type float32 --byte-order ABCD --json 0x7FC0 0", `{"type":"float32","byte_order":"ABCD","value":null}` + "\n", 0},
		{"--type bcd16 --byte-order ABCD --json 0x12A4", `{"type":"bcd16","byte_order":"ABCD","value":null,"error":"not a BCD number: 0x12A4"}` + "\n", 1},
		{"--byte-order CDAB 0x3333 0x4366", "type              CDAB\nint24             6697779\nuint24            6697779\nint32             1130771251\n" +
			"uint32            1130771251\nfloat32           230.2\nstring            \"Cf33\"\nbcd32             43663333\nsign_magnitude32  1130771251\n", 0},
		{"--byte-order ABCD 1 2 3 4 5", "type    ABCD\nstring  \"\\x01\"\n", 0},
		{"--type float32 1", "", 2},
		{"--type float33 1 2", "", 2},
		{"--type uint16 70000", "", 2},
	} {
		if code, out, errs := cli(t, append([]string{"modbus", "decode"}, strings.Fields(c.args)...)...); code != c.code || out != c.want {
			t.Errorf("%s: exit code %d\n%q, want\n%q\n%s", c.args, code, out, c.want, errs)
		}
	}
}
