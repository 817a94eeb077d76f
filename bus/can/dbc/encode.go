package dbc

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"

	"fieldferry/bus/scalar"
)

// Encoder makes the data of a message of values for some of its signals, exactly:
// [Message.Decode] of the data yields just those values. Make it with
// [NewEncoder].
type Encoder struct {
	message *Message
	base    []byte
	named   []encodedSignal
}

type encodedSignal struct {
	signal         *Signal
	factor, offset *big.Rat
	limits         scalar.Limits // zero: any raw value
}

// NewEncoder makes an encoder for signals by their names, long or short. limits
// are those that differ from the file's; a signal of more than one bit needs
// either. base is the data around the signals; nil stands for zeros. A
// multiplexer that is not among the signals gets the value they need.
func NewEncoder(m *Message, names []string, limits map[string]scalar.Limits, base []byte) (*Encoder, error) {
	switch {
	case len(names) == 0:
		return nil, errors.New("no signals are named")
	case m.Size > maxFrameData:
		return nil, fmt.Errorf("message %s has %d bytes, more than a frame", m.Name, m.Size)
	case base != nil && len(base) != m.Size:
		return nil, fmt.Errorf("the data around the signals has %d bytes, and message %s %d", len(base), m.Name, m.Size)
	}
	e := &Encoder{message: m, base: make([]byte, m.Size)}
	copy(e.base, base)
	for _, name := range names {
		s, err := m.signal(name)
		if err != nil {
			return nil, err
		}
		l, given := limits[name]
		n, err := newEncodedSignal(s, l, given)
		if err != nil {
			return nil, fmt.Errorf("signal %s: %w", name, err)
		}
		for _, other := range e.named {
			if other.signal == s {
				return nil, fmt.Errorf("signal %s: named twice", name)
			}
			if shareBits(s, other.signal) {
				return nil, fmt.Errorf("signals %s and %s share bits", name, other.signal.Name)
			}
		}
		e.named = append(e.named, n)
	}
	return e, e.multiplex()
}

// maxFrameData is the most a CAN FD frame carries.
const maxFrameData = 64

func (m *Message) signal(name string) (found *Signal, err error) {
	for i := range m.Signals {
		if s := &m.Signals[i]; s.Name == name || s.Symbol == name {
			if found != nil {
				return nil, fmt.Errorf("message %s has several signals %s", m.Name, name)
			}
			found = s
		}
	}
	if found == nil {
		return nil, fmt.Errorf("message %s has no signal %s", m.Name, name)
	}
	return found, nil
}

func newEncodedSignal(s *Signal, l scalar.Limits, given bool) (encodedSignal, error) {
	n := encodedSignal{signal: s, limits: l}
	if s.lastBit() >= 8*maxFrameData || s.Factor == 0 || notFinite(s.Factor) || notFinite(s.Offset) {
		return n, errors.New("its factor or its place is of no use for writing")
	}
	n.factor, n.offset = scalar.OfFloat(s.Factor, 64), scalar.OfFloat(s.Offset, 64)
	if low, high, ok := s.Limits(); !given && ok && !notFinite(low) && !notFinite(high) {
		n.limits.Min, n.limits.Max = scalar.OfFloat(low, 64), scalar.OfFloat(high, 64)
	} else if !given && s.Length > 1 {
		return n, errors.New("min and max: missing; the DBC file has none either")
	}
	if n.limits.Min == nil && n.limits.Max == nil && !given {
		return n, nil
	}
	if err := n.limits.Validate(); err != nil || !given {
		return n, err
	}
	if err := n.holds(n.limits.Min); err != nil {
		return n, &scalar.Fault{Key: "min", What: err.Error(), Fix: "correct it"}
	}
	if err := n.holds(n.limits.Max); err != nil {
		return n, &scalar.Fault{Key: "max", What: err.Error(), Fix: "correct it"}
	}
	return n, nil
}

// holds refuses numbers that the signal's bits, factor and offset cannot hold.
func (n *encodedSignal) holds(number *big.Rat) error {
	raw, err := n.raw(number)
	if err != nil || n.signal.Type != Integer {
		return err
	}
	low, high := rawLimits(n.signal)
	fits := raw <= high
	if n.signal.Signed {
		fits = int64(raw) >= int64(low) && int64(raw) <= int64(high)
	}
	if negative := n.offset.Cmp(number)*n.factor.Sign() > 0; !fits || negative != (n.signal.Signed && int64(raw) < 0) {
		return fmt.Errorf("%d bits cannot hold %s, only %s to %s", n.signal.Length, scalar.Decimal(number), n.physical(low), n.physical(high))
	}
	return nil
}

// physical is the value of a raw one, for a person.
func (n *encodedSignal) physical(raw uint64) string {
	value := new(big.Rat).SetUint64(raw)
	if n.signal.Signed {
		value.SetInt64(int64(raw))
	}
	return scalar.Decimal(value.Mul(value, n.factor).Add(value, n.offset))
}

