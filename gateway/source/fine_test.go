package source

import (
	"testing"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
)

func TestWhatIsFine(t *testing.T) {
	all := []string{bus.LinkDown, bus.BusOff, bus.ErrorPassive, bus.ErrorWarning}
	for _, c := range []struct {
		st   can.Stats
		fine int // so many of them
	}{
		{can.Stats{Up: false, State: "error-active"}, 0}, {can.Stats{Up: true, State: "bus-off"}, 1}, {can.Stats{Up: true, State: "stopped"}, 1},
		{can.Stats{Up: true, State: "error-passive"}, 2}, {can.Stats{Up: true, State: "error-warning"}, 3},
		{can.Stats{Up: true, State: "error-active"}, 4}, {can.Stats{Up: true}, 4},
	} {
		for i, code := range all {
			if got := fineCAN(code, c.st); got != (i < c.fine) {
				t.Errorf("%s with %s, up %v: %v", code, c.st.State, c.st.Up, got)
			}
		}
	}
	for _, c := range []struct {
		st            modbus.Stats
		ran           time.Duration
		port, overrun bool
	}{
		{modbus.Stats{}, time.Hour, false, false}, {modbus.Stats{Polls: 1, PortLost: true}, time.Hour, false, false},
		{modbus.Stats{Polls: 1000}, time.Minute, true, false}, {modbus.Stats{Polls: 1000, Overruns: 60}, time.Hour, true, false},
		{modbus.Stats{Polls: 1000, Overruns: 40}, time.Hour, true, true},
	} {
		port, overrun := fineModbus(bus.PortLost, c.st, c.ran), fineModbus(bus.PollOverrun, c.st, c.ran)
		if port != c.port || overrun != c.overrun || fineModbus(bus.SlaveOffline, c.st, c.ran) {
			t.Errorf("%+v after %v: port %v, overrun %v", c.st, c.ran, port, overrun)
		}
	}
}
