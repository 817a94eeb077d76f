package can_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

func writeLog(t testing.TB, lines ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bus.log")
	must(t, os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return name
}

// arrivals are when frames were handed over, from the start.
type arrivals struct {
	cantest.Recorder
	start time.Time
	at    []time.Duration
}

func (a *arrivals) Frames(batch []can.Frame) {
	for range batch {
		a.at = append(a.at, time.Since(a.start))
	}
	a.Recorder.Frames(batch)
}

// play runs a bus on a clock that jumps from one event to the next, and so is exact.
func play(t *testing.T, cfg can.Config, d time.Duration) (a *arrivals, b *can.Bus, err error) {
	synctest.Test(t, func(t *testing.T) {
		a = &arrivals{start: time.Now()}
		b = newBus(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		err = b.Run(ctx, a)
	})
	return a, b, err
}

func TestReplayTiming(t *testing.T) {
	name := writeLog(t,
		"(1436509052.000000) vcan0 001#",
		"(1436509052.100000) vcan0 002#",
		"(1436509052.100000) vcan0 003#",
		"(1436509112.100000) vcan0 004#",
		"(1436509111.900000) vcan0 005#", // the clock was set back: goes on from here
		"(1436509112.000000) vcan0 006#",
		"(1636509112.000000) vcan0 007#", // set forward by years
		"(1636509113.000000) vcan0 008#")
	const ms = time.Millisecond
	atSpeed1 := []time.Duration{0, 100 * ms, 100 * ms, 60100 * ms, 60100 * ms, 60200 * ms, 60200 * ms, 61200 * ms}
	for _, speed := range []int{1, 10} {
		opt := "?speed=10"
		if speed == 1 {
			opt = ""
		}
		a, b, err := play(t, can.Config{Interface: "replay:" + name + opt}, time.Hour)
		if !errors.Is(err, can.ErrEnd) {
			t.Errorf("Run returned %v, want ErrEnd", err)
		}
		var want []time.Duration
		for _, d := range atSpeed1 {
			want = append(want, d/time.Duration(speed))
		}
		if !slices.Equal(a.at, want) {
			t.Errorf("speed %d: handed over at %v, want %v", speed, a.at, want)
		}
		for i, f := range a.All() {
			if due := a.start.Add(want[i]).UnixNano(); f.Time != due {
				t.Errorf("speed %d: frame %d is stamped %d, want the present time %d", speed, i, f.Time, due)
			}
		}
		if st := b.Stats(); st.Timestamps != "receive" || st.Frames != 8 || st.Up || !st.Ended {
			t.Errorf("counters %+v", st)
		}
	}
	a, b, _ := play(t, can.Config{Interface: "replay:" + name + "?time=log"}, time.Hour)
	if f := a.All()[3]; f.Time != 1436509112100000000 || b.Stats().Timestamps != "log" {
		t.Errorf("with time=log frame 4 is stamped %d, counters %+v", f.Time, b.Stats())
	}
}

// TestReplayIsCountedWhenItIsRead: rates and load are of the present second, also
// where frames bear the times of the log.
func TestReplayIsCountedWhenItIsRead(t *testing.T) {
	var lines []string
	for i := range 250 {
		lines = append(lines, fmt.Sprintf("(1436509052.%06d) c 123#0011", i*4000))
	}
	name := writeLog(t, append(lines, "(1436509053.000000) c 123#R", "(1436509053.000000) c 00000123#")...)
	for _, opt := range []string{"?loop", "?loop&time=log"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBus(t, can.Config{Interface: "replay:" + name + opt, Bitrate: 250000})
			ctx, cancel := context.WithTimeout(t.Context(), 8500*time.Millisecond)
			defer cancel()
			if err := b.Run(ctx, new(arrivals)); err != nil {
				t.Fatal(err)
			}
			st, ids := b.Stats(), b.Traffic()
			if st.Rate < 240 || st.Rate > 255 || st.Load < 5 || st.Load > 10 || st.IDs != 2 || ids[0].Rate < 240 {
				t.Errorf("%s: %+v, %+v", opt, st, ids)
			}
		})
	}
}

