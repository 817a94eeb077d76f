package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"

	"golang.org/x/sys/unix"
)

const (
	mostIDs    = 4096 // lines that are kept
	redraw     = 200 * time.Millisecond
	markedFor  = time.Second
	markOn     = "\x1b[7m"
	markOff    = "\x1b[27m"
	homeCursor = "\x1b[H"
	clearRest  = "\x1b[K\r\n"
	clearBelow = "\x1b[J"
)

type idKey struct {
	bus    string
	id     uint32
	ext    bool
	joined bool // a J1939 message that came in packets
}

// idRow is the latest frame of an id, or the latest message joined.
type idRow struct {
	idKey
	message *dbc.Message // of one that was joined
	frame   can.Frame    // of one that was joined: its time
	data    []byte
	count   uint64
	gap     time.Duration
	changed [can.MaxDataLen]int64 // when a byte did, ns of the frame's time
}

// idTable shows one line per id. Its frames come from several buses.
type idTable struct {
	out, err io.Writer
	plain    bool
	done     func()
	most     uint64
	dumper   dumper // what frames mean

	mu     sync.Mutex
	rows   map[idKey]*idRow
	order  []*idRow
	sorted bool // order is
	frames uint64
	left   uint64 // frames of ids past mostIDs
	failed error
}

// watchedBus is one of the buses.
type watchedBus struct {
	t    *idTable
	name string
	news busNews

	transport dbc.Transport
}

// Frames implements can.Handler.
func (w *watchedBus) Frames(batch []can.Frame) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	for i := range batch {
		w.take(&batch[i])
	}
}

// Gap implements can.GapHandler: what is joined from several frames does not
// span it.
func (w *watchedBus) Gap() { w.transport.Lost() }

// Lost implements can.Handler.
func (w *watchedBus) Lost(uint64) { w.Gap() }

// Event implements can.Handler.
func (w *watchedBus) Event(e bus.Event) {
	if w.t.plain {
		w.news.say(w.t.err, fmt.Sprintf("%s: %s %s\n", w.name, e.Code, e.State))
	}
}

func (w *watchedBus) take(f *can.Frame) {
	t := w.t
	if t.most > 0 && t.frames >= t.most {
		return
	}
	t.frames++
	if t.frames == t.most {
		defer t.done()
	}
	t.note(idKey{w.name, f.ID, f.Flags&can.Extended != 0, false}, f, f.Payload(), nil)
	if p, m := t.dumper.join(&w.transport, f); m != nil {
		t.note(idKey{w.name, p.ID(), true, true}, &can.Frame{Time: p.Time, ID: p.ID(), Flags: can.Extended}, p.Data, m)
	}
}

// note takes the next frame or message of a line.
func (t *idTable) note(key idKey, f *can.Frame, data []byte, m *dbc.Message) {
	r := t.rows[key]
	if r == nil {
		if len(t.rows) >= mostIDs {
			t.left++
			return
		}
		r = &idRow{idKey: key, message: m}
		t.rows[key] = r
		t.order, t.sorted = append(t.order, r), false
	}
	news := r.update(f, data)
	if t.plain && news && t.failed == nil {
		_, t.failed = fmt.Fprintf(t.out, "%s\n", t.line(r, f.Time, "", ""))
		if t.failed != nil {
			t.done()
		}
	}
}

func compareRows(a, b *idRow) int {
	return cmp.Or(strings.Compare(a.bus, b.bus), cmp.Compare(a.id, b.id))
}

// update takes the next frame of the id, and reports whether it says anything new.
func (r *idRow) update(f *can.Frame, data []byte) (news bool) {
	news = r.count == 0 || f.Len != r.frame.Len || !bytes.Equal(data, r.data)
	if r.count > 0 {
		r.gap = time.Duration(f.Time - r.frame.Time)
		for i := range data[:min(len(data), len(r.changed))] {
			if i >= len(r.data) || data[i] != r.data[i] {
				r.changed[i] = f.Time
			}
		}
	}
	r.frame, r.data = *f, append(r.data[:0], data...)
	r.count++
	return news
}

// line is a row as it is shown. now is the time of the bus.
func (t *idTable) line(r *idRow, now int64, on, off string) []byte {
	f, shown, size := &r.frame, r.data, int(r.frame.Len)
	if r.joined {
		shown, size = shown[:8], len(r.data)
	}
	line := fmt.Appendf(nil, "%s  %8s  [%d]  ", printable(r.bus), idText(f), size)
	if f.Flags&can.Remote != 0 {
		line = append(line, "remote request"...)
	} else {
		line = hexBytes(line, shown, func(i int) bool {
			return r.changed[i] != 0 && now-r.changed[i] < int64(markedFor)
		}, on, off)
		if pad := 8 - size; pad > 0 {
			line = append(line, strings.Repeat("   ", pad)...)
		}
	}
	if r.joined {
		line = append(line, " ..."...)
	}
	line = fmt.Appendf(line, "  %8s  %6d", gapText(r.gap), r.count)
	if !r.joined {
		return t.dumper.appendSignals(line, f)
	}
	t.dumper.values = r.message.Decode(r.data, t.dumper.values[:0])
	return t.dumper.appendValues(line, r.message)
}

func gapText(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
	return d.Round(time.Second).String()
}

// drawUntil redraws the table until ctx ends, and once more at the end.
func (t *idTable) drawUntil(ctx context.Context) {
	if t.plain {
		<-ctx.Done()
		return
	}
	_, _ = io.WriteString(exact(t.out), "\x1b[H\x1b[2J")
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		width, height := screenSize(t.out)
		if _, err := exact(t.out).Write(t.picture(width, height, time.Now().UnixNano())); err != nil {
			t.mu.Lock()
			t.failed = err
			t.mu.Unlock()
			t.done()
			return
		}
	}
}

// picture is the table for a screen of that size.
func (t *idTable) picture(width, height int, now int64) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.sorted {
		sort.SliceStable(t.order, func(i, j int) bool { return compareRows(t.order[i], t.order[j]) < 0 })
		t.sorted = true
	}
	b := fmt.Appendf([]byte(homeCursor), "%d ids, %d frames; Ctrl-C ends it%s", len(t.order), t.frames, clearRest)
	rows := t.order[:min(len(t.order), max(height-3, 1))]
	for _, r := range rows {
		at := now
		if d := now - r.frame.Time; d > int64(time.Hour) || d < -int64(time.Hour) {
			at = r.frame.Time // of a log
		}
		b = append(clippedLine(b, t.line(r, at, markOn, markOff), width), clearRest...)
	}
	if more := len(t.order) - len(rows); more > 0 {
		b = fmt.Appendf(b, "and %d more ids: choose some with INTERFACE,ID:MASK%s", more, clearRest)
	}
	return append(b, clearBelow...)
}

// clippedLine appends as much of a line as fits, not counting the marks.
func clippedLine(dst, line []byte, width int) []byte {
	shown := 0
	for i := 0; i < len(line); i++ {
		if line[i] == 0x1b {
			end := i + strings.IndexByte(string(line[i:]), 'm')
			dst = append(dst, line[i:end+1]...)
			i = end
			continue
		}
		if line[i]&0xC0 != 0x80 { // the beginning of a character
			shown++
		}
		if shown <= width {
			dst = append(dst, line[i])
		}
	}
	return dst
}

// screenSize is the size of a terminal.
func screenSize(w io.Writer) (width, height int) {
	if f, ok := exact(w).(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 0 {
			return int(size.Col), int(size.Row)
		}
	}
	return 80, 24
}
