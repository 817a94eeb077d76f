// Package daemon runs one gateway after the other: the one that the
// configuration asks for, and another one in its place when that has changed.
//
// # Nouns
//
// The site's file is what somebody has written; it is never changed. A candidate
// is a configuration that is to take the place of the one that runs. The [Store]
// holds whole configurations: the one that last ran, the one before it, and the
// one that is being put in place.
//
// # Promise
//
// After a crash or a power cut at any moment either the former or the new
// configuration runs, whole. A configuration that cannot be read, or whose
// gateway cannot be opened, does not keep the gateway from what it did before.
package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fieldferry/gateway"
	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
	"fieldferry/gateway/remote"
	"fieldferry/gateway/web"
)

// Options are what a daemon takes from the program around it. All functions
// must be given.
type Options struct {
	Path    string                                                              // of the site's file
	Config  func() config.Options                                               // the surroundings, asked at every reading
	Store   Store                                                               // what outlives the process
	Log     *slog.Logger                                                        // of the gateways too
	Logs    *live.Logs                                                          // the last lines of Log, for the page
	Gateway gateway.Options                                                     // Version, Built, Control and Alive
	Notify  func(state string)                                                  // the service manager's
	Sparing func() (done func())                                                // a large file is read until done is called
	Reload  func()                                                              // a reload begins; READY=1 ends it
	Ping    func()                                                              // a sign of life between two gateways
	Logging func(config.Log)                                                    // what runs wants its log so
	Print   func(config.Problem)                                                // what is wrong with the file at the start
	Bundle  func(context.Context, io.Writer, web.View, web.BundleOptions) error // the support bundle
}

// ErrUnusable says that there is no configuration to start with. What is wrong
// with the file has been printed.
var ErrUnusable = errors.New("the configuration cannot be used")

// ErrStopped says that the daemon has ended before a candidate was confirmed.
var ErrStopped = errors.New("the daemon stops")

// Daemon is a gateway that can be replaced. [Daemon.Apply] may be called from
// any goroutine, all else from one.
type Daemon struct {
	opts    Options
	log     *slog.Logger
	up      chan struct{} // one for each gateway that is ready
	applies chan *change
	ended   chan struct{}
	page    page
	agent   *remote.Agent

	decisions chan *decision
	view      atomic.Pointer[Trial] // for those who look
	attempt   atomic.Pointer[live.ConfigAttempt]

	said     string // what is wrong with the file, as it was printed last, the first error first
	unopened string // why the gateway could not be opened, as it was said last

	now     *change // what runs
	gateway *gateway.Gateway
	trial   *trial // it has to prove itself; nil: it is confirmed
	failed  *Entry // what became of the candidate in whose place it runs; nil: there was none
}

// change is a configuration that runs, or is to run.
type change struct {
	cfg   *config.Config
	by    Actor
	note  string // what runs and why, when it is not the site's file
	site  string // see [State].Site
	watch time.Duration

	text  []byte            // of a candidate that is not checked yet
	parts map[string]string // see [Candidate]
	check further
	told  func(*Trial)
	taken func()
	keep  bool
	tag   string // see [Candidate]

	attempt string     // its name; empty: nobody asks what becomes of it
	away    Actor      // whose candidate the way back leads away from
	done    chan error // hears what became of it; nil: nobody waits
	back    error      // it is the way back from a candidate that has not proved itself, and why
	id      string     // in the store
}

// reply says what became of a candidate.
func (c *change) reply(err error) {
	if c.done != nil {
		c.done <- err
		c.done = nil
	}
}

// Start opens the gateway of the site's file, or of what is to run in its place.
func Start(o Options) (*Daemon, error) {
	d := &Daemon{opts: o, log: o.Log, up: make(chan struct{}, 1), applies: make(chan *change), decisions: make(chan *decision), ended: make(chan struct{})}
	d.page.d = d
	d.agent = d.newAgent()
	return d, d.start()
}

// start tries what could run, in order, until one opens.
func (d *Daemon) start() error {
	var wrong []string
	var first error
	for i, c := range d.choices(&wrong) {
		err := d.open(c)
		if err == nil {
			if i > 0 || len(wrong) > 0 {
				d.log.Error(instead(c), "config", d.opts.Path, "problems", len(wrong))
				d.gateway.ConfigRejected(wrong)
			}
			return nil
		}
		wrong = append(wrong, err.Error())
		if d.unopened != err.Error() {
			d.unopened = err.Error()
			d.log.Error("the gateway cannot be opened", "error", err)
		}
		first = firstOf(first, err)
	}
	return firstOf(first, ErrUnusable)
}

// instead says what runs in the place of what should.
func instead(c *change) string {
	if c.by == ByFile && c.note == "" {
		return "what was put in the place of the file cannot be used; the file is used"
	}
	return "the one that last ran is used instead: " + c.note
}