// TestReplayGathersAndDoesNotDrift plays 10,000 frames at 10 kHz whose distance
// is not a whole number of anything: they come a tick's worth at a time, none
// earlier than due or later than a tick, each stamped with its due time.
func TestReplayGathersAndDoesNotDrift(t *testing.T) {
	var lines []string
	const n = 10000
	us := func(i int) int64 { return int64(i) * 10007 / 100 }
	for i := range n {
		f := counterFrame(i)
		f.Time = 1e18 + us(i)*1000
		lines = append(lines, strings.TrimSpace(string(can.AppendLog(nil, f, "can0"))))
	}
	a, _, err := play(t, can.Config{Interface: "replay:" + writeLog(t, lines...)}, time.Hour)
	if !errors.Is(err, can.ErrEnd) {
		t.Fatal(err)
	}
	got := a.All()
	if len(got) != n {
		t.Fatalf("%d frames, want %d", len(got), n)
	}
	for i, f := range got {
		due := time.Duration(us(i)) * time.Microsecond
		if f.Data != counterFrame(i).Data || f.Time != a.start.Add(due).UnixNano() {
			t.Fatalf("frame %d is %v at %d, want time %d", i, f, f.Time, a.start.Add(due).UnixNano())
		}
		if late := a.at[i] - due; late < 0 || late > can.DefaultTick {
			t.Fatalf("frame %d came %v after it was due", i, late)
		}
	}
	if b := a.Batches(); len(b) > n/40 {
		t.Errorf("%d batches for %d frames: nothing gathers", len(b), n)
	}
}

func TestReplayAsFastAsPossible(t *testing.T) {
	lines := make([]string, 1000)
	for i := range lines {
		lines[i] = string(bytes.TrimSpace(can.AppendLog(nil, can.Frame{ID: uint32(i), Time: int64(i) * 3600e9}, "can0")))
	}
	a, _, err := play(t, can.Config{Interface: "replay:" + writeLog(t, lines...) + "?speed=max"}, time.Hour)
	if !errors.Is(err, can.ErrEnd) {
		t.Fatal(err)
	}
	if got := a.Batches(); len(got) != (1000+can.BatchLen-1)/can.BatchLen {
		t.Errorf("batches %v", got)
	}
	if last := a.at[len(a.at)-1]; last != 0 {
		t.Errorf("waited for %v", last)
	}
}

func TestReplayLoop(t *testing.T) {
	name := writeLog(t, "(1.000000) c 001#", "(1.400000) c 002#", "rubbish", "(1.500000) c 003#")
	a, b, err := play(t, can.Config{Interface: "replay:" + name + "?loop"}, 1450*time.Millisecond)
	must(t, err) // its context ended
	const ms = time.Millisecond
	if want := []time.Duration{0, 400 * ms, 500 * ms, 600 * ms, 1000 * ms, 1100 * ms, 1200 * ms}; !slices.Equal(a.at, want) {
		t.Errorf("handed over at %v, want %v", a.at, want)
	}
	if st := b.Stats(); st.Malformed != 2 {
		t.Errorf("counters %+v", st)
	}
	// A log without duration does not spin.
	a, _, err = play(t, can.Config{Interface: "replay:" + writeLog(t, "(1.000000) c 001#") + "?loop"}, 100*ms+ms/2)
	must(t, err)
	if n := len(a.at); n > 102 {
		t.Errorf("%d frames in 100 ms from a log of one frame", n)
	}
}

func TestReplayLikeASocket(t *testing.T) {
	name := writeLog(t, "(1.0) c 100#01", "(1.0) c 101#02", "(1.0) c 00000100#03", "(1.0) c 100##1DEAD", "(1.0) c 100#R2",
		"(1.0) c 20000040#0000000000000000", "(1.0) c 20000040#0000000000000000", "(1.01) c 100#04", "(2.0) c 100#05")
	filter, err := can.ParseFilter("100:800007FF")
	must(t, err)
	for _, fd := range []bool{false, true} {
		a, b, err := play(t, can.Config{Interface: "replay:" + name, Filters: []can.Filter{filter}, FD: fd}, time.Hour)
		if !errors.Is(err, can.ErrEnd) {
			t.Fatal(err)
		}
		want := []string{"100#01", "100##1DEAD", "100#R2", "100#04", "100#05"}
		if !fd {
			want = slices.Delete(want, 1, 2)
		}
		if got := notations(a.All()); !slices.Equal(got, want) {
			t.Errorf("FD %v: %q, want %q", fd, got, want)
		}
		if got := a.Events(); !slices.Equal(got, []string{"can_bus_off raised", "can_bus_off cleared"}) {
			t.Errorf("events %q", got)
		}
		if st := b.Stats(); st.ErrorFrames != 2 || st.Errors["bus_off"] != 2 {
			t.Errorf("counters %+v", st)
		}
	}
}

func TestReplayFaultyFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	write := func(name string, b []byte) string {
		name = filepath.Join(dir, name)
		must(t, os.WriteFile(name, b, 0o600))
		return name
	}
	for name, want := range map[string]error{
		filepath.Join(dir, "none"): fs.ErrNotExist,
		dir:                        nil, fifo: nil, "/dev/zero": nil,
		write("empty", nil):                             nil,
		write("rubbish", []byte("hello\nworld\n")):      nil,
		write("binary", bytes.Repeat([]byte{0}, 1<<20)): nil,
	} {
		for _, opt := range []string{"", "?loop"} {
			b := newBus(t, can.Config{Interface: "replay:" + name + opt})
			err := b.Run(testContext(t), &cantest.Recorder{})
			if err == nil || errors.Is(err, can.ErrEnd) || want != nil && !errors.Is(err, want) {
				t.Errorf("%s%s: Run returned %v", name, opt, err)
			} else if !strings.Contains(err.Error(), name) {
				t.Errorf("%s: not named in %q", name, err)
			}
		}
	}
}

// TestReplayNamesTheFirstFaults: a log full of rubbish does not fill the journal.
func TestReplayNamesTheFirstFaults(t *testing.T) {
	var out bytes.Buffer
	name := writeLog(t, strings.Repeat("rubbish\n", 1000)+"(1.0) c 123#")
	b, err := can.New(can.Config{Interface: "replay:" + name}, slog.New(slog.NewTextHandler(&out, nil)))
	must(t, err)
	if err := b.Run(testContext(t), &cantest.Recorder{}); !errors.Is(err, can.ErrEnd) {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 4 || !strings.Contains(out.String(), "lines=1000") {
		t.Errorf("%d lines logged:\n%s", n, out.String())
	}
	if st := b.Stats(); st.Malformed != 1000 || st.Frames != 1 {
		t.Errorf("counters %+v", st)
	}
}

func TestRunTwiceAtOnceIsRefused(t *testing.T) {
	b := newBus(t, can.Config{Interface: "sim:ramp"})
	var rec cantest.Recorder
	r := start(t, func(ctx context.Context) error { return b.Run(ctx, &rec) })
	must(t, rec.WaitFrames(testContext(t), 1))
	if err := b.Run(testContext(t), &rec); err == nil {
		t.Error("a second Run is let in")
	}
	r.stop()
}

func TestSimRamp(t *testing.T) {
	a, b, err := play(t, can.Config{Interface: "sim:ramp?rate=300"}, 10*time.Second+time.Millisecond)
	must(t, err)
	got := a.All()
	if len(got) != 3001 {
		t.Errorf("%d frames in 10 s at 300 a second", len(got))
	}
	for i, f := range got {
		if n := binary.LittleEndian.Uint64(f.Data[:]); f.ID != can.RampID || f.Len != 8 || n != uint64(i) {
			t.Fatalf("frame %d is %v", i, f)
		}
		if due := a.start.UnixNano() + int64(i)*1e9/300; f.Time != due {
			t.Fatalf("frame %d is stamped %d, due %d", i, f.Time, due)
		}
	}
	if st := b.Stats(); st.Timestamps != "receive" || st.Lost != 0 {
		t.Errorf("counters %+v", st)
	}
}

func TestSimEngine(t *testing.T) {
	a, _, err := play(t, can.Config{Interface: "sim:engine"}, time.Minute-time.Millisecond)
	must(t, err)
	got := a.All()
	if perSecond := len(got) / 60; perSecond < 100 || perSecond > 300 {
		t.Errorf("%d frames a second", perSecond)
	}
	want := can.EngineFrames(len(got))
	perID := map[uint32]int{}
	lo, hi, last := 1e9, 0.0, -1.0
	for i, f := range got {
		f.Time -= a.start.UnixNano()
		if f != want[i] {
			t.Fatalf("frame %d is %v at %d, by the time alone it is %v at %d", i, f, f.Time, want[i], want[i].Time)
		}
		must(t, f.Validate())
		perID[f.ID]++
		if f.ID == 0x0CF00400 {
			rpm := float64(binary.LittleEndian.Uint16(f.Data[3:])) * 0.125
			lo, hi = min(lo, rpm), max(hi, rpm)
			if last >= 0 && max(rpm-last, last-rpm) > 20 {
				t.Fatalf("the engine jumps from %v to %v rpm in 10 ms", last, rpm)
			}
			last = rpm
		}
	}
	if lo < 600 || lo > 800 || hi < 1400 || hi > 2500 {
		t.Errorf("engine speed from %v to %v rpm", lo, hi)
	}
	for id, n := range map[uint32]int{0x0CF00400: 6000, 0x0CF00300: 1200, 0x18FEF100: 600, 0x18FEEE00: 60} {
		if perID[id] != n {
			t.Errorf("%08X came %d times in a minute, want %d", id, perID[id], n)
		}
	}
}
