package tx

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
	"fieldferry/bus/can/link"
)

// TestWire: what is sent is what a reader of the kernel reads.
func TestWire(t *testing.T) {
	for _, text := range []string{"123#DEADBEEF", "000#", "1FFFFFFF#0011223344556677", "123#R5", "123##1" + strings.Repeat("A5", 64), "123##2AABB"} {
		f, err := can.ParseFrame(text)
		if err != nil {
			t.Fatal(err)
		}
		var buf [fdMTU]byte
		if got, want := wire(buf[:], &f), cantest.Wire(f); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", text, got, want)
		}
	}
	for n, want := range map[uint8]uint8{0: 0, 7: 7, 8: 8, 9: 12, 12: 12, 13: 16, 17: 20, 21: 24, 25: 32, 33: 48, 49: 64, 64: 64} {
		if got := paddedLen(n); got != want {
			t.Errorf("%d bytes are padded to %d, want %d", n, got, want)
		}
	}
}

func TestReady(t *testing.T) {
	controller := func(mode link.Mode, state link.State) *link.Controller {
		return &link.Controller{Mode: mode, State: state, Timing: link.BitTiming{Bitrate: 250_000}}
	}
	for name, c := range map[string]struct {
		info link.Info
		want string
	}{
		"virtual":              {link.Info{Up: true}, ""},
		"active":               {link.Info{Up: true, Controller: controller(0, link.ErrorActive)}, ""},
		"passive":              {link.Info{Up: true, Controller: controller(link.OneShot, link.ErrorPassive)}, ""},
		"listen-only":          {link.Info{Name: "can0", Up: true, Controller: controller(link.ListenOnly, link.ErrorActive)}, "can up can0 --bitrate 250000 --listen-only=false"},
		"listen-only and down": {link.Info{Controller: controller(link.ListenOnly, link.Stopped)}, "listen-only"},
		"down":                 {link.Info{Name: "can0"}, "can up can0"},
		"bus-off":              {link.Info{Up: true, Controller: controller(0, link.BusOff)}, "bus-off"},
	} {
		err := Ready(&c.info)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, ErrListenOnly) != strings.HasPrefix(name, "listen-only") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
