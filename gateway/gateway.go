// Package gateway wires fieldferry together: what the buses read goes to the
// buffer, what the buffer holds goes to the uplink, and what the broker has
// acknowledged leaves the buffer.
//
// # Nouns
//
// A source is one bus with a name and a numbering of its own. A feed is its
// way into the buffer, package outbox the way out of it.
//
// # Caveats
//
// A source, a disk or a broker that fails never stops the others; it is
// retried for as long as the gateway runs.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/clock"
	"fieldferry/gateway/config"
	"fieldferry/gateway/control"
	"fieldferry/gateway/live"
	"fieldferry/gateway/outbox"
	"fieldferry/gateway/payload/native"
	"fieldferry/gateway/quota"
	"fieldferry/gateway/source"
	"fieldferry/gateway/statedir"
	"fieldferry/gateway/topic"
	"fieldferry/uplink"

	"golang.org/x/sync/errgroup"
)

// drainTime is how long a stop waits for the broker to take what is left.
// What it does not take in time is on disk.
const drainTime = time.Second

// commandsTime is how long a stop waits for a write that is on a bus, and for its
// reading back.
const commandsTime = 10 * time.Second

// sourcesTime is how long a stop waits for the sources.
const sourcesTime = 5 * time.Second

// Options are what a gateway takes besides its configuration.
type Options struct {
	Log     *slog.Logger    // nil discards
	Version string          // told in the status message
	Ready   func()          // called once buffer and sources are up; may be nil
	Alive   func()          // called once a second as long as the gateway looks after its parts; may be nil
	Drain   time.Duration   // how long a stop waits for the broker to take what is left; 0 means 1 s
	Built   time.Time       // when the program was built: a clock that shows less is wrong
	Machine clock.Machine   // whose clock it is; nil: of the machine this runs on
	Control string          // path of the control socket; empty: "control" in buffer.path
	State   func(string)    // told the state as a sentence, whenever it has changed; may be nil
	Live    bool            // keep the last value of every point, for those who look
	Follow  []string        // with Live: values whose course is kept, named as live.Numbers does
	Config  live.Config     // where the configuration came from, for those who look
	Trial   map[string]bool // points that are not written until [Gateway.Confirm]
	Remote  Remote          // takes configurations from afar; nil: nobody does
	Configs control.Configs // puts configurations in place for people; nil: nobody does

	conditions []alarm.Condition // tests make time shorter
}

// Gateway is the whole of fieldferry but its command line.
type Gateway struct {
	cfg  *config.Config
	opts Options
	log  *slog.Logger

	buffer  *buffer.Buffer
	uplink  *uplink.Uplink
	outbox  *outbox.Outbox
	alarms  *alarm.Set
	clock   *clock.Clock
	look    *live.Look
	audits  quota.Quota
	self    *feed // the gateway's own stream
	sources []*stream
	lines   map[string]*modbus.Line // by source name
	started time.Time
	root    string // of the retained messages' topics
	certs   certificates
	foreign chan foreign // a status message that is not ours

	gaveUp   rejections // records the broker will never take
	denials  topicAlarm // topics that the broker does not take
	unproved topicAlarm // topics of which that is not known
	parts    published
	commands commands
	report   configReport
	replaced atomic.Bool
}

// Open opens the buffer and prepares every source; nothing runs yet. The
// configuration must be one that [config.Load] found no error in.
func Open(cfg *config.Config, opts Options) (*Gateway, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{cfg: cfg, opts: opts, log: opts.Log, lines: map[string]*modbus.Line{}, started: time.Now(), look: newLook(opts.Live, opts.Follow), foreign: make(chan foreign, 1)}
	g.denials, g.unproved = newTopicAlarm(alarm.UplinkDenied, maxDenied), newTopicAlarm(alarm.UplinkUnproved, maxUnproved)
	g.clock = clock.New(ClockConfig(cfg, opts))
	store := cfg.Buffer
	store.Clock = g.clock.Wall
	buf, err := buffer.Open(store, g.log.With("part", "buffer"))
	if err != nil {
		return nil, fmt.Errorf("open the buffer: %w", err)
	}
	g.buffer, g.look.Held = buf, g.stored
	if err := g.wire(); err != nil {
		return nil, errors.Join(err, buf.Close())
	}
	return g, nil
}

