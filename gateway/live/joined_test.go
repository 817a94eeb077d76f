package live

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

// truck has two nodes that send the same messages, one of which is long.
const truck = `VERSION ""
BU_: E
BO_ 2364540158 EEC1: 8 E
 SG_ Speed : 24|16@1+ (0.125,0) [0|8031.875] "rpm" E
BO_ 2566834942 DM1: 8 E
 SG_ MIL : 6|2@1+ (1,0) [0|3] "" E
BO_ 2348810494 TSC1: 8 E
 SG_ Mode : 0|2@1+ (1,0) [0|3] "" E
BO_ 291 Tank: 1 E
 SG_ Speed : 0|8@1+ (1,0) [0|200] "" E
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "J1939PG";
BA_ "VFrameFormat" BO_ 291 0;
`

func truckBus(t *testing.T) Bus {
	t.Helper()
	file, problems := dbc.Parse("truck.dbc", []byte(truck), dbc.Options{})
	if err := dbc.Err(problems, true); err != nil {
		t.Fatal(err)
	}
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	return Bus{Frames: &Frames{}, DB: db}
}

// said are the values of a bus as MESSAGE.SIGNAL=VALUE, with id and sender.
func said(b Bus) (list []string) {
	for _, p := range b.Points() {
		from := ""
		if p.SA != nil {
			from = fmt.Sprintf(" from %d", *p.SA)
		}
		list = append(list, fmt.Sprintf("%s.%s=%s%s in %s%s", p.Device, p.Name, p.Value, p.Error, p.ID, from))
	}
	return list
}

// The values of a bus say who sent them. A message has one row for each sender and
// receiver, however it came: the newest counts.
func TestValuesBySender(t *testing.T) {
	b := truckBus(t)
	dm1 := func(at int64, source, mil byte) *dbc.Packet {
		return &dbc.Packet{Time: at, PGN: 0xFECA, Priority: 7, Source: source, Destination: dbc.GlobalAddress, Data: append([]byte{mil << 6}, make([]byte, 9)...)}
	}
	b.Frames.Note([]can.Frame{
		frame(0x0CF00400, 1, 0, 0, 0, 0xE0, 0x2E, 0, 0, 0), frame(0x0CF00421, 2, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0),
		frame(0x18FECA00, 3, 0), frame(0x18FECA21, 4, 0),
		frame(0x0C000003, 5, 1), frame(0x0C00FF03, 6, 2), frame(291, 7, 9), frame(0x100, 8, 1),
		frame(0x18ECFF00, 9, 0x20, 10, 0, 2, 0xFF, 0xCA, 0xFE, 0), frame(0x18EBFF00, 10, 1),
	})
	check := func(what string, want ...string) {
		t.Helper()
		if got := said(b); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s", what, strings.Join(got, "\n"))
		}
	}
	head := []string{"EEC1.Speed=1500 in 0CF00400 from 0", "EEC1.Speed=nullnot available in 0CF00421 from 33"}
	tail := []string{"TSC1.Mode=1 in 0C000003 from 3", "TSC1.Mode=2 in 0C00FF03 from 3", "Tank.Speed=9 in 123"}
	check("frames", slices.Concat(head, []string{"DM1.MIL=0 in 18FECA00 from 0", "DM1.MIL=0 in 18FECA21 from 33"}, tail)...)
	b.Frames.Join(dm1(20, 0, 1))
	check("in packets then", slices.Concat(head, []string{"DM1.MIL=1 in 1CFECA00 from 0", "DM1.MIL=0 in 18FECA21 from 33"}, tail)...)
	b.Frames.Note([]can.Frame{frame(0x18FECA00, 30, 0)})
	check("in a frame again", slices.Concat(head, []string{"DM1.MIL=0 in 18FECA00 from 0", "DM1.MIL=0 in 18FECA21 from 33"}, tail)...)
	b.Frames.Join(dm1(40, 0x50, 1))
	check("of a third", slices.Concat(head, []string{"DM1.MIL=0 in 18FECA00 from 0", "DM1.MIL=0 in 18FECA21 from 33"}, tail, []string{"DM1.MIL=1 in 1CFECA50 from 80"})...)

	table, _ := b.Table()
	if last := table[len(table)-1]; last.ID != "1CFECA50" || !last.Packets || last.Len != 10 || last.Name != "DM1" || last.Count != 1 {
		t.Errorf("the long message in the table is %+v", last)
	}
	names := map[string]string{}
	for _, r := range table {
		names[r.ID] = r.Name + r.TP
	}
	if names["18ECFF00"] != "TP.CM" || names["18EBFF00"] != "TP.DT" || names["0CF00400"] != "EEC1" || names["100"] != "" {
		t.Errorf("frames are called %v", names)
	}
	row, signals, ok := b.Signals("1CFECA50")
	if !ok || !row.Packets || row.Len != 10 || row.Data != "40000000000000000000" || row.Name != "DM1" || len(signals) != 1 || signals[0].Text != "1" {
		t.Errorf("%+v %+v %v", row, signals, ok)
	}
}

