package gateway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/can"
)

// A source that is missing is tried for ever, never in a tight loop, and
// does not flood the log.
func TestSuperviseRetriesForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		tries := 0
		supervise(ctx, slog.New(slog.NewTextHandler(&log, nil)), func(context.Context) error {
			tries++
			return errors.New("no such device")
		})
		if tries < 3600/10 || tries > 3600 {
			t.Errorf("%d tries in an hour", tries)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%d lines of log for one repeated error:\n%s", n, log.String())
		}
	})
}

func TestSuperviseEndsWithTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		supervise(t.Context(), slog.New(slog.DiscardHandler), func(context.Context) error {
			runs++
			return can.ErrEnd
		})
		if runs != 1 {
			t.Errorf("%d runs", runs)
		}
	})
}