// wire builds the feeds, the sources, the outbox and the uplink.
func (g *Gateway) wire() error {
	g.alarms = alarm.New(g.alarmConfig())
	g.self = g.newFeed(selfSource)
	for i := range g.cfg.CAN {
		if err := g.addCAN(&g.cfg.CAN[i]); err != nil {
			return err
		}
	}
	for i := range g.cfg.Modbus {
		if err := g.addModbus(&g.cfg.Modbus[i]); err != nil {
			return err
		}
	}
	if err := g.addCommands(); err != nil {
		return err
	}
	tpl, err := topic.Parse(g.cfg.Uplink.Topic)
	if err != nil {
		return err
	}
	g.outbox = outbox.New(g.buffer, outbox.Config{
		Format:     native.New(g.cfg.Gateway.ID, tpl, g.decodings(), g.clock),
		MaxRecords: g.cfg.Uplink.Batch.MaxRecords,
		MaxBytes:   int(g.cfg.Uplink.Batch.MaxBytes),
		MaxDelay:   g.cfg.Uplink.Batch.MaxDelay,
		Backlog: outbox.Backlog{
			Share:       g.cfg.Uplink.Backlog.Share,
			MaxRate:     g.cfg.Uplink.Backlog.MaxRate,
			NewestFirst: g.cfg.Uplink.Backlog.Order == "newest_first",
		},
		Log:      g.log.With("part", "outbox"),
		Rejected: g.rejected,
		Denied:   g.denied,
		Allowed:  g.allowed,
	})
	g.root = tpl.Root(g.cfg.Gateway.ID)
	g.parts = published{files: statedir.In(g.cfg.Buffer.Dir), log: g.log}
	g.ConfigAccepted()
	g.self.clear(alarm.StatusContested, nil)
	g.uplink, err = uplink.New(g.uplinkConfig(), g.outbox, g, g.log.With("part", "uplink"))
	return err
}

func (g *Gateway) newFeed(name string) *feed {
	return &feed{name: name, src: g.buffer.Source(name), alarms: g.alarms, clock: g.clock}
}

func (g *Gateway) addCAN(c *config.CAN) error {
	var points *live.Frames
	if g.opts.Live {
		points = &live.Frames{DB: c.DBC}
		g.look.Buses[c.Name] = live.Bus{Frames: points, DB: c.DBC}
	}
	s, err := source.NewCAN(c, points, g.log.With("source", c.Name))
	if err != nil {
		return err
	}
	g.sources = append(g.sources, &stream{Source: s, kind: "can", feed: g.newFeed(c.Name)})
	return nil
}

func (g *Gateway) addModbus(c *modbus.LineConfig) error {
	s, err := source.NewModbus(c, g.log.With("source", c.Name))
	if err != nil {
		return err
	}
	g.lines[c.Name] = s.Line()
	if g.opts.Live {
		line := live.NewLine(c, s.Line().Exchanges)
		s.Note(line.Values)
		g.look.Lines[c.Name] = line
	}
	g.sources = append(g.sources, &stream{Source: s, kind: "modbus", feed: g.newFeed(c.Name)})
	return nil
}

// decodings are how the format decodes the frames of each bus. What an earlier
// session left in the buffer is decoded by today's DBC files.
func (g *Gateway) decodings() map[string]*native.Decoding {
	m := map[string]*native.Decoding{}
	for i := range g.cfg.CAN {
		if c := &g.cfg.CAN[i]; c.DBC != nil {
			m[c.Name] = &native.Decoding{DB: c.DBC, OmitData: c.DecodedOnly, Part: func(m *dbc.Message) {
				g.log.Warn("a message longer than a frame arrives as single frames: they keep their data and are not decoded", "source", c.Name, "message", m.Name,
					"pgn", fmt.Sprintf("%04X", dbc.PGN(m.ID)))
			}}
		}
	}
	return m
}

