package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"fieldferry/bus"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/command"
	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
	"fieldferry/gateway/record"
	"fieldferry/gateway/source"
	"fieldferry/gateway/statedir"
	"fieldferry/uplink"
)

// commands is what is done to the buses on somebody's request. Without
// commands.enabled in the configuration nothing of it exists: there is no engine
// and no subscription.
type commands struct {
	points []command.Point
	frames []*command.CANPoint            // of them, those that hold a bus
	engine atomic.Pointer[command.Engine] // nil: nobody may, or the disk of the journal is not there yet
	denied atomic.Pointer[string]         // why the broker does not let requests be heard
	heard  atomic.Bool                    // on this connection requests are: before that an epoch would invite some that are lost
}

// ErrNoCommands says that the configuration allows none.
var ErrNoCommands = errors.New("commands are not enabled; write commands: {enabled: true, points: [...]} in the configuration")

// addCommands makes the points of the configuration.
func (g *Gateway) addCommands() error {
	if !g.cfg.Commands.Enabled {
		return nil
	}
	for i := range g.cfg.Commands.Points {
		p := &g.cfg.Commands.Points[i]
		target, err := g.target(p)
		if err != nil {
			return err
		}
		g.commands.points = append(g.commands.points, command.Point{
			Name: p.Name, Source: p.Source, Allow: p.Allow, MaxChange: p.MaxChange, MinInterval: p.MinInterval,
			Fallback: p.Fallback, Target: target, Permit: p.Identity(),
		})
	}
	return nil
}

// target is a point on its bus.
func (g *Gateway) target(p *config.Point) (command.Target, error) {
	if p.Register != nil {
		return p.OnLine(g.lines[p.Source])
	}
	log := g.log.With("part", "commands", "point", p.Name)
	point, err := p.Frame.On(func(err error) { log.Warn("a frame that is to be repeated could not be sent", "error", err) })
	if err != nil {
		return nil, err
	}
	g.commands.frames = append(g.commands.frames, point)
	return point, nil
}

// runCommands carries out commands until ctx ends, and what is on a bus then.
func (g *Gateway) runCommands(ctx context.Context) {
	if !g.cfg.Commands.Enabled {
		return
	}
	for g.buffer.Stats().Session == 0 { // the disk of the journal is not there yet
		if sleep(ctx, watchInterval); ctx.Err() != nil {
			return
		}
	}
	c := &g.cfg.Commands
	engine, err := command.New(command.Config{
		Gateway: g.cfg.Gateway.ID, MaxTTL: c.MaxTTL, MaxPerMinute: c.MaxPerMinute, Signers: c.Signers,
		Points: g.commands.points, Reads: g.cfg.Readable(func(name string) command.ModbusLine { return g.lines[name] }), Trial: g.opts.Trial,
		Files: statedir.In(g.cfg.Buffer.Dir), Clock: g.clock, Kept: 2 * g.cfg.Buffer.SyncInterval,
		Answer: g.answer, Audit: g.auditCommand, Fallback: g.fellBack,
		Renewed: func() { g.uplink.Announce(g.announceStatus) },
	})
	if err != nil {
		g.log.Error("earlier requests are not known: any that was issued before the start is refused", "error", err)
		g.self.happened(alarm.CommandsForgotten, map[string]any{"error": err.Error()})
	}
	g.commands.engine.Store(engine)
	g.uplink.Announce(g.announceStatus)
	engine.Run(ctx)
	for _, f := range g.commands.frames {
		f.Close()
	}
}

// requestTopics is the filter of the topics that requests come by. The level of
// its + is who asks, which the broker's rules have to vouch for.
func (g *Gateway) requestTopics() (before, after string) { return g.root + "/cmd/", "/req" }

// subscriptions are what the gateway wants to hear of the broker: nothing,
// unless commands are enabled, or a configuration from afar.
func (g *Gateway) subscriptions() []uplink.Subscription {
	list := g.remoteSubscriptions()
	if !g.cfg.Commands.Enabled {
		return list
	}
	before, after := g.requestTopics()
	return append(list, uplink.Subscription{
		Filter: before + "+" + after, MaxBytes: command.MaxRequest, KeepRetain: true, NoReplay: true,
		Handle: g.request, Granted: g.commandsGranted,
	})
}

