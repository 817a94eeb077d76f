package dbc

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sort"
)

// plan is a message compiled: what to do for each signal, in the order of the
// file.
type plan struct {
	ops   []op
	muxes []int32 // operations of the multiplexers, each behind the one it depends on
	// With a single multiplexer of single values, groups lists the operations
	// of each value, sorted, and common those of every other value.
	groups []group
	common []int32
}

// op reads one signal.
type op struct {
	signal *Signal
	mask   uint64
	when   []Range
	scale  scale
	sign   uint64 // the sign bit, or 0
	first  uint16 // bit on the wire, see Signal.first
	end    uint16 // bytes the frame must have
	shift  uint8  // of a signal within the first 8 bytes
	length uint8
	mux    int8 // index into muxes of the signal's multiplexer, or -1
	big    bool
	near   bool // within the first 8 bytes
}

type group struct {
	value uint64
	ops   []int32
}

// compile makes the plan of a message whose signals are complete.
func (p *parser) compile(m *rawMessage) {
	pl := &m.Message.plan
	pl.ops = make([]op, 0, len(m.Signals))
	raw := 0
	for i := range m.Signals {
		for m.signals[raw].bad {
			raw++
		}
		r := &m.signals[raw]
		pl.ops = append(pl.ops, newOp(&m.Signals[i], r.factor, r.offset))
		raw++
	}
	pl.orderMultiplexers(m.Signals)
	pl.group()
}

func newOp(s *Signal, factor, offset number) op {
	first := s.first()
	o := op{
		signal: s,
		mask:   s.mask(),
		when:   s.When,
		scale:  newScale(s, factor, offset),
		first:  uint16(first),
		end:    uint16((first+s.Length-1)/8 + 1),
		length: uint8(s.Length),
		mux:    -1,
		big:    s.BigEndian,
		near:   first+s.Length <= 64,
	}
	s.decimals = o.scale.decimals
	if s.Signed && s.Type == Integer {
		o.sign = 1 << (s.Length - 1)
	}
	s.bounds = newBounds(&o)
	s.doubtful = s.bounds.mode != boundsNone
	if o.near {
		o.shift = uint8(first)
		if o.big {
			o.shift = uint8(64 - first - s.Length)
		}
	}
	return o
}

// orderMultiplexers lists the multiplexers such that each comes behind the one
// it depends on.
func (pl *plan) orderMultiplexers(signals []Signal) {
	place := make(map[*Signal]int32)
	for i := range signals {
		if signals[i].Multiplexes {
			place[&signals[i]] = int32(i)
		}
	}
	number := make(map[*Signal]int8, len(place))
	var add func(s *Signal) int8
	add = func(s *Signal) int8 { // as deep as multiplexers are nested: at most maxMultiplexers
		if s == nil {
			return -1
		}
		if n, ok := number[s]; ok {
			return n
		}
		add(s.Multiplexer)
		n := int8(len(pl.muxes))
		number[s] = n
		pl.muxes = append(pl.muxes, place[s])
		return n
	}
	for i := range pl.ops {
		pl.ops[i].mux = add(pl.ops[i].signal.Multiplexer)
	}
}

// group prepares the lists of operations by multiplexer value, if there is
// one multiplexer and the lists are short enough.
func (pl *plan) group() {
	if len(pl.muxes) != 1 {
		return
	}
	type pair struct {
		value uint64
		op    int32
	}
	var pairs []pair
	room := 16*len(pl.ops) + 64
	for i := range pl.ops {
		o := &pl.ops[i]
		if o.mux < 0 {
			pl.common = append(pl.common, int32(i))
			continue
		}
		for _, r := range o.when {
			if r.Last-r.First >= uint64(room-len(pairs)) {
				pl.common = nil
				return
			}
			for v := r.First; ; v++ {
				if pairs = append(pairs, pair{v, int32(i)}); v == r.Last {
					break
				}
			}
		}
	}
	sort.SliceStable(pairs, func(i, j int) bool {
		a, b := &pairs[i], &pairs[j]
		return cmp.Compare(a.value, b.value) < 0
	})
	values := 0
	for i := range pairs {
		if i == 0 || pairs[i].value != pairs[i-1].value {
			values++
		}
	}
	if len(pairs)+values*len(pl.common) > room {
		pl.common = nil
		return
	}
	for i := 0; i < len(pairs); {
		g := group{value: pairs[i].value, ops: slices.Clone(pl.common)}
		for ; i < len(pairs) && pairs[i].value == g.value; i++ {
			g.ops = append(g.ops, pairs[i].op)
		}
		slices.Sort(g.ops)
		pl.groups = append(pl.groups, g)
	}
}

// Decode appends the values of the signals data holds, in the order of the
// file: those that fit into data as a whole, and whose multiplexers have one of
// their values. It allocates nothing if dst has the room, and does not keep data.
func (m *Message) Decode(data []byte, dst []Value) []Value {
	pl := &m.plan
	w := load(data)
	if len(pl.muxes) == 0 {
		for i := range pl.ops {
			if o := &pl.ops[i]; int(o.end) <= len(data) {
				dst = append(dst, o.value(o.read(data, w)))
			}
		}
		return dst
	}
	if pl.groups != nil {
		for _, i := range pl.selected(data, w) {
			if o := &pl.ops[i]; int(o.end) <= len(data) {
				dst = append(dst, o.value(o.read(data, w)))
			}
		}
		return dst
	}
	return pl.decodeMultiplexed(data, w, dst)
}

