package native

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/clock"
	"fieldferry/gateway/record"
)

var when = time.Date(2026, 11, 20, 14, 0, 0, 123456789, time.UTC)

func frame(id uint32, flags can.Flags, data ...byte) *can.Frame {
	f := &can.Frame{ID: id, Flags: flags, Len: uint8(len(data))}
	copy(f.Data[:], data)
	return f
}

func TestFrameRecord(t *testing.T) {
	remote := frame(0x123, can.Remote)
	remote.Len = 8
	limited, limitedRemote := frame(0x0CF00400, can.Extended, 0xff), *remote
	limited.Suppressed, limitedRemote.Suppressed = 1<<32-1, 3
	for name, c := range map[string]struct {
		frame *can.Frame
		want  string
	}{
		"extended": {frame(0x0CF00400, can.Extended, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77),
			`"type":"can","id":"0CF00400","ext":true,"data":"0011223344556677"`},
		"standard":             {frame(0x7ff, 0, 0xab), `"type":"can","id":"7FF","data":"AB"`},
		"extended, low number": {frame(0x12, can.Extended), `"type":"can","id":"00000012","ext":true,"data":""`},
		"empty":                {frame(0, 0), `"type":"can","id":"000","data":""`},
		"remote":               {frame(0x123, can.Remote), `"type":"can","id":"123","data":"","rtr":true`},
		"limited":              {limited, `"type":"can","id":"0CF00400","ext":true,"data":"FF","suppressed":4294967295`},
		"limited remote":       {&limitedRemote, `"type":"can","id":"123","data":"","rtr":true,"dlc":8,"suppressed":3`},
		"remote with length":   {remote, `"type":"can","id":"123","data":"","rtr":true,"dlc":8`},
		"fd": {frame(0x1, can.FD|can.BitRateSwitch|can.ErrorState, make([]byte, 12)...),
			`"type":"can","id":"001","data":"000000000000000000000000","fd":true,"brs":true,"esi":true`},
	} {
		t.Run(name, func(t *testing.T) {
			var e Encoder
			got, err := e.AppendRecord(nil, 1001, when.UnixNano(), record.AppendFrame(nil, c.frame), nil)
			if err != nil {
				t.Fatal(err)
			}
			want := `{"seq":1001,"ts":"2026-11-20T14:00:00.123456789Z",` + c.want + `}`
			if string(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestReadingRecord(t *testing.T) {
	r := &modbus.Reading{Device: "meter \"A\"", Values: []modbus.Value{
		{Name: "u", Kind: modbus.KindFloat, Float: 230.1},
		{Name: "big", Kind: modbus.KindUint, Uint: 1<<53 + 1},
		{Name: "exact", Kind: modbus.KindUint, Uint: 1 << 53},
		{Name: "neg", Kind: modbus.KindInt, Int: math.MinInt64},
		{Name: "on", Kind: modbus.KindBool, Uint: 1},
		{Name: "nan", Kind: modbus.KindFloat, Float: math.NaN()},
		{Name: "inf", Kind: modbus.KindFloat, Float: math.Inf(-1)},
		{Name: "tiny", Kind: modbus.KindFloat, Float: 1e-9},
	}, Failures: []modbus.Failure{{Name: "energy", Err: "exception 2: illegal data address"}}}
	var e Encoder
	got, err := e.AppendRecord(nil, 7, when.UnixNano(), record.AppendReading(nil, r), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"seq":7,"ts":"2026-11-20T14:00:00.123456789Z","type":"modbus","device":"meter \"A\"",` +
		`"values":{"u":230.1,"big":"9007199254740993","exact":9007199254740992,"neg":"-9223372036854775808","on":true,` +
		`"nan":null,"inf":null,"tiny":1e-09},` +
		`"errors":{"energy":"exception 2: illegal data address","nan":"not a number","inf":"negative infinity"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !json.Valid(got) {
		t.Error("not JSON")
	}
	if k := KeysOf(record.AppendReading(nil, r), nil); k.Device != `meter "A"` {
		t.Errorf("device %q", k.Device)
	}
}

func TestEventAndLossRecord(t *testing.T) {
	var e Encoder
	body := record.AppendEvent(nil, &record.Event{ID: 17, Event: bus.Event{Code: "slave_offline", Subject: "meter", State: bus.Raised,
		Detail: map[string]any{"unit_id": 3}}})
	got, err := e.AppendRecord(nil, 9, 0, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"seq":9,"ts":"1970-01-01T00:00:00.000000000Z","type":"event","event":"slave_offline","state":"raised","id":17,"subject":"meter","detail":{"unit_id":3}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	full := members(t, &record.Event{ID: 3000000017, Severity: "error", Since: when, Again: true, Flapping: true, Times: 3,
		Event: bus.Event{Code: "port_lost", State: bus.Cleared}})
	if want := `{"event":"port_lost","state":"cleared","id":3000000017,"severity":"error","since":"2026-11-20T14:00:00.123456789Z","again":true,"flapping":true,"times":3}`; full != want {
		t.Errorf("got  %s\nwant %s", full, want)
	}
	loss := string(e.AppendLoss(nil, 2001, 2200, -1, "evicted"))
	if want := `{"ts":"1969-12-31T23:59:59.999999999Z","type":"loss","from":2001,"to":2200,"count":200,"reason":"evicted"}`; loss != want {
		t.Errorf("got  %s\nwant %s", loss, want)
	}
	unencodable := members(t, &record.Event{Event: bus.Event{Code: "x", Detail: map[string]any{"c": make(chan int)}}})
	if !json.Valid([]byte(unencodable)) {
		t.Errorf("event with an odd detail is not JSON: %s", unencodable)
	}
}

// members are those of an event, as an object.
func members(t *testing.T, e *record.Event) string {
	t.Helper()
	out, err := appendEvent(nil, record.AppendEvent(nil, e))
	if err != nil {
		t.Fatal(err)
	}
	return string(object(out))
}

func TestEnvelope(t *testing.T) {
	v := Envelope{Gateway: "gw-01", Session: 3, Source: "engine", Seq: 1001, Count: 2}
	got := string(v.Append(nil, []byte(`{"seq":1001},{"seq":1002}`)))
	want := `{"v":1,"gateway":"gw-01","session":3,"source":"engine","seq":1001,"count":2,"records":[{"seq":1001},{"seq":1002}]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	head := len(got) - len(`{"seq":1001},{"seq":1002}`)
	if head > MaxOverhead+len("gw-01engine") {
		t.Errorf("head of %d bytes exceeds MaxOverhead", head)
	}
}

// Whatever text stands in a name, the record is valid JSON that reads back
// as encoding/json would have written it.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\\n\t\x00\x7f", "grad °C", "\xb0C", "\xed\xa0\x80", "\U0001F600"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); strings.ReplaceAll(want, "\uFFFD", "") != strings.ReplaceAll(back, "\uFFFD", "") {
			t.Errorf("%q reads back as %q", s, back)
		}
	})
}

// A body from a damaged buffer must never end the process nor make bad JSON of a frame.
func FuzzBody(f *testing.F) {
	f.Add(record.AppendFrame(nil, frame(1, can.Extended, 1, 2)))
	f.Add(record.AppendFrame(nil, frame(1, can.Remote)))
	f.Add([]byte{byte(record.TypeFrame)})
	f.Add(record.AppendFrame(record.AppendOrigin(nil, clock.Origin{Boot: 1, Zero: -1}), frame(1, 0, 1)))
	f.Add(record.AppendOrigin(record.AppendOrigin(nil, clock.Origin{}), clock.Origin{}))
	f.Fuzz(func(t *testing.T, body []byte) {
		var e Encoder
		out, err := e.AppendRecord(nil, 1, 0, body, nil)
		KeysOf(body, nil)
		if err != nil && len(out) != 0 {
			t.Error("an unreadable body left something behind")
		}
		if err == nil && body[0] == byte(record.TypeFrame) && !json.Valid(out) {
			t.Errorf("bad JSON: %s", out)
		}
	})
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	f := frame(0x0CF00400, can.Extended, 1, 2, 3, 4, 5, 6, 7, 8)
	var e Encoder
	body, out := make([]byte, 0, 128), make([]byte, 0, 512)
	ns := when.UnixNano()
	if n := testing.AllocsPerRun(1000, func() {
		body = record.AppendFrame(body[:0], f)
		out, _ = e.AppendRecord(out[:0], 1, ns, body, nil)
		ns += 100
	}); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	var e Encoder
	body := record.AppendFrame(nil, frame(0x0CF00400, can.Extended, 1, 2, 3, 4, 5, 6, 7, 8))
	out := make([]byte, 0, 512)
	ns := when.UnixNano()
	b.ReportAllocs()
	for i := range b.N {
		out, _ = e.AppendRecord(out[:0], uint64(i), ns+int64(i)*100_000, body, nil)
	}
}

// The yardstick for BenchmarkRecord: the same text as one writes it first, with
// encoding/json, fmt and encoding/hex.
func BenchmarkRecordByEncodingJSON(b *testing.B) {
	f := frame(0x0CF00400, can.Extended, 1, 2, 3, 4, 5, 6, 7, 8)
	ns := when.UnixNano()
	b.ReportAllocs()
	for i := range b.N {
		if _, err := plainJSON(uint64(i), ns+int64(i)*100_000, f); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecordRatio says how many times faster than by encoding/json a
// record is made. The two take turns, so that a machine that is busy with
// something else is so for both.
func BenchmarkRecordRatio(b *testing.B) {
	const turn = 1000
	var e Encoder
	f := frame(0x0CF00400, can.Extended, 1, 2, 3, 4, 5, 6, 7, 8)
	body, out := record.AppendFrame(nil, f), make([]byte, 0, 512)
	var own, plain []time.Duration
	for i := uint64(0); b.Loop(); i++ {
		begin := time.Now()
		for j := range uint64(turn) {
			out, _ = e.AppendRecord(out[:0], i*turn+j, when.UnixNano()+int64(j)*100_000, body, nil)
		}
		middle := time.Now()
		for j := range uint64(turn) {
			_, _ = plainJSON(i*turn+j, when.UnixNano()+int64(j)*100_000, f)
		}
		own, plain = append(own, middle.Sub(begin)), append(plain, time.Since(middle))
	}
	slices.Sort(own)
	slices.Sort(plain)
	a, c := own[len(own)/2], plain[len(plain)/2]
	b.ReportMetric(float64(a.Nanoseconds())/turn, "own-ns/record")
	b.ReportMetric(float64(c.Nanoseconds())/turn, "json-ns/record")
	b.ReportMetric(float64(c)/float64(a), "times")
	b.ReportMetric(0, "ns/op") // of both together: of no use
}

func plainJSON(seq uint64, ns int64, f *can.Frame) ([]byte, error) {
	type record struct {
		Seq  uint64 `json:"seq"`
		TS   string `json:"ts"`
		Type string `json:"type"`
		ID   string `json:"id"`
		Ext  bool   `json:"ext,omitempty"`
		Data string `json:"data"`
	}
	r := record{Seq: seq, TS: time.Unix(0, ns).UTC().Format(time.RFC3339Nano), Type: "can",
		Data: strings.ToUpper(hex.EncodeToString(f.Data[:f.Len]))}
	if r.Ext = f.Flags&can.Extended != 0; r.Ext {
		r.ID = fmt.Sprintf("%08X", f.ID)
	} else {
		r.ID = fmt.Sprintf("%03X", f.ID)
	}
	return json.Marshal(r)
}

// The yardstick and what it measures make the same text.
func TestRecordIsThatOfEncodingJSON(t *testing.T) {
	var e Encoder
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		f := frame(r.Uint32N(can.MaxID+1), 0, make([]byte, r.IntN(9))...)
		if r.IntN(2) == 0 {
			f.ID, f.Flags = r.Uint32N(can.MaxExtendedID+1), can.Extended
		}
		for i := range f.Len {
			f.Data[i] = byte(r.Uint32())
		}
		seq, ns := r.Uint64()>>r.IntN(64), r.Int64N(1<<62)
		ns -= ns%10 - 1 // RFC3339Nano leaves out zeros at the end
		want, err := plainJSON(seq, ns, f)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.AppendRecord(nil, seq, ns, record.AppendFrame(nil, f), nil); err != nil || string(got) != string(want) {
			t.Fatalf("%v\ngot  %s\nwant %s", err, got, want)
		}
	}
}

func TestLabelledValues(t *testing.T) {
	for want, v := range map[string]modbus.Value{
		`{"value":1,"label":"on"}`:               {Uint: 1, Label: "on"},
		`{"value":true,"label":"open"}`:          {Kind: modbus.KindBool, Uint: 1, Label: "open"},
		`{"value":5,"flags":["run","fault \""]}`: {Uint: 5, Flags: []string{"run", `fault "`}},
		`{"value":0,"flags":[]}`:                 {Flags: []string{}},
		`"SN 42\n"`:                              {Kind: modbus.KindText, Text: "SN 42\n"},
		`null`:                                   {Kind: modbus.KindFloat, Float: math.NaN()},
	} {
		if got := string(AppendValue(nil, &v)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
