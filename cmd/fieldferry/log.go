package main

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fieldferry/gateway/alarm"
	"fieldferry/gateway/config"
	"fieldferry/gateway/journal"
)

// logFlush is how long the end waits for who reads the log.
const logFlush = time.Second

// logForm is how the log is written: as the flags say, and otherwise as the
// configuration does, which can change.
type logForm struct {
	_ [0]func() // nobody compares them: saves the code for it

	level, format string // flags; empty: not given
	least         slog.LevelVar
	json          atomic.Bool
}

// configure takes the form of a configuration where no flag stands in its way.
func (f *logForm) configure(c config.Log) {
	var l slog.Level
	if l.UnmarshalText([]byte(cmp.Or(f.level, c.Level))) == nil {
		f.least.Set(l)
	}
	f.json.Store(cmp.Or(f.format, c.Format) == "json")
}

// newDaemonLog is the log of a daemon, which depends on nobody who reads it:
// from here on whatever goes to stderr is written by a goroutine of its own, or
// dropped.
func (a *app) newDaemonLog(form *logForm) (*slog.Logger, error) {
	if level := form.level; level != "" && new(slog.Level).UnmarshalText([]byte(level)) != nil {
		return nil, usageError("--log-level %q is unknown; use debug, info, warn or error", level)
	}
	if !slices.Contains([]string{"", "text", "json"}, form.format) {
		return nil, usageError("--log-format %q is unknown; use text or json", form.format)
	}
	form.configure(config.Log{Level: "info", Format: "text"})
	// A reader that has gone: without this the next line would be the last
	// thing done. Only here: can dump | head is to end.
	signal.Ignore(syscall.SIGPIPE)
	_, systemd := a.getenv("JOURNAL_STREAM")
	w := journal.NewWriter(a.stderr, func(n uint64) []byte {
		var line bytes.Buffer
		newLogger(&line, form, systemd).Warn("log lines were dropped, as nobody took them", "lines", n)
		return line.Bytes()
	})
	a.stderr, a.flush = w, func() { w.Close(logFlush) }
	return newLogger(w, form, systemd), nil
}

// newLogger builds the log of the daemon. Under systemd, lines carry a
// priority (sd-daemon(3)) and no time: the journal knows both better.
func newLogger(w io.Writer, form *logForm, journal bool) *slog.Logger {
	if journal {
		w = &priorityWriter{w: w}
	}
	opts := &slog.HandlerOptions{Level: &form.least, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		switch {
		case journal && len(groups) == 0 && a.Key == slog.TimeKey:
			return slog.Attr{}
		case len(groups) == 0 && a.Key == slog.LevelKey && a.Value.Any() == alarm.LevelCritical:
			a.Value = slog.StringValue(alarm.CriticalText)
		case a.Value.Kind() == slog.KindDuration: // JSON would count nanoseconds
			a.Value = slog.StringValue(a.Value.String())
		}
		return a
	}}
	return slog.New(&eitherHandler{form, slog.NewTextHandler(w, opts), slog.NewJSONHandler(w, opts)})
}

// eitherHandler writes text or JSON, whichever the form says at the moment.
type eitherHandler struct {
	form       *logForm
	text, json slog.Handler
}

func (h *eitherHandler) now() slog.Handler {
	if h.form.json.Load() {
		return h.json
	}
	return h.text
}

func (h *eitherHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.text.Enabled(ctx, l)
}

func (h *eitherHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.now().Handle(ctx, r)
}

func (h *eitherHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &eitherHandler{h.form, h.text.WithAttrs(attrs), h.json.WithAttrs(attrs)}
}

func (h *eitherHandler) WithGroup(name string) slog.Handler {
	return &eitherHandler{h.form, h.text.WithGroup(name), h.json.WithGroup(name)}
}

// priorityWriter puts the journal's priority before each line. Handlers write
// a line at a time.
type priorityWriter struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

func (p *priorityWriter) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf = append(append(p.buf[:0], priority(line)...), line...)
	if _, err := p.w.Write(p.buf); err != nil {
		return 0, err
	}
	return len(line), nil
}

// priority finds the syslog priority of a line by its level, which the
// handlers write first when there is no time.
func priority(line []byte) string {
	for _, p := range []struct{ text, json, priority string }{
		{`level=` + alarm.CriticalText, `{"level":"` + alarm.CriticalText + `"`, "<2>"},
		{`level=ERROR`, `{"level":"ERROR"`, "<3>"},
		{`level=WARN`, `{"level":"WARN"`, "<4>"},
		{`level=DEBUG`, `{"level":"DEBUG"`, "<7>"},
	} {
		if bytes.HasPrefix(line, []byte(p.text)) || bytes.HasPrefix(line, []byte(p.json)) {
			return p.priority
		}
	}
	return "<6>"
}