// selected returns the operations for the value of the only multiplexer.
func (pl *plan) selected(data []byte, w words) []int32 {
	o := &pl.ops[pl.muxes[0]]
	if int(o.end) > len(data) {
		return pl.common
	}
	v := o.read(data, w)
	low, high := 0, len(pl.groups)
	for low < high {
		mid := int(uint(low+high) / 2)
		if pl.groups[mid].value < v {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < len(pl.groups) && pl.groups[low].value == v {
		return pl.groups[low].ops
	}
	return pl.common
}

// decodeMultiplexed is Decode for any multiplexing.
func (pl *plan) decodeMultiplexed(data []byte, w words, dst []Value) []Value {
	var values [maxMultiplexers]uint64
	present := pl.multiplexers(data, w, &values)
	for i := range pl.ops {
		o := &pl.ops[i]
		if o.active(present, &values) && int(o.end) <= len(data) {
			dst = append(dst, o.value(o.read(data, w)))
		}
	}
	return dst
}

// multiplexers reads those that are in data: present has a bit for each.
func (pl *plan) multiplexers(data []byte, w words, values *[maxMultiplexers]uint64) (present uint64) {
	for n := range pl.muxes {
		o := &pl.ops[pl.muxes[n]]
		if o.active(present, values) && int(o.end) <= len(data) {
			values[n] = o.read(data, w)
			present |= 1 << n
		}
	}
	return present
}

// Multiplexed reports whether what data of the message hold depends on more than
// their length.
func (m *Message) Multiplexed() bool { return len(m.plan.muxes) > 0 }

// Page numbers what data of the message hold: of two with the same page, Decode
// finds the same signals. It allocates nothing.
func (m *Message) Page(data []byte) uint64 {
	return m.plan.page(fnvOffset^uint64(len(data)), data)
}

// The numbers of a page are those of FNV-1, by words.
const fnvOffset, fnvPrime = 14695981039346656037, 1099511628211

func (pl *plan) page(page uint64, data []byte) uint64 {
	if len(pl.muxes) == 0 {
		return page
	}
	var values [maxMultiplexers]uint64
	present := pl.multiplexers(data, load(data), &values)
	for n := range pl.muxes {
		page *= fnvPrime
		if present>>n&1 != 0 {
			page ^= values[n] + 1 // 0 is not a multiplexer that is missing
		}
	}
	return page
}

func (o *op) active(present uint64, values *[maxMultiplexers]uint64) bool {
	return o.mux < 0 || present>>o.mux&1 != 0 && inRanges(o.when, values[o.mux])
}

// words are the first 8 bytes of a frame in both byte orders, with zeros
// behind its end.
type words struct{ little, big uint64 }

func load(data []byte) words {
	if len(data) >= 8 {
		return words{binary.LittleEndian.Uint64(data), binary.BigEndian.Uint64(data)}
	}
	var w words
	for i, c := range data {
		w.little |= uint64(c) << (8 * i)
		w.big |= uint64(c) << (56 - 8*i)
	}
	return w
}

// read returns the bits of the signal; data must have o.end bytes.
func (o *op) read(data []byte, w words) uint64 {
	switch {
	case o.near && o.big:
		return w.big >> o.shift & o.mask
	case o.near:
		return w.little >> o.shift & o.mask
	}
	at, bit := int(o.first/8), o.first%8
	w = load(data[at:])
	spans9 := bit+uint16(o.length) > 64
	if o.big {
		v := w.big << bit
		if spans9 {
			v |= uint64(data[at+8]) >> (8 - bit)
		}
		return v >> (64 - o.length)
	}
	v := w.little >> bit
	if spans9 {
		v |= uint64(data[at+8]) << (64 - bit)
	}
	return v & o.mask
}

// value applies sign, factor and offset.
func (o *op) value(raw uint64) Value {
	v := Value{Signal: o.signal, Raw: raw}
	signed := raw
	if raw&o.sign != 0 {
		signed |= ^o.mask
	}
	sc := &o.scale
	switch sc.mode {
	case scaleInt:
		v.Kind, v.bits = KindInt, signed*uint64(sc.factor)+uint64(sc.offset)
	case scaleDecimal:
		v.Kind, v.bits = KindDecimal, signed*uint64(sc.factor)+uint64(sc.offset)
	case scaleWide:
		v.Kind, v.bits = sc.wide(signed, raw&o.sign != 0)
	case scalePair:
		v.Kind, v.bits = KindFloat, math.Float64bits(sc.pair(signed, raw&o.sign != 0))
	case scaleFloat32:
		if sc.identity {
			v.Kind, v.bits = KindFloat32, raw
		} else {
			v.Kind, v.bits = KindFloat, math.Float64bits(sc.pairOf(float64(math.Float32frombits(uint32(raw))), 0))
		}
	case scaleFloat64:
		v.Kind, v.bits = KindFloat, raw
		if !sc.identity {
			v.bits = math.Float64bits(sc.pairOf(math.Float64frombits(raw), 0))
		}
	default:
		f := float64(signed)
		if raw&o.sign != 0 {
			f = float64(int64(signed))
		}
		v.Kind, v.bits = KindFloat, math.Float64bits(sc.apply(f))
	}
	return v
}

// apply rounds once. Adding 0 makes a negative zero positive.
func (sc *scale) apply(f float64) float64 {
	return math.FMA(f, sc.floatFactor, sc.floatOffset) + 0
}
