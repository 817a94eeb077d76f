package live

import (
	"math"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
)

// The course of a value that is followed has what came, and a gap where nothing
// came any more, where it could not be read, and where it is not a number.
func TestFollow(t *testing.T) {
	line := NewValues(&modbus.LineConfig{Devices: []modbus.Device{{Name: "meter", Registers: []modbus.Register{{Name: "u", Interval: time.Minute}, {Name: "text", Interval: time.Minute}}}}})
	file, problems := dbc.Parse("x", []byte("VERSION \"\"\nBU_: E\nBO_ 256 Engine: 2 E\n SG_ speed : 0|16@1+ (0.5,0) [0|0] \"rpm\" E\n"), dbc.Options{})
	if file == nil {
		t.Fatal(problems)
	}
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	l := &Look{Buses: map[string]Bus{"bus": {new(Frames), db}}, Lines: map[string]Line{"line": {Values: line}},
		Follow: []string{"line/meter/u", "line/meter/text", "bus/speed", "bus/nobody", "nobody/at/all", "line"}}
	l.History = NewHistory()
	begun := time.Unix(1000, 0)
	for s := range 12 {
		now := begun.Add(time.Duration(s) * 10 * time.Second)
		if s < 2 {
			f := []can.Frame{frame(256, now.UnixNano(), byte(10*s), 0)}
			l.Buses["bus"].Frames.Note(f)
			line.Note(&modbus.Reading{Device: "meter", Time: now, Values: []modbus.Value{{Name: "u", Kind: modbus.KindFloat, Float: 230 + float64(s)}, {Name: "text", Kind: modbus.KindText, Text: "7"}}})
		}
		if s == 6 {
			line.Note(&modbus.Reading{Device: "meter", Time: now, Failures: []modbus.Failure{{Name: "u", Err: "timeout"}}})
		}
		l.Publish(&Snapshot{Taken: now, Up: time.Duration(s) * 10 * time.Second})
	}
	gap := math.NaN()
	for name, want := range map[string][]float64{
		"line/meter/u":    {230, 231, 231, 231, 231, 231, gap, gap}, // read once a minute; a failure is a gap at once
		"line/meter/text": {gap, gap},
		"bus/speed":       {0, 5, 5, 5, 5, 5, gap}, // three of its periods, and ten seconds
		"bus/nobody":      {gap},
		"nobody/at/all":   {gap},
		"line":            {gap},
	} {
		c, _ := l.Course("value:"+name, false)
		for i, v := range want {
			if got := float64(c.Steps[i].Last); got != v && !(math.IsNaN(got) && math.IsNaN(v)) {
				t.Errorf("%s, step %d: %v, want %v", name, i, got, v)
			}
		}
	}
}