func shareBits(a, b *Signal) bool {
	taken := map[int]bool{}
	a.eachBit(func(at int, _ uint) { taken[at] = true })
	shared := false
	b.eachBit(func(at int, _ uint) { shared = shared || taken[at] })
	return shared
}

// eachBit calls f with each bit of the signal: its place in the data, byte*8
// and its weight there, and which bit of the raw value it is.
func (s *Signal) eachBit(f func(at int, bit uint)) {
	first := s.first()
	for i := range s.Length {
		if s.BigEndian { // counted from the most significant bit of each byte
			wire := first + i
			f(wire&^7|7-wire&7, uint(s.Length-1-i))
		} else {
			f(first+i, uint(i))
		}
	}
}

func (s *Signal) put(data []byte, raw uint64) {
	s.eachBit(func(at int, bit uint) {
		if at/8 >= len(data) {
			return
		}
		data[at/8] &^= 1 << (at % 8)
		data[at/8] |= byte(raw>>bit&1) << (at % 8)
	})
}

// multiplex puts the values into base that multiplexers must have for the signals.
func (e *Encoder) multiplex() error {
	for _, n := range e.named {
		if n.signal.lastBit() >= 8*len(e.base) {
			return fmt.Errorf("signal %s: it does not fit into the %d bytes of the message", n.signal.Name, len(e.base))
		}
		for s := n.signal; s.Multiplexer != nil; s = s.Multiplexer {
			m := s.Multiplexer
			if e.names(m) {
				continue
			}
			if raw := m.get(e.base); inRanges(s.When, raw) {
				continue // by base
			}
			if len(s.When) != 1 || s.When[0].First != s.When[0].Last {
				return fmt.Errorf("signal %s: several values of %s select it; name that signal too", s.Name, m.Name)
			}
			m.put(e.base, s.When[0].First)
		}
	}
	for _, n := range e.named {
		for s := n.signal; s.Multiplexer != nil; s = s.Multiplexer {
			if m := s.Multiplexer; !e.names(m) && !inRanges(s.When, m.get(e.base)) {
				return fmt.Errorf("signal %s: it needs another value of %s than the other signals", s.Name, m.Name)
			}
		}
	}
	return nil
}

func (e *Encoder) names(s *Signal) bool {
	for i := range e.named {
		if e.named[i].signal == s {
			return true
		}
	}
	return false
}

func (s *Signal) get(data []byte) (raw uint64) {
	s.eachBit(func(at int, bit uint) {
		if at/8 < len(data) {
			raw |= uint64(data[at/8]>>(at%8)&1) << bit
		}
	})
	return raw
}

// Check says why a value cannot be sent, in a *[scalar.Refusal].
func (e *Encoder) Check(value string) error {
	_, err := e.Encode(value)
	return err
}

// Encode makes the data of a value: that of the signal if it is one, else a JSON
// object with a member for each signal.
func (e *Encoder) Encode(value string) ([]byte, error) {
	values, err := e.split(value)
	if err != nil {
		return nil, err
	}
	data := append([]byte(nil), e.base...)
	want := make([]*big.Rat, len(e.named))
	for i, text := range values {
		n := &e.named[i]
		raw, number, err := n.encode(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.signal.Name, err)
		}
		want[i] = number
		n.signal.put(data, raw)
	}
	if err := e.means(data, want); err != nil {
		return nil, err
	}
	return data, nil
}

// split returns the text of each signal's value.
func (e *Encoder) split(value string) ([]string, error) {
	if len(e.named) == 1 && !strings.HasPrefix(strings.TrimSpace(value), "{") {
		return []string{value}, nil
	}
	var members map[string]json.RawMessage
	if len(value) > 1<<14 || json.Unmarshal([]byte(value), &members) != nil || members == nil {
		return nil, scalar.Refuse(scalar.CodeType, "not a JSON object with a member for each signal")
	}
	list := make([]string, len(e.named))
	for i, n := range e.named {
		text, ok := members[n.signal.Name]
		if !ok {
			if text, ok = members[n.signal.Symbol]; !ok {
				return nil, scalar.Refuse(scalar.CodeType, "%s is missing", n.signal.Name)
			}
		}
		list[i] = string(text)
	}
	if len(members) != len(list) {
		return nil, scalar.Refuse(scalar.CodeType, "it has %d members, and the point %d signals", len(members), len(list))
	}
	return list, nil
}

// encode makes the raw bits of one value, and returns the number it means.
func (n *encodedSignal) encode(text string) (raw uint64, number *big.Rat, err error) {
	v, err := scalar.Parse(text)
	if err != nil {
		return 0, nil, err
	}
	switch v.Kind {
	case scalar.Number:
		number = v.Number
	case scalar.Bool:
		if n.signal.Length == 1 && n.signal.Type == Integer {
			number = new(big.Rat)
			if v.Bool {
				number.SetInt64(1)
			}
			number.Mul(number, n.factor)
			number.Add(number, n.offset)
		}
	case scalar.Text:
		number = n.text(v)
	}
	if number == nil {
		return 0, nil, scalar.Refuse(scalar.CodeType, "%.40s is not a number", text)
	}
	if n.limits.Min != nil {
		if err := n.limits.Check(number); err != nil {
			return 0, nil, err
		}
	}
	raw, err = n.raw(number)
	return raw, number, err
}

