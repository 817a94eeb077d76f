package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

// The daemon has the port, and a person reads through it as from a port.
func TestModbusReadThroughTheDaemon(t *testing.T) {
	port := onPTY(t, func(_ int, q []byte) []modbustest.Step {
		if q[0] == 3 {
			return []modbustest.Step{{At: 5 * millisecond, Send: modbustest.Exception(q, 2)}}
		}
		return []modbustest.Step{{At: 5 * millisecond, Send: addressOf(q)}}
	})
	dir, err := os.MkdirTemp("", "ferry") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "f.yaml")
	text := fmt.Sprintf(`
gateway: {id: gw}
modbus:
  - name: line1
    port: %s
    timeout: 2s
    devices: [{name: meter, unit_id: 1, registers: [{name: a, address: 0, interval: 50ms}]}]
buffer: {path: buffer, max_size: 16MiB}
uplink: {servers: ["mqtt://127.0.0.1:1"]}
`, port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := cli(t, "modbus", "read", "-c", file, "--unit", "1", "holding:352"); code != exitFailed || !strings.Contains(errs, "no daemon runs with this configuration") {
		t.Errorf("without a daemon: exit code %d\n%s", code, errs)
	}

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		a := &app{stdout: os.Stdout, stderr: new(strings.Builder), getenv: os.LookupEnv, hostname: os.Hostname}
		ended <- a.main(ctx, []string{"run", "-c", file, "--log-level", "error"})
	}()
	read := func(args string) (int, string, string) {
		return cli(t, append([]string{"modbus", "read", "-c", file}, strings.Fields(args)...)...)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		code, _, errs := read("--unit 1 holding:0")
		if code == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(errs)
		}
	}
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"--unit 17 holding:352", "unit 17 holding   352    352  0x0160     352\n", 0},
		{"--line line1 --unit 17 holding:352:2 2/coil:3:2", "unit 17 holding   352    352  0x0160     352\nunit 17 holding   353    353  0x0161     353\n" +
			"unit 2 coil     3  true\nunit 2 coil     4  false\n", 0},
		{"--json --unit 17 holding:352 coil:3", `{"unit":17,"register":"holding","address":352,"count":1,"words":[352]}` + "\n" +
			`{"unit":17,"register":"coil","address":3,"count":1,"bits":[true]}` + "\n", 0},
		{"--json --unit 3 holding:9", `{"unit":3,"register":"holding","address":9,"count":1,"error":"exception 2: illegal data address","exception":2}` + "\n", 1},
		{"--unit 1 --type uint32 --byte-order CDAB holding:1", "unit 1 holding     1  uint32 CDAB  131073\n", 0},
		{"--line line1", "meter        a                        0\n", 0},
		{"--json --unit 1", `{"device":"meter","name":"a","value":0}` + "\n", 0},
		{"--unit 9", "", 2},
		{"--unit 1 --trace holding:1", "", 2},
		{"--unit 1 --line line2 holding:1", "", 2},
		{"--unit 1 --baud 9600 holding:1", "", 2},
		{"--unit 1 --port /dev/null holding:1", "", 2},
		{"--unit 0 holding:1", "", 2},
	} {
		if code, out, errs := read(c.args); code != c.code || out != c.want {
			t.Errorf("%s: exit code %d\n%q, want\n%q\n%s", c.args, code, out, c.want, errs)
		}
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("the daemon ended with exit code %d", code)
	}
	if _, err := os.Lstat(filepath.Join(dir, "buffer", "control")); err == nil {
		t.Error("the socket is still there")
	}
}
