package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/bus/modbus/modbustest"
)

const simulatedMap = `units:
  - unit_id: 17
    registers:
      - {register: holding, address: 352, value: 555}
      - {register: input, address: 0, type: float32, byte_order: CDAB, value: 230.5}
      - {register: holding, address: 10, values: [1, 2, 0xFFFF]}
      - {register: holding, address: 20, type: string, length: 5, value: ABC}
      - {register: holding, address: 30, type: uint32, value: 1000, moves: counter, rate: 0}
      - {register: holding, address: 40, bit: 3, value: true}
      - {register: holding, address: 40, bit: 15, value: 1}
      - {register: coil, address: 0, value: true}
      - {register: discrete, address: 4, values: [0, 1, 1]}
`

// simulated runs the verb and returns the port it names.
func simulated(t *testing.T, yaml string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "map.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int)
	var errs bytes.Buffer
	go func() {
		a := &app{stdout: w, stderr: &errs, getenv: os.LookupEnv, hostname: os.Hostname}
		code := a.main(ctx, append([]string{"modbus", "simulate", path}, args...))
		w.Close()
		done <- code
	}()
	port, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		cancel()
		t.Fatalf("exit code %d: %s", <-done, errs.String())
	}
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("simulate: exit code %d: %s", code, errs.String())
		}
	})
	return strings.TrimSpace(port)
}

// A write is shown as modbus write takes it.
func TestSimulateShowsAWrite(t *testing.T) {
	for want, w := range map[string]modbustest.Write{
		"unit 7 function 6: holding:10 = 65":     {Unit: 7, Function: 6, Address: 10, Words: []uint16{65}},
		"unit 7 function 16: holding:10 = 65 66": {Unit: 7, Function: 16, Address: 10, Words: []uint16{65, 66}},
		"unit 1 function 5: coil:0 = 1":          {Unit: 1, Function: 5, Words: []uint16{1}},
		"unit 255 function 15: coil:65535 = 0 1": {Unit: 255, Function: 15, Address: 65535, Words: []uint16{0, 1}},
		"unit 0 function 16: holding:0 = ":       {Function: 16}, // a request that lacks its values
	} {
		if got := written(w); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestModbusSimulate(t *testing.T) {
	want := `{"unit":17,"register":"holding","address":352,"count":1,"words":[555]}
{"unit":17,"register":"input","address":0,"count":2,"words":[32768,17254]}
{"unit":17,"register":"holding","address":10,"count":3,"words":[1,2,65535]}
{"unit":17,"register":"holding","address":20,"count":3,"words":[16706,17152,0]}
{"unit":17,"register":"holding","address":30,"count":2,"words":[0,1000]}
{"unit":17,"register":"holding","address":40,"count":1,"words":[32776]}
{"unit":17,"register":"coil","address":0,"count":1,"bits":[true]}
{"unit":17,"register":"discrete","address":4,"count":3,"bits":[false,true,true]}
{"unit":17,"register":"holding","address":99,"count":1,"error":"exception 2: illegal data address","exception":2}
`
	for _, args := range [][]string{nil, {"--port", "tcp://127.0.0.1:0"}, {"--port", "rtu+tcp://127.0.0.1:0"}} {
		port := simulated(t, simulatedMap, args...)
		code, out, errs := cli(t, "modbus", "read", "--port", port, "--unit", "17", "--json",
			"holding:352", "input:0:2", "holding:10:3", "holding:20:3", "holding:30:2", "holding:40", "coil:0", "discrete:4:3", "holding:99")
		if code != 1 || out != want {
			t.Errorf("%v: exit code %d\ngot\n%swant\n%s%s", args, code, out, want, errs)
		}
		code, out, errs = cli(t, "modbus", "write", "--port", port, "--unit", "17", "--yes", "--json", "--type", "float32", "--byte-order", "CDAB", "holding:10", "230.5")
		if code != 0 || out != `{"unit":17,"register":"holding","address":10,"count":2,"words":[32768,17254]}`+"\n" {
			t.Errorf("%v: write: exit code %d: %s%s", args, code, out, errs)
		}
		code, out, errs = cli(t, "modbus", "read", "--port", port, "--unit", "17", "--type", "float32", "--byte-order", "CDAB", "holding:10")
		if code != 0 || !strings.HasSuffix(out, " 230.5\n") {
			t.Errorf("%v: read back: exit code %d: %s%s", args, code, out, errs)
		}
	}
}

func TestModbusSimulateRefuses(t *testing.T) {
	for yaml, want := range map[string]string{
		"":                      "this is not a register map",
		"units: [{unit_id: 1}]": "registers: is missing",
		"units: [{unit_id: 1, registers: []}, {unit_id: 1, registers: []}]":                           "has this id too",
		"units: [{unit_id: 1, registers: [{address: 0, value: 70000}]}]":                              "70000 is out of the range of uint16",
		"units: [{unit_id: 1, registers: [{address: 0, values: [1], value: 2}]}]":                     "does not go with values",
		"units: [{unit_id: 1, registers: [{address: 65535, values: [1, 2]}]}]":                        "reach past the last address",
		"units: [{unit_id: 1, registers: [], faults: {silent: 150%}}]":                                "is not a share",
		"units: [{unit_id: 1, registers: [{address: 0, moves: jump}]}]":                               `"jump" is not known`,
		"units: [{unit_id: 1, regsters: []}]":                                                         "did you mean registers?",
		"units: [{unit_id: 1, registers: [{address: 0, type: string, length: 4, value: A, bit: 1}]}]": "has no bit to choose",
	} {
		path := filepath.Join(t.TempDir(), "map.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, errs := cli(t, "modbus", "simulate", path); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, want %q:\n%s%s", yaml, code, want, out, errs)
		}
	}
}

// A master written by others reads our slaves.
func TestMbpollReadsTheSimulator(t *testing.T) {
	mbpoll, err := exec.LookPath("mbpoll")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("mbpoll is needed: scripts/deps test")
		}
		t.Skip("mbpoll is not installed: scripts/deps test")
	}
	pty := simulated(t, simulatedMap)
	tcp := simulated(t, simulatedMap, "--port", "tcp://127.0.0.1:0")
	host, port, _ := strings.Cut(strings.TrimPrefix(tcp, "tcp://"), ":")
	for _, line := range [][]string{{"-m", "rtu", "-b", "19200", "-P", "none", pty}, {"-m", "tcp", "-p", port, host}} {
		far := line[len(line)-1]
		flags := append(line[:len(line)-1:len(line)-1], "-a", "17", "-1", "-o", "5")
		for _, c := range []struct{ args, want string }{
			{"-t 4 -r 353", "[353]: \t555"}, {"-t 4 -r 11 -c 3", "[13]: \t65535"}, {"-t 3:float -r 1", "[1]: \t230.5"},
			{"-t 0 -r 1", "[1]: \t1"}, {"-t 1 -r 5 -c 3", "[6]: \t1"}, {"-t 4 -r 100", "Illegal data address"},
		} {
			out, _ := exec.Command(mbpoll, append(append(flags, strings.Fields(c.args)...), far)...).CombinedOutput()
			if !strings.Contains(string(out), c.want) {
				t.Errorf("mbpoll %v %s: want %q in\n%s", line, c.args, c.want, out)
			}
		}
		// -r and a value: it writes.
		out, err := exec.Command(mbpoll, append(flags, "-t", "4", "-r", "11", far, "77", "78")...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Written 2 references") {
			t.Errorf("mbpoll writes: %v\n%s", err, out)
		}
	}
}
