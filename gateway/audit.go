package gateway

import (
	"time"

	"fieldferry/gateway/alarm"
	"fieldferry/gateway/record"
	"fieldferry/gateway/source"
)

// Audit puts what somebody did through a door into the gateway's own stream. It
// may be called from any goroutine.
func (g *Gateway) Audit(now time.Time, a record.Audit) {
	more, ok := g.audits.Admit()
	if !ok {
		return
	}
	a.More = more
	t := now.UnixNano()
	g.buffer.Source(selfSource).Append(t, record.AppendAudit(source.Begin(nil, g.clock.Read(), t), &a))
}

// WebFault reports why the page cannot be served, nil that it is. It may be
// called from any goroutine.
func (g *Gateway) WebFault(err error) {
	if err != nil {
		g.self.raise(alarm.WebUnavailable, map[string]any{"error": err.Error()})
		return
	}
	g.self.clear(alarm.WebUnavailable, nil)
}
