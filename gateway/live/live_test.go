package live

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
)

func frame(id uint32, t int64, data ...byte) can.Frame {
	f := can.Frame{ID: id, Time: t, Len: uint8(len(data))}
	if id > can.MaxID {
		f.Flags = can.Extended
	}
	copy(f.Data[:], data)
	return f
}

// The table has, for every id, what the last frame of that id was, whatever
// came between: compared with a map.
func TestFramesKeepTheLastOfEachID(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var f Frames
	last, count := map[[2]uint32]can.Frame{}, map[[2]uint32]uint64{}
	for n := range 200 {
		batch := make([]can.Frame, r.IntN(64))
		for i := range batch {
			id := uint32(r.IntN(600)) // standard and extended of one number are two ids
			batch[i] = frame(id, int64(n*1000+i), byte(r.Uint32()), byte(r.Uint32()))
			if r.IntN(2) == 0 {
				batch[i].Flags, batch[i].ID = can.Extended, id<<uint(r.IntN(2)*12)
			}
			key := [2]uint32{batch[i].ID, uint32(batch[i].Flags & can.Extended)}
			last[key], count[key] = batch[i], count[key]+1
		}
		f.Note(batch)
	}
	rows, others := f.Rows()
	if len(rows) != len(last) || others != 0 {
		t.Fatalf("%d rows for %d ids, %d others", len(rows), len(last), others)
	}
	for _, row := range rows {
		key := [2]uint32{row.Frame.ID, uint32(row.Frame.Flags & can.Extended)}
		if row.Frame != last[key] || row.Count != count[key] {
			t.Errorf("id %X: %v × %d, want %v × %d", row.Frame.ID, row.Frame, row.Count, last[key], count[key])
		}
	}
}

func TestFramesAreBounded(t *testing.T) {
	var f Frames
	for id := range uint32(10 * MaxIDs) {
		f.Note([]can.Frame{frame(id|1<<28, int64(id))})
	}
	rows, others := f.Rows()
	if len(rows) != MaxIDs || others != 9*MaxIDs {
		t.Errorf("%d rows and %d others, want %d and %d", len(rows), others, MaxIDs, 9*MaxIDs)
	}
}

func TestChangedBytes(t *testing.T) {
	for _, c := range []struct {
		a, b can.Frame
		want uint64
	}{
		{frame(1, 0, 1, 2, 3), frame(1, 0, 1, 2, 3), 0},
		{frame(1, 0, 1, 2, 3), frame(1, 0, 1, 9, 3), 0b010},
		{frame(1, 0, 1, 2, 3), frame(1, 0, 0, 2, 4), 0b101},
		{frame(1, 0, 1, 2), frame(1, 0, 1, 2, 0), 0b100}, // a byte more, if only a zero
		{frame(1, 0, 1, 2, 3), frame(1, 0, 1), 0b110},
		{frame(1, 0, make([]byte, 64)...), frame(1, 0, append(make([]byte, 63), 7)...), 1 << 63},
		{frame(1, 0), frame(1, 0, make([]byte, 64)...), math.MaxUint64},
	} {
		if got := changes(&c.a, &c.b); got != c.want {
			t.Errorf("changes(%v, %v) = %b, want %b", c.a, c.b, got, c.want)
		}
	}
}

func TestPeriods(t *testing.T) {
	var f Frames
	ms := int64(time.Millisecond)
	for _, at := range []int64{0, 10, 19, 31} {
		f.Note([]can.Frame{frame(5, at*ms)})
	}
	want := func(when string, low, mean, high time.Duration) {
		t.Helper()
		rows, _ := f.Rows()
		if r := rows[0]; r.Min != low || r.Max != high || r.Mean != mean {
			t.Errorf("%s: %v %v %v, want %v %v %v", when, r.Min, r.Mean, r.Max, low, mean, high)
		}
	}
	want("at once", 9*time.Millisecond, 31*time.Millisecond/3, 12*time.Millisecond)
	for range periodWindow {
		f.Tick()
	}
	f.Note([]can.Frame{frame(5, 51*ms)})
	want("in the next window", 9*time.Millisecond, 51*time.Millisecond/4, 20*time.Millisecond)
	for range periodWindow {
		f.Tick()
	}
	want("the first is forgotten", 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond)
}

