package dbc

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fieldferry/bus/can"
)

var (
	simTransfers = flag.Int("transfers", 20_000, "how many transfers TestTransportSimulated makes")
	simSeed      = flag.Uint64("seed", 1, "the first seed of TestTransportSimulated")
)

const ms = int64(time.Millisecond)

// transfer is what a node of the simulation really sent.
type transfer struct {
	sender
	complete bool // not given up
	frames   int  // from the announcement to the last packet
	joined   bool
	hit      int // a bit for each of the disturbances it suffered
}

// onWire is a frame of a transfer, or with of == nil a gap that is known.
type onWire struct {
	f    can.Frame
	of   *transfer
	seq  int // in the transfer; the acknowledgement has that of no packet
	line *line
}

// line is what two nodes say in one direction, or one node says to all.
type line struct {
	source, destination byte
	sent                []*transfer
	arrived             []onWire
}

// busSim makes the traffic of a bus and disturbs it.
type busSim struct {
	r     *rand.Rand
	lines []*line
	wire  []onWire
}

func newBusSim(seed uint64) *busSim {
	s := &busSim{r: rand.New(rand.NewPCG(seed, 1939))}
	nodes := 2 + s.r.IntN(9)
	for a := range nodes {
		for b := range nodes + 1 {
			if a == b || s.r.IntN(nodes) > 1 {
				continue
			}
			l := &line{source: byte(a), destination: byte(b)}
			if b == nodes {
				l.destination = GlobalAddress
			}
			s.lines = append(s.lines, l)
			s.disturb(s.traffic(l))
		}
	}
	slices.SortStableFunc(s.wire, func(a, b onWire) int { return int(min(max(a.f.Time-b.f.Time, -1), 1)) })
	s.overflow()
	return s
}

// traffic makes some transfers of a line, one after the other.
func (s *busSim) traffic(l *line) (frames []onWire) {
	now := 1e6*ms + s.r.Int64N(2000*ms)
	size := []int{9, 14, 20, 39, 39, 60, 61, 200}[s.r.IntN(8)]
	var data []byte
	for range 2 + s.r.IntN(5) {
		if s.r.IntN(3) == 0 || data == nil {
			if s.r.IntN(3) == 0 {
				size = 9 + s.r.IntN(60)
			}
			data = randomBytes(s.r, size)
		}
		data = bytes.Clone(data)
		data[s.r.IntN(len(data))] ^= byte(1 + s.r.IntN(255)) // much as the one before
		if s.r.IntN(2) == 0 {
			data = randomBytes(s.r, len(data))
		}
		pgn := 0xFE00 | uint32(l.source)<<3 | uint32(s.r.IntN(3))
		tr := &transfer{sender: sender{l.source, l.destination, pgn, data}, complete: true}
		l.sent = append(l.sent, tr)
		c := conversation{s: s, l: l, tr: tr, now: now, frames: frames}
		c.say(tr.announce())
		if l.destination == GlobalAddress {
			for n := range tr.packets() {
				c.after(10, 200).say(tr.packet(n))
			}
			tr.frames = c.said
		} else {
			c.connection()
		}
		frames, now = c.frames, c.now+s.r.Int64N([]int64{30, 300, 2000}[s.r.IntN(3)]*ms)
	}
	return frames
}

// conversation is a transfer as it is being said.
type conversation struct {
	s      *busSim
	l      *line
	tr     *transfer
	now    int64
	said   int
	frames []onWire
}

func (c *conversation) after(least, most int64) *conversation {
	c.now += least*ms + c.s.r.Int64N((most-least)*ms)
	return c
}

func (c *conversation) say(f can.Frame) {
	f.Time = c.now
	c.frames = append(c.frames, onWire{f, c.tr, c.said, c.l})
	c.said++
}

// connection says a transfer from one to one: windows, pauses, packets that
// the receiver asks for again, and sometimes an abort.
func (c *conversation) connection() {
	r, tr := c.s.r, c.tr
	back := sender{tr.destination, tr.source, tr.pgn, nil}
	window := 1 + r.IntN(tr.packets())
	for first := 1; first <= tr.packets(); {
		if r.IntN(40) == 0 {
			tr.complete = false
			by := []sender{back, tr.sender}[r.IntN(2)]
			c.after(1, 200).say(by.connection(controlAbort, byte(1+r.IntN(8))))
			return
		}
		for r.IntN(20) == 0 {
			c.after(1, 500).say(back.connection(controlCTS, 0, 255))
		}
		count := min(window, tr.packets()-first+1)
		c.after(1, []int64{200, 1000}[r.IntN(2)]).say(back.connection(controlCTS, byte(count), byte(first)))
		for n := first; n < first+count; n++ {
			c.after(1, 100).say(tr.packet(n - 1))
		}
		if r.IntN(15) == 0 { // the receiver has missed one
			again := first + r.IntN(count)
			c.after(1, 200).say(back.connection(controlCTS, 1, byte(again)))
			c.after(1, 100).say(tr.packet(again - 1))
		}
		first += count
	}
	tr.frames = c.said
	c.after(1, 200).say(back.connection(controlAcknowledge, byte(len(tr.data)), byte(len(tr.data)>>8), byte(tr.packets())))
}

