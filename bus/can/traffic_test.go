package can_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

// TestFloodOfIDs: ten thousand ids cost the memory of MaxIDs, and lose nothing.
func TestFloodOfIDs(t *testing.T) {
	const n = 10_000
	var rec cantest.Recorder
	b := newBus(t, can.Config{Limit: can.Limit{OnChange: true}})
	d := can.NewDeliverer(b, &rec)
	for range 2 {
		for id := range uint32(n) {
			d.Frame(can.Frame{ID: id, Flags: can.Extended, Time: 1e18}, false)
		}
	}
	d.Flush()
	list := b.Traffic()
	other := list[len(list)-1]
	if len(list) != can.MaxIDs+1 || !other.Other || other.Frames != 2*(n-can.MaxIDs) || other.Suppressed != 0 {
		t.Errorf("%d ids, the last %+v", len(list), other)
	}
	// Of the ids that are known the second frame is kept back; of others none.
	if st := b.Stats(); st.Suppressed != can.MaxIDs || st.Frames != 2*n-can.MaxIDs {
		t.Errorf("counters %+v", st)
	}
}

// TestLoadAndRates: frames of the second before now, at an even rate.
func TestLoadAndRates(t *testing.T) {
	b := newBus(t, can.Config{Bitrate: 250_000})
	d := can.NewDeliverer(b, discard{})
	if st := b.Stats(); st.Load != 0 || st.Rate != 0 || st.Bitrate != 250_000 {
		t.Errorf("before any frame: %+v", st)
	}
	end := time.Now().Unix() * 1e9
	const perSecond = 1000
	f := frame(t, "0CF00400#0011223344556677")
	for i := range int64(12 * perSecond) {
		f.Time = end - 12e9 + i*1e9/perSecond
		d.Frame(f, false)
		d.Flush()
	}
	bits, _ := can.FrameBits(&f)
	want := 100 * float64(bits) * perSecond / 250_000
	st := b.StatsAt(end + 5e8)
	if math.Abs(st.Load-want) > 0.01*want || st.Rate != perSecond {
		t.Errorf("load %.2f %% at %d frames/s, want %.2f %%", st.Load, st.Rate, want)
	}
	list := b.TrafficAt(end + 5e8)
	if len(list) != 1 || list[0].Frames != 12*perSecond || list[0].ID != f.ID || !list[0].Extended {
		t.Errorf("by id: %+v", list)
	}
	if r := list[0].Rate; r != perSecond {
		t.Errorf("%.1f frames/s", r)
	}
	if st := b.StatsAt(end + 30e9); st.Load != 0 || st.Rate != 0 {
		t.Errorf("long after: load %.2f, %d frames/s", st.Load, st.Rate)
	}
	if st := newBus(t, can.Config{}).Stats(); st.Load != -1 {
		t.Errorf("without a bit rate the load is %v", st.Load)
	}
}

// exactBits is a classic frame as it stands on the wire, bit by bit: with the
// CRC and the stuff bits it really has.
func exactBits(f *can.Frame) int {
	var bits []byte
	put := func(v uint64, n int) {
		for i := n - 1; i >= 0; i-- {
			bits = append(bits, byte(v>>i&1))
		}
	}
	put(0, 1)
	if f.Flags&can.Extended != 0 {
		put(uint64(f.ID>>18), 11)
		put(3, 2) // SRR, IDE
		put(uint64(f.ID&(1<<18-1)), 18)
		put(0, 3) // RTR, r1, r0
	} else {
		put(uint64(f.ID), 11)
		put(0, 3) // RTR, IDE, r0
	}
	put(uint64(f.Len), 4)
	for _, c := range f.Payload() {
		put(uint64(c), 8)
	}
	crc := uint64(0)
	for _, b := range bits {
		next := uint64(b) ^ crc>>14&1
		crc = crc << 1 & 0x7fff
		if next != 0 {
			crc ^= 0x4599
		}
	}
	put(crc, 15)
	stuffed, run, last := 0, 0, byte(2)
	for _, b := range bits {
		if b == last {
			run++
		} else {
			run, last = 1, b
		}
		if run == 5 {
			stuffed++
			run, last = 1, 1-b
		}
	}
	return len(bits) + stuffed + 13
}

// TestFrameBits compares the estimate with the exact length of many frames:
// random ones, and those of an engine.
func TestFrameBits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var random []can.Frame
	for range 2000 {
		f := can.Frame{ID: rnd.Uint32N(1 << 11), Len: uint8(rnd.UintN(9))}
		if rnd.UintN(2) == 0 {
			f.ID, f.Flags = rnd.Uint32N(1<<29), can.Extended
		}
		for i := range f.Len {
			f.Data[i] = byte(rnd.Uint32())
		}
		random = append(random, f)
	}
	for name, list := range map[string][]can.Frame{"random": random, "engine": can.EngineFrames(2000)} {
		exact, estimate := 0, 0
		for i := range list {
			n, data := can.FrameBits(&list[i])
			if data != 0 {
				t.Fatal("a classic frame has bits at the data bit rate")
			}
			exact += exactBits(&list[i])
			estimate += int(n)
		}
		off := 100 * (float64(estimate)/float64(exact) - 1)
		t.Logf("%s: exact %d bits, estimate off by %+.1f %%", name, exact, off)
		if math.Abs(off) > 5 {
			t.Errorf("%s: the estimate is off by %.1f %%", name, off)
		}
	}
	for _, c := range []struct {
		frame         string
		nominal, data uint32
	}{
		{"123#", 34 + 2 + 13, 0},
		{"123#R8", 34 + 2 + 13, 0},
		{"123#0011223344556677", 98 + 6 + 13, 0},
		{"123##0", 17 + 1 + 13 + 5 + 27, 0},
		{"123##1", 17 + 1 + 13, 5 + 27},
		{"00000123##1" + "00112233445566778899AABBCCDDEEFF0011223344", 36 + 2 + 13, 5 + 168 + 10 + 32},
	} {
		f := frame(t, c.frame)
		if n, d := can.FrameBits(&f); n != c.nominal || d != c.data {
			t.Errorf("%s: %d and %d bits, want %d and %d", c.frame, n, d, c.nominal, c.data)
		}
	}
}

// BenchmarkTraffic is what the account costs for a frame, with and without a limit.
func BenchmarkTraffic(b *testing.B) {
	for name, cfg := range map[string]can.Config{
		"count":   {Interface: "can0"},
		"limited": {Interface: "can0", Limit: can.Limit{OnChange: true, MaxInterval: time.Minute}},
	} {
		b.Run(name, func(b *testing.B) {
			bus, err := can.New(cfg, nil)
			if err != nil {
				b.Fatal(err)
			}
			d := can.NewDeliverer(bus, discard{})
			list := can.EngineFrames(1000)
			b.ReportAllocs()
			for i := range b.N {
				d.Frame(list[i%len(list)], false)
			}
			d.Flush()
		})
	}
}

// BenchmarkErrorStorm is what an error frame of a storm costs.
func BenchmarkErrorStorm(b *testing.B) {
	bus, err := can.New(can.Config{Interface: "can0"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	d := can.NewDeliverer(bus, discard{})
	f := frame(b, "200000CC#0020000000008000")
	b.ReportAllocs()
	for range b.N {
		f.Time += 1e5
		d.Frame(f, false)
	}
}