// The newest frames come back as they were, in order, and reach to the end.
func TestNewestFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var f Frames
	var all []can.Frame
	for n := range 60_000 {
		fr := frame(uint32(r.IntN(1<<29)), int64(n), make([]byte, r.IntN(65))...)
		binary.LittleEndian.PutUint32(fr.Data[:], uint32(n)&(1<<(8*min(fr.Len, 4))-1))
		if fr.Len == 0 && r.IntN(2) == 0 {
			fr.Flags |= can.Remote
			fr.Len = 4
		}
		all = append(all, fr)
		f.Note(all[n:])
	}
	var got []can.Frame
	f.Newest(func(fr *can.Frame) bool { got = append(got, *fr); return true })
	if len(got) < 10_000 {
		t.Fatalf("only %d frames", len(got))
	}
	for i, want := range all[len(all)-len(got):] {
		if got[i] != want {
			t.Fatalf("frame %d of %d: %v, want %v", i, len(got), got[i], want)
		}
	}
}

func TestNoteDoesNotAllocate(t *testing.T) {
	var f Frames
	batch := make([]can.Frame, 64)
	for i := range batch {
		batch[i] = frame(uint32(i), 0, 1, 2, 3, 4, 5, 6, 7, 8)
	}
	for range 2 * rollBytes / (64 * 22) { // both halves of the roll have their size
		f.Note(batch)
	}
	if n := testing.AllocsPerRun(100, func() { f.Note(batch) }); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func BenchmarkNote(b *testing.B) {
	for _, ids := range []int{1, 64, 2000} {
		for _, base := range []uint32{0, 0x18FE0000} {
			b.Run(fmt.Sprintf("ids=%d/base=%X", ids, base), func(b *testing.B) {
				var f Frames
				frames := make([]can.Frame, 64*64)
				for i := range frames {
					frames[i] = frame(base+uint32(i*7%ids), int64(i), 1, 2, byte(i), 4, 5, 6, 7, 8)
				}
				f.Note(frames)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					f.Note(frames[i%64*64:][:64])
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/frame")
			})
		}
	}
}

func TestValues(t *testing.T) {
	line := &modbus.LineConfig{Devices: []modbus.Device{{Name: "meter", Registers: []modbus.Register{
		{Name: "u", Unit: "V", Type: modbus.Float32}, {Name: "i", Unit: "A", Type: modbus.Float32}}}}}
	v := NewValues(line)
	first, second := time.Unix(100, 0), time.Unix(101, 0)
	v.Note(&modbus.Reading{Device: "meter", Time: first, Values: []modbus.Value{
		{Name: "u", Kind: modbus.KindFloat, Float: 230}, {Name: "i", Kind: modbus.KindFloat, Float: 5}, {Name: "unknown"}}})
	v.Note(&modbus.Reading{Device: "meter", Time: second, Failures: []modbus.Failure{{Name: "u", Err: "timeout"}}})
	v.Note(&modbus.Reading{Device: "foreign", Time: second, Values: []modbus.Value{{Name: "u"}}})
	p := v.Points()
	if len(p) != 2 || p[0].Error != "timeout" || p[0].Value.Float != 230 || !p[0].Good.Equal(first) || !p[0].At.Equal(second) {
		t.Errorf("a value that failed after it was read: %+v", p)
	}
	if p[1].Error != "" || p[1].Value.Float != 5 || !p[1].Good.Equal(first) {
		t.Errorf("a value that was read: %+v", p[1])
	}
	if !v.Newest().Equal(second) {
		t.Errorf("newest %v, want %v", v.Newest(), second)
	}
}

func TestHistory(t *testing.T) {
	h := NewHistory()
	at := func(s int, v float64) { h.Add("x", time.Duration(s)*time.Second, v) }
	for s := 100; s < 120; s++ {
		at(s, float64(s))
	}
	at(141, 7) // one step is left out
	at(142, math.NaN())
	c := h.Fine("x")
	want := []string{"100..109..109", "110..119..119", "gap", "gap", "7..7..7"}
	if c.From != 100*time.Second || len(c.Steps) != len(want) {
		t.Fatalf("from %v, %d steps: %v", c.From, len(c.Steps), c.Steps)
	}
	for i, s := range c.Steps {
		text := fmt.Sprintf("%v..%v..%v", s.Min, s.Max, s.Last)
		if s.empty() {
			text = "gap"
		}
		if text != want[i] {
			t.Errorf("step %d: %s, want %s", i, text, want[i])
		}
	}
	at(10*3600, 1) // hours later nothing old is left
	c = h.Fine("x")
	if len(c.Steps) != fineSlots || c.Steps[fineSlots-1].Last != 1 || !c.Steps[0].empty() {
		t.Errorf("after a long gap: %d steps, %v", len(c.Steps), c.Steps[fineSlots-1])
	}
	if d := h.Coarse("x"); d.From != 0 || d.Steps[0].Max != 119 || d.Steps[len(d.Steps)-1].Last != 1 {
		t.Errorf("the day: from %v, %v", d.From, d.Steps)
	}
	if n := len(h.Fine("unknown").Steps); n != 0 {
		t.Errorf("an unknown figure has %d steps", n)
	}
}

func TestRates(t *testing.T) {
	var b Board
	for s := range 30 {
		b.Publish(&Snapshot{Session: 1, Up: time.Duration(s) * time.Second,
			Sources: []Source{{Name: "a", Kind: "can", Records: uint64(100 * s)}},
			Uplink:  Uplink{Connected: true, Backlog: 4000}, Buffer: Buffer{Acked: uint64(500 * s), Disk: int64(1000 * s), Limit: 129_000}})
	}
	s := b.Snapshot()
	if s.Sources[0].Rate != 100 || s.Uplink.Rate != 500 || s.Uplink.DoneIn != 10 || s.Buffer.FullIn != -1 {
		t.Errorf("rate %v, acked %v, done in %v, full in %v", s.Sources[0].Rate, s.Uplink.Rate, s.Uplink.DoneIn, s.Buffer.FullIn)
	}
}

// How long the buffer lasts is guessed until records were seen to take room.
func TestLasts(t *testing.T) {
	var b Board
	at := 0
	next := func(records uint64, disk int64) float64 {
		at++
		s := &Snapshot{Session: 1, Up: time.Duration(at) * time.Second, Sources: []Source{{Name: "a", Records: uint64(100 * at)}},
			Buffer: Buffer{Records: records, Disk: disk, Limit: 1_000_000}}
		b.Publish(s)
		return s.Buffer.LastsFor
	}
	if v := next(0, 0); v != -1 {
		t.Errorf("without a rate: %v", v)
	}
	if v := next(0, 0); v != 1_000_000/(100*guessed) {
		t.Errorf("at first: %v", v)
	}
	if v := next(10_000, 200_000); v != 800_000/(100*20) {
		t.Errorf("with 20 bytes a record: %v", v)
	}
	if v := next(10, 100_000); v != 900_000/(100*20) {
		t.Errorf("afterwards: %v", v)
	}
	if s := b.Snapshot(); s.Buffer.FullIn != s.Buffer.LastsFor { // there is no uplink
		t.Errorf("full in %v, lasts for %v", s.Buffer.FullIn, s.Buffer.LastsFor)
	}
}

// While one topic is refused only what goes there fills the buffer.
func TestFullInOfWhatIsHeld(t *testing.T) {
	var b Board
	for at := range 12 {
		b.Publish(&Snapshot{Session: 1, Up: time.Duration(at) * time.Second, Buffer: Buffer{Records: 6000, Disk: 120_000, Limit: 1_120_000},
			Sources: []Source{{Name: "engine", Records: uint64(1000 * at)}, {Name: "line1", Records: uint64(10 * at)}},
			Uplink:  Uplink{Connected: true, Held: []string{"line1"}}})
	}
	if s := b.Snapshot(); s.Buffer.FullIn != 1_000_000/(10*20) || s.Buffer.LastsFor != 1_000_000/20.0/1010 {
		t.Errorf("full in %v, lasts for %v", s.Buffer.FullIn, s.Buffer.LastsFor)
	}
}

func TestSentence(t *testing.T) {
	now := time.Unix(10_000, 0)
	base := func() Snapshot {
		return Snapshot{Taken: now, Session: 1, Uplink: Uplink{Connected: true, Since: now.Add(-time.Hour), DoneIn: -1}, Buffer: Buffer{FullIn: -1},
			Sources: []Source{{Name: "engine", Kind: "can", State: Receives}, {Name: "line1", Kind: "modbus", State: Receives}, {Name: "gateway", Kind: "gateway"}}}
	}
	for _, c := range []struct {
		change func(*Snapshot)
		state  State
		want   string
	}{
		{func(*Snapshot) {}, OK, "Everything works: all 2 sources are read, and the broker acknowledges every record."},
		{func(s *Snapshot) { s.Sources = s.Sources[:1] }, OK, "Everything works: engine is read, and the broker acknowledges every record."},
		{func(s *Snapshot) { s.Sources[0].State, s.Sources[0].ReadAge, s.Sources[0].Records = Silent, -1, 2 }, OK, "Connected; no frame has come from engine since the start."},
		{func(s *Snapshot) { s.Sources[0].State, s.Sources[0].ReadAge = Silent, 7 }, OK, "Everything works: all 2 sources are read, and the broker acknowledges every record."},
		{func(s *Snapshot) { s.Sources[0].State, s.Sources[0].Records = Ended, 7 }, OK, "Everything works: the log of engine has ended, all other sources are read, and the broker acknowledges every record."},
		{func(s *Snapshot) { s.Sources = s.Sources[:1]; s.Sources[0].State = Ended }, OK, "Everything works: the log of engine has ended, and the broker acknowledges every record."},
		{func(s *Snapshot) { s.Buffer.LostBy = map[string]uint64{"rejected": 2} }, OK, "Connected, and all 2 sources are read; the broker has rejected 2 records since the start."},
		{func(s *Snapshot) { s.Session = 0 }, Starting, "Starting: the disk of the buffer is not there yet; records wait in memory."},
		{func(s *Snapshot) {
			s.Uplink.Connected, s.Buffer.Records, s.Buffer.FullIn = false, 211588, 273600
		}, Outage, "No connection to the broker for 1 h; 211,588 records wait in the buffer, full in about 3 d 4 h."},
		{func(s *Snapshot) {
			s.Uplink.Connected, s.Buffer.Records, s.Buffer.Fault = false, 7, "no space left on device"
		}, Outage,
			"No connection to the broker for 1 h; 7 records wait in the buffer. The disk does not take records: new ones wait in memory, and are lost if power fails or memory is full."},
		{func(s *Snapshot) { s.Uplink.Unanswered = 14.9 }, OK, "Everything works: all 2 sources are read, and the broker acknowledges every record."},
		{func(s *Snapshot) { s.Uplink.Unanswered, s.Buffer.Records, s.Buffer.FullIn = 98, 4428, 3600 }, Outage,
			"The broker is connected and has acknowledged nothing for 1 min 38 s; 4,428 records wait in the buffer, full in about 1 h."},
		{func(s *Snapshot) {
			s.Uplink.Unanswered, s.Alarms, s.whole = 98, []Alarm{{Code: "buffer_evicting", Severity: "critical"}}, 20*time.Second
		}, Losing, "The buffer is full: the gateway drops records and says which. The broker has acknowledged nothing for 1 min 38 s."},
		{func(s *Snapshot) { s.Uplink.Denied, s.Buffer.Records = true, 1 }, Outage,
			"The broker does not let the gateway publish; 1 record waits in the buffer."},
		{func(s *Snapshot) { s.Uplink.Connected, s.Buffer.Records, s.Buffer.FullIn = false, 12522, 0 }, Outage,
			"No connection to the broker for 1 h; 12,522 records wait in the buffer, which is full."},
		{func(s *Snapshot) { s.Uplink.Denied, s.Buffer.Records, s.Buffer.Percent = true, 12522, 100 }, Outage,
			"The broker does not let the gateway publish; 12,522 records wait in the buffer, which is full."},
		{func(s *Snapshot) {
			s.Uplink.Held, s.Uplink.DeniedTopics, s.Buffer.Records, s.Buffer.FullIn = []string{"line1"}, []string{"ff/gw/line1"}, 68, 3600
		}, Attention, "The broker does not take ff/gw/line1; 68 records wait in the buffer, full in about 1 h."},
		{func(s *Snapshot) {
			s.Uplink.Held, s.Uplink.DeniedTopics, s.Uplink.Backlog = []string{"line1"}, []string{"ff/a", "ff/b", "ff/c"}, 7
			s.Buffer.Records, s.Buffer.Fault = 68, "no space left on device"
		}, Attention, "The broker does not take ff/a and 2 more topics; 68 records wait in the buffer. The disk does not take records: new ones wait in memory, and are lost if power fails or memory is full."},
		{func(s *Snapshot) {
			s.Uplink.Held, s.Alarms, s.whole = []string{"line1"}, []Alarm{{Code: "buffer_evicting", Severity: "critical"}}, 20*time.Second
		}, Losing, "The buffer is full: the gateway drops records and says which."},
		{func(s *Snapshot) { // only what the gateway says of itself is refused
			s.Uplink.DeniedTopics, s.Alarms = []string{"ff/gw/meta"}, []Alarm{{Code: "uplink_denied", Severity: "error", Title: "The broker does not let the gateway publish", Source: "gateway", Subject: "ff/gw/meta"}}
		}, Attention, "Everything that is read is delivered; the broker does not take ff/gw/meta."},
		{func(s *Snapshot) { s.Uplink.Backlog, s.Uplink.DoneIn = 211588, 341 }, CatchingUp,
			"Catching up after an outage: 211,588 records left, done in about 5 min 41 s. Live values go out at once."},
		{func(s *Snapshot) { s.Sources[1].State, s.Sources[1].Word = Partial, "2 of 3 units answer" }, Attention,
			"1 of 2 sources are read without trouble; line1: 2 of 3 units answer."},
		{func(s *Snapshot) {
			s.Uplink.Connected, s.Alarms = false, []Alarm{{Code: "buffer_evicting", Severity: "critical"}}
		}, Losing, "The buffer is full: the gateway drops records and says which. There is no connection to the broker for 1 h."},
		{func(s *Snapshot) {
			s.Uplink.Connected, s.Alarms, s.whole = false, []Alarm{{Code: "buffer_evicting", Severity: "critical"}}, 20*time.Second
		}, Losing, "The buffer is full: the gateway drops records and says which. There is no connection to the broker for 1 h."},
		{func(s *Snapshot) {
			s.Alarms, s.whole = []Alarm{{Code: "buffer_evicting", Severity: "critical"}}, 20*time.Second
		}, Attention, "Everything that was kept is delivered. The buffer was full, and records were lost until 20 s ago."},
		{func(s *Snapshot) {
			s.Alarms = []Alarm{{Code: "config_rejected", Severity: "warning"}, {Code: "x", Severity: "error", Title: "Stored records were damaged", Source: "gateway"}}
		}, Attention, "Everything that is read is delivered; stored records were damaged and 1 more alarm."},
		{func(s *Snapshot) {
			s.Alarms = []Alarm{{Code: "config_rejected", Severity: "warning", Title: "New configuration not taken", Source: "gateway"}}
		}, OK, "Everything works: all 2 sources are read, and the broker acknowledges every record. Warning: new configuration not taken."},
		{func(s *Snapshot) { // what lasts must not hide what is new
			s.Alarms = []Alarm{{Severity: "warning", Title: "A fallback value is in force", Source: "gateway", Subject: "relay1", Since: now.Add(-time.Hour)},
				{Severity: "warning", Title: "New configuration not taken", Source: "gateway", Since: now}, {Severity: "warning", Since: now.Add(-time.Minute)}, {Severity: "info"}}
		}, OK, "Everything works: all 2 sources are read, and the broker acknowledges every record. Warning: new configuration not taken and 2 more warnings."},
	} {
		s := base()
		c.change(&s)
		if state, text := s.judge(); state != c.state || text != c.want {
			t.Errorf("%s %q\nwant %s %q", state, text, c.state, c.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for seconds, want := range map[float64]string{0.3: "0.3 s", 40: "40 s", 59.7: "1 min", 341: "5 min 41 s", 9120: "2 h 32 min", 273600: "3 d 4 h", -1: "unknown"} {
		if got := Span(seconds); got != want {
			t.Errorf("Span(%v) = %q, want %q", seconds, got, want)
		}
	}
}
