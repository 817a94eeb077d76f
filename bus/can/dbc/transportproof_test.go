package dbc

import (
	"bytes"

	"fieldferry/bus/can"
)

// proof is how a message that nobody sent is explained.
type proof uint8

const (
	unexplained proof = iota
	alone             // what arrived is exactly one undisturbed transfer
	partly            // its packets are, and some or all requests of the receiver were not seen
	again             // as alone or partly, and the receiver asked before all it had asked for was said
)

// saidAs is what a frame of the transport protocol says, read by itself.
type saidAs struct {
	control    byte // 0: a packet
	number     int  // of a packet
	count      int  // that a request asks for, from first on
	first      int
	size       int
	packets    int
	group      uint32
	payload    []byte
	at         int64
	isTransfer bool
}

func readSaid(f *can.Frame) saidAs {
	d := f.Data
	if f.ID>>16&0xFF == 0xEB {
		return saidAs{isTransfer: true, number: int(d[0]), payload: bytes.Clone(d[1:8]), at: f.Time}
	}
	return saidAs{control: d[0], size: int(d[1]) + 256*int(d[2]), packets: int(d[3]), count: int(d[1]), first: int(d[2]),
		group: uint32(d[5]) + 256*uint32(d[6]) + 65536*uint32(d[7]), at: f.Time}
}

// explain looks for an undisturbed transfer of SAE J1939-21 5.10 that consists of
// exactly the frames that arrived and makes the message p. It is written from
// the sender's and the receiver's part in the standard, without the listener:
// the broadcast is announcement, packets 1 to n; the transfer to one node is
// announcement and then, until all is said, pauses, a request and just the
// packets it asks for.
func (l *line) explain(p *Packet) proof {
	var said []saidAs // since the latest announcement
	for i := range l.arrived {
		w := &l.arrived[i]
		if w.of == nil { // a known loss
			said = nil
			continue
		}
		s := readSaid(&w.f)
		if !s.isTransfer && (s.control == 16 || s.control == 32) {
			said = nil
		}
		said = append(said, s)
	}
	if len(said) == 0 || said[0].isTransfer || said[0].group != p.PGN || said[0].size != len(p.Data) {
		return unexplained
	}
	begin := said[0]
	told := []saidAs{begin}
	requests := 0
	for _, s := range said[1:] {
		if !s.isTransfer && s.group != begin.group && s.control != 17 {
			continue // about a transfer in the opposite direction
		}
		if !s.isTransfer && s.control == 17 {
			requests++
		}
		told = append(told, s)
	}
	if begin.control == 32 && begin.packets == len(told)-1 && inOrder(told) && makes(told, p) {
		return alone
	}
	if begin.control != 16 || !makes(told, p) {
		return unexplained
	}
	if requests > 0 && converses(told, false) {
		return alone
	}
	if requests == 0 && begin.packets == len(told)-1 && inOrder(told) {
		return partly
	}
	if requests > 0 && conversesUnseen(told, false) {
		return partly
	}
	if requests > 0 && (converses(told, true) || conversesUnseen(told, true)) {
		return again
	}
	return unexplained
}

// inOrder: packets 1 to n and nothing else, none later than allowed.
func inOrder(told []saidAs) bool {
	for i, s := range told[1:] {
		limit := 750 * ms
		if i == 0 {
			limit = 1250 * ms
		}
		if !s.isTransfer || s.number != i+1 || !inTime(told[i], s, limit) {
			return false
		}
	}
	return true
}

func inTime(before, s saidAs, limit int64) bool {
	gap := s.at - before.at
	return gap <= limit && gap >= -10*ms
}

// converses: the announcement and then requests, each followed by the packets it
// asks for; only the last request may be cut short by the end of the message.
// With early, a request may also be cut short by the next one: the receiver
// has missed what was asked for, and asks again (5.10.2.3).
func converses(told []saidAs, early bool) bool {
	n := told[0].packets
	i, before := 1, told[0]
	limit := 1250 * ms
	have := make([]bool, n+1)
	for i < len(told) {
		s := told[i]
		if s.isTransfer || s.control != 17 || s.group != told[0].group || !inTime(before, s, limit) {
			return false
		}
		before, i = s, i+1
		if s.count == 0 {
			limit = 1050 * ms
			continue
		}
		for number, due := s.first, 1250*ms; number < s.first+s.count && number <= n && i < len(told); number, due = number+1, 750*ms {
			s := told[i]
			if early && !s.isTransfer && s.control == 17 {
				break
			}
			if !s.isTransfer || s.number != number || !inTime(before, s, due) {
				return false
			}
			have[number] = true
			before, i = s, i+1
		}
		limit = 1250 * ms
	}
	for _, got := range have[1:] {
		if !got {
			return false
		}
	}
	return true
}

// conversesUnseen is converses where the listener has missed requests that come
// before the first one it saw: up to there the packets count up by one.
func conversesUnseen(told []saidAs, early bool) bool {
	first := 1
	for first < len(told) && told[first].isTransfer {
		first++
	}
	if first == 1 || first == len(told) || !inOrder(told[:first]) {
		return false
	}
	// What was asked for and said before stands for one request.
	asked := saidAs{control: 17, count: first - 1, first: 1, group: told[0].group, at: told[0].at}
	whole := append([]saidAs{told[0], asked}, told[1:]...)
	return converses(whole, early)
}

// makes: the packets of told hold what p says, each the same whenever it was said.
func makes(told []saidAs, p *Packet) bool {
	if told[0].packets != (len(p.Data)+6)/7 {
		return false
	}
	have := make([]bool, told[0].packets)
	for _, s := range told {
		if !s.isTransfer {
			continue
		}
		if s.number < 1 || s.number > len(have) {
			return false
		}
		at := 7 * (s.number - 1)
		part := p.Data[at:min(at+7, len(p.Data))]
		if !bytes.Equal(part, s.payload[:len(part)]) {
			return false
		}
		have[s.number-1] = true
	}
	for _, got := range have {
		if !got {
			return false
		}
	}
	return true
}
