package alarm

import (
	"context"
	"encoding/json"
	"log/slog"

	"fieldferry/bus"
)

// LevelCritical is the level of critical alarms in the log: beyond
// [slog.LevelError], as syslog's priorities have it.
const LevelCritical = slog.LevelError + 4

// CriticalText is what a log calls it; package slog would write ERROR+4.
const CriticalText = "CRITICAL"

// level is where a line of the log belongs: what has ended is for the record.
func (l *line) level() slog.Level {
	if l.state == bus.Cleared {
		return slog.LevelInfo
	}
	switch l.severity {
	case Warning:
		return slog.LevelWarn
	case Error:
		return slog.LevelError
	case Critical:
		return LevelCritical
	}
	return slog.LevelInfo
}

// maxLogged is how many bytes of a detail a line of the log has. A longer one is
// cut, and a text.
const maxLogged = 1000

func (l *line) write(log *slog.Logger) {
	args := []any{"id", l.id, "code", l.code, "source", l.source}
	if l.subject != "" {
		args = append(args, "subject", l.subject)
	}
	if len(l.detail) > 0 {
		if b, err := json.Marshal(l.detail); err == nil {
			var v any = json.RawMessage(b) // an object in JSON, a quoted text else
			if len(b) > maxLogged {
				v = string(b[:maxLogged])
			}
			args = append(args, "detail", v)
		}
	}
	log.Log(context.Background(), l.level(), "alarm "+l.state.String(), args...)
}
