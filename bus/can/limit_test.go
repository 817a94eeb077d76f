package can_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

// TestLimit feeds frames "MS ID#DATA" and compares those that pass, each with
// how many were suppressed before it.
func TestLimit(t *testing.T) {
	ms := time.Millisecond
	for name, c := range map[string]struct {
		limit can.Limit
		in    string
		want  string
	}{
		"none":      {can.Limit{}, "0 1#00 1 1#00 2 1#00", "1#00/0 1#00/0 1#00/0"},
		"on change": {can.Limit{OnChange: true}, "0 1#00 1 1#00 2 1#00 3 1#01 4 1#01 5 1#00", "1#00/0 1#01/2 1#00/1"},
		"a length or a flag is a change": {can.Limit{OnChange: true}, "0 1#00 1 1#0000 2 1##000 3 1##100 4 1##100 5 1#00",
			"1#00/0 1#0000/0 1##000/0 1##100/0 1#00/1"},
		"ids by themselves":      {can.Limit{OnChange: true}, "0 1#00 1 2#00 2 x1#00 3 1#R 4 1#00 5 2#00 6 x1#00 7 1#R 8 2#01", "1#00/0 2#00/0 x1#00/0 1#R/0 2#01/1"},
		"min interval":           {can.Limit{MinInterval: 10 * ms}, "0 1#00 1 1#01 9 1#02 10 1#03 11 1#04 25 1#05", "1#00/0 1#03/2 1#05/1"},
		"change comes late":      {can.Limit{OnChange: true, MinInterval: 10 * ms}, "0 1#00 5 1#01 12 1#01 13 1#00 30 1#00", "1#00/0 1#01/1 1#00/1"},
		"change that went":       {can.Limit{OnChange: true, MinInterval: 10 * ms}, "0 1#00 5 1#01 12 1#00 30 1#00 31 1#02", "1#00/0 1#02/3"},
		"max interval":           {can.Limit{OnChange: true, MaxInterval: 10 * ms}, "0 1#00 5 1#00 10 1#00 11 1#00 200 1#00", "1#00/0 1#00/1 1#00/1"},
		"every third":            {can.Limit{EveryNth: 3}, "0 1#00 1 1#01 2 1#02 3 1#03 4 1#04 5 1#05 6 1#06", "1#00/0 1#03/2 1#06/2"},
		"nth and max":            {can.Limit{EveryNth: 100, MaxInterval: 5 * ms}, "0 1#00 1 1#01 6 1#02", "1#00/0 1#02/1"},
		"clock set back":         {can.Limit{MinInterval: 10 * ms}, "5000 1#00 1 1#01 2 1#02 12 1#03", "1#00/0 1#01/0 1#03/1"},
		"clock set forward":      {can.Limit{MinInterval: 10 * ms}, "0 1#00 5 1#01 900000 1#02", "1#00/0 1#02/1"},
		"by another measure":     {can.Limit{OnChange: true, Change: further(2)}, "0 1#00 1 1#02 2 1#03 3 1#05 4 1#06 5 1#03 6 1#03", "1#00/0 1#03/1 1#06/1 1#03/0"},
		"creeping":               {can.Limit{OnChange: true, Change: further(2)}, "0 1#00 1 1#01 2 1#02 3 1#03 4 1#04 5 1#05 6 1#06", "1#00/0 1#03/2 1#06/2"},
		"flags whatever it says": {can.Limit{OnChange: true, Change: further(2)}, "0 1#00 1 1##000 2 1##001 3 1#00", "1#00/0 1##000/0 1#00/1"},
		"remote frames are not asked about": {can.Limit{OnChange: true, Change: further(2)}, "0 1#R 1 1#R 2 1#R1 3 1#R1",
			"1#R/0 1#R1/1"},
		"measure and min":       {can.Limit{OnChange: true, Change: further(2), MinInterval: 10 * ms}, "0 1#00 5 1#09 12 1#02 13 1#03 14 1#09 24 1#06", "1#00/0 1#03/2 1#06/1"},
		"measure and max":       {can.Limit{OnChange: true, Change: further(2), MaxInterval: 10 * ms}, "0 1#00 5 1#01 10 1#02 12 1#04 19 1#04 20 1#04 21 1#05", "1#00/0 1#02/1 1#04/2"},
		"measure and nth":       {can.Limit{OnChange: true, Change: further(2), EveryNth: 3}, "0 1#00 1 1#09 2 1#09 3 1#01 4 1#02 5 1#09 6 1#00 7 1#09", "1#00/0 1#09/4"},
		"override for an id":    {can.Limit{OnChange: true}, "0 100#00 1 100#00 2 100#R 3 100#R", "100#00/0 100#00/0 100#R/0 100#R/0"},
		"extended, same number": {can.Limit{OnChange: true}, "0 x100#00 1 x100#00 2 x100#01", "x100#00/0 x100#01/1"},
	} {
		t.Run(name, func(t *testing.T) {
			var rec cantest.Recorder
			b := newBus(t, can.Config{Limit: c.limit, Limits: []can.MessageLimit{{ID: 0x100, Mask: 0x9FFFFFFF}, {ID: 0x100, Mask: 0x7FF, Limit: can.Limit{OnChange: true}}}})
			d := can.NewDeliverer(b, &rec)
			words := strings.Fields(c.in)
			for i := 0; i < len(words); i += 2 {
				var at int64
				fmt.Sscan(words[i], &at)
				f := frame(t, long(words[i+1]))
				f.Time = 1e18 + at*int64(ms)
				d.Frame(f, false)
				if i%3 == 0 { // whatever the batches are
					d.Flush()
				}
			}
			d.Flush()
			var got []string
			for _, f := range rec.All() {
				got = append(got, fmt.Sprintf("%s/%d", short(f), f.Suppressed))
			}
			if want := strings.Fields(c.want); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			st := b.Stats()
			var kept uint64
			for _, id := range b.Traffic() {
				kept += id.Suppressed
			}
			if int(st.Frames+st.Suppressed) != len(words)/2 || int(st.Frames) != len(got) || kept != st.Suppressed {
				t.Errorf("of %d frames, counters %+v, suppressed by id %d", len(words)/2, st, kept)
			}
		})
	}
}

