package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"fieldferry/gateway"
	"fieldferry/gateway/bundle"
	"fieldferry/gateway/config"
	"fieldferry/gateway/daemon"
	"fieldferry/gateway/journal"
	"fieldferry/gateway/live"
	"fieldferry/gateway/web"

	"github.com/spf13/cobra"
)

const defaultConfig = "/etc/fieldferry/fieldferry.yaml"

// configOptions are the flags of every verb that reads a configuration.
type configOptions struct {
	path    string
	set     []string
	strict  bool   // see [config.Options]
	base    string // likewise
	details bool
	now     time.Time
	refused func(*config.Config)
}

func (o *configOptions) addFlags(c *cobra.Command) {
	o.path = defaultConfig
	c.Flags().VarP(&oneFile{path: &o.path}, "config", "c", "configuration `FILE`")
	c.Flags().StringArrayVar(&o.set, "set", nil, "override a key by `KEY=VALUE`, as in --set buffer.sync_interval=100ms; may be repeated")
}

func (a *app) loadQuietly(o configOptions) (*config.Config, []config.Problem) {
	defer thriftily()()
	return config.Load(o.path, a.configOptions(o))
}

// load is loadQuietly for a verb that cannot do without the configuration: what
// is wrong with it is printed.
func (a *app) load(o configOptions) (*config.Config, error) {
	cfg, problems := a.loadQuietly(o)
	if cfg == nil {
		for _, p := range problems {
			a.warn("%v", p)
		}
		return nil, &exitError{code: exitUsage}
	}
	return cfg, nil
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
	getenv := a.getenv
	if o.isServices() {
		getenv = serviceEnvironment(environmentFile, getenv)
	}
	return config.Options{Set: o.set, Getenv: getenv, Hostname: host, Strict: o.strict, Base: o.base, Details: o.details, Refused: o.refused, Now: o.now}
}

type runOptions struct {
	configOptions
	store string
}

func (a *app) newRunCommand() *cobra.Command {
	var (
		opts          runOptions
		level, format string
	)
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `run reads the configured buses and delivers to the broker, until it is stopped
(Ctrl-C, SIGTERM). SIGHUP reads the configuration again; a file with an error is
refused, and the daemon keeps what it has. The files NAME.yaml of the folder conf.d
beside the configuration file are part of it. The log is on stderr, as text or, with
--log-format json, one JSON object a line.

The package starts it by systemd: systemctl status fieldferry, journalctl -u fieldferry.`,
		Example: `  fieldferry run -c fieldferry.yaml
  fieldferry run -c fieldferry.yaml --set uplink.servers='["mqtt://127.0.0.1"]' --log-level debug
  fieldferry run -c fieldferry.yaml --log-format json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.run(c.Context(), opts, level, format)
		},
	}
	opts.addFlags(c)
	c.Flags().StringVar(&opts.store, "config-store", "", "`DIR` to keep configurations that ran in; default: config in $STATE_DIRECTORY, else none")
	c.Flags().StringVar(&level, "log-level", "", "`LEVEL` of the log: debug, info, warn or error; debug has the bytes of each Modbus line (default: log.level of the configuration)")
	c.Flags().StringVar(&format, "log-format", "", "`FORMAT` of the log: text or json (default: log.format of the configuration)")
	return c
}

func (a *app) run(ctx context.Context, opts runOptions, level, format string) error {
	form := &logForm{level: level, format: format}
	log, err := a.newDaemonLog(form)
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
	d, err := daemon.Start(a.daemonOptions(opts, log, logs, form))
	if err != nil && a.managed() {
		if err = d.Await(ctx, hangup, err); errors.Is(err, daemon.ErrStopped) {
			log.Info("stopped")
			return nil
		}
	}
	if errors.Is(err, daemon.ErrUnusable) {
		return &exitError{code: exitUsage}
	}
	if err != nil {
		return told(err, form, log)
	}
	err = d.Run(ctx, hangup)
	log.Info("stopped")
	return told(err, form, log)
}

// told puts the error that ends the daemon into its log, if that is JSON: who reads
// it takes no other lines.
func told(err error, form *logForm, log *slog.Logger) error {
	if err == nil || !form.json.Load() {
		return err
	}
	log.Error(errorText(err))
	return &exitError{code: exitFailed}
}

func (a *app) daemonOptions(opts runOptions, log *slog.Logger, logs *live.Logs, form *logForm) daemon.Options {
	version := readVersion()
	notify := func(state string) {
		if err := a.notifySystemd(state); err != nil {
			log.Warn("systemd could not be notified", "state", state, "error", err)
		}
	}
	dog := &watchdog{half: a.watchdogTime() / 2, notify: notify}
	return daemon.Options{
		Path:    opts.path,
		Config:  func() config.Options { return a.configOptions(opts.configOptions) },
		Store:   daemon.In(a.configStore(opts.store)),
		Log:     log,
		Logs:    logs,
		Gateway: gateway.Options{Version: version.Version, Built: version.built, Control: a.runtimeSocket(), Alive: dog.alive},
		Notify:  notify,
		Reload:  func() { notify(reloading()) },
		Ping:    dog.ping,
		Sparing: thriftily,
		Logging: form.configure,
		Print:   a.problemPrinter(log, form),
		Bundle: func(ctx context.Context, w io.Writer, v web.View, o web.BundleOptions) error {
			cfg, problems := a.loadQuietly(opts.configOptions)
			parts := append(a.commonParts(opts.configOptions, cfg, problems), liveParts(v, logs, o.Data)...)
			return bundle.Write(ctx, w, parts, maskOf(cfg, o.Mask))
		},
	}
}

// problemPrinter says what is wrong with the configuration at the start: to the
// person who has started the daemon, or under a service manager, and where nothing
// but JSON may be on stderr, to the log.
func (a *app) problemPrinter(log *slog.Logger, form *logForm) func(config.Problem) {
	return func(p config.Problem) {
		switch {
		case !a.managed() && !form.json.Load():
			a.warn("%v", p)
		case p.Warning:
			log.Warn(p.Public().String())
		default:
			log.Error(p.Public().String())
		}
	}
}

// configStore is where whole configurations are kept for the next start: in the
// named directory, or in the one that the service manager has made for the
// daemon's state; empty: nowhere.
func (a *app) configStore(named string) string {
	if named != "" {
		return named
	}
	if state := a.stateDirectory(); state != "" {
		return filepath.Join(state, "config")
	}
	return ""
}
