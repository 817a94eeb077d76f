package native

import (
	"errors"
	"testing"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/clock"
	"fieldferry/gateway/record"
)

// fakeClock corrects times of boot 1, and suspects those before 1971.
type fakeClock struct{}

func (fakeClock) Correct(o clock.Origin, t int64) (int64, bool) {
	return t - o.Zero + when.UnixNano(), o.Boot == 1
}

func (fakeClock) Suspect(t int64) bool { return t < int64(365*24*time.Hour) }

func TestDoubtedRecord(t *testing.T) {
	const zero, taken = int64(1e9), int64(3e9)
	knows := func(boot uint64) []byte { return record.AppendOrigin(nil, clock.Origin{Boot: boot, Zero: zero}) }
	bodies := map[string]func(dst []byte) []byte{
		`"type":"can","id":"123","data":"AB"`: func(dst []byte) []byte { return record.AppendFrame(dst, frame(0x123, 0, 0xab)) },
		`"type":"modbus","device":"meter","values":{}`: func(dst []byte) []byte {
			return record.AppendReading(dst, &modbus.Reading{Device: "meter"})
		},
		`"type":"event","event":"x","state":"event"`: func(dst []byte) []byte { return record.AppendEvent(dst, &record.Event{Event: bus.Event{Code: "x"}}) },
	}
	for want, body := range bodies {
		for name, c := range map[string]struct {
			clock Clock
			body  []byte
			want  string
		}{
			"corrected":       {fakeClock{}, body(knows(1)), `{"seq":7,"ts":"2026-11-20T14:00:02.123456789Z",` + want + `,"clock":"corrected"}`},
			"of another boot": {fakeClock{}, body(knows(2)), `{"seq":7,"ts":"1970-01-01T00:00:03.000000000Z",` + want + `,"clock":"unsynced"}`},
			"without a clock": {nil, body(knows(1)), `{"seq":7,"ts":"1970-01-01T00:00:03.000000000Z",` + want + `,"clock":"unsynced"}`},
			"not doubted":     {fakeClock{}, body(nil), `{"seq":7,"ts":"1970-01-01T00:00:03.000000000Z",` + want + `}`},
		} {
			e := Encoder{Clock: c.clock}
			got, err := e.AppendRecord(nil, 7, taken, c.body, nil)
			if err != nil || string(got) != c.want {
				t.Errorf("%s: %v\ngot  %s\nwant %s", name, err, got, c.want)
			}
		}
	}
}

func TestDoubtedLoss(t *testing.T) {
	e := Encoder{Clock: fakeClock{}}
	got := string(e.AppendLoss(nil, 1, 2, 0, "evicted"))
	if want := `{"ts":"1970-01-01T00:00:00.000000000Z","type":"loss","from":1,"to":2,"count":2,"reason":"evicted","clock":"unsynced"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got = string(e.AppendLoss(nil, 1, 1, when.UnixNano(), "evicted"))
	if want := `{"ts":"2026-11-20T14:00:00.123456789Z","type":"loss","from":1,"to":1,"count":1,"reason":"evicted"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestKeysOfADoubtedBody(t *testing.T) {
	d := testDecoding(t, false)
	origin := record.AppendOrigin(nil, clock.Origin{Boot: 1})
	if k := KeysOf(record.AppendFrame(origin, frame(0x0CF00403, can.Extended, 1)), d); k.Name != "EEC1" || k.ID != "0CF00403" {
		t.Errorf("%+v", k)
	}
}

// An origin without a body, cut, or within another: it is a loss, not a guess.
func TestBadOrigin(t *testing.T) {
	origin := record.AppendOrigin(nil, clock.Origin{Boot: 1})
	for name, body := range map[string][]byte{
		"alone": origin, "cut": origin[:9], "twice": record.AppendFrame(append(origin[:len(origin):len(origin)], origin...), frame(1, 0)),
	} {
		var e Encoder
		if out, err := e.AppendRecord(nil, 1, 0, body, nil); !errors.Is(err, record.ErrBody) || len(out) != 0 {
			t.Errorf("%s: %s, error %v", name, out, err)
		}
		KeysOf(body, nil)
	}
}

func TestDoubtedRecordsDoNotAllocate(t *testing.T) {
	e := Encoder{Clock: fakeClock{}}
	f := frame(0x0CF00400, can.Extended, 1, 2, 3, 4, 5, 6, 7, 8)
	body, out := make([]byte, 0, 64), make([]byte, 0, 512)
	if n := testing.AllocsPerRun(1000, func() {
		body = record.AppendFrame(record.AppendOrigin(body[:0], clock.Origin{Boot: 1, Zero: 5}), f)
		out, _ = e.AppendRecord(out[:0], 1, 7, body, nil)
	}); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}

func BenchmarkDoubtedRecord(b *testing.B) {
	f := frame(0x0CF00400, can.Extended, 1, 2, 3, 4, 5, 6, 7, 8)
	for name, begin := range map[string]func(dst []byte) []byte{
		"doubted": func(dst []byte) []byte { return record.AppendOrigin(dst, clock.Origin{Boot: 1, Zero: 5}) },
		"plain":   func(dst []byte) []byte { return dst },
	} {
		e := Encoder{Clock: fakeClock{}}
		body, out := make([]byte, 0, 64), make([]byte, 0, 512)
		b.Run(name+"/take", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				body = record.AppendFrame(begin(body[:0]), f)
			}
		})
		b.Run(name+"/send", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out, _ = e.AppendRecord(out[:0], 1, 7, body, nil)
			}
		})
	}
}
