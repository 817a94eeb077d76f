package gateway

import (
	"sync"
	"time"

	"fieldferry/gateway/alarm"
	"fieldferry/gateway/record"
	"fieldferry/gateway/source"
)

// auditRate is how many audit records a second are told; further ones are
// counted, so that a flood of refusals does not drive data out.
const auditRate = 20

// auditor counts audit records.
type auditor struct {
	mu     sync.Mutex
	second int64
	told   int
	more   uint64
}

// admit reports whether a record of the time now is told, and how many were not
// since the last one that was.
func (a *auditor) admit(now time.Time) (more uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := now.Unix(); s != a.second {
		a.second, a.told = s, 0
	}
	if a.told++; a.told > auditRate {
		a.more++
		return 0, false
	}
	more, a.more = a.more, 0
	return more, true
}

// Audit puts what somebody did through a door into the gateway's own stream. It
// may be called from any goroutine.
func (g *Gateway) Audit(now time.Time, a record.Audit) {
	more, ok := g.auditor.admit(now)
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