// A number that is asked for by its name comes from each sender, and so does its
// course.
func TestNumbersBySender(t *testing.T) {
	b := truckBus(t)
	l := &Look{Buses: map[string]Bus{"truck": b}, Follow: []string{"truck/Speed", "truck/MIL", "truck/nothing"}}
	l.History = NewHistory()
	l.Publish(&Snapshot{Taken: time.Unix(0, 0)})
	if f := l.Figures(); slices.ContainsFunc(f, func(s string) bool { return strings.HasPrefix(s, "value:") }) {
		t.Errorf("before anybody sends there are %q", f)
	}
	b.Frames.Note([]can.Frame{
		frame(0x0CF00400, 1, 0, 0, 0, 0xE0, 0x2E, 0, 0, 0), frame(0x0CF00421, 2, 0, 0, 0, 0x00, 0x32, 0, 0, 0),
		frame(0x0CF00455, 3, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0), frame(291, 4, 9),
	})
	b.Frames.Join(&dbc.Packet{Time: 5, PGN: 0xFECA, Priority: 7, Source: 0x50, Destination: dbc.GlobalAddress, Data: append([]byte{0x40}, make([]byte, 9)...)})
	var got []string
	for _, n := range l.Numbers(l.Follow) {
		from := "nobody"
		if n.SA != nil {
			from = fmt.Sprint(*n.SA)
		}
		got = append(got, fmt.Sprintf("%s %v from %s", n.Name, n.Value, from))
	}
	want := []string{"truck/Speed 1500 from 0", "truck/Speed 1600 from 33", "truck/Speed 9 from nobody", "truck/MIL 1 from 80", "truck/nothing 0 from nobody"}
	if !slices.Equal(got, want) {
		t.Errorf("numbers are %q", got)
	}
	l.Publish(&Snapshot{Taken: time.Unix(0, 6)})
	for name, want := range map[string]float32{"truck/Speed@0": 1500, "truck/Speed@33": 1600, "truck/Speed": 9, "truck/MIL@80": 1} {
		if c, _ := l.Course("value:"+name, false); len(c.Steps) == 0 || c.Steps[len(c.Steps)-1].Last != want {
			t.Errorf("the course of %s is %v", name, c.Steps)
		}
	}
}

// long are the rows of the messages that came in packets.
func long(f *Frames) (list []Row) {
	rows, _ := f.Rows()
	for _, r := range rows {
		if r.Data != nil {
			list = append(list, r)
		}
	}
	return list
}

// A bus on which anybody claims to be somebody costs a bounded amount of memory,
// and a message that comes again costs none.
func TestJoinedIsBounded(t *testing.T) {
	var f Frames
	p := dbc.Packet{PGN: 0xFECA, Data: make([]byte, 1785)}
	for i := range 2 * MaxJoined {
		p.Source, p.PGN = byte(i), 0xFE00+uint32(i/256)
		f.Join(&p)
	}
	if n := len(long(&f)); n != MaxJoined {
		t.Errorf("%d are kept", n)
	}
	p.PGN, p.Source = 0xFE00, 200
	if n := testing.AllocsPerRun(100, func() { f.Join(&p) }); n > 0 {
		t.Errorf("%v allocations for a message", n)
	}
	f.Tick()
	if r := long(&f)[200]; r.Count != 102 || len(r.Data) != 1785 {
		t.Errorf("%d messages of %d bytes", r.Count, len(r.Data))
	}
}

// Fast packets of NMEA 2000 are numbered parts: what they mean nobody can say.
func TestPartsAreNotDecoded(t *testing.T) {
	file, _ := dbc.Parse("n.dbc", []byte("BO_ 2566848510 Fast: 43 E\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" E\nBA_ \"ProtocolType\" \"J1939\";\n"), dbc.Options{})
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	b := Bus{Frames: &Frames{}, DB: db}
	b.Frames.Note([]can.Frame{frame(0x18FEFF07, 1, 0, 43, 1)})
	if list := b.Points(); len(list) != 0 {
		t.Errorf("a part is shown as %+v", list)
	}
}
