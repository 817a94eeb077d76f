package record

import (
	"errors"
	"math"
	"testing"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/modbus"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func fullReading() *modbus.Reading {
	return &modbus.Reading{Device: "meter \"A\"", Values: []modbus.Value{
		{Name: "u", Kind: modbus.KindFloat, Float: 230.1},
		{Name: "max", Kind: modbus.KindUint, Uint: math.MaxUint64},
		{Name: "min", Kind: modbus.KindInt, Int: math.MinInt64},
		{Name: "on", Kind: modbus.KindBool, Uint: 1},
		{Name: "nan", Kind: modbus.KindFloat, Float: math.NaN()},
		{Name: "inf", Kind: modbus.KindFloat, Float: math.Inf(-1)},
		{Name: "tiny", Kind: modbus.KindFloat, Float: math.SmallestNonzeroFloat64},
		{Name: "zero", Kind: modbus.KindFloat, Float: math.Copysign(0, -1)},
		{Name: "serial", Kind: modbus.KindText, Text: "SN\x0017"},
		{Name: "state", Kind: modbus.KindUint, Uint: 2, Label: "running"},
		{Name: "bits", Kind: modbus.KindUint, Uint: 5, Flags: []string{"a", "c"}},
		{Name: "none", Kind: modbus.KindUint, Flags: []string{}},
	}, Failures: []modbus.Failure{{Name: "energy", Err: "exception 2: illegal data address"}}}
}

// Every value comes back as it was, to the last bit.
func TestReadingComesBack(t *testing.T) {
	want := fullReading()
	var got modbus.Reading
	for range 2 { // the second time into what the first has left
		if err := ParseReading(AppendReading(nil, want), &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, &got, cmpopts.EquateNaNs()); d != "" {
			t.Error(d)
		}
	}
	if !math.Signbit(got.Values[7].Float) {
		t.Error("the sign of zero is gone")
	}
	if d, err := DeviceOf(AppendReading(nil, want)); d != want.Device || err != nil {
		t.Errorf("device %q, %v", d, err)
	}
}

func TestEventComesBack(t *testing.T) {
	for _, want := range []Event{
		{},
		{Event: bus.Event{Code: "port_lost", State: bus.Raised, Subject: "x"}, ID: 1<<53 - 1, Severity: "error", Since: time.Unix(1, 5).UTC(), Again: true, Flapping: true, Times: 3},
		{Event: bus.Event{Code: "note", State: bus.Cleared}, Again: true},
	} {
		var got Event
		detail, err := ParseEvent(AppendEvent(nil, &want), &got)
		if err != nil || len(detail) > 0 {
			t.Errorf("detail %q, %v", detail, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	var got Event
	detail, err := ParseEvent(AppendEvent(nil, &Event{Event: bus.Event{Detail: map[string]any{"unit_id": 3}}}), &got)
	if string(detail) != `{"unit_id":3}` || err != nil {
		t.Errorf("detail %s, %v", detail, err)
	}
}

func TestCommandComesBack(t *testing.T) {
	want := Command{By: "mqtt", Who: "alice", ID: "a1", Point: "boiler.setpoint", Value: "62.5", Old: "60", Read: "62.5",
		State: "done", Code: "ok", Reason: "ticket 4711", Signer: "ops", Exception: 2, TookMS: math.MaxUint64, More: 7}
	if got, err := ParseCommand(AppendCommand(nil, &want)); cmp.Diff(got, want) != "" || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAuditComesBack(t *testing.T) {
	want := Audit{Action: "login", Who: "alice", By: "web", From: "10.0.0.1", Detail: "x", More: 7}
	if got, err := ParseAudit(AppendAudit(nil, &want)); got != want || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// A body that is cut off anywhere is an error, never half a reading.
func TestCutBodies(t *testing.T) {
	whole := map[string][]byte{
		"reading": AppendReading(nil, fullReading()),
		"event":   AppendEvent(nil, &Event{Event: bus.Event{Code: "x", Detail: map[string]any{"a": 1}}, Since: time.Unix(9, 0)}),
		"audit":   AppendAudit(nil, &Audit{Action: "login", More: 1}),
		"command": AppendCommand(nil, &Command{ID: "a1", More: 1}),
	}
	for name, body := range whole {
		for n := 1; n < len(body); n++ {
			if err := parse(body[:n]); !errors.Is(err, ErrBody) {
				t.Errorf("%s cut at %d: %v", name, n, err)
			}
		}
	}
}

func parse(body []byte) (err error) {
	switch Of(body) {
	case TypeReading:
		return ParseReading(body, new(modbus.Reading))
	case TypeEvent:
		_, err = ParseEvent(body, new(Event))
	case TypeAudit:
		_, err = ParseAudit(body)
	case TypeCommand:
		_, err = ParseCommand(body)
	case TypeFrame, TypeLimited:
		_, err = ParseFrame(body)
	case TypePacket:
		_, _, err = ParsePacket(body)
	}
	return err
}

// What a damaged disk gives neither ends the process nor takes more memory than
// its length allows.
func FuzzBody(f *testing.F) {
	f.Add(AppendReading(nil, fullReading()))
	f.Add(AppendEvent(nil, &Event{Event: bus.Event{Code: "x"}, Since: time.Unix(9, 0)}))
	f.Add(AppendAudit(nil, &Audit{Action: "login"}))
	f.Add(AppendCommand(nil, &Command{ID: "a1"}))
	f.Add([]byte{byte(TypeReading), 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, rest, ok := CutOrigin(body); ok {
			body = rest
		}
		_ = parse(body)
	})
}

func TestAppendDoesNotAllocate(t *testing.T) {
	r := fullReading()
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { dst = AppendReading(dst[:0], r) }); n != 0 {
		t.Errorf("%v allocations per reading", n)
	}
}
