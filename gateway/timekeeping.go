package gateway

import (
	"context"
	"time"

	"fieldferry/bus"
	"fieldferry/gateway/clock"
)

// watchClock tells of the machine's clock until ctx ends.
func (g *Gateway) watchClock(ctx context.Context) { g.clock.Watch(ctx, g.clockChanged) }

func (g *Gateway) clockChanged(c clock.Change) {
	if c.Stepped {
		g.log.Info("the clock was set", "from", c.From.UTC(), "to", c.To.UTC(), "by", c.By)
		g.self.Event(bus.Event{Time: time.Now(), Code: clockStep, Detail: map[string]any{
			"from": c.From.UTC(), "to": c.To.UTC(), "by": c.By.Seconds(),
		}})
	}
	switch {
	case c.Turned && c.Why == "":
		g.log.Info("the clock is trusted")
		g.self.clear(clockUnsynced, nil)
	case c.Turned:
		g.log.Warn("the clock is not trusted: records are marked until it is, or, if it is right without a time service, "+
			"until gateway.clock says trusted", "reason", c.Why, "error", c.Err)
		detail := map[string]any{"reason": c.Why}
		if c.Err != nil {
			detail["error"] = c.Err.Error()
		}
		g.self.raise(clockUnsynced, detail)
	}
	// A certificate that was not yet valid may be now.
	if !g.uplink.Stats().Connected {
		g.uplink.Reconnect()
	}
}
