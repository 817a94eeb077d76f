package main

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/gateway"
	"fieldferry/gateway/live"
	"fieldferry/gateway/statedir"
	"fieldferry/gateway/web"
)

// looking is what there is to see of whichever gateway runs: the page outlives
// a change of the configuration.
type looking struct {
	now     atomic.Pointer[live.Look]
	gateway atomic.Pointer[gateway.Gateway]
}

// nothing is what there is to see before the first gateway.
var nothing = &live.Look{}

func (l *looking) look() *live.Look {
	if now := l.now.Load(); now != nil {
		return now
	}
	return nothing
}

// Snapshot implements [web.View].
func (l *looking) Snapshot() *live.Snapshot { return l.look().Snapshot() }

// Bus implements [web.View].
func (l *looking) Bus(source string) (live.Bus, bool) { return l.look().Bus(source) }

// Line implements [web.View].
func (l *looking) Line(source string) (live.Line, bool) { return l.look().Line(source) }

// Course implements [web.View].
func (l *looking) Course(name string, day bool) (live.Course, time.Time) {
	return l.look().Course(name, day)
}

// Figures implements [web.View].
func (l *looking) Figures() []string { return l.look().Figures() }

// LastNotes implements [web.View].
func (l *looking) LastNotes() []live.Note { return l.look().LastNotes() }

// LastDisconnects implements [web.View].
func (l *looking) LastDisconnects() []live.Disconnect { return l.look().LastDisconnects() }

// ReadLine implements [web.Reader].
func (l *looking) ReadLine(ctx context.Context, line string, q web.Query) ([]uint16, error) {
	g := l.gateway.Load()
	if g == nil {
		return nil, errors.New("the gateway is starting")
	}
	table, err := modbus.ParseTable(q.Register)
	if err != nil {
		return nil, err
	}
	return g.ReadLine(ctx, line, modbus.Query{Unit: q.Unit, Table: table, Address: q.Address, Count: q.Count})
}

// page is the web server of the daemon. Its zero value serves nothing.
type page struct {
	looking looking
	cfg     web.Config
	dir     string // buffer.path of its accounts
	stop    func()
}

// follow makes the page show a gateway, and starts the server again if its
// configuration has changed.
func (p *page) follow(g *gateway.Gateway, cfg web.Config, dir string, log *slog.Logger) {
	p.looking.now.Store(g.Look())
	p.looking.gateway.Store(g)
	if p.stop != nil && (!reflect.DeepEqual(p.cfg, cfg) || p.dir != dir) {
		p.end()
	}
	p.cfg, p.dir = cfg, dir
	if p.stop != nil || cfg.Listen == "" {
		return
	}
	server := web.New(cfg, web.Options{
		Log: log.With("part", "web"), Files: statedir.In(dir), View: &p.looking, Reader: &p.looking,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Run(ctx) }()
	p.stop = func() { cancel(); <-ended }
}

// end stops the server.
func (p *page) end() {
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
}
