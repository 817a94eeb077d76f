package can_test

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

// TestReplayIsOneBus: of a log of several interfaces one is played, and the
// others are named unless one was selected.
func TestReplayIsOneBus(t *testing.T) {
	name := writeLog(t, "(1.000000) can0 001#", "(1.001000) can1 001#", "(1.100000) can0 002#", "(1.101000) can1 003#", "(1.2) slcan0 004#")
	for option, want := range map[string]struct {
		frames, warned, failed string
	}{
		"":          {frames: "001# 002#", warned: "bus=can1 bus=slcan0 frames=3"},
		"?bus=can0": {frames: "001# 002#"},
		"?bus=can1": {frames: "001# 003#"},
		"?bus=can7": {failed: "no frame of can7 in it; it has frames of can0, can1, slcan0"},
	} {
		var log bytes.Buffer
		b, err := can.New(can.Config{Interface: "replay:" + name + option}, slog.New(slog.NewTextHandler(&log, nil)))
		must(t, err)
		var a cantest.Recorder
		err = b.Run(t.Context(), &a)
		var got []string
		for _, f := range a.All() {
			got = append(got, f.String())
		}
		if strings.Join(got, " ") != want.frames {
			t.Errorf("%q: %q", option, got)
		}
		if ended := errors.Is(err, can.ErrEnd); ended != (want.failed == "") || !ended && !strings.Contains(err.Error(), want.failed) {
			t.Errorf("%q: %v", option, err)
		}
		if (log.Len() > 0) != (want.warned != "") {
			t.Errorf("%q: %s", option, &log)
		}
		for part := range strings.FieldsSeq(want.warned) {
			if !strings.Contains(log.String(), part) {
				t.Errorf("%q: %s is not in %s", option, part, &log)
			}
		}
	}
}

// TestReplayKeepsSilences: however fast a log is replayed, the frames bear what
// lay between them; between two laps lies more than any silence.
func TestReplayKeepsSilences(t *testing.T) {
	name := writeLog(t, "(1.000000) can0 001#", "(1.100000) can0 002#", "(2.000000) can0 003#")
	a, _, err := play(t, can.Config{Interface: "replay:" + name + "?speed=1000&loop"}, 50*time.Millisecond)
	must(t, err)
	frames := a.All()
	if len(frames) < 6 {
		t.Fatalf("%d frames", len(frames))
	}
	for i := range frames[1:6] {
		want := []time.Duration{100 * time.Millisecond, 900 * time.Millisecond, time.Minute}[i%3]
		if got := time.Duration(frames[i+1].BusTime() - frames[i].BusTime()); got != want && (i != 2 || got < want) {
			t.Errorf("between %d and %d: %v", i, i+1, got)
		}
	}
}

func TestLogClock(t *testing.T) {
	const second = int64(time.Second)
	for name, c := range map[string]struct {
		times, steps []int64
		useful       bool
	}{
		"even":             {[]int64{5, 6, 8}, []int64{1, 2}, true},
		"none":             {[]int64{0, 0, 0}, []int64{0, 0}, false},
		"back":             {[]int64{5, 6, 2, 9}, []int64{1, 0, 0}, false},
		"a year":           {[]int64{5, 5 + 365*86400, 6 + 365*86400}, []int64{60, 1}, true},
		"end of the range": {[]int64{0, math.MaxInt64 / second, 0}, []int64{60, 0}, false},
	} {
		var clock can.LogClock
		before := clock.Next(c.times[0] * second)
		for i, at := range c.times[1:] {
			now := clock.Next(at * second)
			if now-before != c.steps[i]*second || now == 0 {
				t.Errorf("%s: step %d is %v", name, i, time.Duration(now-before))
			}
			before = now
		}
		if clock.Useful() != c.useful {
			t.Errorf("%s: useful %v", name, clock.Useful())
		}
		clock.Restart()
		if now := clock.Next(0); now-before < 60*second || clock.Useful() {
			t.Errorf("%s: after a restart %v", name, time.Duration(now-before))
		}
	}
	var clock can.LogClock // of frames that were received at once, the times may cross
	now := clock.Next(second)
	if then := clock.Next(second - int64(time.Millisecond)); then != now {
		t.Errorf("crossing: %v", time.Duration(then-now))
	}
	if then := clock.Next(2 * second); then-now != second || !clock.Useful() {
		t.Errorf("after crossing: %v", time.Duration(then-now))
	}
}

// gaps notes where a gap is said to be, among the frames.
type gaps struct {
	cantest.Recorder
	seen []string
}

func (g *gaps) Frames(batch []can.Frame) {
	for i := range batch {
		g.seen = append(g.seen, batch[i].String())
	}
}

func (g *gaps) Gap() { g.seen = append(g.seen, "gap") }

// TestGaps: where frames may be missing the handler is told so, in order.
func TestGaps(t *testing.T) {
	var h gaps
	d := can.NewDeliverer(newBus(t, can.Config{}), &h)
	for i, text := range []string{"001#", "20000004#0001000000000000", "002#", "20000004#0002000000000000", "003#", "20000040#0000000000000000", "004#"} {
		f, err := can.ParseFrame(text)
		must(t, err)
		f.Time = int64(1e18) + int64(i)
		d.Frame(f, false)
	}
	d.Link(false)
	d.Link(true)
	want := []string{"001#", "gap", "002#", "003#", "gap", "004#", "gap"}
	if !slices.Equal(h.seen, want) {
		t.Errorf("%q, want %q", h.seen, want)
	}
	h = gaps{}
	b := newBus(t, can.Config{Interface: "replay:" + writeLog(t, "(1.0) can0 001#") + "?speed=max"})
	if err := b.Run(t.Context(), &h); !errors.Is(err, can.ErrEnd) || !slices.Equal(h.seen, []string{"gap", "001#"}) {
		t.Errorf("%v, %q", err, h.seen)
	}
}