// Run runs until ctx ends, then stops in order: first the sources, then, if
// the broker takes what is left within a second, the uplink, and last the
// buffer, which puts the rest on disk. It closes the gateway and returns an
// error only if the buffer could not keep everything, or a part did not end:
// then the process should.
func (g *Gateway) Run(ctx context.Context) error {
	// Each part outlives the one that feeds it.
	uplinkCtx, stopUplink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopUplink()
	var group errgroup.Group
	group.Go(func() error { return g.uplink.Run(uplinkCtx) })

	// Commands end first: what is on a bus is finished there.
	busCtx, stopBuses := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBuses()
	var commands, sources sync.WaitGroup
	for _, s := range g.sources {
		sources.Go(func() { supervise(busCtx, g.log.With("source", s.Name()), s.run) })
	}
	commands.Go(func() { g.runCommands(ctx) })
	health := g.newHealth()
	health.look(time.Now())
	sources.Go(func() { health.watch(ctx) })
	sources.Go(func() { g.watchSecrets(ctx) })
	sources.Go(func() { g.watchClock(ctx) })
	sources.Go(func() { g.keepStatus(ctx) })
	sources.Go(func() { g.serveControl(ctx) })
	sources.Go(func() { g.reportHealth(ctx) })
	var alarms sync.WaitGroup
	alarmsCtx, stopAlarms := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAlarms()
	alarms.Go(func() { g.alarms.Run(alarmsCtx) })
	if g.opts.Ready != nil {
		g.opts.Ready()
	}
	sources.Go(func() { g.observe(ctx) })
	<-ctx.Done()
	g.log.Info("stopping")
	stuck := await(&commands, commandsTime)
	if g.replaced.Load() {
		stopUplink()
		_ = group.Wait() // asked again below
	}
	stopBuses()
	stuck = errors.Join(stuck, await(&sources, sourcesTime))
	g.drain(uplinkCtx)
	stopUplink()
	err := errors.Join(stuck, group.Wait())
	stopAlarms()
	alarms.Wait()
	return errors.Join(err, g.buffer.Close())
}

// Replaced says that another gateway opens the same buffer as soon as Run has
// ended: what is left is for that one to deliver, and the buses are read until the
// uplink has taken its leave. It is called before the context of Run ends.
func (g *Gateway) Replaced() { g.replaced.Store(true) }

// await waits for the end of the group, but no longer than limit.
func await(group *sync.WaitGroup, limit time.Duration) error {
	ended := make(chan struct{})
	go func() {
		group.Wait()
		close(ended)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return fmt.Errorf("a source, or what looks after it, has not ended within %v; the rest was stopped without it", limit)
	}
}

// Close closes a gateway that never ran.
func (g *Gateway) Close() error { return g.buffer.Close() }

// serveControl lets a person on this machine ask how the gateway fares, and read
// through the Modbus lines, whose ports are the daemon's alone.
func (g *Gateway) serveControl(ctx context.Context) {
	log := g.log.With("part", "control")
	path, err := g.opts.Control, error(nil)
	if path == "" {
		path, err = control.Path(g.cfg.Buffer.Dir)
	}
	if err != nil {
		log.Warn("nobody can ask the daemon", "error", err)
		return
	}
	lines := make(map[string]control.Line, len(g.lines))
	for name, line := range g.lines {
		lines[name] = line
	}
	supervise(ctx, log, func(ctx context.Context) error {
		if g.opts.Control == "" && g.buffer.Stats().Session == 0 {
			return errors.New("the disk of the state directory is not there yet")
		}
		return control.Serve(ctx, path, control.Door{Lines: lines, Snapshot: g.freshSnapshot, Commands: g, Configs: g.opts.Configs})
	})
}

// drain gives a connected uplink a moment to deliver what is left.
func (g *Gateway) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(g.opts.Drain, drainTime))
	defer cancel()
	for ctx.Err() == nil && (g.opts.Drain > 0 || g.uplink.Stats().Connected) && g.buffer.Stats().Pending > 0 {
		sleep(ctx, drainTime/100)
	}
}

// Stats is a snapshot of a gateway at work.
type Stats struct {
	Buffer  buffer.Stats
	Uplink  uplink.Stats
	Sources []SourceStats
	Alarms  []alarm.Alarm // raised now, the worst first
	Counts  []alarm.Count // of each condition, in the order of alarm.Table
}

// SourceStats are the counters of one source in this session.
type SourceStats struct {
	_ [0]func() // nobody compares them: saves the code for it

	Name string
	Kind string // "can", "modbus" or "gateway"
	Last uint64 // last sequence number given out
}

// Stats takes a snapshot. It may be called from any goroutine while the
// gateway runs.
func (g *Gateway) Stats() Stats {
	st := Stats{Buffer: g.buffer.Stats(), Uplink: g.uplink.Stats(), Alarms: g.alarms.Raised(), Counts: g.alarms.Counts()}
	for _, s := range g.sources {
		st.Sources = append(st.Sources, SourceStats{Name: s.Name(), Kind: s.kind, Last: s.feed.src.Last()})
	}
	st.Sources = append(st.Sources, SourceStats{Name: g.self.name, Kind: "gateway", Last: g.self.src.Last()})
	return st
}
