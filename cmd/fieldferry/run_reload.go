package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"fieldferry/gateway"
	"fieldferry/gateway/config"
	"fieldferry/gateway/daemon"
	"fieldferry/gateway/live"
)

// lifecycle is what run runs: one gateway, and another one in its place when the
// configuration has changed.
type lifecycle struct {
	app      *app
	opts     configOptions
	log      *slog.Logger
	version  buildVersion
	watchdog watchdog
	store    daemon.Store
	up       chan struct{} // one for each gateway that is ready

	cfg     *config.Config // in use
	gateway *gateway.Gateway
	page    page
}

// first returns the configuration to start with: what the file says, or, if
// that cannot be used, the one that last ran, and what is wrong with the file.
func (d *lifecycle) first() (cfg *config.Config, wrong []string, err error) {
	cfg, problems := d.app.loadQuietly(d.opts)
	var last *config.Config
	if cfg == nil {
		last = d.store.Last(d.opts.path, d.app.configOptions(d.opts))
	}
	if last == nil {
		for _, p := range problems {
			fmt.Fprintln(d.app.stderr, p)
		}
		if cfg == nil {
			return nil, nil, &exitError{code: exitUsage}
		}
		return cfg, nil, nil
	}
	for _, p := range problems {
		if !p.Warning {
			wrong = append(wrong, p.Public().String())
			d.log.Error(wrong[len(wrong)-1])
		}
	}
	d.log.Error("the configuration cannot be used; the one that last ran is used instead; correct the file and reload", "config", d.opts.path, "problems", len(wrong))
	return last, wrong, nil
}

func (d *lifecycle) open(cfg *config.Config) error {
	g, err := gateway.Open(cfg, gateway.Options{
		Log:     d.log,
		Version: d.version.Version,
		Built:   d.version.built,
		Ready:   d.ready,
		Alive:   d.watchdog.alive,
		State:   func(sentence string) { d.notify("STATUS=" + sentence) },
		Control: d.app.runtimeSocket(),
		Live:    cfg.Web.Listen != "",
		Config:  live.Config{Path: d.opts.path, Read: time.Now().UTC()},
	})
	if err == nil {
		d.cfg, d.gateway = cfg, g
		d.page.follow(g, cfg.Web, cfg.Buffer.Dir, d.log)
	}
	return err
}

func (d *lifecycle) ready() {
	d.log.Info("ready", "version", d.version.Version, "config", d.opts.path)
	d.notify("READY=1")
	if err := d.store.Keep(d.cfg.Text()); err != nil {
		d.log.Warn("the configuration could not be kept for a start at which the file is wrong", "error", err)
	}
	d.up <- struct{}{}
}

func (d *lifecycle) notify(state string) {
	if err := d.app.notifySystemd(state); err != nil {
		d.log.Warn("systemd could not be told", "state", state, "error", err)
	}
}

// run runs the gateway until ctx ends. An error ends it too: then something
// hangs or is lost, and a new process is the better new beginning.
func (d *lifecycle) run(ctx context.Context, hangup <-chan os.Signal) error {
	defer d.page.end()
	for {
		next, err := d.serve(ctx, hangup)
		if next == nil || err != nil || ctx.Err() != nil {
			return err
		}
		if err := d.replace(next); err != nil {
			return err
		}
	}
}

// serve runs the gateway until ctx ends, or until there is another
// configuration to take its place.
func (d *lifecycle) serve(ctx context.Context, hangup <-chan os.Signal) (next *config.Config, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.gateway.Run(ctx) }()
	<-d.up
	for {
		select {
		case err := <-ended:
			return next, err
		case <-hangup:
			if next = d.reread(); next != nil {
				hangup = nil // the next gateway follows those that come now
				stop()
			}
		}
	}
}

// reread reads the file again and returns what it says, if that can be used
// and is not what is in use.
func (d *lifecycle) reread() *config.Config {
	d.notify(reloading())
	cfg, problems := d.app.loadQuietly(d.opts)
	var wrong []string
	for _, p := range problems {
		if p.Warning {
			d.log.Warn(p.Public().String())
			continue
		}
		said := p.Public().String()
		wrong = append(wrong, said)
		d.log.Error(said)
	}
	switch {
	case cfg == nil:
		d.log.Error("the new configuration was not taken, the old one goes on", "config", d.opts.path, "problems", len(wrong))
		d.gateway.ConfigRejected(wrong)
	case cfg.Same(d.cfg):
		d.log.Info("the configuration is the same", "config", d.opts.path)
		d.gateway.ConfigAccepted()
	default:
		d.log.Info("the configuration has changed", "config", d.opts.path)
		return cfg
	}
	d.notify("READY=1")
	return nil
}

// replace opens a gateway for next, or again for the old configuration if
// that cannot be done.
func (d *lifecycle) replace(next *config.Config) error {
	d.watchdog.ping()
	old, left := d.cfg, d.gateway.Stats().Buffer.Pending
	moved := next.Buffer.Dir != old.Buffer.Dir
	err := d.open(next)
	if st := d.gateway.Stats().Buffer; err == nil && moved && st.Session == 0 {
		err = errors.New("buffer.path cannot be used: " + st.Fault)
		_ = d.gateway.Close() // it has taken nothing yet
	}
	if err == nil {
		if moved && left > 0 {
			d.log.Warn("records stay behind in the old buffer; they are sent when buffer.path names it again", "directory", old.Buffer.Dir, "records", left)
		}
		return nil
	}
	d.watchdog.ping()
	d.log.Error("the new configuration cannot be used, the old one goes on", "error", err)
	if err := d.open(old); err != nil {
		return err
	}
	d.gateway.ConfigRejected([]string{err.Error()})
	return nil
}
