package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"fieldferry/gateway/config"
	"fieldferry/gateway/daemon"
	"fieldferry/gateway/journal"
	"fieldferry/gateway/live"

	"github.com/spf13/cobra"
)

const defaultConfig = "/etc/fieldferry/fieldferry.yaml"

// configOptions are the flags of every verb that reads a configuration.
type configOptions struct {
	path    string
	set     []string
	strict  bool // see [config.Options]
	details bool
}

func (o *configOptions) addFlags(c *cobra.Command) {
	c.Flags().StringVarP(&o.path, "config", "c", defaultConfig, "configuration `FILE`")
	c.Flags().StringArrayVar(&o.set, "set", nil, "override a key, as in --set buffer.sync_interval=100ms; may be repeated")
}

// load reads the configuration and prints what is wrong with it. With errors
// there is no configuration.
func (a *app) load(o configOptions) (*config.Config, []config.Problem, error) {
	cfg, problems := a.loadQuietly(o)
	for _, p := range problems {
		fmt.Fprintln(a.stderr, p)
	}
	if cfg == nil {
		return nil, problems, &exitError{code: exitUsage}
	}
	return cfg, problems, nil
}

func (a *app) loadQuietly(o configOptions) (*config.Config, []config.Problem) {
	defer thriftily()()
	return config.Load(o.path, a.configOptions(o))
}

// thriftily has the garbage of reading a large file collected early, until what
// it returns is called: a gateway has little memory, and reads rarely.
func thriftily() (done func()) {
	before := debug.SetGCPercent(20)
	return func() {
		debug.SetGCPercent(before)
		debug.FreeOSMemory()
	}
}

func (a *app) configOptions(o configOptions) config.Options {
	host, err := a.hostname()
	if err != nil {
		host = "" // then the file must name the gateway
	}
	return config.Options{Set: o.set, Getenv: a.getenv, Hostname: host, Strict: o.strict, Details: o.details}
}

func (a *app) newRunCommand() *cobra.Command {
	var (
		opts          configOptions
		level, format string
	)
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.run(c.Context(), opts, level, format)
		},
	}
	opts.addFlags(c)
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	c.Flags().StringVar(&format, "log-format", "text", "text or json")
	return c
}

func (a *app) run(ctx context.Context, opts configOptions, level, format string) error {
	log, err := a.newDaemonLog(level, format)
	if err != nil {
		return err
	}
	logs, limiter := &live.Logs{}, journal.NewLimiter(nil)
	log = slog.New(limiter.Handler(logs.Handler(log.Handler())))
	counting, stop := context.WithCancel(context.Background())
	var counter sync.WaitGroup
	counter.Go(func() { limiter.Run(counting) })
	defer counter.Wait()
	defer stop()
	hangup := make(chan os.Signal, 1) // those that come meanwhile are one
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	d := &lifecycle{app: a, opts: opts, log: log, version: readVersion(), up: make(chan struct{}, 1), store: daemon.In(a.stateDirectory())}
	d.page.site = site{app: a, opts: opts, logs: logs}
	cfg, wrong, err := d.first()
	if err != nil {
		return err
	}
	d.watchdog = watchdog{half: a.watchdogTime() / 2, notify: d.notify}
	if err := d.open(cfg); err != nil {
		return err
	}
	if len(wrong) > 0 {
		d.gateway.ConfigRejected(wrong)
	}
	err = d.run(ctx, hangup)
	log.Info("stopped")
	return err
}
