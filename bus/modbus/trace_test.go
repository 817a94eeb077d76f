package modbus

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

// At the level debug the log has the bytes of a line in both directions, and
// above it none.
func TestBytesInTheLog(t *testing.T) {
	for level, want := range map[slog.Level]bool{slog.LevelDebug: true, slog.LevelInfo: false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, LineConfig{Devices: []Device{{Name: "d", UnitID: 1, Registers: []Register{{Name: "v", Address: 352, Interval: time.Second}}}}},
				map[byte]*modbustest.Unit{1: {Holding: map[uint16]uint16{352: 555}}})
			var text bytes.Buffer
			b.line.log = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: level}))
			if err := b.run(1500 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			sent := strings.Contains(text.String(), `msg=sent bytes="01 03 01 60 00 01 85 E8"`)
			received := strings.Contains(text.String(), `msg=received bytes="01 03 02 02 2B F9 3B"`)
			if sent != want || received != want {
				t.Errorf("%v: the log is\n%s", level, &text)
			}
		})
	}
}
