package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"fieldferry/gateway/alarm"
	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
	"fieldferry/gateway/outbox"
	"fieldferry/gateway/payload/native"
	"fieldferry/gateway/topic"
	"fieldferry/uplink"
)

// Connected implements [uplink.Observer].
func (g *Gateway) Connected(server string) {
	g.self.clear(alarm.UplinkDown, map[string]any{"server": server})
	g.connectionOf(uplink.ReasonUnknown, true)
}

// Disconnected implements [uplink.Observer].
func (g *Gateway) Disconnected(server string, err error) {
	if err == nil { // a clean end
		return
	}
	detail := map[string]any{"server": server, "error": errorText(err)}
	down := live.Disconnect{Time: time.Now().UTC(), Server: server, Error: errorText(err)}
	var e *uplink.Error
	if errors.As(err, &e) {
		down.Reason = e.Reason.String()
	}
	g.look.Disconnects.Add(down)
	g.connectionOf(reasonOf(err), false)
	if errors.As(err, &e) {
		detail["reason"] = e.Reason.String()
		if e.Reason == uplink.ReasonDenied {
			g.self.raise(alarm.UplinkDenied, detail)
		}
	}
	g.self.raise(alarm.UplinkDown, detail)
}

func reasonOf(err error) uplink.Reason {
	var e *uplink.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return uplink.ReasonUnknown
}

// Accepted implements [uplink.Observer].
func (g *Gateway) Accepted(server string) {
	g.self.clear(alarm.UplinkDenied, map[string]any{"server": server})
}

// rejections counts the records that the broker will never take, by source. They
// are lost behind the buffer, which knows nothing of it.
type rejections struct {
	mu sync.Mutex
	by map[string]uint64
}

func (r *rejections) add(source string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]uint64{}
	}
	r.by[source] += uint64(n)
}

// addTo adds them to what was lost otherwise.
func (r *rejections) addTo(s *live.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := uint64(0)
	for _, n := range r.by {
		all += n
	}
	s.Buffer.Lost += all
	s.Buffer.LostBy["rejected"] = all
	for i := range s.Sources {
		s.Sources[i].Lost += r.by[s.Sources[i].Name]
	}
}

// rejected tells of a record that was given up.
func (g *Gateway) rejected(r outbox.Rejection) {
	g.gaveUp.add(r.Source, r.Count)
	g.self.happened(alarm.RecordsRejected, map[string]any{
		"source": r.Source, "session": r.Session, "seq": r.Seq, "count": r.Count,
		"topic": r.Topic, "bytes": r.Bytes, "reason": r.Reason,
	})
}

// denied tells of a topic that the broker does not take: what goes there waits.
func (g *Gateway) denied(topic, reason string) { g.self.Event(g.denials.raised(topic, reason)) }

// allowed says that the broker takes a topic again.
func (g *Gateway) allowed(topic string) {
	if e, is := g.denials.cleared(topic); is {
		g.self.Event(e)
	}
}

// Unproved implements [uplink.Observer].
func (g *Gateway) Unproved(topic, reason string) {
	if reason != "" {
		g.self.Event(g.unproved.raised(topic, reason))
	} else if e, is := g.unproved.cleared(topic); is {
		g.self.Event(e)
	}
}

// How much of what is wrong with a configuration the alarm tells; the log has
// all of it.
const maxProblems, maxProblem = 5, 300

// ConfigRejected says that another configuration was not taken, and what is
// wrong with it, one line for each problem. It may be called from any goroutine.
func (g *Gateway) ConfigRejected(problems []string) {
	first := make([]string, min(len(problems), maxProblems))
	for i := range first {
		first[i] = problems[i][:min(len(problems[i]), maxProblem)]
	}
	g.self.raise(alarm.ConfigRejected, map[string]any{"count": len(problems), "problems": first})
}

// ConfigAccepted says that the file has no other configuration than the one
// in use. It may be called from any goroutine.
func (g *Gateway) ConfigAccepted() { g.self.clear(alarm.ConfigRejected, nil) }

