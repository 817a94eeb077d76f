package dbc

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// layout is a signal as the test knows it, apart from the package.
type layout struct {
	name           string
	start, length  int
	big, signed    bool
	factor, offset string
}

func (l *layout) statement() string {
	order, sign := "1", "+"
	if l.big {
		order = "0"
	}
	if l.signed {
		sign = "-"
	}
	return fmt.Sprintf(" SG_ %s : %d|%d@%s%s (%s,%s) [0|0] \"\" N\n", l.name, l.start, l.length, order, sign, l.factor, l.offset)
}

// bits returns the places of the signal's bits, the least significant first,
// as byte*8 + bit: the definition of the format, one bit after the other.
func (l *layout) bits() []int {
	bits := make([]int, l.length)
	at := l.start
	for i := range bits {
		if !l.big {
			bits[i] = at
			at++
			continue
		}
		bits[l.length-1-i] = at
		if at%8 == 0 {
			at += 15
		} else {
			at--
		}
	}
	return bits
}

func (l *layout) end() int { // bytes a frame must have
	end := 0
	for _, b := range l.bits() {
		end = max(end, b/8+1)
	}
	return end
}

func (l *layout) encode(data []byte, raw uint64) {
	for i, b := range l.bits() {
		data[b/8] &^= 1 << (b % 8)
		data[b/8] |= byte(raw>>i&1) << (b % 8)
	}
}

func (l *layout) raw(data []byte) *big.Int {
	v := new(big.Int)
	bits := l.bits()
	for i, b := range bits {
		v.SetBit(v, i, uint(data[b/8]>>(b%8)&1))
	}
	if l.signed && v.Bit(l.length-1) == 1 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(l.length)))
	}
	return v
}

// physical is what decimal arithmetic gives.
func (l *layout) physical(data []byte) *big.Rat {
	f, _ := new(big.Rat).SetString(l.factor)
	o, _ := new(big.Rat).SetString(l.offset)
	v := new(big.Rat).SetInt(l.raw(data))
	return v.Add(v.Mul(v, f), o)
}

var (
	someFactors = []string{"1", "1", "1", "2", "-1", "0.1", "0.01", "0.125", "0.5", "-0.25", "1000", "0.001", "1E-007", "0.00390625",
		"0.0054931640625", "3.05180437933928E-005", "1.52587890625E-005", "4294967296", "0.3", "1e-12", "123456789.123456", "1e-19",
		"0.2718281828459045235360287", "1e25", "-98765432109876543210.5"}
	someOffsets = []string{"0", "0", "0", "-40", "1", "-273.15", "0.5", "-9223372036854775808", "1e6", "-0.0001", "18014398509481984",
		"0.1234567890123456789012", "-1e30"}
)

func randomLayout(r *rand.Rand, i, size int) layout {
	l := layout{
		name: "S" + strconv.Itoa(i), length: 1 + r.IntN(64), big: r.IntN(2) == 0, signed: r.IntN(2) == 0,
		factor: someFactors[r.IntN(len(someFactors))], offset: someOffsets[r.IntN(len(someOffsets))],
	}
	for {
		l.start = r.IntN(size * 8)
		if l.end() <= size {
			return l
		}
		if l.length = 1 + r.IntN(64); size < 8 {
			l.length = 1 + r.IntN(size*8)
		}
	}
}

// makeMessage writes a DBC file with the signals, and parses it.
func makeMessage(t *testing.T, size int, layouts []layout) *Message {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "BO_ 100 M: %d N\n", size)
	for i := range layouts {
		b.WriteString(layouts[i].statement())
	}
	file, diagnostics := Parse("random.dbc", []byte(b.String()), Options{})
	if diagnostics = withoutOverlaps(diagnostics); len(diagnostics) > 0 {
		t.Fatalf("%v\n%s", diagnostics, &b)
	}
	return file.Messages[0]
}

var someSizes = []int{1, 2, 3, 7, 8, 8, 8, 8, 9, 12, 16, 17, 64, 64, 200, 1785}

