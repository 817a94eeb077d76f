package live

import (
	"bytes"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

// MaxJoined is how many long J1939 messages of a bus are kept, by id. Each takes
// at most 2 KB.
const MaxJoined = 256

// joined is the last message with an id that came in packets. The frame of its row
// has the time and the id alone.
type joined struct {
	row
	data []byte
}

// Join takes a long J1939 message, of which it keeps a copy. It does not allocate
// once every id has been seen with its most data.
func (f *Frames) Join(p *dbc.Packet) {
	frame := can.Frame{Time: p.Time, ID: p.ID(), Flags: can.Extended}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.joined {
		if j := &f.joined[i]; j.frame.ID == frame.ID {
			j.note(&frame)
			j.data = append(j.data[:0], p.Data...)
			return
		}
	}
	if len(f.joined) < MaxJoined {
		f.joined = append(f.joined, joined{row{frame: frame, count: 1}, bytes.Clone(p.Data)})
	}
}

// Joined returns a copy of the last message of each id that came in packets, in
// the order in which the ids were seen.
func (f *Frames) Joined() (rows []Row) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.joined {
		r := f.joined[i].copy()
		r.Data = bytes.Clone(f.joined[i].data)
		rows = append(rows, r)
	}
	return rows
}

// heard is the last frame or joined message of an id, and what describes it.
type heard struct {
	Row
	*dbc.Message
	sa *uint8 // who sent it, if it is one of J1939
}

func (h *heard) at() time.Time { return time.Unix(0, h.Frame.Time).UTC() }

// heard lists the last messages that a DBC file describes, in the order in which
// their ids came, joined ones behind. Of J1939 it has one for each sender and
// receiver: a message may come in a frame now and in packets then, as DM1 does,
// and with another priority. The newest counts.
func (b Bus) heard() (list []heard) {
	if b.DB == nil {
		return nil
	}
	type origin struct {
		*dbc.Message
		id uint32 // without the priority
	}
	place := map[origin]int{}
	rows, _ := b.Frames.Rows(nil)
	for _, r := range append(rows, b.Frames.Joined()...) {
		h := heard{Row: r, Message: b.message(&r)}
		if h.Message == nil {
			continue
		}
		if b.DB.IsJ1939(h.Message) {
			sa := dbc.SourceAddress(r.Frame.ID)
			h.sa = &sa
			of := origin{h.Message, r.Frame.ID & (1<<26 - 1)}
			if i, ok := place[of]; ok {
				if r.Frame.Time >= list[i].Frame.Time {
					list[i] = h
				}
				continue
			}
			place[of] = len(list)
		}
		list = append(list, h)
	}
	return list
}
