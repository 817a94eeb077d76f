package journal

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// What passes in a minute. A kind is a level, a message and the place it is
// about.
const (
	PerKind   = 10  // lines of a kind
	PerMinute = 300 // lines of all kinds, the counts of what was left out among them
	maxKinds  = 1024
	maxPlace  = 64 // bytes of a value
)

// places are the attributes whose values tell lines of one message apart.
var places = []string{"part", "source", "device", "server", "code", "subject", "topic", "interface"}

// Limiter counts lines by their kind. It may be used from any goroutine.
type Limiter struct {
	now func() time.Time

	mu    sync.Mutex
	begin time.Time // of the minute
	lines int       // in this minute
	kinds map[string]*kind
	order []*kind // those of kinds of which lines were left out, in order
	other uint64  // lines left out of further kinds
}

// kind is what there was of one kind in this minute.
type kind struct {
	passed int
	left   uint64
	last   slog.Record  // of those left out
	next   slog.Handler // with the attributes of that one
}

// text is the message of the last line, and how many more there were.
func (k *kind) text() string {
	more := k.left
	if k.passed == 0 {
		more-- // this one was not shown before
	}
	if more == 0 {
		return k.last.Message
	}
	return fmt.Sprintf("%s (and %s more like this in the last minute)", k.last.Message, grouped(more))
}

// NewLimiter makes one; now is [time.Now] but for tests.
func NewLimiter(now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	return &Limiter{now: now, kinds: map[string]*kind{}}
}

// Handler lets the first [PerKind] lines of a kind pass to next in a minute. How
// many more there were follows with the first line after the minute, or with
// [Limiter.Flush].
func (l *Limiter) Handler(next slog.Handler) slog.Handler { return &limited{l: l, next: next} }

// Run flushes every minute until ctx ends, and then once more.
func (l *Limiter) Run(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.Flush()
			return
		case <-tick.C:
			l.Flush()
		}
	}
}

// Flush says what was left out since the last time.
func (l *Limiter) Flush() {
	l.mu.Lock()
	said := l.turn(l.now())
	l.mu.Unlock()
	write(said)
}

// line is one that is to be written, outside the lock.
type line struct {
	next   slog.Handler
	record slog.Record
}

func write(lines []line) {
	for _, x := range lines {
		_ = x.next.Handle(context.Background(), x.record) // as slog.Logger does
	}
}

// turn begins another minute, and returns the lines about the last one. The
// caller holds the lock.
func (l *Limiter) turn(now time.Time) (said []line) {
	const most = PerMinute / 3 // so that no minute is full of them
	for i, k := range l.order {
		if i >= most {
			l.other += k.left
			continue
		}
		r := slog.NewRecord(now, k.last.Level, k.text(), k.last.PC)
		k.last.Attrs(func(a slog.Attr) bool { r.AddAttrs(a); return true })
		said = append(said, line{k.next, r})
	}
	if l.other > 0 && len(said) > 0 {
		r := slog.NewRecord(now, slog.LevelWarn, fmt.Sprintf("%s more log lines of other kinds were left out in the last minute", grouped(l.other)), 0)
		said = append(said, line{said[0].next, r})
		l.other = 0
	}
	l.begin, l.lines, l.order = now, len(said), nil
	clear(l.kinds)
	return said
}

// take decides about one line, and returns what is to be written before it.
func (l *Limiter) take(key string, next slog.Handler, r slog.Record) (said []line, pass bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); now.Sub(l.begin) >= time.Minute || now.Before(l.begin) {
		said = l.turn(now)
	}
	k := l.kinds[key]
	if k == nil {
		if len(l.kinds) >= maxKinds {
			key = "" // too many to be told apart
		}
		if k = l.kinds[key]; k == nil {
			k = &kind{}
			l.kinds[key] = k
		}
	}
	room := PerMinute
	if r.Level < slog.LevelError {
		room = PerMinute * 2 / 3 // the rest is kept for errors
	}
	if k.passed < PerKind && l.lines < room {
		k.passed++
		l.lines++
		return said, true
	}
	if k.left == 0 {
		l.order = append(l.order, k)
	}
	k.left++
	k.last, k.next = r.Clone(), next
	return said, false
}

// limited is a handler before another one.
type limited struct {
	_ [0]func() // nobody compares them: saves the code for it

	l     *Limiter
	next  slog.Handler
	place string // of the attributes of With
}

// Enabled implements [slog.Handler].
func (h *limited) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h *limited) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo { // somebody asked for all of it
		return h.next.Handle(ctx, r)
	}
	var key strings.Builder
	key.WriteString(r.Level.String() + "\x00" + r.Message + h.place)
	r.Attrs(func(a slog.Attr) bool { key.WriteString(place(a)); return true })
	said, pass := h.l.take(key.String(), h.next, r)
	write(said)
	if !pass {
		return nil
	}
	return h.next.Handle(ctx, r)
}

func place(a slog.Attr) string {
	if !slices.Contains(places, a.Key) {
		return ""
	}
	text := a.Value.Resolve().String()
	return "\x00" + a.Key + "=" + text[:min(len(text), maxPlace)]
}

// WithAttrs implements [slog.Handler].
func (h *limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	key := h.place
	for _, a := range attrs {
		key += place(a)
	}
	return &limited{l: h.l, next: h.next.WithAttrs(attrs), place: key}
}

// WithGroup implements [slog.Handler].
func (h *limited) WithGroup(name string) slog.Handler {
	return &limited{l: h.l, next: h.next.WithGroup(name), place: h.place}
}

// grouped is a number as people write it: 1,234.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
