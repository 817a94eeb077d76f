package live

import (
	"math/rand/v2"
	"testing"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

// The newest frames are found by their numbers, whatever the buffers hold and
// wherever one begins: compared with a list of all.
func TestFramesSince(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var f Frames
	var all []can.Frame
	for range 3000 {
		batch := make([]can.Frame, r.IntN(60))
		for i := range batch {
			batch[i] = frame(uint32(r.IntN(1<<29)), int64(len(all)+i), make([]byte, r.IntN(65))...)
		}
		f.Note(batch)
		all = append(all, batch...)
		from, most := uint64(r.IntN(len(all)+2)), r.IntN(600)
		var got []can.Frame
		next := f.Since(from, most, func(fr *can.Frame) { got = append(got, *fr) })
		if next != uint64(len(all)+1) {
			t.Fatalf("next is %d of %d frames", next, len(all))
		}
		want := all[max(0, min(len(all), int(from)-1), len(all)-most):]
		if len(got) != len(want) {
			t.Fatalf("since %d at most %d of %d: %d frames, want %d", from, most, len(all), len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("frame %d of %d: %v, want %v", i, len(got), got[i], want[i])
			}
		}
	}
	if len(f.roll.old) == 0 {
		t.Error("the buffers never turned")
	}
}

// Signals stand in the order of their messages, with a label where there is one;
// what the last frame does not carry is said to be missing.
func TestBusPoints(t *testing.T) {
	const text = `VERSION ""
BU_: A
BO_ 291 M: 2 A
 SG_ Mux M : 0|8@1+ (1,0) [0|255] "" A
 SG_ One m1 : 8|8@1+ (0.5,0) [0|100] "bar" A
 SG_ Two m2 : 8|8@1+ (1,0) [0|1] "" A
VAL_ 291 Two 1 "on" 0 "off" ;
`
	file, problems := dbc.Parse("m.dbc", []byte(text), dbc.Options{})
	if err := dbc.Err(problems, true); err != nil {
		t.Fatal(err)
	}
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	b := Bus{Frames: &Frames{}, DB: db}
	b.Frames.Note([]can.Frame{frame(0x100, 1, 1), frame(291, 2, 1, 201)})
	check := func(want ...string) {
		t.Helper()
		list := b.Points()
		if len(list) != len(want) {
			t.Fatalf("%d points", len(list))
		}
		for i, p := range list {
			got := p.Device + "." + p.Name + "=" + string(p.Value) + p.Unit + p.Error
			if p.Out {
				got += "!"
			}
			if got != want[i] {
				t.Errorf("point %d is %s, want %s", i, got, want[i])
			}
		}
	}
	check("M.Mux=1", "M.One=100.5bar!", "M.Two=null"+notCarried)
	b.Frames.Note([]can.Frame{frame(291, 3, 2, 1)})
	check("M.Mux=2", "M.One=nullbar"+notCarried, `M.Two={"label":"on","value":1}`)
}
