package source

import (
	"encoding/json"
	"log/slog"
	"testing"

	"fieldferry/bus/modbus"
)

// The meta message has the words that records use, so that a consumer knows all
// of them before it has seen one.
func TestMetaOfRegisters(t *testing.T) {
	s, err := NewModbus(&modbus.LineConfig{Name: "line1", Port: "tcp://127.0.0.1:1502", Devices: []modbus.Device{{Name: "d", UnitID: 7, Registers: []modbus.Register{
		{Name: "speed", Address: 1, Type: modbus.Uint16, Unit: "rpm"},
		{Name: "mode", Address: 2, Type: modbus.Int16, Enum: map[int64]string{-1: "fault", 0: "off", 10: "on"}},
		{Name: "status", Address: 3, Type: modbus.Uint16, Flags: map[int]string{0: "running", 3: "over-temperature", 15: "stopped"}},
	}}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(s.Describe().Devices)
	want := `[{"device":"d","unit_id":7,"values":[{"name":"speed","type":"uint16","unit":"rpm"},` +
		`{"name":"mode","type":"int16","labels":{"-1":"fault","0":"off","10":"on"}},` +
		`{"name":"status","type":"uint16","flags":{"0":"running","15":"stopped","3":"over-temperature"}}]}]`
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
}
