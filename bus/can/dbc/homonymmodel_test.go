package dbc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// modelSignal is a signal as the model knows it: from what was written into the
// file, by rules that are as simple as they are slow.
type modelSignal struct {
	layout
	symbol, long string
	muxed        bool
	number       int // of its mark; -1: m alone
	multiplexer  bool
	broken       bool // its statement cannot be read
	float        bool
	labels       []int

	out, duplicate bool
	parent         *modelSignal
	parentName     string
	pages          int // a bit for each value of the multiplexer
}

// modelPages are the pages that occur: values 0 to 3 of multiplexers of two bits.
const modelPages = 4

// modelFile is a random file of one message.
type modelFile struct {
	r       *rand.Rand
	signals []*modelSignal
	before  []string // statements, in random order around the message
	pages   []modelStatement
}

// modelStatement is a SG_MUL_VAL_.
type modelStatement struct {
	signal, multiplexer string
	ranges              [][2]int
}

var modelSymbols = []string{"A", "B", "C", "D", "E", "F"}

func (f *modelFile) chance(percent int) bool { return f.r.IntN(100) < percent }

func (f *modelFile) pick(names []string) string { return names[f.r.IntN(len(names))] }

func randomModel(r *rand.Rand) *modelFile {
	f := &modelFile{r: r}
	for i := range 3 + r.IntN(9) {
		s := &modelSignal{layout: randomLayout(r, i, 8), symbol: f.pick(modelSymbols), number: -1}
		s.factor, s.offset = f.pick([]string{"1", "0.1", "0.5", "-2"}), "0"
		if i == 0 || f.chance(12) {
			s.multiplexer, s.length, s.big = true, 2, false
			s.start, s.factor = 2*r.IntN(32), "1"
		}
		if i == 0 {
			s.symbol = "A"
		} else if s.muxed = f.chance(75); s.muxed && !f.chance(5) {
			s.number = r.IntN(modelPages)
		}
		if !s.multiplexer && f.chance(30) {
			s.length, s.big, s.start = 32, false, r.IntN(33)
		}
		s.broken = f.chance(4)
		f.signals = append(f.signals, s)
	}
	for _, name := range modelSymbols {
		f.refer(name)
	}
	r.Shuffle(len(f.before), func(i, j int) { f.before[i], f.before[j] = f.before[j], f.before[i] })
	return f
}

// named are the signals of a name.
func (f *modelFile) named(name string) (of []*modelSignal) {
	for _, s := range f.signals {
		if s.symbol == name {
			of = append(of, s)
		}
	}
	return of
}

// refer writes the statements about a name.
func (f *modelFile) refer(name string) {
	of := f.named(name)
	if len(of) == 0 {
		return
	}
	if f.chance(30) {
		var labels []int
		text := "VAL_ 100 " + name
		for v := range 4 {
			if f.chance(60) {
				labels = append(labels, v)
				text += fmt.Sprintf(` %d "L%d"`, v, v)
			}
		}
		f.before = append(f.before, text+" ;")
		for _, s := range of {
			for _, v := range labels {
				if v < 1<<min(s.length, 8) {
					s.labels = append(s.labels, v)
				}
			}
		}
	}
	if f.chance(25) {
		long := f.pick([]string{"A", "B", "C", "Long1", "Long2"})
		f.before = append(f.before, fmt.Sprintf(`BA_ "SystemSignalLongSymbol" SG_ 100 %s "%s";`, name, long))
		for _, s := range of {
			s.long = long
		}
	}
	if f.chance(25) {
		text, readable := "1", true
		if f.chance(10) {
			text, readable = "one", false
		}
		f.before = append(f.before, fmt.Sprintf("SIG_VALTYPE_ 100 %s : %s;", name, text))
		for _, s := range of {
			s.float = true
			s.out = s.out || !readable || s.length != 32
		}
	}
	if f.chance(45) {
		f.multiplex(name)
	}
}

// multiplex writes a SG_MUL_VAL_ about a name, some with ranges that are none.
func (f *modelFile) multiplex(name string) {
	st := modelStatement{name, "A", nil}
	if f.chance(20) {
		st.multiplexer = f.pick(modelSymbols)
	}
	var ranges []string
	for range 1 + f.r.IntN(3) {
		first := f.r.IntN(modelPages)
		last := min(first+f.r.IntN(2), modelPages-1)
		if first > 0 && f.chance(10) {
			ranges = append(ranges, fmt.Sprintf("%d-%d", first, first-1))
			continue
		}
		st.ranges = append(st.ranges, [2]int{first, last})
		ranges = append(ranges, fmt.Sprintf("%d-%d", first, last))
	}
	f.pages = append(f.pages, st)
	f.before = append(f.before, fmt.Sprintf("SG_MUL_VAL_ 100 %s %s %s;", name, st.multiplexer, strings.Join(ranges, ", ")))
}