// firstOf is the first error there is.
func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// choices are the configurations that could run, the best first, and what is
// wrong with those that cannot.
func (d *Daemon) choices(wrong *[]string) (list []*change) {
	defer d.opts.Sparing()()
	st := d.opts.Store.State()
	text := d.site()
	former := &change{by: Actor(st.By), site: st.Site}
	load := func() {
		former.cfg, _ = d.opts.Store.load(st.Confirmed, d.opts.Path, d.opts.Config())
		if former.cfg != nil {
			list = append(list, former)
		}
	}
	switch {
	case st.Pending != "" && st.Confirmed != "":
		former.note = "the configuration that last ran: the process ended while another one was being put in its place"
		if load(); len(list) > 0 {
			*wrong = append(*wrong, "the process ended while a configuration was being put in place; reload to try it again")
		}
	case st.Site != "" && sum(text) == st.Site:
		former.note = placed(former.by)
		load()
	}
	ours := len(list) > 0 // whatever is wrong with the file, it is not what is to run
	o := d.opts.Config()
	// What is wrong with it is said in the form that it wants, as far as that is known.
	o.Refused = func(c *config.Config) { d.opts.Logging(c.Log) }
	cfg, problems := config.Load(d.opts.Path, o)
	if cfg != nil {
		d.opts.Logging(cfg.Log)
		list = append(list, &change{cfg: cfg, by: ByFile})
	}
	if !ours && st.Confirmed != "" {
		former.note = "the configuration that last ran, because the file cannot be used"
		load()
	}
	d.say(problems, ours, cfg == nil && len(list) > 0, wrong)
	return list
}

// site is the text of the site's files; nil when one of them cannot be read,
// which is as good as another text.
func (d *Daemon) site() []byte {
	text, err := config.ReadSite(d.opts.Path)
	if err != nil {
		return nil
	}
	return text
}

// placed is the note of a configuration that runs in the place of the file.
func placed(by Actor) string {
	return "put in the place of the file by " + by.words() + "; a change of the file takes over"
}

// say reports what is wrong with the file at the start: to the person who
// started it, or, if the gateway runs all the same, to the log and the alarm.
func (d *Daemon) say(problems []config.Problem, ours, instead bool, wrong *[]string) {
	var errs, warnings strings.Builder
	for _, p := range problems {
		if p.Warning {
			warnings.WriteString(p.Public().String() + "\n")
		} else {
			errs.WriteString(p.Public().String() + "\n")
		}
	}
	before := d.said
	d.said = errs.String() + warnings.String()
	for _, p := range problems {
		switch {
		case ours:
		case !instead:
			if d.said != before {
				d.opts.Print(p)
			}
		case !p.Warning:
			said := p.Public().String()
			*wrong = append(*wrong, said)
			d.log.Error(said)
		}
	}
}

// open opens the gateway of c; then c is what runs.
func (d *Daemon) open(c *change) error {
	o := d.opts.Gateway
	o.Log, o.Ready, o.Live, o.Follow = d.log, d.ready, c.cfg.Web.Listen != "", c.cfg.Web.Metrics.Signals
	o.State = func(sentence string) { d.opts.Notify("STATUS=" + sentence) }
	o.Remote, o.Configs = d.agent, d
	o.Config = live.Config{Path: d.opts.Path, Read: time.Now().UTC(), SHA256: sum(c.cfg.Text()), Note: c.note}
	if c.watch > 0 && c.back == nil {
		o.Trial = c.cfg.Commands.NewPoints(&d.now.cfg.Commands)
	}
	d.step("open")
	g, err := gateway.Open(c.cfg, o)
	if err == nil {
		d.opts.Logging(c.cfg.Log)
		d.now, d.gateway = c, g
		d.page.follow(g, c, d.log)
		d.follow(c, c.watch > 0 && c.back == nil)
	}
	return err
}

func (d *Daemon) ready() {
	facts := []any{"version", d.opts.Gateway.Version, "config", d.opts.Path}
	if n := len(d.now.cfg.DropIns()); n > 0 {
		facts = append(facts, config.DropInFolder, n)
	}
	d.log.Info("ready", facts...)
	d.opts.Notify("READY=1")
	d.up <- struct{}{}
}

// step is where a test may end the process.
func (d *Daemon) step(what string) {
	if d.opts.Store.step != nil {
		d.opts.Store.step(what)
	}
}

// Run runs the gateway until ctx ends. An error ends it too: then something
// hangs or is lost, and a new process is the better new beginning.
func (d *Daemon) Run(ctx context.Context, hangup <-chan os.Signal) error {
	var agent sync.WaitGroup
	agentCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	agent.Go(func() { d.agent.Run(agentCtx) })
	defer agent.Wait()
	defer stop()
	defer close(d.ended)
	defer d.page.end()
	for {
		next, err := d.serve(ctx, hangup)
		if next == nil || err != nil || ctx.Err() != nil {
			if next != nil {
				next.reply(ErrStopped)
			}
			if d.trial != nil {
				d.trial.of.reply(firstOf(err, ErrStopped))
			}
			return err
		}
		if err := d.replace(next); err != nil {
			return err
		}
	}
}

// serve runs the gateway until ctx ends, or until there is another
// configuration to take its place.
func (d *Daemon) serve(ctx context.Context, hangup <-chan os.Signal) (next *change, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.gateway.Run(ctx) }()
	<-d.up
	var over <-chan time.Time
	if d.trial == nil {
		d.confirm()
	} else {
		d.step("watch")
		over = time.After(d.trial.of.watch)
	}
	for {
		again, applies := hangup, d.applies
		decisions := d.decisions
		if over != nil || next != nil { // one thing after the other
			again, applies = nil, nil
		}
		if next != nil {
			decisions = nil
		}
		select {
		case err := <-ended:
			return next, err
		case <-again:
			next = d.reread()
		case c := <-applies:
			next = d.candidate(c)
		case w := <-decisions:
			over, next = nil, d.decide(w)
		case <-over:
			over, next = d.judge()
		}
		if next = d.released(ctx, next); next != nil {
			if next.cfg.Buffer.Dir == d.now.cfg.Buffer.Dir {
				d.gateway.Replaced()
			}
			stop()
		}
	}
}
