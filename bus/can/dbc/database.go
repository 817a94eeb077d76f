package dbc

import (
	"fmt"
	"slices"

	"fieldferry/bus/can"
)

// Match says how a [Database] finds the message of an extended id.
type Match uint8

// The ways to match.
const (
	MatchAuto Match = iota // J1939 messages by parameter group, others by id
	MatchPGN               // every extended message by parameter group
	MatchID                // all by id
)

// ParseMatch reads the word for a way to match: auto, pgn or id.
func ParseMatch(s string) (m Match, ok bool) {
	m, ok = map[string]Match{"auto": MatchAuto, "pgn": MatchPGN, "id": MatchID}[s]
	return m, ok
}

// Database finds the messages of one bus. It may be used concurrently.
type Database struct {
	match    Match
	messages []*Message
	standard [2048]*Message
	extended map[uint32]*Message
	groups   groups
}

// NewDatabase joins files, whose messages are its own from then on. Where
// several messages describe one id or, as J1939, one parameter group of one
// sender and receiver differently, the first one counts and a diagnostic names
// both.
func NewDatabase(match Match, files ...*File) (*Database, []Diagnostic) {
	d := &Database{match: match, extended: make(map[uint32]*Message)}
	var conflicts []Diagnostic
	for _, f := range files {
		for _, m := range f.Messages {
			if old := d.exact(m.ID, m.Extended); old != nil {
				if !sameLayout(old, m) {
					conflicts = append(conflicts, conflict(m, old, formatID(m)))
				}
				continue
			}
			m.reserve(d.IsJ1939(m))
			d.messages = append(d.messages, m)
			if !m.Extended {
				d.standard[m.ID] = m
				continue
			}
			d.extended[m.ID] = m
			if !d.ByGroup(m) {
				continue
			}
			if old := d.groups.add(m); old != nil && !sameLayout(old, m) {
				conflicts = append(conflicts, conflict(m, old, fmt.Sprintf("PGN %04X, %s", PGN(m.ID), addresses(m.ID))))
			}
		}
	}
	return d, append(conflicts, d.groups.undecided()...)
}

func conflict(m, old *Message, what string) Diagnostic {
	but := ""
	if m.ID != old.ID && SourceAddress(m.ID) != anyAddress {
		but = ", but for frames of exactly the id " + formatID(m)
	}
	return Diagnostic{
		File: m.file, Line: m.line, Col: 1, Severity: Error,
		What: fmt.Sprintf("message %s (%s) is described differently by %s:%d as %s: that one counts%s", m.Name, what, old.file, old.line, old.Name, but),
		Fix:  "leave out one of them",
	}
}

func formatID(m *Message) string {
	if m.Extended {
		return fmt.Sprintf("%08X", m.ID)
	}
	return fmt.Sprintf("%03X", m.ID)
}

// sameLayout reports whether two messages decode alike.
func sameLayout(a, b *Message) bool { return a.Name == b.Name && sameSignals(a, b) }

func sameSignals(a, b *Message) bool {
	return slices.EqualFunc(a.Signals, b.Signals, func(s, t Signal) bool {
		same := s.Name == t.Name && s.Unit == t.Unit && s.Start == t.Start && s.Length == t.Length &&
			s.BigEndian == t.BigEndian && s.Signed == t.Signed && s.Type == t.Type &&
			s.Factor == t.Factor && s.Offset == t.Offset &&
			slices.Equal(s.When, t.When) && slices.Equal(s.Labels, t.Labels)
		if s.Multiplexer == nil || t.Multiplexer == nil {
			return same && s.Multiplexer == t.Multiplexer
		}
		return same && s.Multiplexer.Name == t.Multiplexer.Name
	})
}

// Messages returns all messages, in the order of the files. The slice is the
// database's own.
func (d *Database) Messages() []*Message { return d.messages }

func (d *Database) exact(id uint32, extended bool) *Message {
	if extended {
		return d.extended[id]
	}
	if id < uint32(len(d.standard)) {
		return d.standard[id]
	}
	return nil
}

// Lookup returns the message that describes a frame's id, or nil. A standard
// and an extended id of the same number are different. Of the messages of one
// parameter group, in this order: that of the frame's source and destination,
// of the destination, of the source, of all, the first. One of several that
// names no other address goes before one that does.
func (d *Database) Lookup(id uint32, extended bool) *Message {
	m := d.exact(id, extended)
	if m != nil || !extended || len(d.groups.all) == 0 {
		return m
	}
	return d.groups.find(id)
}

// LookupPacket returns the message of a parameter group that is matched as
// such, or nil, as [Database.Lookup] does. It is for messages that were joined
// from packets, whose id is that of [Packet.ID].
func (d *Database) LookupPacket(id uint32) *Message {
	if len(d.groups.all) == 0 {
		return nil
	}
	return d.groups.find(id)
}

// Find returns the message by which a frame can be decoded, or nil: none has an
// error frame, a remote frame, which asks for data, and one part of many
// ([Database.IsPart]).
func (d *Database) Find(id uint32, flags can.Flags) *Message {
	if flags&(can.Remote|can.ErrorFrame) != 0 {
		return nil
	}
	m := d.Lookup(id, flags&can.Extended != 0)
	if m != nil && m.Size > maxClassic && d.IsPart(m, flags) {
		return nil
	}
	return m
}

// Pages implements [can.Multiplexing].
func (d *Database) Pages(f *can.Frame) can.Pages {
	m := d.Find(f.ID, f.Flags)
	if m == nil || !m.Multiplexed() {
		return nil
	}
	return &m.plan
}

// Page numbers the values of the multiplexers in data, of any length: a frame that
// came shorter says something else of the same page.
func (pl *plan) Page(data []byte) uint64 { return pl.page(fnvOffset, data) }

// maxClassic is the most data that a frame of classical CAN has.
const maxClassic = 8

// IsPart reports whether a frame is only a part of its message: J1939 messages
// longer than a frame are sent in packets, under other ids. Under their own
// they are fast packets of NMEA 2000, whose first bytes number the parts. None
// are those of a message that the file says is one of CAN FD.
func (d *Database) IsPart(m *Message, flags can.Flags) bool {
	return m.Size > maxClassic && flags&can.FD == 0 && !m.fd && d.IsJ1939(m)
}

// IsJ1939 reports whether a message is one of J1939: by its file, or because
// all messages are matched by their parameter group.
func (d *Database) IsJ1939(m *Message) bool {
	return m.J1939 || d.match == MatchPGN && m.Extended
}

// IDs returns what the arbitration ids of a message's frames have in common: id
// under mask. Of a message found by its parameter group the priority and the
// addresses are free.
func (d *Database) IDs(m *Message) (id, mask uint32) {
	switch {
	case !d.ByGroup(m):
		return m.ID, 0x1FFFFFFF
	case PGN(m.ID)>>8&0xFF < pdu2:
		return m.ID, 0x03FF0000
	}
	return m.ID, 0x03FFFF00
}

// ByGroup reports whether a message is found by its parameter group.
func (d *Database) ByGroup(m *Message) bool { return d.match != MatchID && d.IsJ1939(m) }

// J1939 reports whether any message is matched by its parameter group.
func (d *Database) J1939() bool { return len(d.groups.all) > 0 }
