package gateway

import (
	"context"
	"encoding/json"
	"time"

	"fieldferry/gateway/live"
	"fieldferry/gateway/record"
	"fieldferry/gateway/source"
)

// healthRecord is what a source says of itself in its own stream. Counters count
// from the start of the session.
type healthRecord struct {
	_ [0]func() // nobody compares them: saves the code for it

	Interval float64      `json:"interval_s"`
	State    string       `json:"state"`
	Records  uint64       `json:"records"`
	Lost     uint64       `json:"lost"`
	CAN      *live.CAN    `json:"can,omitempty"`
	Modbus   *live.Modbus `json:"modbus,omitempty"`
	Gateway  *selfHealth  `json:"gateway,omitempty"`
}

// selfHealth is what the gateway says of itself.
type selfHealth struct {
	Uptime  float64      `json:"uptime_s"`
	Buffer  live.Buffer  `json:"buffer"`
	Uplink  live.Uplink  `json:"uplink"`
	Clock   live.Clock   `json:"clock"`
	Process live.Process `json:"process"`
	Alarms  int          `json:"alarms"` // raised now
}

// reportHealth puts a health record into each stream every interval, until ctx
// ends. It belongs to no source: a stuck one has its record all the same.
func (g *Gateway) reportHealth(ctx context.Context) {
	interval := g.cfg.Gateway.HealthInterval
	if interval == 0 {
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if s := g.look.Snapshot(); s != nil && s.Session > 0 {
				g.appendHealth(s, now)
			}
		}
	}
}

func (g *Gateway) appendHealth(s *live.Snapshot, now time.Time) {
	for i := range s.Sources {
		src := &s.Sources[i]
		h := healthRecord{Interval: g.cfg.Gateway.HealthInterval.Seconds(), State: string(src.State), Records: src.Records, Lost: src.Lost, CAN: src.CAN, Modbus: src.Modbus}
		if src.Kind == "gateway" {
			h.State, h.Lost = string(s.State), s.Buffer.Lost
			h.Gateway = &selfHealth{s.Up.Seconds(), s.Buffer, s.Uplink, s.Clock, s.Process, len(s.Alarms)}
		}
		text, err := json.Marshal(h)
		if err != nil { // plain structs of strings and numbers
			g.log.Error("a health record cannot be JSON", "source", src.Name, "error", err)
			continue
		}
		t := now.UnixNano()
		body := record.AppendHealth(source.Begin(nil, g.clock.Read(), t), text[1:len(text)-1])
		g.buffer.Source(src.Name).Append(t, body)
	}
}
