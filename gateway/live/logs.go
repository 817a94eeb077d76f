package live

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// MaxLogs is how many lines of the log are kept for those who look, and
// maxLogLine how long a line may be, in bytes.
const (
	MaxLogs    = 2000
	maxLogLine = 2000
)

// Logs keeps the newest lines of the log. It may be used from any goroutine.
type Logs struct {
	mu   sync.Mutex
	ring []LogLine
	next int
	seq  uint64
}

// LogLine is one line of the log.
type LogLine struct {
	_ [0]func() // nobody compares them: saves the code for it

	Seq   uint64    `json:"seq"` // counts from 1
	Time  time.Time `json:"time"`
	Level string    `json:"level"` // DEBUG, INFO, WARN, ERROR or CRITICAL
	Text  string    `json:"text"`  // the message and what belongs to it
}

// Since returns the lines after a number, oldest first, never nil.
func (l *Logs) Since(seq uint64) []LogLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []LogLine{}
	for i := range l.ring {
		if line := l.ring[(l.next+i)%len(l.ring)]; line.Seq > seq {
			list = append(list, line)
		}
	}
	return list
}

func (l *Logs) add(t time.Time, level slog.Level, text string) {
	if len(text) > maxLogLine {
		text = strings.ToValidUTF8(text[:maxLogLine], "") + "..."
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	word := level.String()
	if level > slog.LevelError { // that of critical alarms; slog would say ERROR+4
		word = "CRITICAL"
	}
	line := LogLine{Seq: l.seq, Time: t.UTC(), Level: word, Text: text}
	if len(l.ring) < MaxLogs {
		l.ring = append(l.ring, line)
		return
	}
	l.ring[l.next] = line
	l.next = (l.next + 1) % MaxLogs
}

// Handler returns a handler that keeps each line and hands it on to next.
func (l *Logs) Handler(next slog.Handler) slog.Handler { return &tee{logs: l, next: next} }

// tee is a handler in front of another one.
type tee struct {
	_ [0]func() // nobody compares them: saves the code for it

	logs   *Logs
	next   slog.Handler
	attrs  string // of With, as text
	groups string
}

// Enabled implements [slog.Handler].
func (h *tee) Enabled(ctx context.Context, level slog.Level) bool { return h.next.Enabled(ctx, level) }

// Handle implements [slog.Handler].
func (h *tee) Handle(ctx context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(r.Message)
	text.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		h.write(&text, a)
		return true
	})
	h.logs.add(r.Time, r.Level, text.String())
	return h.next.Handle(ctx, r)
}

// write appends an attribute. Values that hide themselves, such as secrets, do
// so here too.
func (h *tee) write(text *strings.Builder, a slog.Attr) {
	if a.Equal(slog.Attr{}) {
		return
	}
	text.WriteString(" " + h.groups + a.Key + "=" + a.Value.Resolve().String())
}

// WithAttrs implements [slog.Handler].
func (h *tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	var text strings.Builder
	for _, a := range attrs {
		h.write(&text, a)
	}
	return &tee{logs: h.logs, next: h.next.WithAttrs(attrs), attrs: h.attrs + text.String(), groups: h.groups}
}

// WithGroup implements [slog.Handler].
func (h *tee) WithGroup(name string) slog.Handler {
	return &tee{logs: h.logs, next: h.next.WithGroup(name), attrs: h.attrs, groups: h.groups + name + "."}
}
