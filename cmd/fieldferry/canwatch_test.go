package main

import (
	"strings"
	"testing"
	"time"

	"fieldferry/bus/can"
)

func frameAt(at time.Duration, id uint32, data ...byte) can.Frame {
	f := can.Frame{ID: id, Time: int64(at) + 1, Len: uint8(len(data))}
	if id > can.MaxID {
		f.Flags = can.Extended
	}
	copy(f.Data[:], data)
	return f
}

// One line per id, in order; changed bytes are marked for a second; a screen is
// not exceeded.
func TestCANWatchPicture(t *testing.T) {
	table := &idTable{rows: map[idKey]*idRow{}, done: func() {}}
	w := &watchedBus{t: table, name: "can0"}
	w.Frames([]can.Frame{
		frameAt(0, 0x200, 1, 2, 3), frameAt(0, 0x100, 0xAA),
		frameAt(100*time.Millisecond, 0x200, 1, 9, 3), frameAt(110*time.Millisecond, 0x0CF00400, 5),
	})
	got := string(table.picture(80, 24, int64(200*time.Millisecond)))
	lines := strings.Split(got, clearRest)
	for i, want := range []string{"3 ids, 4 frames", "can0       100  [1]  AA ", "can0       200  [3]  01 " + markOn + "09" + markOff + " 03 ", "can0  0CF00400  [1]  05 "} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d: %q, want %q in it", i, lines[i], want)
		}
	}
	if !strings.Contains(lines[2], "100.0 ms       2") {
		t.Errorf("gap and count are missing in %q", lines[2])
	}
	if later := string(table.picture(80, 24, int64(1200*time.Millisecond))); strings.Contains(later, markOn) {
		t.Errorf("still marked after a second: %q", later)
	}
	small := string(table.picture(20, 5, int64(200*time.Millisecond)))
	if !strings.Contains(small, "and 1 more ids") || strings.Count(small, clearRest) != 4 {
		t.Errorf("on a small screen: %q", small)
	}
	for _, line := range strings.Split(small, clearRest)[1:3] {
		if text := strings.NewReplacer(markOn, "", markOff, "").Replace(line); len(text) != 20 {
			t.Errorf("%q has %d columns", text, len(text))
		}
	}
}

// Where nobody looks there are plain lines, and only those that say something new.
func TestCANWatchPlain(t *testing.T) {
	log := write(t, "x.log", "(1.0) can0 123#01\n(1.1) can0 123#01\n(1.2) can0 123#02\n(1.3) can0 0CF00400#00\n")
	stdout, stderr, code := verb("can", "watch", "replay:"+log+"?speed=max&time=log")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if code != 0 || len(lines) != 3 || !strings.Contains(lines[1], "02 ") || !strings.HasSuffix(lines[1], "100.0 ms       3") || strings.Contains(stdout, "\x1b") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if stdout, _, code := verb("can", "watch", "replay:"+log+"?speed=max", "-n", "1", "--dbc", "demo.dbc"); code != 0 || strings.Count(stdout, "\n") != 1 {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

// More ids than anybody can look at are not kept.
func TestCANWatchIsBounded(t *testing.T) {
	table := &idTable{rows: map[idKey]*idRow{}, done: func() {}}
	w := &watchedBus{t: table, name: "can0"}
	for id := range uint32(2 * mostIDs) {
		w.Frames([]can.Frame{frameAt(0, 0x10000+id, 1)})
	}
	if len(table.order) != mostIDs || table.left != mostIDs {
		t.Errorf("%d kept, %d left out", len(table.order), table.left)
	}
}
