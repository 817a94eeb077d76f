package dbc

import "fmt"

// A parameter group may have several meanings: that of one sender, of one
// receiver, or of a pair of them. Of a message that is sent to one node (PDU1,
// SAE J1939-21 5.2) the receiver selects the meaning more than the sender does,
// because it is the receiver who acts by it. The priority selects nothing.

// groups finds messages by parameter group.
type groups struct {
	pairs map[uint64]*Message // by PGN, destination and source
	// What counts of several: of any source for a destination, of any
	// destination for a source, of all.
	to, from, all map[uint64]*choice
	order         []*choice // in the order of the files
}

// choice is the message that counts for the addresses that no message names.
type choice struct {
	*Message
	key     uint64
	general bool // it names none itself
	open    bool // others that do not either mean something else
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

// add returns the message that has the same group and addresses already, if any.
func (g *groups) add(m *Message) *Message {
	if g.pairs == nil {
		g.pairs = make(map[uint64]*Message)
		g.to, g.from, g.all = make(map[uint64]*choice), make(map[uint64]*choice), make(map[uint64]*choice)
	}
	pgn, source := PGN(m.ID), SourceAddress(m.ID)
	key := pairKey(pgn, Destination(m.ID), source)
	if old := g.pairs[key]; old != nil {
		return old
	}
	g.pairs[key] = m
	anySource, anyDestination := source == anyAddress, uint8(key>>8) == anyAddress
	g.choose(g.all, pairKey(pgn, anyAddress, anyAddress), m, anySource && anyDestination)
	if !anyDestination {
		g.choose(g.to, pairKey(pgn, uint8(key>>8), anyAddress), m, anySource)
	}
	if !anySource {
		g.choose(g.from, pairKey(pgn, anyAddress, source), m, anyDestination)
	}
	return nil
}

// choose notes m as what counts under a key, unless another does already.
func (g *groups) choose(under map[uint64]*choice, key uint64, m *Message, general bool) {
	c := under[key]
	switch {
	case c == nil:
		c = &choice{m, key, general, false}
		under[key] = c
		g.order = append(g.order, c)
	case c.general:
	case general:
		c.Message, c.general, c.open = m, true, false
	default:
		c.open = c.open || !sameSignals(c.Message, m)
		// One of any sender is more likely right than one of a single sender.
		if SourceAddress(m.ID) == anyAddress && SourceAddress(c.ID) != anyAddress {
			c.Message = m
		}
	}
}

// find returns the message of an id: of its source and destination, of the
// destination, of the source to all, of all, of the source, or the first.
func (g *groups) find(id uint32) *Message {
	pgn, destination, source := PGN(id), Destination(id), SourceAddress(id)
	if m := g.pairs[pairKey(pgn, destination, source)]; m != nil {
		return m
	}
	all := g.all[pairKey(pgn, anyAddress, anyAddress)]
	if all == nil {
		return nil
	}
	if pgn>>8&0xFF < pdu2 {
		if destination != GlobalAddress {
			if c := g.to[pairKey(pgn, destination, anyAddress)]; c != nil {
				return c.Message
			}
		}
		if c := g.from[pairKey(pgn, anyAddress, source)]; c != nil && (c.general || !all.general) {
			return c.Message
		}
	}
	return all.Message
}

// undecided names the choices between messages of different meaning.
func (g *groups) undecided() (out []Diagnostic) {
	for _, c := range g.order {
		destination, source := uint8(c.key>>8), uint8(c.key)
		if !c.open || source != anyAddress { // of one source to several destinations: the group's own choice is open too, or general
			continue
		}
		to := ""
		if destination != anyAddress {
			to = fmt.Sprintf(" to %02X", destination)
		}
		out = append(out, Diagnostic{
			File: c.file, Line: c.line, Col: 1, Severity: Warning,
			What: fmt.Sprintf("PGN %04X%s means different things by its addresses, and nothing for all others: %s counts for those", c.key>>16, to, c.Name),
			Fix:  "describe it once with the source address FE (and the destination FF)",
		})
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
