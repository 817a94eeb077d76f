package gateway

import (
	"context"
	"time"

	"fieldferry/gateway/alarm"
	"fieldferry/gateway/clock"
	"fieldferry/gateway/config"
)

// ClockConfig says when a gateway trusts the clock.
func ClockConfig(cfg *config.Config, opts Options) clock.Config {
	return clock.Config{Trusted: cfg.Gateway.TrustClock, Earliest: opts.Built, Machine: opts.Machine}
}

// watchClock tells of the machine's clock until ctx ends.
func (g *Gateway) watchClock(ctx context.Context) { g.clock.Watch(ctx, g.clockChanged) }

func (g *Gateway) clockChanged(c clock.Change) {
	if c.Stepped {
		g.log.Info("the clock was set", "from", c.From.UTC(), "to", c.To.UTC(), "by", c.By)
		g.self.happened(alarm.ClockStep, map[string]any{"from": c.From.UTC(), "to": c.To.UTC(), "by": c.By.Seconds()})
	}
	switch {
	case c.Turned && c.Why == "":
		g.log.Info("the clock is trusted")
		g.self.clear(alarm.ClockUnsynced, nil)
	case c.Turned:
		detail := map[string]any{"reason": c.Why}
		why := string(c.Why)
		if c.Err != nil {
			why = c.Err.Error()
			detail["error"] = why
		}
		g.log.Warn("the clock is not trusted; records are marked until it is (gateway.clock: trusted if it is right without a time service)", "reason", why)
		g.self.raise(alarm.ClockUnsynced, detail)
	}
	// A certificate that was not yet valid may be now.
	if c.Stepped || c.Why == "" {
		g.uplink.Retry()
	}
}

// startedAt is when the gateway was started, by what is known of the clock now.
func (g *Gateway) startedAt() time.Time {
	if g.clock.Suspect(g.started.UnixNano()) {
		return time.Now().Add(-time.Since(g.started)).UTC()
	}
	return g.started.UTC()
}