// TestLimitOfASet: a limit of some ids leaves the others to those that follow.
func TestLimitOfASet(t *testing.T) {
	var rec cantest.Recorder
	b := newBus(t, can.Config{Limits: []can.MessageLimit{{Only: idSet{0x100, 0x80000200}, Limit: can.Limit{EveryNth: 100}}, {Limit: can.Limit{EveryNth: 2}}}})
	d := can.NewDeliverer(b, &rec)
	for range 4 {
		for _, id := range []string{"100#00", "x100#00", "200#00", "x200#00"} {
			d.Frame(frame(t, long(id)), false)
		}
	}
	d.Flush()
	passed := map[string]int{}
	for _, f := range rec.All() {
		passed[short(f)]++
	}
	if want := map[string]int{"100#00": 1, "x100#00": 2, "200#00": 2, "x200#00": 1}; !maps.Equal(passed, want) {
		t.Errorf("passed %v, want %v", passed, want)
	}
}

type idSet []uint32

func (s idSet) Has(id uint32) bool { return slices.Contains(s, id) }

// further is a change of the first byte by more than so much.
type further int

func (n further) Changed(last, now *can.Frame) bool {
	d := int(last.Data[0]) - int(now.Data[0])
	return d > int(n) || -d > int(n)
}

// long and short write ids with as few digits as they have, x for extended.
func long(s string) string {
	id, data, _ := strings.Cut(s, "#")
	width := 3
	if rest, ok := strings.CutPrefix(id, "x"); ok {
		id, width = rest, 8
	}
	return strings.Repeat("0", width-len(id)) + id + "#" + data
}

func short(f can.Frame) string {
	id, data, _ := strings.Cut(f.String(), "#")
	if f.Flags&can.Extended != 0 {
		return "x" + strings.TrimLeft(id, "0") + "#" + data
	}
	return strings.TrimLeft(id, "0") + "#" + data
}

func TestLimitRefused(t *testing.T) {
	for name, l := range map[string]can.Limit{
		"negative":          {MinInterval: -1},
		"for ever":          {MaxInterval: can.MaxLimitInterval + 1},
		"change of nothing": {Change: further(1)},
		"min beyond max":    {MinInterval: 2, MaxInterval: 1},
		"min beyond limit":  {MinInterval: can.MaxLimitInterval + 1},
	} {
		if _, err := can.New(can.Config{Interface: "can0", Limit: l}, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := can.New(can.Config{Interface: "can0", Limits: []can.MessageLimit{{ID: 1, Mask: 1, Limit: l}}}, nil); err == nil {
			t.Errorf("%s of one id: accepted", name)
		}
	}
}

// onlooker sees what is on the bus, and then what passes.
type onlooker struct {
	cantest.Recorder
	looked []can.Frame
	order  string
}

func (o *onlooker) Look(batch []can.Frame) {
	o.looked = append(o.looked, batch...)
	o.order += "look "
}

func (o *onlooker) Frames(batch []can.Frame) {
	o.order += fmt.Sprint(len(batch), " ")
	o.Recorder.Frames(batch)
}

// A handler that looks sees every frame as it came, also those that a limit keeps
// back, before those that pass; the counters are what they are without it.
func TestLookBeforeTheLimits(t *testing.T) {
	var o onlooker
	b := newBus(t, can.Config{Limit: can.Limit{MinInterval: time.Second}})
	d := can.NewDeliverer(b, &o)
	var sent []can.Frame
	for i := range 9 {
		f := counterFrame(i)
		f.ID, f.Time = uint32(1+i%2), 1e18+int64(i)
		sent = append(sent, f)
		d.Frame(f, false)
		if i%3 == 2 {
			d.Flush()
		}
	}
	if !slices.Equal(o.looked, sent) || o.order != "look 2 look look " {
		t.Errorf("in the order %q seen %v", o.order, o.looked)
	}
	if st := b.Stats(); st.Frames != 2 || st.Suppressed != 7 || len(o.All()) != 2 {
		t.Errorf("counters are %+v", st)
	}
}
