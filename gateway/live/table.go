package live

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

// ID is the last frame of one arbitration id, for people and programs.
type ID struct {
	ID       string    `json:"id"` // upper-case hex, 3 digits standard, 8 extended
	Name     string    `json:"name,omitempty"`
	Packets  bool      `json:"packets,omitempty"`   // a J1939 message that was joined from packets
	TP       string    `json:"transport,omitempty"` // of J1939: TP.CM or TP.DT, which carry longer messages
	Len      int       `json:"len"`
	Data     string    `json:"data"` // upper-case hex; of a remote frame empty
	Remote   bool      `json:"rtr,omitempty"`
	FD       bool      `json:"fd,omitempty"`
	Changed  []int     `json:"changed,omitempty"` // bytes that changed within two seconds, from 0
	Count    uint64    `json:"count"`
	Min      float64   `json:"min_ms"` // between neighbours; 0: not known
	Mean     float64   `json:"mean_ms"`
	Max      float64   `json:"max_ms"`
	Delta    float64   `json:"delta_ms"` // between the last two; 0: not known
	Last     time.Time `json:"last"`
	Describe bool      `json:"described,omitempty"` // a DBC file says what its signals are
}

// Signal is a signal of a frame, for people and programs.
type Signal struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"` // as in a record; null if it has none
	Text  string          `json:"text"`  // the number alone
	Unit  string          `json:"unit,omitempty"`
	Label string          `json:"label,omitempty"`
	Error string          `json:"error,omitempty"`        // why it has no value: "not available", ...
	Out   bool            `json:"out_of_range,omitempty"` // beyond the limits of the DBC file
	At    time.Time       `json:"at,omitzero"`            // of the frame that carried it last; zero: none yet
	Every float64         `json:"every_s"`                // how often such frames come; 0: not known

	page   int // of that frame
	number float64
}

// labelled is a value as a record has it.
type labelled struct {
	Label string          `json:"label"`
	Value json.RawMessage `json:"value"`
}

var null = json.RawMessage("null")

// Bus is what can be looked at of a CAN source: its frames, and what the DBC
// files say of them. DB may be nil.
type Bus struct {
	Frames *Frames
	DB     *dbc.Database
}

// Table returns the last frame of every id, with the long messages behind, and how
// many frames belong to ids without a row.
func (b Bus) Table() (table []ID, others uint64) {
	rows, others := b.Frames.Rows()
	table = make([]ID, len(rows))
	for i := range rows {
		table[i] = b.row(&rows[i])
	}
	return table, others
}

func (b Bus) row(r *Row) ID {
	f := &r.Frame
	out := ID{
		ID: FormatID(f), Len: int(f.Len), Data: strings.ToUpper(hex.EncodeToString(r.payload())),
		Remote: f.Flags&can.Remote != 0, FD: f.Flags&can.FD != 0,
		Count: r.Count, Min: ms(r.Min), Mean: ms(r.Mean), Max: ms(r.Max), Delta: ms(r.Delta), Last: time.Unix(0, f.Time).UTC(),
	}
	for i := range int(min(f.Len, can.MaxDataLen)) {
		if r.Changed>>i&1 != 0 {
			out.Changed = append(out.Changed, i)
		}
	}
	if r.Data != nil {
		out.Packets, out.Len = true, len(r.Data)
	}
	if m := b.message(r); m != nil {
		out.Name, out.Describe = m.Name, true
	} else if b.j1939() && f.Flags == can.Extended {
		out.TP = dbc.TransportName(f.ID)
	}
	return out
}

func (b Bus) j1939() bool { return b.DB != nil && b.DB.J1939() }

func (b Bus) message(r *Row) *dbc.Message {
	switch {
	case b.DB == nil:
		return nil
	case r.Data != nil:
		return b.DB.LookupPacket(r.Frame.ID)
	}
	return b.DB.Find(r.Frame.ID, r.Frame.Flags&^can.Remote)
}

// Signals returns the last frame of an id, written as [FormatID] does, or the last
// long message, and the last value of each of its signals. It returns false if
// there was none.
func (b Bus) Signals(id string) (ID, []Signal, bool) {
	var h *heard
	rows, _ := b.Frames.Rows()
	for i := range rows {
		if FormatID(&rows[i].Frame) == id {
			g := b.hear(&rows[i])
			if h != nil {
				g = h.with(g)
			}
			h = g
		}
	}
	if h == nil {
		return ID{}, nil, false
	}
	return b.row(h.Row), h.signals(), true
}

// FormatID is the arbitration id of a frame as candump writes it: 3 digits
// standard, 8 digits extended, upper-case hex.
func FormatID(f *can.Frame) string {
	if f.Flags&can.Extended != 0 {
		return fmt.Sprintf("%08X", f.ID)
	}
	return fmt.Sprintf("%03X", f.ID)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// maxPoints bounds the signals of a bus that are listed together.
const maxPoints = 2000

// Points returns the last value of every signal of the messages heard so far, at
// most 2000, each with the time of the frame that carried it: that may be an older
// one, of a multiplexed message.
func (b Bus) Points() []Value {
	list, all := []Value{}, b.heard()
	for i := range all {
		if list = all[i].points(list); len(list) >= maxPoints {
			return list[:maxPoints]
		}
	}
	return list
}

func (h *heard) points(list []Value) []Value {
	for _, s := range h.signals() {
		p := Value{Device: h.Name, ID: h.pages[s.page].id, SA: h.sa, Name: s.Name, Unit: s.Unit, Value: s.Value, Error: s.Error, Out: s.Out, At: s.At, Every: s.Every}
		if s.Label != "" {
			p.Value, _ = json.Marshal(labelled{s.Label, s.Value})
		}
		list = append(list, p)
	}
	return list
}

// Lines calls yield with the frames from the number from on, at most the newest
// most of them, as candump writes them but without the name of the bus, and
// returns the number that the next frame will have. See [Frames.Since].
func (b Bus) Lines(from uint64, most int, yield func(line string)) (next uint64) {
	return b.Frames.Since(from, most, func(f *can.Frame) {
		line := fmt.Appendf(nil, "%d.%06d ", f.Time/1e9, f.Time%1e9/1000)
		yield(string(f.Append(line)))
	})
}

// Log calls yield with the newest frames from since on, oldest first, as lines of
// candump -l with the given name of the bus, until it returns false. A line is
// valid only during the call.
func (b Bus) Log(name string, since time.Time, yield func(line []byte) bool) {
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '_'
		}
		return r
	}, name)
	var line []byte
	from := b.Frames.from(since)
	b.Frames.Newest(func(f *can.Frame) bool {
		if f.Time < from {
			return true
		}
		line = fmt.Appendf(line[:0], "(%d.%06d) %s ", f.Time/1e9, f.Time%1e9/1000, name)
		line = append(f.Append(line), '\n')
		return yield(line)
	})
}
