package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/gateway/clock"
	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
)

// TestLossEndsTransfers: what follows frames that were lost before they were
// read is not joined with what was before them.
func TestLossEndsTransfers(t *testing.T) {
	frame := func(id uint32, data ...byte) can.Frame {
		f := can.Frame{Time: 1e18, ID: id, Flags: can.Extended, Len: 8}
		copy(f.Data[:], data)
		return f
	}
	announced, first, second := frame(0x1CECFF00, 32, 14, 0, 2, 255, 0xFE, 0xFE), frame(0x1CEBFF00, 1, 1), frame(0x1CEBFF00, 2, 2)
	for name, c := range map[string]struct {
		between func(can.Handler)
		joined  uint64
	}{
		"nothing": {func(can.Handler) {}, 1},
		"lost":    {func(h can.Handler) { h.Lost(3) }, 0},
		"gap":     {func(h can.Handler) { h.(can.GapHandler).Gap() }, 0},
	} {
		s := &CAN{cfg: &config.CAN{}, transport: &dbc.Transport{}}
		h := s.Handler(&sink{})
		h.Frames([]can.Frame{announced, first})
		c.between(h)
		h.Frames([]can.Frame{second})
		if st := s.transport.Stats(); st.Complete != c.joined {
			t.Errorf("%s: %+v", name, st)
		}
	}
	(&CAN{}).Handler(nil).(can.GapHandler).Gap() // without a DBC file
}

// sink takes bodies and forgets them.
type sink struct {
	appended, lost int
	events         []bus.Event
	doubtful       bool
}

func (s *sink) Clock() clock.Reading { return clock.New(clock.Config{Trusted: true}).Read() }
func (s *sink) Append(int64, []byte) { s.appended++ }
func (s *sink) Lose(n uint64)        { s.lost += int(n) }
func (s *sink) Event(e bus.Event)    { s.events = append(s.events, e) }
func (s *sink) Doubtful() bool       { return s.doubtful }

// The bus's goroutine allocates nothing per frame.
func TestFramesDoNotAllocate(t *testing.T) {
	h := (&CAN{cfg: &config.CAN{}}).Handler(&sink{})
	batch := make([]can.Frame, 64)
	few := testing.AllocsPerRun(100, func() { h.Frames(batch[:1]) })
	if many := testing.AllocsPerRun(100, func() { h.Frames(batch) }); many > few {
		t.Errorf("%v allocations for 64 frames, %v for one", many, few)
	}
}

// Whoever looks into the gateway sees the long messages that a DBC file describes,
// and they cost the bus's goroutine no more than their records do.
func TestLongMessagesAreSeen(t *testing.T) {
	file, _ := dbc.Parse("l.dbc", []byte("BO_ 2566848254 Long: 14 E\n SG_ First : 0|8@1+ (1,0) [0|0] \"\" E\nBA_ \"ProtocolType\" \"J1939\";\n"), dbc.Options{})
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	message := func(group byte) []can.Frame {
		list := []can.Frame{{ID: 0x1CECFF21, Data: [64]byte{32, 14, 0, 2, 255, group, 0xFE}}, {ID: 0x1CEBFF21, Data: [64]byte{1, 7}}, {ID: 0x1CEBFF21, Data: [64]byte{2}}}
		for i := range list {
			list[i].Time, list[i].Flags, list[i].Len = 1e18, can.Extended, 8
		}
		return list
	}
	points, to := &live.Frames{}, &sink{}
	s := &CAN{cfg: &config.CAN{DBC: db}, points: points, transport: &dbc.Transport{}}
	h := s.Handler(to)
	h.Frames(message(0xFE))
	h.Frames(message(0x01)) // nobody describes it
	seen, _ := points.Rows()
	if len(seen) != 1 || seen[0].Frame.ID != 0x1CFEFE21 || len(seen[0].Data) != 14 || seen[0].Data[0] != 7 || to.appended != 8 {
		t.Errorf("%d records, seen %+v", to.appended, seen)
	}
	batch, frames := message(0xFE), message(0xFE)
	for i := range frames {
		frames[i].ID = 0x18FEF100
	}
	h.Frames(frames)
	usual := testing.AllocsPerRun(100, func() { h.Frames(frames) })
	if joined := testing.AllocsPerRun(100, func() { h.Frames(batch) }); joined > usual {
		t.Errorf("%v allocations for a message that is joined, %v for as many frames", joined, usual)
	}
}