// request takes a request of MQTT. When it returns, the request is on disk or
// has been refused.
func (g *Gateway) request(_ context.Context, m uplink.Received) {
	before, after := g.requestTopics()
	who := strings.TrimSuffix(strings.TrimPrefix(m.Topic, before), after)
	back := command.Return{Topic: before + who + "/resp", Correlation: m.Properties.Correlation}
	// An answer goes to who has asked, and nowhere else; never to where requests
	// come from.
	if t := m.Properties.ResponseTopic; strings.HasPrefix(t, before+who+"/") && t != m.Topic && uplink.ValidateTopic(t) == nil {
		back.Topic = t
	}
	actor := command.Actor{Who: who, By: command.ByMQTT}
	engine := g.commands.engine.Load()
	if engine == nil {
		g.answer(back, command.NotNow(m.Payload, "the disk of buffer.path is not there yet"))
		return
	}
	engine.Take(actor, m.Payload, command.Transport{Return: back, Expiry: m.Properties.Expiry, Replay: m.Retained}, nil)
}

// answer publishes a reply, if there is a connection.
func (g *Gateway) answer(to command.Return, r command.Reply) {
	body, err := json.Marshal(r)
	if err != nil {
		g.log.Error("a reply cannot be JSON", "error", err)
		return
	}
	g.uplink.Say(uplink.Message{Topic: to.Topic, Payload: body, Properties: &uplink.Properties{
		ContentType: "application/json", Correlation: to.Correlation,
	}})
}

func (g *Gateway) commandsGranted(reason string) {
	g.commands.heard.Store(reason == "")
	if reason == "" {
		g.uplink.Announce(g.announceStatus)
		g.commands.denied.Store(nil)
		g.self.clear(alarm.CommandsDenied, nil)
		return
	}
	g.commands.denied.Store(&reason)
	g.self.raise(alarm.CommandsDenied, map[string]any{"reason": reason})
}

// auditCommand puts the account of a request into the stream of its bus.
func (g *Gateway) auditCommand(a command.Audit) {
	name := a.Source
	if name == "" {
		name = selfSource
	}
	t := a.Time.UnixNano()
	g.buffer.Source(name).Append(t, record.AppendCommand(source.Begin(nil, g.clock.Read(), t), &record.Command{
		By: string(a.By), Who: a.Who, ID: a.Reply.ID, Point: a.Reply.Point, Value: string(a.Reply.Value), Old: string(a.Reply.Old), Read: string(a.Reply.Read),
		State: string(a.Reply.State), Code: string(a.Reply.Code), Reason: a.Reason, Signer: a.Signer,
		Exception: uint64(a.Reply.Exception), TookMS: uint64(max(a.Reply.TookMS, 0)), More: a.More, Again: a.Again,
	}))
}

// fellBack reports that a fallback is in force, or not any more.
func (g *Gateway) fellBack(point string, r *command.Reply) {
	e := bus.Event{Time: time.Now(), Code: alarm.CommandFallback, State: bus.Cleared, Subject: point}
	if r != nil {
		e.State, e.Detail = bus.Raised, map[string]any{"value": r.Value, "state": string(r.State), "code": string(r.Code)}
		if r.Message != "" {
			e.Detail["message"] = r.Message
		}
	}
	g.self.Event(e)
}

// isPoint reports whether the configuration has a point of that name.
func (g *Gateway) isPoint(name string) bool {
	c := &g.cfg.Commands
	return c.Enabled && slices.ContainsFunc(c.Points, func(p config.Point) bool { return p.Name == name })
}

// lookAtCommands raises and clears what is to be seen of commands.
func (g *Gateway) lookAtCommands() {
	engine := g.commands.engine.Load()
	if engine == nil {
		return
	}
	v := engine.View()
	say := func(code string, on bool, detail map[string]any) {
		if on {
			g.self.raise(code, detail)
		} else {
			g.self.clear(code, nil)
		}
	}
	say(alarm.CommandsUnavailable, v.Fault != "", map[string]any{"error": v.Fault})
	say(alarm.CommandsSuspended, v.Suspended, nil)
	say(alarm.CommandsPaused, v.Paused != "", map[string]any{"by": v.Paused})
}

// epoch is the word that requests have to repeat; empty while nobody would hear
// them.
func (g *Gateway) epoch() string {
	if engine := g.commands.engine.Load(); engine != nil && g.commands.heard.Load() {
		return engine.Epoch()
	}
	return ""
}

// connectionOf says what a connection means for commands.
func (g *Gateway) connectionOf(reason uplink.Reason, up bool) {
	engine := g.commands.engine.Load()
	switch {
	case engine == nil:
	case up:
		engine.Connected()
	case reason == uplink.ReasonTakenOver:
		engine.TakenOver()
	default:
		engine.Disconnected()
	}
}

