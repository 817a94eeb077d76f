package payload

import (
	"encoding/json"
	"testing"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

const engineDBC = `VERSION ""
BO_ 2364540158 EEC1: 8 ECU
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|8031.875] "rpm" Vector__XXX
 SG_ State : 0|4@1+ (1,0) [0|15] "" Vector__XXX
BO_ 2566834942 DM1: 1785 ECU
 SG_ Lamp : 0|8@1+ (1,0) [0|255] "" Vector__XXX
 SG_ Last : 72|8@1+ (1,0) [0|255] "" Vector__XXX
BO_ 291 Plain: 8 ECU
 SG_ Half : 0|8@1+ (0.5,0) [0|0] "" Vector__XXX
VAL_ 2364540158 State 2 "Running" 0 "Off" ;
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ 2364540158 3;
BA_ "VFrameFormat" BO_ 2566834942 3;
`

func testDecoding(t testing.TB, omit bool) *Decoding {
	t.Helper()
	file, diagnostics := dbc.Parse("engine.dbc", []byte(engineDBC), dbc.Options{})
	for _, d := range diagnostics {
		t.Error(d)
	}
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	return &Decoding{DB: db, OmitData: omit}
}

func TestDecodedRecord(t *testing.T) {
	const head = `{"seq":1,"ts":"2026-11-20T14:00:00.123456789Z","type":"can",`
	eec1 := frame(0x0CF00403, can.Extended, 2, 0, 0, 0x64, 0x19, 0, 0, 0)
	remote := frame(0x123, can.Remote)
	for name, c := range map[string]struct {
		frame *can.Frame
		omit  bool
		want  string
	}{
		"another source address": {eec1, false,
			`"id":"0CF00403","ext":true,"data":"0200006419000000","name":"EEC1","pgn":61444,"sa":3,"signals":{"EngineSpeed":812.5,"State":{"value":2,"label":"Running"}}}`},
		"without data": {eec1, true,
			`"id":"0CF00403","ext":true,"name":"EEC1","pgn":61444,"sa":3,"signals":{"EngineSpeed":812.5,"State":{"value":2,"label":"Running"}}}`},
		"shorter than the message": {frame(0x0CF00400, can.Extended, 0), false,
			`"id":"0CF00400","ext":true,"data":"00","name":"EEC1","pgn":61444,"sa":0,"signals":{"State":{"value":0,"label":"Off"}}}`},
		"a standard id":              {frame(0x123, 0, 3), false, `"id":"123","data":"03","name":"Plain","signals":{"Half":1.5}}`},
		"an extended id like it":     {frame(0x123, can.Extended, 3), false, `"id":"00000123","ext":true,"data":"03"}`},
		"not described":              {frame(0x7ff, 0, 3), true, `"id":"7FF","data":"03"}`},
		"remote frames hold nothing": {remote, true, `"id":"123","data":"","rtr":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			var e Encoder
			got, err := e.AppendRecord(nil, 1, when.UnixNano(), AppendFrame(nil, c.frame), testDecoding(t, c.omit))
			if err != nil || string(got) != head+c.want || !json.Valid(got) {
				t.Errorf("%v\ngot  %s\nwant %s", err, got, head+c.want)
			}
		})
	}
}

// A message that came in packets (a broadcast, SAE J1939-21) is a record of
// its own.
func TestPacketRecord(t *testing.T) {
	var transport dbc.Transport
	frames := []*can.Frame{
		frame(0x1CECFF07, can.Extended, 0x20, 10, 0, 2, 0xff, 0xca, 0xfe, 0),
		frame(0x1CEBFF07, can.Extended, 1, 4, 1, 2, 3, 4, 5, 6),
		frame(0x1CEBFF07, can.Extended, 2, 7, 8, 99, 0xff, 0xff, 0xff, 0xff),
	}
	var body []byte
	for _, f := range frames {
		if p, ok := transport.Feed(f); ok {
			body = AppendPacket(nil, &p)
		}
	}
	var e Encoder
	got, err := e.AppendRecord(nil, 1, when.UnixNano(), body, testDecoding(t, false))
	want := `{"seq":1,"ts":"2026-11-20T14:00:00.123456789Z","type":"can","id":"1CFECA07","ext":true,"packets":true,` +
		`"data":"04010203040506070863","name":"DM1","pgn":65226,"sa":7,"signals":{"Lamp":4,"Last":99}}`
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
	if k := KeysOf(body, testDecoding(t, false)); k.ID != "1CFECA07" || k.Name != "DM1" {
		t.Errorf("%+v", k)
	}
}

func TestDecodingDoesNotAllocate(t *testing.T) {
	d := testDecoding(t, false)
	body := AppendFrame(nil, frame(0x0CF00400, can.Extended, 2, 0, 0, 0x64, 0x19, 0, 0, 0))
	var e Encoder
	out := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(1000, func() { out, _ = e.AppendRecord(out[:0], 1, when.UnixNano(), body, d) }); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}
