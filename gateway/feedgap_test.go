package gateway

import (
	"testing"

	"fieldferry/buffer"
	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/gateway/clock"
)

// TestLossEndsTransfers: what follows frames that were lost before they were
// read is not joined with what was before them.
func TestLossEndsTransfers(t *testing.T) {
	b, err := buffer.Open(buffer.Config{Dir: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	frame := func(id uint32, data ...byte) can.Frame {
		f := can.Frame{Time: 1e18, ID: id, Flags: can.Extended, Len: 8}
		copy(f.Data[:], data)
		return f
	}
	announced, first, second := frame(0x1CECFF00, 32, 14, 0, 2, 255, 0xFE, 0xFE), frame(0x1CEBFF00, 1, 1), frame(0x1CEBFF00, 2, 2)
	for name, c := range map[string]struct {
		between func(*feed)
		joined  uint64
	}{
		"nothing": {func(*feed) {}, 1},
		"lost":    {func(f *feed) { f.Lost(3) }, 0},
		"gap":     {func(f *feed) { f.Gap() }, 0},
	} {
		f := &feed{name: name, src: b.Source(name), clock: clock.New(clock.Config{Trusted: true}), transport: &dbc.Transport{}}
		f.Frames([]can.Frame{announced, first})
		c.between(f)
		f.Frames([]can.Frame{second})
		if s := f.transport.Stats(); s.Complete != c.joined {
			t.Errorf("%s: %+v", name, s)
		}
	}
	(&feed{}).Gap() // without a DBC file
}
