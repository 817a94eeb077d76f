package can

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"fieldferry/bus/can/logfile"
)

// maxGap is the longest silence a replay keeps. More than that is the clock of
// the recording machine that was set, not a silent bus.
const maxGap = 24 * time.Hour

// maxLogBuses is how many other interfaces of a log are named.
const maxLogBuses = 8

// atOnce is the due time of a frame that is not to be waited for.
const atOnce = time.Duration(-1)

// errNoFrame is what a track returns when it needs a further call to get at a
// frame, so that a long stretch without any does not hold up the end.
var errNoFrame = errors.New("no frame yet")

// track is something to be played: frames with the times they are due, from
// the start, never falling. After the last, next returns an error.
type track interface {
	next(f *Frame) (due time.Duration, err error)
}

// play hands over the frames of t when they are due. It reckons every time
// from the start, so that it does not drift, however late a wake-up is. As at
// a socket, frames are gathered for a tick if they come thick and fast.
func (b *Bus) play(ctx context.Context, t track, d *delivery) error {
	b.count.up.Store(true)
	start := time.Now()
	now := start
	var lastWake time.Duration
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		f := d.slot()
		due, err := t.next(f)
		if errors.Is(err, errNoFrame) {
			continue
		}
		if err != nil {
			return err
		}
		logTime := f.Time
		if due > now.Sub(start) {
			now = time.Now() // frames late by less than a batch need no look at the clock
		}
		if elapsed := now.Sub(start); due > elapsed {
			held := *f
			d.flush()
			wake := max(due, lastWake+b.cfg.Tick)
			timer.Reset(wake - elapsed)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
			now = time.Now()
			lastWake = now.Sub(start)
			f = d.slot()
			*f = held
		}
		if d.n == 0 && due == atOnce {
			now = time.Now()
		}
		if f.Flags&ErrorFrame == 0 && !b.accepts(f) {
			continue
		}
		f.Time = b.stamp(now, start, due, logTime)
		d.keep(false)
	}
	return nil
}

// stamp is the time of a played frame: the one it was due at by the present
// clock, which may have been set since the start.
func (b *Bus) stamp(now, start time.Time, due time.Duration, logTime int64) int64 {
	if b.src.LogTime {
		b.count.stamps.Store(stampLog)
		return logTime
	}
	b.count.stamps.Store(stampReceive)
	if due == atOnce {
		return now.UnixNano()
	}
	return now.UnixNano() - int64(now.Sub(start)-due)
}

// accepts does what the kernel does for a socket.
func (b *Bus) accepts(f *Frame) bool {
	return (b.cfg.FD || f.Flags&FD == 0) && passes(b.cfg.Filters, b.cfg.Join, f)
}

