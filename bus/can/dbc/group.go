package dbc

import "fmt"

// A parameter group may have several meanings: that of one sender, of one
// receiver, or of a pair of them. Of a message that is sent to one node (PDU1,
// SAE J1939-21 5.2) the receiver selects the meaning more than the sender does,
// because it is the receiver who acts by it. The priority selects nothing.

// groups finds messages by parameter group.
type groups struct {
	pairs map[uint64]*Message // by PGN, destination and source
	rest  map[uint32]*Message // by PGN: what counts for all others
	order []*Message          // the rest, in the order of the files
	open  map[uint32]bool     // several have a meaning for some, none for all
}

// anyAddress stands for all addresses that a file does not name.
const anyAddress = NullAddress

// pairKey is the parameter group of an id with the addresses it names. Files
// give the null address for any sender, and the null or the global address for
// any receiver.
func pairKey(pgn uint32, destination, source uint8) uint64 {
	if destination == GlobalAddress {
		destination = anyAddress
	}
	return uint64(pgn)<<16 | uint64(destination)<<8 | uint64(source)
}

func pairOf(id uint32) uint64 { return pairKey(PGN(id), Destination(id), SourceAddress(id)) }

// forAll reports whether a message describes its group whoever sends it to whom.
func forAll(id uint32) bool { return uint16(pairOf(id)) == anyAddress<<8|anyAddress }

// add returns the message that has the same group and addresses already, if any.
func (g *groups) add(m *Message) *Message {
	if g.pairs == nil {
		g.pairs, g.rest, g.open = make(map[uint64]*Message), make(map[uint32]*Message), make(map[uint32]bool)
	}
	pgn, key := PGN(m.ID), pairOf(m.ID)
	if old := g.pairs[key]; old != nil {
		return old
	}
	g.pairs[key] = m
	switch old := g.rest[pgn]; {
	case old == nil:
		g.rest[pgn] = m
		g.order = append(g.order, m)
	case forAll(old.ID):
	case forAll(m.ID):
		g.rest[pgn], g.open[pgn] = m, false
	case SourceAddress(m.ID) == anyAddress && SourceAddress(old.ID) != anyAddress:
		g.rest[pgn] = m
		fallthrough
	default:
		g.open[pgn] = g.open[pgn] || !sameSignals(old, m)
	}
	return nil
}

// find returns the message of an id: of this source and destination, of any
// source to this destination, of this source to any, or what there is.
func (g *groups) find(id uint32) *Message {
	pgn, destination, source := PGN(id), Destination(id), SourceAddress(id)
	if m := g.pairs[pairKey(pgn, destination, source)]; m != nil {
		return m
	}
	if destination != GlobalAddress {
		if m := g.pairs[pairKey(pgn, destination, anyAddress)]; m != nil {
			return m
		}
		if m := g.pairs[pairKey(pgn, anyAddress, source)]; m != nil {
			return m
		}
	}
	return g.rest[pgn]
}

// undecided names the groups of which the first of several messages counts for
// addresses that no file names.
func (g *groups) undecided() (out []Diagnostic) {
	for _, first := range g.order {
		if pgn := PGN(first.ID); g.open[pgn] {
			m := g.rest[pgn]
			out = append(out, Diagnostic{
				File: m.file, Line: m.line, Col: 1, Severity: Warning,
				What: fmt.Sprintf("PGN %04X has several meanings by its addresses, and none for all others: %s counts for those", pgn, m.Name),
				Fix:  "describe it once with the source address FE (and the destination FF)",
			})
		}
	}
	return out
}

// addresses says in words which ones an id names.
func addresses(id uint32) string {
	text := fmt.Sprintf("source %02X", SourceAddress(id))
	if id>>16&0xFF < pdu2 {
		text += fmt.Sprintf(", destination %02X", Destination(id))
	}
	return text
}
