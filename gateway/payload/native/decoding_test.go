package native

import (
	"encoding/json"
	"testing"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/gateway/record"
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
BO_ 2566848510 Fast: 43 ECU
 SG_ Position : 0|32@1+ (1,0) [0|100] "" Vector__XXX
BO_ 292 Bare: 8 ECU
VAL_ 2364540158 State 2 "Running" 0 "Off" ;
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ 2364540158 3;
BA_ "VFrameFormat" BO_ 2566834942 3;
BA_ "VFrameFormat" BO_ 2566848510 3;
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
		"not available": {frame(0x0CF00400, can.Extended, 0x0F, 0, 0, 0xFF, 0xFF), false,
			`"id":"0CF00400","ext":true,"data":"0F0000FFFF","name":"EEC1","pgn":61444,"sa":0,"signals":{"EngineSpeed":null,"State":15},"errors":{"EngineSpeed":"not available"}}`},
		"beyond the limits": {frame(0x0CF00400, can.Extended, 0x0F, 0, 0, 0x00, 0xFB), false,
			`"id":"0CF00400","ext":true,"data":"0F000000FB","name":"EEC1","pgn":61444,"sa":0,"signals":{"EngineSpeed":8032,"State":15},"out_of_range":["EngineSpeed"]}`},
		"a part of a message keeps its data": {frame(0x18FEFF07, can.Extended, 0, 43, 1, 2), true,
			`"id":"18FEFF07","ext":true,"data":"002B0102"}`},
		"no signal in the message": {frame(0x124, 0, 3), true, `"id":"124","data":"03","name":"Bare","signals":{}}`},
		"no signal in the frame": {frame(0x0CF00400, can.Extended), true,
			`"id":"0CF00400","ext":true,"data":"","name":"EEC1","pgn":61444,"sa":0,"signals":{}}`},
		"a standard id":              {frame(0x123, 0, 3), false, `"id":"123","data":"03","name":"Plain","signals":{"Half":1.5}}`},
		"an extended id like it":     {frame(0x123, can.Extended, 3), false, `"id":"00000123","ext":true,"data":"03"}`},
		"not described":              {frame(0x7ff, 0, 3), true, `"id":"7FF","data":"03"}`},
		"remote frames hold nothing": {remote, true, `"id":"123","data":"","rtr":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			var e Encoder
			got, err := e.AppendRecord(nil, 1, when.UnixNano(), record.AppendFrame(nil, c.frame), testDecoding(t, c.omit))
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
			body = record.AppendPacket(nil, &p)
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

// TestByGroupWithoutAttributes: what is matched by its parameter group says who
// sent it, also where the file does not say that it is J1939.
func TestByGroupWithoutAttributes(t *testing.T) {
	file, _ := dbc.Parse("plain.dbc", []byte("BO_ 2566844926 CCVS: 8 E\n SG_ Speed : 8|16@1+ (1,0) [0|250] \"km/h\" X\n"), dbc.Options{})
	db, _ := dbc.NewDatabase(dbc.MatchPGN, file)
	var e Encoder
	got, err := e.AppendRecord(nil, 1, when.UnixNano(), record.AppendFrame(nil, frame(0x18FEF121, can.Extended, 0, 0xFF, 0xFF)), &Decoding{DB: db})
	want := `{"seq":1,"ts":"2026-11-20T14:00:00.123456789Z","type":"can","id":"18FEF121","ext":true,"data":"00FFFF",` +
		`"name":"CCVS","pgn":65265,"sa":33,"signals":{"Speed":null},"errors":{"Speed":"not available"}}`
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
}

// TestPartIsToldOnce: one warning for a message, however many frames arrive.
func TestPartIsToldOnce(t *testing.T) {
	d := testDecoding(t, false)
	var told []string
	d.Part = func(m *dbc.Message) { told = append(told, m.Name) }
	var e Encoder
	for range 3 {
		body := record.AppendFrame(nil, frame(0x18FEFF07, can.Extended, 0, 43, 1, 2))
		if k := KeysOf(body, d); k.Name != "18FEFF07" {
			t.Errorf("the topic names %q", k.Name)
		}
		if _, err := e.AppendRecord(nil, 1, when.UnixNano(), body, d); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != 1 || told[0] != "Fast" {
		t.Errorf("told of %q", told)
	}
}

func TestDecodingDoesNotAllocate(t *testing.T) {
	d := testDecoding(t, false)
	body := record.AppendFrame(nil, frame(0x0CF00400, can.Extended, 2, 0, 0, 0x64, 0x19, 0, 0, 0))
	var e Encoder
	out := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(1000, func() { out, _ = e.AppendRecord(out[:0], 1, when.UnixNano(), body, d) }); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}
