package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fieldferry/bus"
	"fieldferry/gateway/payload"
	"fieldferry/uplink"
)

// Connected implements [uplink.Observer].
func (g *Gateway) Connected(server string) {
	g.self.clear(uplinkDown, map[string]any{"server": server})
}

// Disconnected implements [uplink.Observer].
func (g *Gateway) Disconnected(server string, err error) {
	if err == nil { // a clean end
		return
	}
	detail := map[string]any{"server": server, "error": errorText(err)}
	var e *uplink.Error
	if errors.As(err, &e) {
		detail["reason"] = e.Reason.String()
		if e.Reason == uplink.ReasonDenied {
			g.self.raise(uplinkDenied, detail)
		}
	}
	g.self.raise(uplinkDown, detail)
}

// Accepted implements [uplink.Observer].
func (g *Gateway) Accepted(server string) {
	g.self.clear(uplinkDenied, map[string]any{"server": server})
}

// rejected tells of a message no broker will take.
func (g *Gateway) rejected(r rejection) {
	g.self.Event(bus.Event{Time: time.Now(), Code: recordsRejected, Detail: map[string]any{
		"source": r.source, "session": r.session, "seq": r.seq, "count": r.count,
		"topic": r.topic, "bytes": r.bytes, "reason": r.reason, "told": !r.untold,
	}})
}

// watchInterval is how often the gateway looks at the buffer's health.
const watchInterval = time.Second

// watchBuffer raises and clears the disk's alarm until ctx ends.
func (g *Gateway) watchBuffer(ctx context.Context) {
	for ctx.Err() == nil {
		if fault := g.buffer.Stats().Fault; fault != "" {
			g.self.raise(diskFault, map[string]any{"error": fault})
		} else {
			g.self.clear(diskFault, nil)
		}
		sleep(ctx, watchInterval)
	}
}

// status is the retained message that says whether the gateway is there.
type status struct {
	V       int       `json:"v"`
	State   string    `json:"state"` // "online" or "offline"
	Gateway string    `json:"gateway"`
	Session uint64    `json:"session"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
}

// The configuration's words for what the uplink can do.
var (
	protocols    = map[string]uplink.Protocol{"3.1.1": uplink.Protocol311, "5": uplink.Protocol5}
	compressions = map[string]uplink.Compression{"none": uplink.CompressNone, "gzip": uplink.CompressGzip, "zstd": uplink.CompressZstd}
)

// uplinkConfig adds to the configured uplink what the gateway says of itself.
func (g *Gateway) uplinkConfig(root string) uplink.Config {
	u := g.cfg.Uplink
	cfg := uplink.Config{
		Servers:    u.Servers,
		ClientID:   u.ClientID,
		Username:   u.Username,
		Password:   u.ReadPassword,
		TLS:        u.TLSConfig,
		KeepAlive:  u.KeepAlive,
		AckTimeout: u.AckTimeout,
		InFlight:   u.InFlight,

		Protocol:    protocols[u.Protocol],
		Compress:    compressions[u.Compress],
		Verify:      u.VerifyPublish,
		MaxRate:     int(u.MaxRate),
		MaxMessages: u.MaxMessages,
	}
	state := func(s string) uplink.Retained {
		return g.retained(root+"/status", status{V: payload.Version, State: s, Gateway: g.cfg.Gateway.ID,
			Session: g.buffer.Stats().Session, Version: g.opts.Version, Started: g.startedAt()})
	}
	will := state("offline")
	cfg.Will = &will
	cfg.Birth = func() []uplink.Retained {
		return []uplink.Retained{state("online"), g.meta(root + "/meta")}
	}
	cfg.Goodbye = func() []uplink.Retained { return []uplink.Retained{state("offline")} }
	return cfg
}

func (g *Gateway) retained(topic string, v any) uplink.Retained {
	body, err := json.Marshal(v)
	if err != nil { // plain structs of strings and numbers
		panic(fmt.Sprintf("gateway: %s cannot be JSON: %v", topic, err))
	}
	return uplink.Retained{Topic: topic, Payload: body}
}