func (s *modelSignal) statement() string {
	mark := ""
	if s.muxed {
		mark = "m"
		if s.number >= 0 {
			mark += strconv.Itoa(s.number)
		}
	}
	if s.multiplexer {
		mark += "M"
	}
	named := s.layout
	named.name = s.symbol + " " + mark
	text := named.statement()
	if s.broken {
		text = strings.Replace(text, "@", "@2", 1)
	}
	return text
}

func (f *modelFile) String() string {
	var b strings.Builder
	half := f.r.IntN(len(f.before) + 1)
	for _, s := range f.before[:half] {
		b.WriteString(s + "\n")
	}
	b.WriteString("BO_ 100 M: 8 N\n")
	for _, s := range f.signals {
		b.WriteString(s.statement())
	}
	for _, s := range f.before[half:] {
		b.WriteString(s + "\n")
	}
	return b.String()
}

// resolve applies the rules of the package's documentation, one after the other.
func (f *modelFile) resolve() {
	type mark struct {
		symbol string
		muxed  bool
		number int
	}
	seen := map[mark]bool{}
	for _, s := range f.signals {
		k := mark{s.symbol, s.muxed, s.number}
		s.duplicate = seen[k] && !s.broken
		seen[k] = seen[k] || !s.broken
		s.out = s.out || s.broken || s.duplicate
	}
	for _, st := range f.pages {
		f.apply(st)
	}
	f.link()
	for f.orphans() {
	}
	for _, multiplexers := range []bool{true, false} {
		for _, s := range f.signals {
			of := f.named(s.symbol)
			isParent := func(t *modelSignal) bool {
				return t.multiplexer || slices.ContainsFunc(f.signals, func(c *modelSignal) bool { return c.parent == t })
			}
			if of[0] != s || slices.ContainsFunc(of, isParent) != multiplexers {
				continue
			}
			for j, b := range of {
				for _, a := range of[:j] {
					b.out = b.out || !a.out && f.meet(a, b)
				}
			}
			for f.orphans() {
			}
		}
	}
}

// apply gives the pages of a statement to the signals of its name.
func (f *modelFile) apply(st modelStatement) {
	of := f.named(st.signal)
	pages := 0
	for _, rg := range st.ranges {
		for v := rg[0]; v <= rg[1]; v++ {
			pages |= 1 << v
		}
	}
	if len(of) == 1 && pages != 0 {
		of[0].parentName, of[0].pages = st.multiplexer, pages
		return
	}
	var claims []*modelSignal
	certain := true
	for _, s := range of {
		switch {
		case s.duplicate, s.muxed && s.number < 0, s.broken && s.number < 0:
			certain = false
		case s.number >= 0 && pages>>s.number&1 != 0:
			claims = append(claims, s)
		}
	}
	switch {
	case len(claims) == 0:
		for _, s := range of {
			s.out = true
		}
	case len(claims) == 1 && certain:
		claims[0].parentName, claims[0].pages = st.multiplexer, pages
	default:
		for _, rg := range st.ranges {
			var within []*modelSignal
			for _, s := range claims {
				if rg[0] <= s.number && s.number <= rg[1] {
					within = append(within, s)
				}
			}
			for _, s := range within {
				s.parentName = st.multiplexer
				s.pages |= 1 << s.number
				for v := rg[0]; v <= rg[1] && certain && len(within) == 1; v++ {
					s.pages |= 1 << v
				}
			}
		}
	}
}

// link finds the multiplexer of each signal.
func (f *modelFile) link() {
	roots := map[string]bool{}
	var root *modelSignal
	for _, s := range f.signals {
		if s.multiplexer && !s.muxed && s.parentName == "" {
			if roots[s.symbol] = true; !s.out {
				root = s
			}
		}
	}
	for _, s := range f.signals {
		switch {
		case s.out:
		case s.parentName != "":
			of := slices.DeleteFunc(f.named(s.parentName), func(t *modelSignal) bool { return t.duplicate })
			if s.out = len(of) != 1; !s.out {
				s.parent = of[0]
			}
		case !s.muxed:
		case s.number < 0 || len(roots) != 1 || root == nil:
			s.out = true
		default:
			s.parent, s.pages = root, 1<<s.number
		}
	}
}

// orphans leaves out what depends on something left out, or on itself.
func (f *modelFile) orphans() (again bool) {
	for _, s := range f.signals {
		steps := 0
		for at := s; at != nil && !s.out; at = at.parent {
			if steps++; at.out || steps > len(f.signals) {
				s.out, again = true, true
			}
		}
	}
	return again
}