// text is the number that a label or a text of digits means; nil: none.
func (n *encodedSignal) text(v scalar.Value) (number *big.Rat) {
	for i := range n.signal.Labels {
		if l := &n.signal.Labels[i]; l.Text == v.Text && n.signal.Type == Integer {
			if number != nil {
				return nil // several raw values have it
			}
			number = new(big.Rat).SetUint64(l.Raw)
			if n.signal.Signed {
				number.SetInt64(int64(l.Raw<<(64-n.signal.Length)) >> (64 - n.signal.Length))
			}
			number.Mul(number, n.factor)
			number.Add(number, n.offset)
		}
	}
	if wide, ok := v.Wide(); ok && number == nil {
		return wide
	}
	return number
}

func (n *encodedSignal) raw(number *big.Rat) (uint64, error) {
	s := n.signal
	raw := new(big.Rat).Sub(number, n.offset)
	raw.Quo(raw, n.factor)
	switch s.Type {
	case Float32:
		f, _ := raw.Float32()
		return uint64(math.Float32bits(f)), nil
	case Float64:
		f, _ := raw.Float64()
		return math.Float64bits(f), nil
	}
	i := raw.Num()
	switch {
	case !raw.IsInt():
		return 0, scalar.Refuse(scalar.CodeType, "%s is not a whole number of %s, as the signal counts", scalar.Decimal(number), scalar.Decimal(n.factor))
	case i.IsUint64():
		return i.Uint64(), nil
	case i.IsInt64():
		return uint64(i.Int64()), nil
	}
	return 0, scalar.Refuse(scalar.CodeType, "%d bits cannot hold %s", s.Length, scalar.Decimal(number))
}

// means sees to it that data is decoded to the numbers.
func (e *Encoder) means(data []byte, want []*big.Rat) error {
	for i, v := range e.values(data) {
		s := e.named[i].signal
		if v == nil {
			return scalar.Refuse(scalar.CodeType, "%s: the multiplexer has no value by which the frame holds it", s.Name)
		}
		if got, ok := v.exact(); !ok || got.Cmp(want[i]) != 0 {
			return scalar.Refuse(scalar.CodeType, "%s: it cannot hold %s", s.Name, scalar.Decimal(want[i]))
		}
	}
	return nil
}

// values are the named signals as reading decodes them; nil: not in the frame.
func (e *Encoder) values(data []byte) []*Value {
	list := make([]*Value, len(e.named))
	decoded := e.message.Decode(data, nil)
	for i, n := range e.named {
		for k := range decoded {
			if decoded[k].Signal == n.signal {
				list[i] = &decoded[k]
			}
		}
	}
	return list
}

// exact is the number that the records show.
func (v *Value) exact() (*big.Rat, bool) {
	if v.Missing() != "" {
		return nil, false
	}
	return scalar.ParseNumber(strings.Trim(string(v.appendNumber(nil)), `"`))
}

// Decode makes the JSON text of the signals' values in data, as Encode takes it.
func (e *Encoder) Decode(data []byte) (string, error) {
	var text []byte
	for i, v := range e.values(data) {
		switch {
		case v == nil:
			return "", fmt.Errorf("%s is not in the frame", e.named[i].signal.Name)
		case len(e.named) == 1:
			return string(v.AppendJSON(nil)), nil
		case i > 0:
			text = append(text, ',')
		default:
			text = append(text, '{')
		}
		text = v.AppendJSON(append(text, v.Signal.key...))
	}
	return string(append(text, '}')), nil
}

// Within says why data is not within the limits: of the signals, and of all
// else, which must be as the base has it.
func (e *Encoder) Within(data []byte) error {
	if len(data) != len(e.base) {
		return fmt.Errorf("%d bytes of data, and message %s has %d", len(data), e.message.Name, len(e.base))
	}
	rest := append([]byte(nil), data...)
	for i, v := range e.values(data) {
		n := &e.named[i]
		n.signal.put(rest, n.signal.get(e.base))
		if v == nil {
			return fmt.Errorf("%s is not in the frame", n.signal.Name)
		}
		number, ok := v.exact()
		if !ok {
			return fmt.Errorf("%s is not a number", n.signal.Name)
		}
		if n.limits.Min != nil {
			if err := n.limits.Check(number); err != nil {
				return fmt.Errorf("%s: %w", n.signal.Name, err)
			}
		}
	}
	if string(rest) != string(e.base) {
		return errors.New("bits beside the signals differ")
	}
	return nil
}