// What happens to frames.
const (
	loseOne = iota
	loseMany
	repeat
	reorder
	delay
	loseAndSay
)

var disturbances = [...]string{"a frame lost", "many lost", "a frame repeated", "frames exchanged", "a silence", "a loss that is known"}

// disturb loses, repeats, exchanges and delays frames of a line.
func (s *busSim) disturb(frames []onWire) {
	r := s.r
	if r.IntN(4) > 0 {
		for range 1 + r.IntN(4) {
			if len(frames) < 2 {
				break
			}
			i := r.IntN(len(frames) - 1)
			kind := r.IntN(delay + 1)
			frames[i].of.hit |= 1 << kind
			switch kind {
			case loseOne:
				frames = slices.Delete(frames, i, i+1)
			case loseMany:
				j := min(i+1+r.IntN(16), len(frames))
				for _, w := range frames[i:j] {
					w.of.hit |= 1 << kind
				}
				frames = slices.Delete(frames, i, j)
			case repeat:
				again := frames[i]
				j := i + 1 + r.IntN(min(3, len(frames)-i))
				again.f.Time = frames[j-1].f.Time + 1
				frames = slices.Insert(frames, j, again)
			case reorder:
				j := min(i+1+r.IntN(3), len(frames)-1)
				frames[j].of.hit |= 1 << kind
				frames[i], frames[j] = frames[j], frames[i]
				frames[i].f.Time, frames[j].f.Time = frames[j].f.Time, frames[i].f.Time
			case delay:
				late := 100*ms + r.Int64N(2000*ms)
				for j := i; j < len(frames); j++ {
					frames[j].f.Time += late
				}
			}
		}
	}
	s.wire = append(s.wire, frames...)
}

// overflow loses frames of the whole bus, and says so.
func (s *busSim) overflow() {
	for s.r.IntN(3) == 0 && len(s.wire) > 0 {
		i := s.r.IntN(len(s.wire))
		j := min(i+s.r.IntN(60), len(s.wire))
		s.wire = slices.Replace(s.wire, i, j, onWire{f: can.Frame{Time: s.wire[i].f.Time}})
	}
}

// tally is what became of the transfers.
type tally struct {
	sent, joined, undisturbed int
	couldHave                 [len(disturbances)]int // not joined, though all packets arrived after their announcement
	undecidable               int                    // what arrived is a proper transfer, in truth the parts of two
	explained                 [again + 1]int         // how
	wrong, missing            int
}

// run feeds the traffic and counts.
func (s *busSim) run(tr *Transport, sum *tally, report func(format string, args ...any)) {
	for i := range s.wire {
		w := &s.wire[i]
		if w.of == nil {
			tr.Lost()
			for _, l := range s.lines {
				l.arrived = append(l.arrived, *w)
			}
			continue
		}
		w.line.arrived = append(w.line.arrived, *w)
		if p, ok := tr.Feed(&w.f); ok {
			s.judge(w.line, &p, sum, report)
		}
	}
	for _, l := range s.lines {
		for _, sent := range l.sent {
			sum.sent++
			undisturbed, could := l.came(sent)
			if undisturbed {
				sum.undisturbed++
			}
			switch {
			case sent.joined:
				sum.joined++
			case undisturbed:
				sum.missing++
				report("an undisturbed transfer of %X to %X was not joined", sent.source, sent.destination)
			case could:
				sum.couldHave[sent.suffered()]++
			}
		}
	}
}

// suffered returns the worst that happened to a transfer.
func (t *transfer) suffered() int {
	for _, kind := range []int{loseMany, loseOne, reorder, repeat, delay} {
		if t.hit&(1<<kind) != 0 {
			return kind
		}
	}
	return loseAndSay
}

