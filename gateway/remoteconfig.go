package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"strconv"
	"strings"
	"sync"

	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
	"fieldferry/gateway/remote"
	"fieldferry/uplink"
)

// Remote is whoever takes configurations from afar. It outlives the gateway, so
// it must not wait for what becomes of them.
type Remote interface {
	Desired(document []byte)
	Part(sum string, n int, data []byte) // a chunk of a file; on disk when it returns
	Reported() []byte                    // the report as it is now; nil: none
	Last() (state, said string)          // what became of the last one, also in a sentence; empty: none has come
}

// configReport is the report of the configuration, and what of it the broker has
// been told.
type configReport struct {
	mu   sync.Mutex
	told []byte
}

func (g *Gateway) remoteMode() config.RemoteMode {
	if g.opts.Remote == nil {
		return config.RemoteOff
	}
	return g.cfg.Remote.Mode
}

// remoteSubscriptions are what the gateway hears of a configuration from afar.
// A desired one is a state: its replay is as good as itself, so the broker may
// forget that it sent it.
func (g *Gateway) remoteSubscriptions() []uplink.Subscription {
	if g.remoteMode() != config.RemoteApply {
		return nil
	}
	return []uplink.Subscription{{
		Filter: g.root + "/config/desired", MaxBytes: remote.MaxDesired,
		Handle: func(_ context.Context, m uplink.Received) {
			if len(m.Payload) > 0 { // it was cleared
				g.opts.Remote.Desired(m.Payload)
			}
		},
		TooLarge: func(topic string, size int) {
			g.log.Warn("a configuration from afar is too large", "topic", topic, "bytes", size, "limit", remote.MaxDesired)
		},
	}, {
		Filter: g.root + "/config/part/+/+", MaxBytes: remote.MaxChunk,
		Handle: func(_ context.Context, m uplink.Received) { g.part(m) },
		TooLarge: func(topic string, size int) {
			g.log.Warn("a chunk of a configuration's part is too large", "topic", topic, "bytes", size, "limit", remote.MaxChunk)
		},
	}}
}

// part takes a chunk of a file: its topic ends with SHA256/N.
func (g *Gateway) part(m uplink.Received) {
	sum, number, _ := strings.Cut(strings.TrimPrefix(m.Topic, g.root+"/config/part/"), "/")
	if n, err := strconv.Atoi(number); err == nil && n >= 0 && len(sum) == 2*sha256.Size {
		g.opts.Remote.Part(sum, n, m.Payload)
	}
}

// reportBirth is the report for a new connection.
func (g *Gateway) reportBirth() (r uplink.Message, is bool) {
	if g.remoteMode() == config.RemoteOff {
		return r, false
	}
	text := g.opts.Remote.Reported()
	g.report.mu.Lock()
	g.report.told = text
	g.report.mu.Unlock()
	return uplink.Message{Topic: g.root + "/config/reported", Payload: text, Retain: true}, text != nil
}

// ReportConfig publishes the report if it has changed. It may be called from any
// goroutine. Without a connection the next one does it.
func (g *Gateway) ReportConfig() {
	if g.remoteMode() == config.RemoteOff {
		return
	}
	text := g.opts.Remote.Reported()
	g.report.mu.Lock()
	defer g.report.mu.Unlock()
	if text != nil && !bytes.Equal(text, g.report.told) && g.uplink.Say(uplink.Message{Topic: g.root + "/config/reported", Payload: text, Retain: true}) {
		g.report.told = text
	}
}

// pictureOfConfig is where the configuration came from.
func (g *Gateway) pictureOfConfig() live.Config {
	c := g.opts.Config
	if g.opts.Remote != nil {
		c.Afar, c.AfarNote = g.opts.Remote.Last()
	}
	if g.opts.Configs != nil {
		c.Trial = g.opts.Configs.OnTrial()
	}
	return c
}