// A person in front of the cabinet sees what is on the bus: last frames, signals and
// the newest frames are not thinned out by the limits, as records are.
func TestLimitsDoNotHideTheBus(t *testing.T) {
	file, _ := dbc.Parse("m.dbc", []byte("BO_ 291 M: 2 N\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" N\n"), dbc.Options{})
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	var log strings.Builder
	for i := range 100 {
		fmt.Fprintf(&log, "(%d.%06d) can0 123#%02X\n", 1000+i/50, i%50*20_000, i)
	}
	name := filepath.Join(t.TempDir(), "drive.log")
	if err := os.WriteFile(name, []byte(log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	points, to := &live.Frames{DB: db}, &sink{}
	s, err := NewCAN(&config.CAN{DBC: db, Bus: can.Config{Interface: "replay:" + name + "?speed=max&time=log", Limit: can.Limit{MinInterval: time.Second}}}, points, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), to); !errors.Is(err, can.ErrEnd) {
		t.Fatal(err)
	}
	rows, _ := points.Rows()
	if len(rows) != 1 || rows[0].Count != 100 || rows[0].Delta != 20*time.Millisecond || rows[0].Mean != 20*time.Millisecond {
		t.Errorf("the last frames are %+v", rows)
	}
	rolled := 0
	points.Newest(func(*can.Frame) bool { rolled++; return true })
	list := (live.Bus{Frames: points, DB: db}).Points()
	if rolled != 100 || len(list) != 1 || string(list[0].Value) != "99" || list[0].Every != 0.02 {
		t.Errorf("%d of 100 newest frames, values %+v", rolled, list)
	}
	if st := s.bus.Stats(); to.appended != 2 || st.Frames != 2 || st.Suppressed != 98 {
		t.Errorf("%d records, %+v", to.appended, st)
	}
	var out live.Source
	if s.Look(&out); out.Reads != 100 || out.CAN.Frames != 100 || out.CAN.Suppressed != 98 || out.CAN.IDs != 1 {
		t.Errorf("what is told is %+v", out.CAN)
	}
	lines := 0
	(live.Bus{Frames: points}).Log("r", time.Now().Add(-time.Second), func([]byte) bool { lines++; return true })
	if lines < 49 || lines > 51 { // a log of today would have all, one of 1970 none
		t.Errorf("the last second of the log has %d frames", lines)
	}
}

// TestMetaOfSignals: units and limits of every signal, and none where the file
// gives none that can be used.
func TestMetaOfSignals(t *testing.T) {
	file, _ := dbc.Parse("m.dbc", []byte(`BO_ 1 M: 8 N
 SG_ Both : 0|8@1+ (1,-40) [-40|210] "degC" N
 SG_ Zero : 8|8@1+ (1,0) [0|250] "" N
 SG_ None : 16|8@1+ (1,0) [0|0] "V" N
 SG_ Faulty : 24|8@1+ (1,0) [x|y] "A" N
 SG_ Swapped : 32|8@1+ (1,0) [9|1] "" N
 SG_ Endless : 40|8@1+ (1,0) [0|inf] "" N
`), dbc.Options{})
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	got, err := json.Marshal(messages(db))
	want := `[{"name":"M","id":"001","signals":[{"name":"Both","unit":"degC","min":-40,"max":210},{"name":"Zero","min":0,"max":250},` +
		`{"name":"None","unit":"V"},{"name":"Faulty","unit":"A"},{"name":"Swapped"},{"name":"Endless","min":0}]}]`
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
}

// A log that has been played is not a cable that is out.
func TestLookAtALogThatHasEnded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "drive.log")
	if err := os.WriteFile(name, []byte("(1.5) can0 123#00\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewCAN(&config.CAN{Name: "r", Bus: can.Config{Interface: "replay:" + name}}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	look := func() live.Source {
		var out live.Source
		s.Look(&out)
		return out
	}
	if before := look(); before.State != live.Down {
		t.Errorf("before it began: %+v", before)
	}
	if err := s.Run(t.Context(), &sink{}); !errors.Is(err, can.ErrEnd) {
		t.Fatal(err)
	}
	if after := look(); after.State != live.Ended || after.Word != "the log has ended" {
		t.Errorf("after its end: %+v", after)
	}
}