// status is the retained message that says whether the gateway is there.
type status struct {
	V       int       `json:"v"`
	State   string    `json:"state"` // "online" or "offline"
	Gateway string    `json:"gateway"`
	Session uint64    `json:"session"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Epoch   string    `json:"epoch,omitempty"` // what commands have to repeat

	Alarms      []alarm.Alarm `json:"alarms"` // raised now, the worst first
	AlarmsTotal int           `json:"alarms_total"`
	Omitted     int           `json:"alarms_omitted,omitempty"` // of them not named
}

// What the status message has of alarms at most.
const (
	maxStatusAlarms = 50
	maxStatusDetail = 1 << 10 // bytes of each; the event has more
)

// online is the status message of a gateway at work, with as many alarms as
// fit. It has no topic if not even the least fits into what the broker takes.
func (g *Gateway) online(most int) uplink.Message {
	topic := g.root + "/status"
	list := append([]alarm.Alarm{}, g.alarms.Raised()...) // none is [], not null
	st := g.status("online")
	st.Epoch = g.epoch()
	st.AlarmsTotal = len(list)
	for i := range list {
		list[i].Since = g.trusted(list[i].Since)
		if text, err := json.Marshal(list[i].Detail); err != nil || len(text) > maxStatusDetail {
			list[i].Detail = nil
		}
	}
	for n, details := min(len(list), maxStatusAlarms), true; ; {
		st.Alarms, st.Omitted = list[:n:n], len(list)-n
		r := g.retained(topic, st)
		switch {
		case len(r.Payload) <= g.room(topic, most):
			return r
		case details:
			details = false
			for i := range list {
				list[i].Detail = nil
			}
		case n > 0:
			n /= 2
		case most > 0 && len(topic)+len(r.Payload) > most:
			g.denied(topic, tooSmall(most))
			return uplink.Message{}
		default: // batch.max_bytes is not about this one
			return r
		}
	}
}

// announceStatus is online, remembered for those who look.
func (g *Gateway) announceStatus(most int) uplink.Message {
	r := g.online(most)
	if r.Topic != "" {
		g.look.Says.Again(live.NewMessage(r.Topic, r.Payload, time.Now()))
	}
	return r
}

func (g *Gateway) status(state string) status {
	return status{V: native.Version, State: state, Gateway: g.cfg.Gateway.ID, Session: g.buffer.Stats().Session,
		Version: g.opts.Version, Started: g.startedAt(), Alarms: []alarm.Alarm{}}
}

// The configuration's words for what the uplink can do.
var (
	protocols    = map[string]uplink.Protocol{"3.1.1": uplink.Protocol311, "5": uplink.Protocol5}
	compressions = map[string]uplink.Compression{"none": uplink.CompressNone, "gzip": uplink.CompressGzip, "zstd": uplink.CompressZstd}
)

// uplinkConfig adds to the configured uplink what the gateway says of itself.
func (g *Gateway) uplinkConfig() uplink.Config {
	cfg := connection(&g.cfg.Uplink)
	offline := func() uplink.Message { return g.retained(g.root+"/status", g.status("offline")) }
	will := offline()
	cfg.Will = &will
	g.look.Says.Leave(live.NewMessage(will.Topic, will.Payload, time.Now()))
	cfg.TLS = g.seeTLS(g.cfg.Uplink.TLSConfig)
	cfg.Birth = func(most int) []uplink.Message {
		list := g.births(most)
		g.look.Says.Born(messages(list, time.Now()))
		return list
	}
	cfg.Seen = g.statusSeen
	cfg.Subscriptions = g.subscriptions()
	cfg.Goodbye = func() []uplink.Message { return []uplink.Message{offline()} }
	return cfg
}

// ProbeBrokers says of each server of the uplink why it does not take the
// gateway; nil: it does. See [uplink.Probe].
func ProbeBrokers(ctx context.Context, u *config.Uplink) ([]error, error) {
	return uplink.Probe(ctx, connection(u))
}

// Subscription is how the messages of a gateway with this configuration are
// watched: at its servers, with its credentials.
func Subscription(cfg *config.Config) (uplink.SubscribeConfig, error) {
	u := &cfg.Uplink
	template, err := topic.Parse(u.Topic)
	if err != nil {
		return uplink.SubscribeConfig{}, err
	}
	return uplink.SubscribeConfig{
		Server: u.Servers[0], Others: u.Servers[1:], Protocol: protocols[u.Protocol], Topic: template.Root(cfg.Gateway.ID) + "/#",
		Username: u.Username, Password: u.ReadPassword, TLS: u.TLSConfig, Headers: u.ReadHeaders, Proxy: u.ProxyTo,
	}, nil
}

// connection is the configuration of the uplink without what the gateway says
// of itself.
func connection(u *config.Uplink) uplink.Config {
	return uplink.Config{
		Servers:    u.Servers,
		ClientID:   u.ClientID,
		Username:   u.Username,
		Password:   u.ReadPassword,
		TLS:        u.TLSConfig,
		Headers:    u.ReadHeaders,
		Proxy:      u.ProxyTo,
		KeepAlive:  u.KeepAlive,
		AckTimeout: u.AckTimeout,
		InFlight:   u.InFlight,

		Protocol:    protocols[u.Protocol],
		Compress:    compressions[u.Compress],
		Verify:      u.VerifyPublish == config.VerifyStatus || u.VerifyPublish == config.VerifyTopics,
		MaxRate:     int(u.MaxRate),
		MaxMessages: u.MaxMessages,

		VerifyTopics: u.VerifyPublish == config.VerifyTopics,
	}
}

// births are what the gateway says of itself after every connect, in messages
// of at most so many bytes; 0: any.
func (g *Gateway) births(most int) []uplink.Message {
	if engine := g.commands.engine.Load(); engine != nil {
		engine.Renew()
	}
	g.commands.heard.Store(false)
	list := g.meta(most)
	if status := g.online(most); status.Topic != "" {
		list = append([]uplink.Message{status}, list...)
	}
	if r, is := g.reportBirth(); is {
		list = append(list, r)
	}
	return list
}

// Announced implements [uplink.Observer].
func (g *Gateway) Announced(topic, reason string) {
	if reason == "" {
		g.parts.cleared(topic)
		g.allowed(topic)
	} else {
		g.denied(topic, reason)
	}
}

// Dropped implements [uplink.Observer]. What was to be cleared stays at the
// broker, which keeps nothing from being delivered: after a change of the root
// it is for others to clear.
func (g *Gateway) Dropped(topic, reason string) {
	g.allowed(topic)
	if n := g.parts.forget(topic); n > 0 {
		g.log.Warn("the broker does not let the gateway clear what it published under another topic; it stays there",
			"topic", topic, "topics", n, "reason", reason)
	}
}

// retained is a message that the broker keeps for later subscribers.
func (g *Gateway) retained(topic string, v any) uplink.Message {
	body, err := json.Marshal(v)
	if err != nil { // plain structs of strings and numbers
		panic(fmt.Sprintf("gateway: %s cannot be JSON: %v", topic, err))
	}
	return uplink.Message{Topic: topic, Payload: body, Retain: true}
}
