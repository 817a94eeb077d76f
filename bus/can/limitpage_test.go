package can_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

// byFirst has the pages of messages with an even id in their first byte.
type byFirst struct{}

func (byFirst) Pages(f *can.Frame) can.Pages {
	if f.ID%2 == 0 && f.Flags&can.Remote == 0 {
		return byFirst{}
	}
	return nil
}

func (byFirst) Page(data []byte) uint64 { return uint64(data[0]) }

// TestLimitOfPages: a limit does to the pages of a multiplexed message what it
// would do to so many messages, whatever it is, and to one without pages what it
// does where nothing is multiplexed.
func TestLimitOfPages(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	passes := func(c can.Config, frames []can.Frame) (passed []can.Frame) {
		var rec cantest.Recorder
		d := can.NewDeliverer(newBus(t, c), &rec)
		for i, f := range frames {
			d.Frame(f, false)
			if i%7 == 0 {
				d.Flush()
			}
		}
		d.Flush()
		for _, f := range rec.All() {
			f.Suppressed = 0
			passed = append(passed, f)
		}
		return passed
	}
	for range 300 {
		l := can.Limit{EveryNth: uint32(r.IntN(4)), OnChange: r.IntN(2) == 0, MinInterval: time.Duration(r.IntN(3)) * 20 * time.Millisecond}
		if l.OnChange && r.IntN(2) == 0 {
			l.MaxInterval = 100 * time.Millisecond
		}
		n := 1 + r.IntN(5)
		var frames, apart []can.Frame
		at := int64(1e18)
		for i := range 200 {
			at += 1e6 * int64(r.IntN(15))
			page := i % n // in turns
			if r.IntN(3) == 0 {
				page = r.IntN(n)
			}
			f := can.Frame{ID: uint32(16 + r.IntN(2)), Time: at, Len: 2, Data: [can.MaxDataLen]byte{byte(page), byte(r.IntN(10) / 9)}}
			frames = append(frames, f)
			if f.ID == 16 {
				f.ID = 100 + uint32(page)
			}
			apart = append(apart, f)
		}
		got := passes(can.Config{Limit: l, Pages: byFirst{}}, frames)
		want := passes(can.Config{Limit: l}, apart)
		if len(got) != len(want) {
			t.Fatalf("%+v: of %d pages %d frames pass, of as many messages %d", l, n, len(got), len(want))
		}
		for i := range want {
			if want[i].ID >= 100 {
				want[i].ID = 16
			}
			if got[i] != want[i] {
				t.Fatalf("%+v: frame %d that passes is %v, want %v", l, i, got[i], want[i])
			}
		}
	}
}

// Pages are kept account of in bounds: those beyond pass, and a message in
// bounds costs no memory.
func TestLimitOfManyPages(t *testing.T) {
	var rec cantest.Recorder
	b := newBus(t, can.Config{Limit: can.Limit{OnChange: true}, Pages: wide{}})
	d := can.NewDeliverer(b, &rec)
	feed := func(id uint32, pages int) {
		for i := range pages {
			d.Frame(can.Frame{ID: id, Len: 2, Data: [can.MaxDataLen]byte{byte(i), byte(i >> 8)}}, false)
		}
		d.Flush()
	}
	send := func(id uint32, pages int) (passed int) {
		before := len(rec.All())
		feed(id, pages)
		return len(rec.All()) - before
	}
	for _, want := range []int{300, 300 - can.MaxPages} {
		if n := send(1, 300); n != want {
			t.Errorf("of 300 pages %d pass, want %d", n, want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { feed(1, can.MaxPages) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for id := range uint32(30) {
		send(2+id, can.MaxPages)
	}
	if n := send(31, 10) + send(500, 10); n != 20 {
		t.Errorf("beyond the pages of a bus %d of 20 pass", n)
	}
	if n := send(2, 10); n != 0 {
		t.Errorf("of a message in bounds %d pass", n)
	}
}

type wide struct{}

func (wide) Pages(*can.Frame) can.Pages { return wide{} }
func (wide) Page(data []byte) uint64    { return uint64(data[0]) | uint64(data[1])<<8 }
