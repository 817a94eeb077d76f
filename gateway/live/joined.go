package live

import (
	"bytes"

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
			if j.message != nil && (j.paged || len(j.pages) > 0 || len(j.data) != len(p.Data)) {
				f.keep(&j.row, j.data, p.Time, p.Data)
			}
			j.note(&frame)
			j.data = append(j.data[:0], p.Data...)
			return
		}
	}
	if len(f.joined) < MaxJoined {
		f.joined = append(f.joined, joined{row{frame: frame, count: 1}, bytes.Clone(p.Data)})
		if f.DB != nil {
			f.joined[len(f.joined)-1].describe(f.DB.LookupPacket(frame.ID))
		}
	}
}

// heard is the last frame or joined message of an id, and what describes it.
type heard struct {
	*Row
	*dbc.Message
	sa *uint8 // who sent it, if it is one of J1939
}

// with is h and another of the same origin: the newest counts, and each signal is of
// the newest that has it.
func (h *heard) with(g *heard) *heard {
	if g.Frame.Time >= h.Frame.Time {
		g, h = h, g
	}
	if h.Message == nil {
		h.Message = g.Message
	}
	if h.Message == g.Message {
		h.pages = append(h.pages, g.pages...)
	}
	return h
}

// heard lists the last messages that a DBC file describes, in the order in which
// their ids came, joined ones behind. Of J1939 it has one for each sender and
// receiver: a message may come in a frame now and in packets then, as DM1 does,
// and with another priority.
func (b Bus) heard() (list []*heard) {
	if b.DB == nil {
		return nil
	}
	type origin struct {
		*dbc.Message
		id uint32 // without the priority
	}
	place := map[origin]int{}
	rows, _ := b.Frames.Rows()
	for i := range rows {
		h := b.hear(&rows[i])
		if h.Message == nil || len(h.pages) == 0 {
			continue
		}
		if b.DB.IsJ1939(h.Message) {
			sa := dbc.SourceAddress(h.Frame.ID)
			h.sa = &sa
			of := origin{h.Message, h.Frame.ID & (1<<26 - 1)}
			if i, ok := place[of]; ok {
				list[i] = list[i].with(h)
				continue
			}
			place[of] = len(list)
		}
		list = append(list, h)
	}
	return list
}
