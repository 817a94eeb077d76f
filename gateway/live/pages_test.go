package live

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

// paged has a multiplexer within a multiplexer, and signals at the end of frames
// that may be short.
const paged = `VERSION ""
BU_: A
BO_ 291 M: 8 A
 SG_ Mux M : 0|8@1+ (1,0) [0|255] "" A
 SG_ Always : 8|8@1+ (1,0) [0|255] "" A
 SG_ One m1 : 16|8@1+ (0.5,0) [0|100] "bar" A
 SG_ Inner m2M : 16|4@1+ (1,0) [0|15] "" A
 SG_ Deep m3 : 24|8@1+ (1,0) [0|255] "" A
 SG_ End m1 : 56|8@1+ (1,0) [0|255] "" A
BO_ 292 Plain: 4 A
 SG_ First : 0|8@1+ (1,0) [0|255] "" A
 SG_ Fourth : 24|8@1+ (1,0) [0|255] "" A
SG_MUL_VAL_ 291 Deep Inner 3-5;
`

func pagedBus(t testing.TB, text string) Bus {
	t.Helper()
	file, problems := dbc.Parse("p.dbc", []byte(text), dbc.Options{})
	if err := dbc.Err(problems, true); err != nil {
		t.Fatal(err)
	}
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	return Bus{Frames: &Frames{DB: db}, DB: db}
}