// Command takes a request of somebody at this machine or at the page, and
// returns what became of it, or that it takes longer than ctx.
func (g *Gateway) Command(ctx context.Context, a command.Actor, text []byte) (command.Reply, error) {
	engine := g.commands.engine.Load()
	switch {
	case !g.cfg.Commands.Enabled:
		return command.Reply{}, ErrNoCommands
	case engine == nil:
		return command.NotNow(text, "the disk of buffer.path is not there yet"), nil
	}
	done := make(chan command.Reply, 1)
	engine.Take(a, text, command.Transport{}, func(r command.Reply) { done <- r })
	select {
	case r := <-done:
		return r, nil
	case <-ctx.Done():
		return command.Reply{}, ctx.Err()
	}
}

// PauseCommands stops all commands, also after a start, or lets them go on.
func (g *Gateway) PauseCommands(a command.Actor, pause bool) error {
	engine := g.commands.engine.Load()
	switch {
	case engine == nil:
		return ErrNoCommands
	case pause:
		return engine.Pause(a)
	}
	return engine.Resume(a)
}

// ReleasePoints writes the fallbacks that are armed for points which next does
// not have as they are. An error names one that could not be written.
func (g *Gateway) ReleasePoints(ctx context.Context, next *config.Config) error {
	engine := g.commands.engine.Load()
	if engine == nil {
		return nil
	}
	return engine.Release(ctx, func(point, permit string) bool {
		if !next.Commands.Enabled || next.Buffer.Dir != g.cfg.Buffer.Dir {
			return false
		}
		for i := range next.Commands.Points {
			if p := &next.Commands.Points[i]; p.Name == point {
				return p.Identity() == permit
			}
		}
		return false
	})
}

// Confirm says that the configuration is confirmed.
func (g *Gateway) Confirm() {
	if engine := g.commands.engine.Load(); engine != nil {
		engine.Confirm()
	}
}

// freshSnapshot is the newest snapshot, with commands as they are now: who has
// just commanded looks at once.
func (g *Gateway) freshSnapshot() *live.Snapshot {
	s := g.look.Snapshot()
	if s == nil || s.Commands == nil {
		return s
	}
	now := *s
	now.Commands = g.pictureOfCommands()
	return &now
}

// pictureOfCommands is what there is to be seen of commands; nil: there are none.
func (g *Gateway) pictureOfCommands() *live.Commands {
	if !g.cfg.Commands.Enabled {
		return nil
	}
	c := &live.Commands{Points: make([]live.CommandPoint, len(g.cfg.Commands.Points))}
	if denied := g.commands.denied.Load(); denied != nil {
		c.Denied = *denied
	}
	var view *command.View
	if engine := g.commands.engine.Load(); engine != nil {
		view = engine.View()
		c.Paused, c.Suspended, c.Fault = view.Paused, view.Suspended, view.Fault
	}
	_, now := g.clock.Boot()
	for i := range g.cfg.Commands.Points {
		p := &g.cfg.Commands.Points[i]
		c.Points[i] = pictureOfPoint(p)
		if view != nil { // which has them in the same order
			addView(&c.Points[i], p, &view.Points[i], now)
		}
	}
	return c
}

func pictureOfPoint(p *config.Point) live.CommandPoint {
	c := live.CommandPoint{Name: p.Name, Source: p.Source, Allow: p.Allow, What: p.What()}
	if r := p.Register; r != nil {
		c.Unit, c.Min, c.Max, c.Step, c.Readable = r.Register.Unit, r.Limits.Min, r.Limits.Max, r.Limits.Step, true
		c.Switch, c.Rounding = r.Switch(), p.Rounding
		if o := p.OnlyIf; o != nil {
			c.OnlyIf = o.Register.Name + " is " + o.Value
		}
	}
	if f := p.Frame; f != nil && len(f.Signals) == 1 {
		s := &f.Signals[0].Limits
		c.Min, c.Max, c.Step = s.Min, s.Max, s.Step
	}
	return c
}

func addView(c *live.CommandPoint, p *config.Point, v *command.PointView, now time.Duration) {
	c.Trial, c.FellBack = v.Trial, v.Fell
	if p.Fallback != nil {
		c.Fallback = p.Fallback.Value
	}
	if v.Due > 0 {
		in := max((v.Due - now).Seconds(), 0)
		c.FallsIn = &in
	}
	if r := v.Last; r != nil {
		c.LastState, c.LastCode, c.LastValue, c.LastRead, c.LastAt = string(r.State), string(r.Code), r.Value, r.Read, r.At
	}
}
