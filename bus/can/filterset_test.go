package can_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fieldferry/bus/can"
)

func TestParseFilters(t *testing.T) {
	const states = 0x4 | 0x40 | 0x100
	for text, want := range map[string]struct {
		filters []can.Filter
		join    bool
		errors  uint32
	}{
		"":                  {},
		"100:7FF":           {filters: []can.Filter{{ID: 0x100, Mask: 0x7FF}}},
		"100:7FF j 7DF~7FF": {filters: []can.Filter{{ID: 0x100, Mask: 0x7FF}, {ID: 0x7DF, Mask: 0x7FF, Invert: true}}, join: true},
		"#00000080 #8":      {errors: 0x88 | states},
		"J #0":              {join: true, errors: states},
		"#FFFFFFFF":         {errors: 0x1FFFFFFF},
	} {
		set, err := can.ParseFilters(strings.Fields(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var cfg can.Config
		set.AddTo(&cfg)
		if !slices.Equal(cfg.Filters, want.filters) || cfg.Join != want.join || cfg.ErrorClasses != want.errors {
			t.Errorf("%q: %+v", text, cfg)
		}
	}
	for _, text := range []string{"#", "#G", "#123456789", "jj", "", "123"} {
		if _, err := can.ParseFilters([]string{text}); err == nil {
			t.Errorf("%q: accepted", text)
		}
	}
}

// TestJoinedFilters: what the kernel is given passes at least the frames that
// all filters pass, whatever the filters are.
func TestJoinedFilters(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	few := func() uint32 { // few bits, so that filters and frames often meet
		return rnd.Uint32() & rnd.Uint32() & (0x1FFFFFFF | 1<<31 | 1<<30)
	}
	passed, kept := 0, 0
	for range 20_000 {
		cfg := can.Config{Join: true}
		for range 2 + rnd.IntN(3) {
			f := can.Filter{ID: few(), Mask: few() & rnd.Uint32(), Invert: rnd.IntN(3) == 0}
			if rnd.IntN(2) == 0 {
				f.ID, f.Mask = f.ID&0x800007FF, f.Mask&0x800007FF
			}
			cfg.Filters = append(cfg.Filters, f)
		}
		id := few()
		if id&(1<<31) == 0 {
			id &= 0x7FF | 1<<30
		}
		all := !slices.ContainsFunc(cfg.Filters, func(f can.Filter) bool { return !f.Match(id) })
		kernel := cfg.KernelFilters()
		some := len(kernel) == 0 || slices.ContainsFunc(kernel, func(f can.Filter) bool { return f.Match(id) })
		if all {
			passed++
			if !some {
				t.Fatalf("id %08X passes %v, but not the kernel's %v", id, cfg.Filters, kernel)
			}
		} else if !some {
			kept++
		}
		if len(kernel) > 1 {
			t.Fatalf("%v became %v", cfg.Filters, kernel)
		}
	}
	if passed < 1000 || kept < 1000 {
		t.Errorf("%d passed, %d kept out by the kernel: the test tests little", passed, kept)
	}
}

// TestAppendLong: as log2long of can-utils prints the same frames.
func TestAppendLong(t *testing.T) {
	for _, c := range []struct {
		frame, want string
		indent      bool
	}{
		{"044#2A366C2BBA", "044   [5]  2A 36 6C 2B BA", false},
		{"044#2A366C2BBA", "     044   [5]  2A 36 6C 2B BA", true},
		{"0CF00400#0011223344556677", "0CF00400   [8]  00 11 22 33 44 55 66 77", true},
		{"123#R", "     123   [0]  remote request", true},
		{"123#R5", "123   [5]  remote request", false},
		{"123#", "     123   [0] ", true},
		{"00000123#R8", "00000123   [8]  remote request", true},
		{"20000004#0008000000000000", "20000004   [8]  00 08 00 00 00 00 00 00   ERRORFRAME", true},
		{"20000004#0008", "20000004   [2]  00 08                     ERRORFRAME", true},
		{"123##1112233445566778899AABBCC", "     123  [12]  11 22 33 44 55 66 77 88 99 AA BB CC", true},
		{"18FEF100##0AA", "18FEF100  [01]  AA", true},
	} {
		f := frame(t, c.frame)
		if got := string(can.AppendLong(nil, &f, c.indent)); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.frame, got, c.want)
		}
	}
	wild := can.Frame{ID: 1<<32 - 1, Flags: 0xff, Len: 255}
	can.AppendLong(nil, &wild, true) // whatever a frame holds
	can.FrameBits(&wild)
}

func TestNewRefusesLinks(t *testing.T) {
	for name, cfg := range map[string]can.Config{
		"of a simulation":      {Interface: "sim:engine", Link: settings(250_000)},
		"of a log":             {Interface: "replay:x.log", Link: settings(250_000)},
		"without a bit rate":   {Interface: "can0", Link: settings(0)},
		"times from who knows": {Interface: "can0", Timestamps: 9},
	} {
		if _, err := can.New(cfg, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestCanPass: a list is said to let nothing through only if no frame passes;
// and of filters that are not joined, only if that is so.
func TestCanPass(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	const bits = 0x80000000 | 0x40000000 | 0x3F // few enough to try all ids
	yes, no := 0, 0
	for range 3_000 {
		join := rnd.IntN(2) == 0
		var filters []can.Filter
		for range rnd.IntN(4) {
			filters = append(filters, can.Filter{ID: rnd.Uint32() & bits, Mask: rnd.Uint32() & rnd.Uint32() & bits, Invert: rnd.IntN(2) == 0})
		}
		id, mask := rnd.Uint32()&bits, rnd.Uint32()&bits|^uint32(bits)
		passes := len(filters) == 0
		for n := range uint32(256) {
			frame := id&mask | (n&0x3F|n>>6<<30)&^mask
			some := slices.ContainsFunc(filters, func(f can.Filter) bool { return f.Match(frame) })
			all := !slices.ContainsFunc(filters, func(f can.Filter) bool { return !f.Match(frame) })
			passes = passes || !join && some || join && all
		}
		got := can.CanPass(filters, join, id, mask)
		if passes && !got || got && !passes && !join {
			t.Fatalf("%v, joined %v, frames %08X under %08X: %v, want %v", filters, join, id, mask, got, passes)
		}
		if yes++; !got {
			yes, no = yes-1, no+1
		}
	}
	if yes < 500 || no < 500 {
		t.Errorf("%d lists that let something through, %d that do not", yes, no)
	}
}
