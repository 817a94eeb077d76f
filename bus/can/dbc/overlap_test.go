package dbc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// withoutOverlaps leaves out what is said of signals that share bits, in tests
// whose files are about something else.
func withoutOverlaps(diagnostics []Diagnostic) []Diagnostic {
	return slices.DeleteFunc(diagnostics, func(d Diagnostic) bool { return strings.Contains(d.What, " overlap those of ") })
}

// bitsOf lists the bits of a signal as the format defines them, one by one.
func bitsOf(start, length int, big bool) (bits []int) {
	for at := start; len(bits) < length; {
		bits = append(bits, at)
		switch {
		case !big:
			at++
		case at%8 == 0:
			at += 15
		default:
			at--
		}
	}
	return bits
}

// TestOverlaps compares with a model that tries all values of two multiplexers,
// one under the other: a signal is named when there is a frame in which it shares
// a bit with one before it.
func TestOverlaps(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	type signal struct {
		name   string
		bits   []int
		exists func(outer, inner int) bool
	}
	always := func(int, int) bool { return true }
	found, without := 0, 0
	for range 300 {
		b := strings.Builder{}
		fmt.Fprintf(&b, "BO_ 1 A: 8 N\n SG_ Outer M : 0|2@1+ (1,0) [0|0] \"\" N\n SG_ Inner m1M : 2|2@1+ (1,0) [0|0] \"\" N\n")
		signals := []signal{{name: "Outer", bits: bitsOf(0, 2, false), exists: always},
			{name: "Inner", bits: bitsOf(2, 2, false), exists: func(o, _ int) bool { return o == 1 }}}
		more := "SG_MUL_VAL_ 1 Inner Outer 1-1;\n"
		for i := range 2 + r.IntN(6) {
			s := signal{name: fmt.Sprintf("S%d", i)}
			length, big, mark, order := 1+r.IntN(12), r.IntN(2) == 0, "", "@1+"
			start := 4 + r.IntN(40)
			if big {
				start, order = 8*(1+r.IntN(5))+r.IntN(8), "@0+"
			}
			s.bits = bitsOf(start, length, big)
			switch outer, low, high := r.IntN(4), r.IntN(4), r.IntN(4); r.IntN(3) {
			case 0:
				s.exists = always
			case 1:
				mark = fmt.Sprintf(" m%d", outer)
				more += fmt.Sprintf("SG_MUL_VAL_ 1 %s Outer %d-%d;\n", s.name, outer, outer)
				s.exists = func(o, _ int) bool { return o == outer }
			case 2:
				low, high = min(low, high), max(low, high)
				mark = fmt.Sprintf(" m%d", low)
				more += fmt.Sprintf("SG_MUL_VAL_ 1 %s Inner %d-%d;\n", s.name, low, high)
				s.exists = func(o, i int) bool { return o == 1 && i >= low && i <= high }
			}
			fmt.Fprintf(&b, " SG_ %s%s : %d|%d%s (1,0) [0|0] \"\" N\n", s.name, mark, start, length, order)
			signals = append(signals, s)
		}
		b.WriteString(more)
		var want []string
		for i := range signals {
			shared := slices.IndexFunc(signals[:i], func(before signal) bool {
				for v := range 16 {
					if signals[i].exists(v/4, v%4) && before.exists(v/4, v%4) {
						return slices.ContainsFunc(before.bits, func(bit int) bool { return slices.Contains(signals[i].bits, bit) })
					}
				}
				return false
			})
			if shared >= 0 {
				want = append(want, signals[i].name+" "+signals[shared].name)
			}
		}
		_, diagnostics := Parse("a.dbc", []byte(b.String()), Options{})
		var got []string
		for _, d := range diagnostics {
			a, rest, ok := strings.Cut(strings.TrimPrefix(d.What, "signal A."), ": bits ")
			_, rest, named := strings.Cut(rest, "overlap those of ")
			first, _, _ := strings.Cut(rest, ",")
			if !ok || !named || d.Severity != Error || d.Line < 3 || d.Col != 6 {
				t.Fatalf("%v\n%s", d, &b)
			}
			got = append(got, a+" "+first)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q share bits, want %q\n%s", got, want, &b)
		}
		found += len(want)
		if len(want) == 0 {
			without++
		}
	}
	if found < 100 || without < 10 {
		t.Errorf("%d signals share bits, %d files have none", found, without)
	}
}
