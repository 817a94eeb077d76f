package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fieldferry/bus/can"
	"fieldferry/bus/can/link"
)

var update = flag.Bool("update", false, "record the output of testdata anew")

// verb runs a command line.
func verb(args ...string) (stdout, stderr string, code int) {
	var out, err bytes.Buffer
	a := &app{stdout: &out, stderr: &err, getenv: func(string) (string, bool) { return "", false },
		hostname: func() (string, error) { return "gw-host", nil }}
	code = a.main(context.Background(), args)
	return out.String(), err.String(), code
}

func TestCANUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string // on stderr
	}{
		{"can", exitUsage, "which verb"},
		{"can fly", exitUsage, `can has no verb "fly"; use one of down, dump`},
		{"can up", exitUsage, "; usage: fieldferry can "},
		{"can up can0 --listen-only=false", exitUsage, "--listen-only needs --bitrate"},
		{"can up can0 --restart-ms 100", exitUsage, "--restart-ms needs --bitrate"},
		{"can up can0 --bitrate 0", exitUsage, "give the bit rate"},
		{"can up can0 --bitrate x", exitUsage, "invalid argument"},
		{"can up can0 --bitrate 500000 --fd", exitUsage, "--fd needs --dbitrate"},
		{"can up can0 --bitrate 500000 --dbitrate 2000000", exitUsage, "--dbitrate needs --fd"},
		{"can up can0 --bitrate 500000 --sample-point 87.5", exitUsage, "a part of the bit"},
		{"can up nosuch0 --bitrate 500000", exitFailed, "nosuch0: there is no such interface"},
		{"can down nosuch0", exitFailed, "nosuch0: there is no such interface"},
		{"can down lo", exitFailed, "lo is not a CAN interface"},
		{"can list nosuch0", exitFailed, "nosuch0: there is no such interface"},
		{"can dump", exitUsage, "; usage: fieldferry can "},
		{"can dump sim:engine --log --json", exitUsage, "choose one"},
		{"can dump sim:engine -t x", exitUsage, "--time x"},
		{"can dump sim:engine --log --dbc x.dbc", exitUsage, "choose one"},
		{"can dump sim:engine --dbc nosuch.dbc", exitUsage, "read the DBC file"},
		{"can dump sim:engine --dbc demo.dbc --match x", exitUsage, "--match"},
		{"can dump sim:nothing", exitUsage, "is not a simulation"},
		{"can dump can0,123", exitUsage, `"123" has no mask`},
		{"can dump can0 --filter #x", exitUsage, `"#x" has no mask`},
		{"can dump replay:nosuch.log", exitFailed, "no such file"},
		{"can send can0", exitUsage, "; usage: fieldferry can "},
		{"can send nosuch0 12#00", exitUsage, "12#00"},
		{"can send nosuch0 20000040#", exitUsage, "cannot be sent"},
		{"can send nosuch0 123#00", exitFailed, "nosuch0: there is no such interface"},
		{"can send lo 123#00", exitFailed, "lo is not a CAN interface"},
		{"can replay", exitUsage, "; usage: fieldferry can "},
		{"can replay x.log", exitUsage, "where to?"},
		{"can replay x.log can0 --map can0", exitUsage, "write HERE=LOG"},
		{"can replay x.log can0 --speed 0", exitUsage, "--speed 0"},
		{"can replay x.log can0 can1", exitUsage, "two interfaces"},
		{"can replay x.log vcan0=can0 vcan1=can0", exitUsage, "go somewhere already"},
		{"can replay - can0 --loop", exitUsage, "once only"},
		{"can replay x.log nosuch0", exitFailed, "nosuch0: there is no such interface"},
	} {
		if _, stderr, code := verb(strings.Fields(c.args)...); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, %q", c.args, code, stderr)
		}
	}
}

// An interface that is not there is one error, and not an alarm before it.
func TestCANDumpOfNoInterface(t *testing.T) {
	if stdout, stderr, code := verb("can", "dump", "nosuch0"); code != exitFailed || stdout != "" || strings.Contains(stderr, "raised") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestCANDump(t *testing.T) {
	log := filepath.Join("testdata", "frames.log")
	replay := "replay:" + log + "?speed=max&time=log"
	for name, args := range map[string][]string{
		"plain":    {replay},
		"errors":   {replay + ",#1FFFFFFF"},
		"filtered": {replay, "--filter", "123:800007FF"},
		"joined":   {replay + ",100:00000F00,123~7FF,j"},
		"log":      {replay + ",#4", "--log"},
		"json":     {replay + ",#FF", "--json"},
		"absolute": {replay, "-t", "a"},
		"delta":    {replay, "-t", "d"},
		"dbc":      {replay, "--dbc", filepath.Join("testdata", "frames.dbc"), "--dbc", "demo.dbc"},
		"dbc-json": {replay, "--dbc", filepath.Join("testdata", "frames.dbc"), "--dbc", "demo.dbc", "--json"},
		"zero":     {replay, "-t", "z", "-n", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := verb(append([]string{"can", "dump"}, args...)...)
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			golden(t, "dump-"+name, stdout)
		})
	}
	// A log of it is the log itself.
	stdout, _, _ := verb("can", "dump", replay+",#1FFFFFFF", "--log")
	want, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if stdout != strings.ReplaceAll(string(want), " vcan0 ", " replay ") {
		t.Errorf("a log came back as\n%s", stdout)
	}
}