// TestDecodeAgainstBits compares decoding with one that goes bit by bit and
// computes in rationals: for random layouts, which may overlap, and random
// frames, which may be short.
func TestDecodeAgainstBits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 42))
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for range rounds {
		size := someSizes[r.IntN(len(someSizes))]
		layouts := make([]layout, 1+r.IntN(12))
		for i := range layouts {
			layouts[i] = randomLayout(r, i, size)
		}
		m := makeMessage(t, size, layouts)
		data := make([]byte, r.IntN(size+3))
		fill := r.IntN(4)
		for i := range data {
			data[i] = []byte{byte(r.Uint32()), byte(r.Uint32()), 0xFF, 0}[fill]
		}
		values := m.Decode(data, nil)
		n := 0
		for i := range layouts {
			l := &layouts[i]
			if l.end() > len(data) {
				continue
			}
			if n == len(values) || values[n].Signal.Name != l.name {
				t.Fatalf("signal %s is missing: %s of %d bytes", l.name, l.statement(), len(data))
			}
			checkValue(t, l, data, &values[n])
			n++
		}
		if n != len(values) {
			t.Fatalf("%d values, want %d", len(values), n)
		}
		if !json.Valid(append(AppendSignals([]byte("{"), values), '}')) {
			t.Fatalf("not JSON: %s", AppendSignals(nil, values))
		}
	}
}

func checkValue(t *testing.T, l *layout, data []byte, v *Value) {
	t.Helper()
	raw := l.raw(data)
	if mask := new(big.Int).SetUint64(v.Signal.mask()); raw.And(raw, mask).Uint64() != v.Raw {
		t.Fatalf("%s%X: raw %X, want %X", l.statement(), data, v.Raw, raw)
	}
	want := l.physical(data)
	text := string(v.AppendJSON(nil))
	f, _ := new(big.Rat).SetString(l.factor)
	o, _ := new(big.Rat).SetString(l.offset)
	if f.IsInt() && o.IsInt() && f.Num().IsInt64() && o.Num().IsInt64() && (want.Num().IsInt64() || want.Num().IsUint64()) {
		plain := want.Num().String()
		quoted := new(big.Int).Abs(want.Num()).Cmp(big.NewInt(1<<53)) > 0
		if quoted {
			plain = `"` + plain + `"`
		}
		if text != plain {
			t.Fatalf("%s%X: %s, want %s", l.statement(), data, text, plain)
		}
		return
	}
	nearest, _ := want.Float64()
	got, err := strconv.ParseFloat(text, 64)
	if err != nil || got != nearest || v.Float() != nearest {
		t.Fatalf("%s%X: %s and %v, want %v (exactly %s)", l.statement(), data, text, v.Float(), nearest, want.FloatString(40))
	}
	if want := string(appendFloat(nil, nearest, 64)); text != want {
		t.Fatalf("%s%X: %s, shortest is %s", l.statement(), data, text, want)
	}
}

// TestEncodeDecode puts random values into random layouts that do not overlap.
func TestEncodeDecode(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	for range rounds {
		size := someSizes[r.IntN(len(someSizes))]
		used := make([]bool, size*8)
		var layouts []layout
		for i := range 20 {
			l := randomLayout(r, i, size)
			l.factor, l.offset = "1", "0"
			free := true
			for _, b := range l.bits() {
				free = free && !used[b]
			}
			if !free {
				continue
			}
			for _, b := range l.bits() {
				used[b] = true
			}
			layouts = append(layouts, l)
		}
		m := makeMessage(t, size, layouts)
		data := make([]byte, size)
		raws := make([]uint64, len(layouts))
		for i := range layouts {
			raws[i] = r.Uint64() >> (64 - layouts[i].length)
			layouts[i].encode(data, raws[i])
		}
		values := m.Decode(data, nil)
		if len(values) != len(layouts) {
			t.Fatalf("%d values of %d signals", len(values), len(layouts))
		}
		for i := range values {
			if values[i].Raw != raws[i] {
				t.Fatalf("%s: raw %X, want %X", layouts[i].statement(), values[i].Raw, raws[i])
			}
			signed := int64(raws[i])
			if shift := 64 - layouts[i].length; layouts[i].signed {
				signed = int64(raws[i]<<shift) >> shift
			}
			if layouts[i].signed && values[i].Int() != signed || !layouts[i].signed && values[i].Uint() != raws[i] {
				t.Fatalf("%s: %s, want %X", layouts[i].statement(), values[i].AppendJSON(nil), raws[i])
			}
		}
	}
}

