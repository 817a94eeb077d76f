//go:build !arm && !arm64

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fieldferry/gateway"
	"fieldferry/gateway/config"
	"fieldferry/gateway/ledger"
	"fieldferry/gateway/live"
	"fieldferry/gateway/statedir"
	"fieldferry/gateway/web"
	"fieldferry/uplink/uplinktest"

	"github.com/spf13/cobra"
)

const (
	demoUnattended = 30 * time.Second // how long the demo runs when nobody watches
	demoCycle      = 10 * time.Second // connected, then cut, and so on, until Ctrl-C
	demoDrain      = 30 * time.Second // how long the end waits for the last record
)

// seeItWork is the first example of all.
const seeItWork = "  fieldferry demo                                 see it work, without any hardware\n"

type demoOptions struct {
	duration time.Duration
	dir      string
}

func (a *app) newDemoCommand() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "See the whole product work on this machine, without hardware",
		Long: `demo runs fieldferry with a simulated CAN bus, two simulated Modbus RTU slaves
on a pseudo-terminal and a broker of its own. It cuts the uplink, shows the
buffer fill, restores it, shows the buffer drain, and ends with

  delivered N records, lost 0, duplicates D

counted by an independent subscriber at the broker. The exit code is 1 if a
record is missing. Nothing outside the demo's directory is touched. With --dir it
leaves a configuration to begin with, fieldferry.yaml, and engine.dbc for decode.`,
		Example: `  fieldferry demo
  fieldferry demo --for 30s
  fieldferry demo --dir d --for 1s && fieldferry check -c d/fieldferry.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.demo(c.Context(), o) },
	}
	c.Flags().DurationVar(&o.duration, "for", 0, "end after this `TIME`, as 30s; default: until Ctrl-C on a terminal, else 30s")
	c.Flags().StringVar(&o.dir, "dir", "", "`DIRECTORY` for configuration and buffer, kept afterwards; default: a temporary one")
	return c
}

// demo is one run of the demonstration.
type demo struct {
	opts   demoOptions
	dir    string
	broker *uplinktest.Broker
	link   *uplinktest.Link
	slaves *demoSlaves
	began  time.Time
	page   string // its address

	mu     sync.Mutex
	ledger ledger.Ledger
	cut    bool
	latest map[string]string // the last record of each type at the broker, in words
}

func (a *app) demo(ctx context.Context, o demoOptions) error {
	screen := newScreen(a.stdout)
	if o.duration == 0 && !screen.live {
		o.duration = demoUnattended
	}
	d := &demo{opts: o, began: time.Now(), latest: map[string]string{}}
	defer d.close()
	if err := d.prepare(); err != nil {
		return err
	}
	cfg, problems := config.Load(filepath.Join(d.dir, "fieldferry.yaml"), config.Options{Getenv: a.getenv})
	if cfg == nil {
		return fmt.Errorf("the demo's own configuration is refused: %v", problems)
	}
	g, err := gateway.Open(cfg, gateway.Options{Version: readVersion().Version, Drain: demoDrain, Live: true, Follow: cfg.Web.Metrics.Signals})
	if err != nil {
		return err
	}
	session := g.Stats().Buffer.Session

	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	if err := d.serve(runCtx, g, cfg.Web); err != nil {
		return errors.Join(err, g.Close())
	}
	screen.intro(d)
	ended := make(chan error, 1)
	go func() { ended <- g.Run(runCtx) }()
	runErr := d.play(runCtx, g, screen, ended)
	screen.note("stopping the sources, delivering what is left ...")
	d.setCut(false)
	stop()
	if runErr == nil {
		runErr = <-ended
	}
	verdict := d.verdict(g.Stats(), session)
	screen.end(d, verdict, g.Stats())
	if runErr != nil {
		return runErr
	}
	if verdict.lost > 0 {
		return &exitError{exitFailed, fmt.Errorf("%d records did not arrive", verdict.lost)}
	}
	return nil
}

// serve serves the page of the demo on loopback, where everybody may look.
func (d *demo) serve(ctx context.Context, g *gateway.Gateway, cfg web.Config) error {
	logs := &live.Logs{}
	server := web.New(cfg, web.Options{Files: statedir.In(filepath.Join(d.dir, "buffer")), View: g.Look(), Open: true, Logs: logs})
	go func() { _ = server.Run(ctx) }()
	at, err := server.Addr(ctx)
	if err == nil {
		d.page = "http://" + at.String()
	}
	return err
}

// prepare sets up everything a gateway would find in the field.
func (d *demo) prepare() (err error) {
	if d.dir = d.opts.dir; d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "fieldferry-demo-"); err != nil {
			return err
		}
	} else if err = os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	if d.slaves, err = newDemoSlaves(); err != nil {
		return fmt.Errorf("simulate the Modbus slaves: %w", err)
	}
	if d.broker, err = uplinktest.NewBroker(uplinktest.BrokerConfig{}); err != nil {
		return fmt.Errorf("start the demo's broker: %w", err)
	}
	if err = d.broker.Subscribe("fieldferry/#", d.count); err != nil {
		return fmt.Errorf("watch the demo's broker: %w", err)
	}
	if d.link, err = uplinktest.NewLink(d.broker.Addr()); err != nil {
		return fmt.Errorf("start the demo's link: %w", err)
	}
	if err = os.WriteFile(filepath.Join(d.dir, "engine.dbc"), demoDBC, 0o600); err != nil {
		return err
	}
	text := fmt.Sprintf(demoConfig, d.slaves.pty.Path, filepath.Join(d.dir, "buffer"), d.link.Addr())
	return os.WriteFile(filepath.Join(d.dir, "fieldferry.yaml"), []byte(text), 0o600)
}

func (d *demo) close() {
	if d.link != nil {
		d.link.Close()
	}
	if d.broker != nil {
		_ = d.broker.Close()
	}
	if d.slaves != nil {
		d.slaves.close()
	}
	if d.opts.dir == "" && d.dir != "" {
		_ = os.RemoveAll(d.dir)
	}
}

// count takes what arrives at the broker, as any consumer would.
func (d *demo) count(topic string, data []byte) {
	m, err := ledger.Parse(data)
	if err != nil { // status and meta messages are no data
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, _ := d.ledger.Add(m)
	for i, e := range entries {
		if e.Type == "modbus" || e.Type == "can" {
			d.latest[e.Type] = topic + "  " + describe(m.Records[i], e)
		}
	}
}

func (d *demo) setCut(cut bool) {
	if cut {
		d.link.Cut()
	} else {
		d.link.Restore()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = cut
}

// play shows the demo until its time is over: connected, cut, connected.
func (d *demo) play(ctx context.Context, g *gateway.Gateway, s *screen, ended <-chan error) error {
	cycle := demoCycle
	var end <-chan time.Time
	if d.opts.duration > 0 {
		end = time.After(d.opts.duration)
		cycle = max(d.opts.duration/3, time.Second)
	}
	refresh := time.NewTicker(s.refresh)
	defer refresh.Stop()
	swap := time.NewTicker(cycle)
	defer swap.Stop()
	cut := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			return nil
		case err := <-ended:
			return errors.Join(errors.New("the gateway ended before the demo"), err)
		case <-swap.C:
			cut = !cut
			d.setCut(cut)
			if cut {
				s.note("the uplink is CUT; records now wait in the buffer")
			} else {
				s.note("the uplink is back; the buffer drains")
			}
		case <-refresh.C:
			s.show(d, g.Stats())
		}
	}
}

// verdict is what the subscriber's account says of the gateway's.
type verdict struct{ delivered, lost, duplicates uint64 }

// verdict compares every number the sources gave out with what arrived. The
// broker has acknowledged everything, but may still be passing it on, so this
// waits a little for the last.
func (d *demo) verdict(st gateway.Stats, session uint64) verdict {
	deadline := time.Now().Add(5 * time.Second)
	for {
		v := d.account(st, session)
		if v.lost == 0 || time.Now().After(deadline) {
			return v
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (d *demo) account(st gateway.Stats, session uint64) verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := verdict{delivered: d.ledger.Records, lost: d.ledger.Lost, duplicates: d.ledger.Duplicates}
	for _, gap := range d.ledger.Gaps(true) {
		v.lost += gap.Count()
	}
	for _, s := range st.Sources {
		last := d.ledger.Last(ledger.Stream{Gateway: demoGateway, Session: session, Source: s.Name})
		if s.Last > last {
			v.lost += s.Last - last
		}
	}
	return v
}
