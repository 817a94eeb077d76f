package live

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
)

type hush struct{}

func (hush) LogValue() slog.Value { return slog.StringValue("***") }

// word is what the kept log calls a level.
func word(t *testing.T, level slog.Level) string {
	t.Helper()
	var l Logs
	slog.New(l.Handler(slog.NewTextHandler(io.Discard, nil))).Log(t.Context(), level, "x")
	if kept := l.Since(0); len(kept) == 1 {
		return kept[0].Level
	}
	return ""
}

func TestLogs(t *testing.T) {
	var l Logs
	var out bytes.Buffer
	log := slog.New(l.Handler(slog.NewTextHandler(&out, nil)))
	log.With("part", "uplink").WithGroup("g").Warn("failed", "n", 3, "password", hush{})
	log.Debug("not enabled")
	log.Error(strings.Repeat("é", maxLogLine))
	got := l.Since(0)
	if len(got) != 2 || got[0].Text != "failed part=uplink g.n=3 g.password=***" || got[0].Level != "WARN" || len(got[1].Text) > maxLogLine+3 {
		t.Errorf("%+v", got)
	}
	if word(t, slog.LevelError+4) != "CRITICAL" || word(t, slog.LevelError) != "ERROR" {
		t.Error("a critical alarm is not told from an error")
	}
	if strings.Count(out.String(), "\n") != 2 {
		t.Errorf("handed on: %s", out.String())
	}
	for n := range 3 * MaxLogs {
		log.Info(fmt.Sprint(n))
	}
	got = l.Since(uint64(3*MaxLogs) - 8)
	if len(got) != 10 || got[9].Text != fmt.Sprint(3*MaxLogs-1) || got[0].Seq != uint64(3*MaxLogs)-7 {
		t.Errorf("%+v", got)
	}
	if all := l.Since(0); len(all) != MaxLogs || all[0].Seq+MaxLogs-1 != all[MaxLogs-1].Seq {
		t.Errorf("%d lines from %d to %d", len(all), all[0].Seq, all[len(all)-1].Seq)
	}
}