// Each signal has the value and the time of the last frame that carried it, and no
// other's: compared with a walk over all frames, newest first.
func TestSignalsKeepTheirLastFrame(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		b := pagedBus(t, paged)
		var all []can.Frame
		for n := range 1 + r.IntN(40) {
			f := frame(291, int64(n+1), byte(r.IntN(4)), byte(n), byte(r.IntN(8)), byte(n), 0, 0, 0, byte(n))
			switch r.IntN(6) {
			case 0:
				f.ID = 292
				f.Len = uint8(r.IntN(6))
			case 1:
				f.Len = uint8(r.IntN(9))
			case 2:
				f.Flags = can.Remote
			}
			clear(f.Data[f.Len:])
			if f.Flags != 0 {
				f.Data = [64]byte{}
			}
			all = append(all, f)
			b.Frames.Note(all[len(all)-1:])
		}
		got := map[string]string{}
		for _, p := range b.Points() {
			got[p.Device+"."+p.Name] = fmt.Sprintf("%s %d %s", p.Value, p.At.UnixNano(), p.Error)
		}
		want := map[string]string{}
		for _, m := range b.DB.Messages() {
			for i := range m.Signals {
				if v, ok := lastOf(all, m, &m.Signals[i]); ok {
					want[m.Name+"."+m.Signals[i].Name] = v
				} else if anyData(all, m.ID) {
					want[m.Name+"."+m.Signals[i].Name] = fmt.Sprintf("null %d %s", time.Time{}.UnixNano(), notCarried)
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("after %v\ngot  %v\nwant %v", all, got, want)
		}
		for _, id := range []string{"123", "124"} {
			row, signals, ok := b.Signals(id)
			for _, s := range signals {
				if v := fmt.Sprintf("%s %d %s", s.Value, s.At.UnixNano(), s.Error); v != want[row.Name+"."+s.Name] || s.Text != "" && s.Text != string(s.Value) {
					t.Errorf("a row has %s = %s, want %s", s.Name, v, want[row.Name+"."+s.Name])
				}
			}
			if ok && len(signals) == 0 && anyData(all, map[string]uint32{"123": 291, "124": 292}[id]) {
				t.Errorf("row %s has no signals", id)
			}
		}
	}
}

func anyData(all []can.Frame, id uint32) bool {
	for i := range all {
		if all[i].ID == id && all[i].Flags&can.Remote == 0 {
			return true
		}
	}
	return false
}

func lastOf(all []can.Frame, m *dbc.Message, s *dbc.Signal) (string, bool) {
	for i := len(all) - 1; i >= 0; i-- {
		if f := &all[i]; f.ID == m.ID && f.Flags&can.Remote == 0 {
			for _, v := range m.Decode(f.Payload(), nil) {
				if v.Signal == s {
					return fmt.Sprintf("%s %d ", v.AppendJSON(nil), f.Time), true
				}
			}
		}
	}
	return "", false
}

// How often a signal comes is of its own frames, and so is its course: it holds the
// last value between two of them, and has a gap when they stop. A last value that
// says "not available" is not covered up by one before it.
func TestCourseOfAMultiplexedSignal(t *testing.T) {
	b := pagedBus(t, `BO_ 2566834942 M: 8 A
 SG_ Mux M : 0|8@1+ (1,0) [0|250] "" A
 SG_ One m1 : 8|8@1+ (1,0) [0|250] "" A
 SG_ Two m2 : 8|8@1+ (1,0) [0|250] "" A
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "J1939PG";
`)
	l := &Look{Buses: map[string]Bus{"bus": b}, Follow: []string{"bus/One", "bus/Two", "bus/Mux"}}
	l.History = NewHistory()
	second := func(s int) int64 { return int64(s) * 1e9 }
	every := func() (list []string) {
		for _, n := range l.Numbers(l.Follow) {
			list = append(list, fmt.Sprintf("%s=%v at %d every %v", n.Name[4:], n.Value, n.At.Unix(), n.Every))
		}
		return list
	}
	for s := 0; s < 240; s++ { // Two comes every 40 s, One else
		page, value := byte(1), byte(7)
		if s%40 == 0 {
			page, value = 2, byte(s/40)
		}
		b.Frames.Note([]can.Frame{frame(0x18FECA21, second(s), page, value)})
		b.Frames.Tick()
		l.Publish(&Snapshot{Taken: time.Unix(int64(s), 0), Up: time.Duration(s) * time.Second})
	}
	if got, want := fmt.Sprint(every()), "[One=7 at 239 every 1s Two=5 at 200 every 40s Mux=1 at 239 every 1s]"; got != want {
		t.Errorf("numbers are %s, want %s", got, want)
	}
	for step, s := range l.History.Fine("value:bus/Two@33").Steps {
		if known := step < 1 || step > 3; s.Last != float32(step/4) && known { // a first value alone says nothing about how often it comes
			t.Errorf("step %d of the course is %v", step, s)
		}
	}
	for s := 240; s < 400; s++ { // no Two any more
		b.Frames.Note([]can.Frame{frame(0x18FECA21, second(s), 1, 9)})
		l.Publish(&Snapshot{Taken: time.Unix(int64(s), 0), Up: time.Duration(s) * time.Second})
	}
	steps := l.History.Fine("value:bus/Two@33").Steps
	if held, gone := steps[32], steps[34]; held.Last != 5 || !gone.empty() { // 3 periods and 10 s after 200 s
		t.Errorf("the course ends with %v", steps[30:])
	}
	b.Frames.Note([]can.Frame{frame(0x18FECA21, second(400), 1, 0xFF), frame(0x18FECA21, second(401), 3)})
	if got := l.Numbers([]string{"bus/One"}); len(got) != 1 || !got[0].At.IsZero() {
		t.Errorf("not available is %+v", got)
	}
	for _, p := range b.Points() {
		if p.Name == "One" && (p.Error != "not available" || p.At.Unix() != 400) {
			t.Errorf("not available is %+v", p)
		}
	}
}

// A long message that is shorter now keeps what it had behind.
func TestJoinedMessagesKeepTheirSignals(t *testing.T) {
	b := pagedBus(t, truck+`BO_ 2566835198 Long: 20 E
 SG_ Start : 0|8@1+ (1,0) [0|250] "" E
 SG_ Behind : 96|8@1+ (1,0) [0|250] "" E
`)
	join := func(at int64, n int, v byte) {
		p := &dbc.Packet{Time: at, PGN: 0xFECB, Priority: 6, Source: 0xFE, Destination: dbc.GlobalAddress, Data: make([]byte, n)}
		p.Data[0], p.Data[n-1] = v, v
		b.Frames.Join(p)
	}
	join(1, 13, 5)
	join(2, 9, 6)
	join(3, 10, 7)
	got, _ := json.Marshal(said(b))
	if want := `["Long.Start=7 in 18FECBFE from 254","Long.Behind=5 in 18FECBFE from 254"]`; string(got) != want {
		t.Errorf("got %s", got)
	}
}

// A bus that makes up multiplexers and lengths costs a bounded amount of memory, and
// a page that comes again costs none.
func TestPagesAreBounded(t *testing.T) {
	b := pagedBus(t, `BO_ 291 M: 8 A
 SG_ Mux M : 0|16@1+ (1,0) [0|0] "" A
 SG_ One m1 : 16|8@1+ (1,0) [0|0] "" A
`)
	batch := make([]can.Frame, 64)
	for round := range 200 {
		for i := range batch {
			batch[i] = frame(291, int64(round), byte(i), byte(round), 1, 2, 3)
		}
		b.Frames.Note(batch)
	}
	rows, _ := b.Frames.Rows()
	if n := len(rows[0].pages); n != maxPages {
		t.Errorf("%d pages are kept", n)
	}
	known := batch[:16]
	for i := range known {
		known[i] = frame(291, int64(i), byte(i), 0, byte(i), 2, 3)
	}
	for range 2 * rollBytes / (16 * 20) {
		b.Frames.Note(known)
	}
	if n := testing.AllocsPerRun(100, func() { b.Frames.Note(known) }); n != 0 {
		t.Errorf("%v allocations for frames of known pages", n)
	}
	var f Frames
	f.kept = keptBytes - pageBytes
	f.DB = b.DB
	f.Note(known)
	f.Note(known[:2])
	if full := (Bus{Frames: &f, DB: b.DB}).Points(); f.kept > keptBytes || string(full[1].Value) != "1" || string(full[0].Value) != "1" {
		t.Errorf("without room for pages: %+v", full)
	}
}