// meet tries all values of all multiplexers.
func (f *modelFile) meet(a, b *modelSignal) bool {
	var muxes []*modelSignal
	for _, s := range []*modelSignal{a, b} {
		for at := s.parent; at != nil; at = at.parent {
			if !slices.Contains(muxes, at) {
				muxes = append(muxes, at)
			}
		}
	}
	for n := range 1 << (2 * len(muxes)) {
		value := func(m *modelSignal) int { return n >> (2 * slices.Index(muxes, m)) & 3 }
		if a.present(value) && b.present(value) {
			return true
		}
	}
	return false
}

func (s *modelSignal) present(value func(*modelSignal) int) bool {
	for at := s; at.parent != nil; at = at.parent {
		if v := value(at.parent); v < 0 || v >= modelPages || at.pages>>v&1 == 0 {
			return false
		}
	}
	return true
}

// names are those a signal may have in a frame: its long name, or its symbol
// where the long one may be another's.
func (f *modelFile) names(s *modelSignal) []string {
	if s.long == "" || s.long == s.symbol {
		return []string{s.symbol}
	}
	for _, t := range f.signals {
		if t != s && !t.out && (t.symbol == s.long || t.long == s.long) && f.meet(s, t) {
			return []string{s.long, s.symbol}
		}
	}
	return []string{s.long}
}

// raw returns the bits of a signal.
func (s *modelSignal) bitsOf(data []byte) int64 {
	v := s.raw(data)
	return v.And(v, new(big.Int).SetUint64(math.MaxUint64>>(64-s.length))).Int64()
}

// matches reports whether a member's value is what the signal says.
func (s *modelSignal) matches(data []byte, member any) bool {
	bits := s.bitsOf(data)
	label := -1
	float := math.Float32frombits(uint32(bits))
	switch {
	case !s.float && slices.Contains(s.labels, int(bits)):
		label = int(bits)
	case s.float && float == float32(math.Trunc(float64(float))) && slices.Contains(s.labels, int(float)):
		label = int(float)
	}
	if labelled, ok := member.(map[string]any); ok {
		if labelled["label"] != fmt.Sprintf("L%d", label) {
			return false
		}
		member = labelled["value"]
	} else if label >= 0 {
		return false
	}
	if s.float && (math.IsNaN(float64(float)) || math.IsInf(float64(float), 0)) {
		return member == nil
	}
	want := s.physical(data)
	if s.float {
		want, _ = new(big.Rat).SetString(s.factor)
		want.Mul(want, new(big.Rat).SetFloat64(float64(float)))
	}
	text := fmt.Sprint(member)
	if s.float && s.factor == "1" {
		f, err := strconv.ParseFloat(text, 32)
		return err == nil && float32(f) == float
	}
	nearest, _ := want.Float64()
	f, err := strconv.ParseFloat(text, 64)
	return err == nil && f == nearest
}

// check compares a decoded line with what the model says.
func (f *modelFile) check(data []byte, line []byte) error {
	members, err := uniqueMembers(line)
	if err != nil {
		return err
	}
	got, _ := members["signals"].(map[string]any)
	value := func(m *modelSignal) int {
		if m.end() > len(data) || m.bitsOf(data) >= modelPages {
			return -1
		}
		return int(m.bitsOf(data))
	}
	n := 0
	for _, s := range f.signals {
		if s.out || s.end() > len(data) || !s.present(value) {
			continue
		}
		n++
		if !slices.ContainsFunc(f.names(s), func(name string) bool {
			member, ok := got[name]
			return ok && s.matches(data, member)
		}) {
			return fmt.Errorf("signal%s is missing or wrong", strings.TrimSuffix(s.statement(), "\n"))
		}
	}
	if n != len(got) {
		return fmt.Errorf("%d members, want %d", len(got), n)
	}
	return nil
}

// uniqueMembers reads an object, none of whose objects may have a member twice.
func uniqueMembers(line []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	type level struct {
		names map[string]bool
		key   bool // a name comes next
	}
	var levels []level
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		top := len(levels) - 1
		if name, ok := token.(string); ok && top >= 0 && levels[top].key {
			if levels[top].names[name] {
				return nil, fmt.Errorf("the member %q occurs twice", name)
			}
			levels[top].names[name], levels[top].key = true, false
			continue
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			levels = append(levels, level{map[string]bool{}, token == json.Delim('{')})
			continue
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:top]
		}
		if top = len(levels) - 1; top >= 0 {
			levels[top].key = len(levels[top].names) > 0
		}
	}
	var members map[string]any
	d = json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	return members, d.Decode(&members)
}
