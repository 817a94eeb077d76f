package gateway

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"fieldferry/bus/can"
)

// How a lost source is tried again: soon at first, for an adapter that was
// replugged, and never rarer than a person would wait beside it.
const (
	firstRetry  = 250 * time.Millisecond
	lastRetry   = 5 * time.Second
	healthyTime = 10 * time.Second // a run this long starts over with firstRetry
)

// supervise runs a source, or what else may fail, again and again until ctx
// ends or the source has nothing more to say. A repeated error is logged once,
// and its end with the number of tries.
func supervise(ctx context.Context, log *slog.Logger, run func(context.Context) error) {
	wait := firstRetry
	last, repeated := "", 0
	for ctx.Err() == nil {
		began := time.Now()
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, can.ErrEnd) {
			log.Info("source has ended")
			return
		}
		if time.Since(began) >= healthyTime {
			if repeated > 0 {
				log.Info("recovered", "tries", repeated+1)
			}
			wait, last, repeated = firstRetry, "", 0
		}
		if text := errorText(err); text != last {
			log.Warn("failed; trying again", "error", text)
			last, repeated = text, 0
		} else {
			repeated++
		}
		sleep(ctx, wait/2+rand.N(wait))
		wait = min(2*wait, lastRetry)
	}
}

func errorText(err error) string {
	if err == nil {
		return "it ended without a reason"
	}
	return err.Error()
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