// judge looks for the transfer that a joined message is.
func (s *busSim) judge(l *line, p *Packet, sum *tally, report func(format string, args ...any)) {
	if p.Source == l.source && p.Destination == l.destination {
		for _, sent := range l.sent {
			if !sent.joined && sent.pgn == p.PGN && bytes.Equal(sent.data, p.Data) {
				sent.joined = true
				return
			}
		}
	}
	if by := l.explain(p); by != unexplained && l.plausible() {
		sum.undecidable++
		sum.explained[by]++
		return
	}
	sum.wrong++
	report("a message of %X to %X of group %X was never sent", p.Source, p.Destination, p.PGN)
}

// came reports whether a transfer arrived as it was sent, and whether all its
// packets at least arrived after its announcement.
func (l *line) came(t *transfer) (undisturbed, could bool) {
	begin := slices.IndexFunc(l.arrived, func(w onWire) bool { return w.of == t && w.seq == 0 })
	if begin < 0 || !t.complete {
		return false, false
	}
	rest := l.arrived[begin:]
	undisturbed = len(rest) >= t.frames
	for i := 0; undisturbed && i < t.frames; i++ {
		undisturbed = rest[i].of == t && rest[i].seq == i
	}
	if undisturbed {
		whole := line{arrived: rest[:t.frames]}
		undisturbed = whole.plausible() // not too late
	}
	numbers := map[byte]bool{}
	for _, w := range rest {
		if w.of == t && PGN(w.f.ID) == pgnTransfer {
			numbers[w.f.Data[0]] = true
		}
	}
	return undisturbed, len(numbers) == t.packets()
}

// plausible reports whether what arrived since the latest announcement can be
// one transfer by the rules of SAE J1939-21, for all that a listener can know.
func (l *line) plausible() bool {
	begin := len(l.arrived) - 1
	for ; begin >= 0; begin-- {
		if w := &l.arrived[begin]; w.of != nil && PGN(w.f.ID) == pgnConnection && (w.f.Data[0] == controlRTS || w.f.Data[0] == controlBAM) {
			break
		}
	}
	if begin < 0 {
		return false
	}
	announced := l.arrived[begin].f
	toAll := announced.Data[0] == controlBAM
	group := func(f can.Frame) [3]byte { return [3]byte(f.Data[5:8]) }
	last, patience, before, window, top := announced.Time, int64(1250), byte(0), byte(0), byte(0)
	content := map[byte][7]byte{}
	for _, w := range l.arrived[begin+1:] {
		if w.of == nil || w.f.Time-last > patience*ms {
			return false
		}
		control := w.f.Data[0]
		same := group(w.f) == group(announced)
		switch {
		case PGN(w.f.ID) == pgnTransfer:
			n, packet := w.f.Data[0], [7]byte(w.f.Data[1:8])
			known, again := content[n]
			if n <= before || (toAll || window == 0) && n != before+1 || window > 0 && n > window || again && known != packet {
				return false
			}
			content[n], before, top, patience = packet, n, max(top, n), 750
			if window > 0 && n >= window {
				patience = 1250
			}
		case control == controlAbort && !same:
			continue
		case control == controlAcknowledge && !same && top == 0:
			continue
		case control != controlCTS || !same:
			return false
		case w.f.Data[1] == 0:
			patience = 1050
		default:
			before, window, patience = w.f.Data[2]-1, w.f.Data[2]+w.f.Data[1]-1, 1250
		}
		last = w.f.Time
	}
	return true
}

// TestTransportSimulated: of the disturbed traffic of many nodes no message is
// joined that nobody sent, and every undisturbed one is. A million:
//
//	go test ./bus/can/dbc -run TransportSimulated -v -transfers 1000000
func TestTransportSimulated(t *testing.T) {
	var sum tally
	runs, faulty := 0, 0
	for seed := *simSeed; sum.sent < *simTransfers && faulty < 5; seed++ {
		runs++
		var tr Transport
		before := sum.wrong + sum.missing
		newBusSim(seed).run(&tr, &sum, func(format string, args ...any) {
			t.Helper()
			t.Errorf("seed %d (run %d): "+format, append([]any{seed, runs}, args...)...)
		})
		if sum.wrong+sum.missing > before {
			faulty++
		}
	}
	t.Logf("%d transfers in %d runs: %d joined, all %d undisturbed ones among them", sum.sent, runs, sum.joined, sum.undisturbed-sum.missing)
	t.Logf("%d wrong, %d missing, %d of two messages that no listener can tell from one", sum.wrong, sum.missing, sum.undecidable)
	t.Logf("of those, %d are exactly the frames of one undisturbed transfer, %d are its packets and a part of its requests, in %d its receiver asks early", sum.explained[alone], sum.explained[partly], sum.explained[again])
	for kind, n := range sum.couldHave {
		t.Logf("%d not joined though all packets came: %s", n, disturbances[kind])
	}
}