func TestCANDumpEndsWithItsReader(t *testing.T) {
	a := &app{stdout: brokenPipe{}, stderr: &bytes.Buffer{}}
	if code := a.main(context.Background(), []string{"can", "dump", "sim:ramp?rate=1000"}); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

// golden compares with testdata/NAME.txt; go test -update records it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n got %s\nwant %s", file, got, want)
	}
}

func links() []link.Info {
	timing := link.BitTiming{Bitrate: 250_000, SamplePoint: 875, TimeQuantum: 250, PropSeg: 6, PhaseSeg1: 7, PhaseSeg2: 2, SJW: 1, Prescaler: 2}
	fd := timing
	fd.Bitrate, fd.SamplePoint = 2_000_000, 800
	return []link.Info{
		{Name: "can0", Kind: "can", Up: true, MTU: 16, TxQueueLen: 10, Traffic: link.Traffic{RxFrames: 1234, RxBytes: 9872, RxOverruns: 2},
			Controller: &link.Controller{State: link.ErrorPassive, Timing: timing, Clock: 8_000_000, Mode: link.ListenOnly | link.TripleSampling,
				Supported: 0x7f, RestartMs: 100, HasErrors: true, TxErrors: 128, RxErrors: 3, Limits: &link.Const{Name: "sja1000"},
				Counters: link.Counters{BusErrors: 1, ErrorWarning: 2, ErrorPassive: 3, BusOff: 4, ArbitrationLost: 5, Restarts: 6}}},
		{Name: "can1", Kind: "can", MTU: 72, TxQueueLen: 10, Controller: &link.Controller{State: link.Stopped, Timing: timing, Data: fd,
			Mode: link.FD, Clock: 40_000_000, Termination: 120}},
		{Name: "can2", Kind: "can", MTU: 16, Controller: &link.Controller{State: link.Stopped}},
		{Name: "vcan0", Kind: "vcan", Up: true, MTU: 72, TxQueueLen: 1000, Traffic: link.Traffic{RxFrames: 1, TxFrames: 1}},
	}
}

func TestCANList(t *testing.T) {
	var text, asJSON bytes.Buffer
	for _, i := range links() {
		writeLink(&text, &i)
	}
	golden(t, "list", text.String())
	if err := writeLinksJSON(&asJSON, links()); err != nil {
		t.Fatal(err)
	}
	golden(t, "list-json", asJSON.String())
	if stdout, _, code := verb("can", "list", "--json"); code != 0 || !strings.HasPrefix(stdout, "[") {
		t.Errorf("of this machine: exit code %d, %q", code, stdout)
	}
}

type fakeSender struct{ closed bool }

func (f *fakeSender) Send(context.Context, *can.Frame) error { return nil }
func (f *fakeSender) Close() error                           { f.closed = true; return nil }

func TestReplayRoutes(t *testing.T) {
	opened := map[string]*fakeSender{}
	var order []string
	r := routes{to: map[string]sender{}, byHere: map[string]sender{}, open: func(name string) (sender, error) {
		opened[name] = &fakeSender{}
		order = append(order, name)
		return opened[name], nil
	}}
	if err := r.set("vcan0", []string{"vcan1=can1", "vcan0=can2", "vcan1=can3"}); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"can0": "vcan0", "can1": "vcan1", "can2": "vcan0", "can3": "vcan1", "other": "vcan0"} {
		if r.find([]byte(from)) != opened[to] {
			t.Errorf("%s does not go to %s", from, to)
		}
	}
	if !slices.Equal(order, []string{"vcan0", "vcan1"}) {
		t.Errorf("opened %q", order)
	}
	r.rest = nil
	if r.find([]byte("other")) != nil {
		t.Error("without an interface, what is not named goes somewhere")
	}
	r.close()
	if !opened["vcan0"].closed || !opened["vcan1"].closed {
		t.Error("not closed")
	}
}
