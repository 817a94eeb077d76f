package dbc

import (
	"fmt"
	"slices"
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
	messages []*Message
	standard [2048]*Message
	extended map[uint32]*Message
	groups   map[uint32]*Message // by PGN: of several, one without source address, or the first
	sources  map[uint32]*Message // by PGN<<8 and source address
}

// NewDatabase joins files. Where two files describe one id differently, the
// first one counts and a diagnostic names both.
func NewDatabase(match Match, files ...*File) (*Database, []Diagnostic) {
	d := &Database{extended: make(map[uint32]*Message), groups: make(map[uint32]*Message), sources: make(map[uint32]*Message)}
	var conflicts []Diagnostic
	for _, f := range files {
		for _, m := range f.Messages {
			if old := d.exact(m.ID, m.Extended); old != nil {
				if !sameLayout(old, m) {
					conflicts = append(conflicts, Diagnostic{
						File: m.file, Line: m.line, Col: 1, Severity: Error,
						What: fmt.Sprintf("message %s (%s) is described differently by %s:%d as %s: that one counts",
							m.Name, formatID(m), old.file, old.line, old.Name),
						Fix: "leave out one of them",
					})
				}
				continue
			}
			d.messages = append(d.messages, m)
			if !m.Extended {
				d.standard[m.ID] = m
				continue
			}
			d.extended[m.ID] = m
			if match == MatchPGN || match == MatchAuto && m.J1939 {
				d.addGroup(m)
			}
		}
	}
	return d, conflicts
}

func (d *Database) addGroup(m *Message) {
	pgn, source := PGN(m.ID), uint32(SourceAddress(m.ID))
	if old := d.groups[pgn]; old == nil || source == NullAddress && SourceAddress(old.ID) != NullAddress {
		d.groups[pgn] = m
	}
	if key := pgn<<8 | source; d.sources[key] == nil {
		d.sources[key] = m
	}
}

func formatID(m *Message) string {
	if m.Extended {
		return fmt.Sprintf("%08X", m.ID)
	}
	return fmt.Sprintf("%03X", m.ID)
}

// sameLayout reports whether two messages decode alike.
func sameLayout(a, b *Message) bool {
	return a.Name == b.Name && slices.EqualFunc(a.Signals, b.Signals, func(s, t Signal) bool {
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

// Lookup returns the message of a frame's id, or nil. A standard and an
// extended id of the same number are different. Of the messages of one
// parameter group, that of the frame's source address is preferred, then one
// that gives none, then the first.
func (d *Database) Lookup(id uint32, extended bool) *Message {
	m := d.exact(id, extended)
	if m != nil || !extended || len(d.groups) == 0 {
		return m
	}
	return d.LookupPGN(PGN(id), SourceAddress(id))
}

// LookupPGN returns the message of a parameter group that is matched as such,
// or nil. Which of several is as of [Database.Lookup].
func (d *Database) LookupPGN(pgn uint32, source uint8) *Message {
	if m := d.sources[pgn<<8|uint32(source)]; m != nil {
		return m
	}
	return d.groups[pgn]
}

// J1939 reports whether any message is matched by its parameter group.
func (d *Database) J1939() bool { return len(d.groups) > 0 }