// runReplay plays a log.
func (b *Bus) runReplay(ctx context.Context, d *delivery) error {
	// Not blocking, so that a pipe nobody writes to does not hold up the end.
	file, err := os.OpenFile(b.src.Name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return replayError(b.src.Name, err)
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err != nil {
		return replayError(b.src.Name, err)
	} else if !info.Mode().IsRegular() {
		return replayError(b.src.Name, errors.New("not a regular file; record one with candump -l"))
	}
	log, _, err := logfile.NewReader(file)
	if err != nil {
		return replayError(b.src.Name, err)
	}
	t := &logTrack{b: b, file: file, log: NewLogReader(log), bus: b.src.Bus}
	err = b.play(ctx, t, d)
	if errors.Is(err, io.EOF) {
		err = ErrEnd
	}
	return err
}

func replayError(name string, err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &os.PathError{Op: "can: replay", Path: name, Err: err}
}

// logTrack plays a log, over and over if asked.
type logTrack struct {
	b      *Bus
	file   io.ReadSeeker
	log    *LogReader
	frames uint64 // of this lap
	faults uint64 // of this lap
	sawFD  bool

	bus      string   // the interface of the log that is played; empty: not known yet
	others   []string // its other interfaces, the first few
	passed   uint64   // their frames of this lap
	clock    LogClock
	sawClock bool // a warning about it was given

	// base is the due time of the frame whose log time is baseTime; last and
	// lastTime are those of the latest frame, gap what lay before it.
	base, last, gap    time.Duration
	baseTime, lastTime int64
	started            bool
}

func (t *logTrack) next(f *Frame) (time.Duration, error) {
	for {
		iface, err := t.log.Next(f)
		var bad *LineError
		switch {
		case err == nil && !t.plays(iface):
			return 0, errNoFrame
		case err == nil:
			t.frames++
			if f.Flags&FD != 0 && !t.b.cfg.FD && !t.sawFD {
				t.sawFD = true
				t.b.log.Warn("the log has CAN FD frames, which are passed over: CAN FD is not switched on for this interface")
			}
			f.Clock = t.clock.Next(f.Time)
			return t.due(f.Time), nil
		case errors.As(err, &bad):
			t.fault(bad)
			return 0, errNoFrame
		case errors.Is(err, io.EOF):
			if err := t.lap(); err != nil {
				return 0, err
			}
		default:
			return 0, replayError(t.b.src.Name, err)
		}
	}
}

// plays reports whether the frames of an interface of the log are played. Two
// interfaces are two buses, of which a source is one.
func (t *logTrack) plays(iface []byte) bool {
	if string(iface) == t.bus {
		return true
	}
	if t.bus == "" {
		t.bus = string(iface)
		return true
	}
	t.passed++
	if len(t.others) < maxLogBuses && !slices.ContainsFunc(t.others, func(s string) bool { return s == string(iface) }) {
		t.others = append(t.others, string(iface))
		if t.b.src.Bus == "" {
			t.b.log.Warn("the log has frames of another interface, which are passed over: a source is one bus; play them as a source of their own, with ?bus=NAME",
				"plays", t.bus, "bus", string(iface))
		}
	}
	return false
}

// fault counts a line that is no frame, and names the first few.
func (t *logTrack) fault(bad *LineError) {
	const named = 3
	t.faults++
	t.b.count.malformed.Add(1)
	if t.faults <= named {
		t.b.log.Warn("a line of the log is not a frame and is passed over", "line", bad.Line, "error", bad.Err)
	}
}

// lap ends a lap and begins the next, or says that there is none.
func (t *logTrack) lap() error {
	if t.faults > 0 {
		t.b.log.Warn("lines of the log were passed over", "lines", t.faults, "frames", t.frames)
	}
	if t.b.src.Bus == "" && t.passed > 0 {
		t.b.log.Warn("frames of other interfaces of the log were passed over", "frames", t.passed, "played", t.frames)
	}
	if t.frames == 0 && len(t.others) > 0 {
		return replayError(t.b.src.Name, fmt.Errorf("no frame of %s in it; it has frames of %s", t.bus, strings.Join(t.others, ", ")))
	}
	if t.frames == 0 {
		return replayError(t.b.src.Name, errors.New("no frame in it; a log is recorded with candump -l"))
	}
	if t.frames > 1 && !t.clock.Useful() && !t.sawClock {
		t.sawClock = true
		t.b.log.Warn("the times of the log are all the same or go back: silences cannot be seen in it, and long J1939 messages are joined by the order of their packets alone")
	}
	if !t.b.src.Loop {
		return io.EOF
	}
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return replayError(t.b.src.Name, err)
	}
	log, _, err := logfile.NewReader(t.file)
	if err != nil {
		return replayError(t.b.src.Name, err)
	}
	t.log.Reset(log)
	t.frames, t.faults, t.passed = 0, 0, 0
	t.clock.Restart()
	// The first frame follows the last at the distance of the two before, and
	// a log without any duration does not become an endless loop without pause.
	t.base = t.last + max(t.gap, time.Millisecond)
	t.started = false
	return nil
}

// due places a frame on the time line by its time in the log.
func (t *logTrack) due(at int64) time.Duration {
	if math.IsInf(t.b.src.Speed, 1) {
		return atOnce
	}
	if !t.started {
		t.started, t.baseTime, t.lastTime = true, at, at
		t.last = t.base
		return t.last
	}
	if gap := at - t.lastTime; gap < 0 || gap > int64(maxGap) {
		t.base, t.baseTime = t.last, at
	}
	t.lastTime = at
	due := t.base + scale(at-t.baseTime, t.b.src.Speed)
	t.gap, t.last = max(due-t.last, 0), max(due, t.last)
	return t.last
}

// scale divides a time by a speed, and stays within the range of a duration.
func scale(ns int64, speed float64) time.Duration {
	if speed == 1 {
		return time.Duration(ns)
	}
	return time.Duration(min(float64(ns)/speed, 1<<62))
}