// TestMultiplexAgainstModel compares which signals are in a frame with the
// definition, for random trees of multiplexers in random order.
func TestMultiplexAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 17))
	for range 500 {
		n := 2 + r.IntN(30)
		order := r.Perm(n) // order[i] is the place of signal i in the file
		parent := make([]int, n)
		when := make([][]Range, n)
		lines := make([]string, n)
		var rest strings.Builder
		multiplexers := 1 + r.IntN(min(n-1, 8)) // signals 0 to multiplexers-1
		for i := range n {
			parent[i] = -1
			mark := ""
			if i > 0 && r.IntN(5) > 0 {
				parent[i] = r.IntN(min(i, multiplexers))
				for range 1 + r.IntN(3) {
					first := uint64(r.IntN(4))
					when[i] = append(when[i], Range{first, first + uint64(r.IntN(3))})
				}
				mark = "m1"
				fmt.Fprintf(&rest, "SG_MUL_VAL_ 100 S%d S%d ", i, parent[i])
				for j, rg := range when[i] {
					if j > 0 {
						rest.WriteString(", ")
					}
					fmt.Fprintf(&rest, "%d-%d", rg.First, rg.Last)
				}
				rest.WriteString(";\n")
			}
			if i < multiplexers {
				mark += "M"
			}
			lines[order[i]] = fmt.Sprintf(" SG_ S%d %s : %d|2@1+ (1,0) [0|0] \"\" N\n", i, mark, i*2)
		}
		file, diagnostics := Parse("mux.dbc", []byte("BO_ 100 M: 8 N\n"+strings.Join(lines, "")+rest.String()), Options{})
		if len(diagnostics) > 0 {
			t.Fatal(diagnostics)
		}
		m, pages := file.Messages[0], map[uint64]string{}
		for range 20 {
			raw := r.Uint64()
			data := make([]byte, 8)
			for i := range data {
				data[i] = byte(raw >> (8 * i))
			}
			value := func(i int) uint64 { return raw >> (2 * i) & 3 }
			var active func(i int) bool
			active = func(i int) bool {
				if parent[i] < 0 {
					return true
				}
				in := false
				for _, rg := range when[i] {
					in = in || rg.First <= value(parent[i]) && value(parent[i]) <= rg.Last
				}
				return in && active(parent[i])
			}
			want := make([]string, n)
			for i := range n {
				if active(i) {
					want[order[i]] = fmt.Sprintf("S%d=%d ", i, value(i))
				}
			}
			var got strings.Builder
			for _, v := range file.Messages[0].Decode(data, nil) {
				fmt.Fprintf(&got, "%s=%d ", v.Signal.Name, v.Int())
			}
			if got.String() != strings.Join(want, "") {
				t.Fatalf("%s%s\n%X: got %s, want %s", lines, &rest, data, &got, want)
			}
			// Data of one page hold the same signals, whole and cut short.
			for _, part := range [][]byte{data, data[:r.IntN(9)]} {
				names := ""
				for _, v := range m.Decode(part, nil) {
					names += v.Signal.Name + " "
				}
				page := m.Page(part)
				if before, ok := pages[page]; ok && before != names {
					t.Fatalf("%s%s\n%X: page %X has %s, and had %s", lines, &rest, part, page, names, before)
				}
				pages[page] = names
			}
		}
	}
}
