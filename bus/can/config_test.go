package can_test

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/bus/can"
)

func TestParseFilter(t *testing.T) {
	for s, want := range map[string]can.Filter{
		"123:7FF":           {ID: 0x123, Mask: 0x7ff},
		"0CF00400:1FFFFFFF": {ID: 0x8cf00400, Mask: 0x1fffffff},
		"7df~7ff":           {ID: 0x7df, Mask: 0x7ff, Invert: true},
		"00000123~DFFFFFFF": {ID: 0x80000123, Mask: 0xdfffffff, Invert: true},
		"123:FFFFFFFF":      {ID: 0x123, Mask: 0xdfffffff}, // candump takes the error flag out
		"0:0":               {},
		"CF00400:1FFFFFFF":  {ID: 0xcf00400, Mask: 0x1fffffff}, // 7 digits: no flag
	} {
		got, err := can.ParseFilter(s)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", s, got, err, want)
		}
		if again, err := can.ParseFilter(got.String()); err != nil || again != got {
			t.Errorf("%s is written as %s, which reads as %+v, %v", s, got, again, err)
		}
	}
	for _, s := range []string{"", "123", ":", "123:", ":7FF", "123:7FG", "xyz:7FF", "123456789:7FF", "123:123456789",
		"0x123:7FF", "-1:7FF", "+1:7FF", "123:7FF:7FF", "123~7FF~1", "#1FFFFFFF", "20000123:7FF", "1 23:7FF", "1_23:7FF"} {
		if f, err := can.ParseFilter(s); err == nil {
			t.Errorf("%q is taken for %+v", s, f)
		}
	}
}

func TestParseInterface(t *testing.T) {
	inf := math.Inf(1)
	for s, want := range map[string]can.Source{
		"can0":                                {Kind: can.Device, Name: "can0"},
		"a23456789012345":                     {Kind: can.Device, Name: "a23456789012345"},
		"replay:bus.log":                      {Kind: can.Replay, Name: "bus.log", Speed: 1},
		"replay:/a b/c:d?.log?loop":           {Kind: can.Replay, Name: "/a b/c:d?.log", Speed: 1, Loop: true},
		"replay:x?speed=10&loop&time=log":     {Kind: can.Replay, Name: "x", Speed: 10, Loop: true, LogTime: true},
		"replay:x?speed=max":                  {Kind: can.Replay, Name: "x", Speed: inf},
		"replay:x?loop=false&speed=0.5":       {Kind: can.Replay, Name: "x", Speed: 0.5},
		"replay:x?loop=true&time=now":         {Kind: can.Replay, Name: "x", Speed: 1, Loop: true},
		"replay:a?b.log?speed=1":              {Kind: can.Replay, Name: "a?b.log", Speed: 1},
		"sim:engine":                          {Kind: can.Sim, Name: "engine", Speed: 1},
		"sim:ramp":                            {Kind: can.Sim, Name: "ramp", Speed: 1, Rate: 100},
		"sim:ramp?rate=1000":                  {Kind: can.Sim, Name: "ramp", Speed: 1, Rate: 1000},
		"replay:./" + strings.Repeat("x", 99): {Kind: can.Replay, Name: "./" + strings.Repeat("x", 99), Speed: 1},
	} {
		got, err := can.ParseInterface(s)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", s, got, err, want)
		}
		if again, err := can.ParseInterface(got.String()); err != nil || again != want {
			t.Errorf("%s is written as %s, which reads as %+v, %v", s, got, again, err)
		}
	}
	for _, s := range []string{
		"", " ", "a234567890123456", "can 0", "can/0", "/dev/can0", "can\t0", "can\x000", "can0\n", ".", "..", "kän0", "slcan:0", "can0:1",
		"replay:", "replay:?loop", "replay:a\x00b", "replay:x?speed=0", "replay:x?speed=-1", "replay:x?speed=nan", "replay:x?speed=inf",
		"replay:x?speed=1e7", "replay:x?speed=", "replay:x?speed", "replay:x?fast", "replay:x?loop=maybe", "replay:x?time=utc",
		"replay:x?loop&loop", "replay:x?loop&", "replay:x?Loop",
		"sim:", "sim:car", "sim:engine?rate=1", "sim:ramp?rate=0", "sim:ramp?rate=100001", "sim:ramp?rate=1.5", "sim:ramp?speed=1",
	} {
		if got, err := can.ParseInterface(s); err == nil {
			t.Errorf("%q is taken for %+v", s, got)
		}
	}
}

func TestNewReportsAllProblems(t *testing.T) {
	_, err := can.New(can.Config{
		Interface:     "can/0",
		Filters:       append(make([]can.Filter, can.MaxFilters), can.Filter{Mask: 1 << 29}),
		Tick:          -1,
		ReceiveBuffer: -1,
	}, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{`"can/0"`, "513 filters", "20000000", "tick -1ns", "receive buffer of -1 bytes"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in\n%v", part, err)
		}
	}
	for _, cfg := range []can.Config{
		{Interface: "can0", Tick: can.MaxTick + time.Nanosecond},
		{Interface: "can0", ReceiveBuffer: can.MaxReceiveBuffer + 1},
	} {
		if _, err := can.New(cfg, nil); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	if _, err := can.New(can.Config{Interface: "replay:" + filepath.Join(t.TempDir(), "none.log")}, nil); err != nil {
		t.Errorf("New looks at files: %v", err)
	}
}
