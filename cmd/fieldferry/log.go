package main

import (
	"bytes"
	"io"
	"log/slog"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"fieldferry/gateway/journal"
)

// logFlush is how long the end waits for who reads the log.
const logFlush = time.Second

// newDaemonLog is the log of a daemon, which depends on nobody who reads it:
// from here on whatever goes to stderr is written by a goroutine of its own, or
// dropped.
func (a *app) newDaemonLog(level, format string) (*slog.Logger, error) {
	// A reader that has gone: without this the next line would be the last
	// thing done. Only here: can dump | head is to end.
	signal.Ignore(syscall.SIGPIPE)
	_, systemd := a.getenv("JOURNAL_STREAM")
	w := journal.NewWriter(a.stderr, func(n uint64) []byte {
		var line bytes.Buffer
		if log, err := newLogger(&line, level, format, systemd); err == nil {
			log.Warn("log lines were dropped, as nobody took them", "lines", n)
		}
		return line.Bytes()
	})
	a.stderr, a.flush = w, func() { w.Close(logFlush) }
	return newLogger(w, level, format, systemd)
}

// newLogger builds the log of the daemon. Under systemd, lines carry a
// priority (sd-daemon(3)) and no time: the journal knows both better.
func newLogger(w io.Writer, level, format string, journal bool) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError("--log-level %q is unknown; use debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	if journal {
		w = &priorityWriter{w: w}
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	default:
		return nil, usageError("--log-format %q is unknown; use text or json", format)
	}
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
		{`level=ERROR+4`, `{"level":"ERROR+4"`, "<2>"}, // [alarm.LevelCritical]
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
