package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/gateway"
	"fieldferry/gateway/command"
	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
	"fieldferry/gateway/record"
	"fieldferry/gateway/statedir"
	"fieldferry/gateway/web"
)

// looking is what there is to see of whichever gateway runs: the page outlives
// a change of the configuration.
type looking struct {
	now     atomic.Pointer[live.Look]
	gateway atomic.Pointer[gateway.Gateway]

	certificate atomic.Pointer[x509.Certificate] // of the page
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

// Numbers implements [web.View].
func (l *looking) Numbers(names []string) []live.Number { return l.look().Numbers(names) }

// LastNotes implements [web.View].
func (l *looking) LastNotes() []live.Note { return l.look().LastNotes() }

// LastDisconnects implements [web.View].
func (l *looking) LastDisconnects() []live.Disconnect { return l.look().LastDisconnects() }

// Stored implements [web.View].
func (l *looking) Stored() live.Stored { return l.look().Stored() }

// LastAnnounced implements [web.View].
func (l *looking) LastAnnounced() live.Announced { return l.look().LastAnnounced() }

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
	words, err := g.ReadLine(ctx, line, modbus.Query{Unit: q.Unit, Table: table, Address: q.Address, Count: q.Count})
	return words, exceptionOf(err)
}

// FindLine implements [web.Reader].
func (l *looking) FindLine(ctx context.Context, line string, tries []web.Try, each func(web.Try, time.Duration, error)) error {
	g := l.gateway.Load()
	if g == nil {
		return errors.New("the gateway is starting")
	}
	list := make([]modbus.Try, len(tries))
	for i, t := range tries {
		list[i] = modbus.Try{BaudRate: t.BaudRate, Parity: t.Parity[0], StopBits: t.StopBits, Unit: t.Unit}
	}
	return g.FindLine(ctx, line, list, func(r modbus.Tried) {
		each(web.Try{BaudRate: r.BaudRate, Parity: string(r.Parity), StopBits: r.StopBits, Unit: r.Unit}, r.Took, exceptionOf(r.Err))
	})
}

// exceptionOf makes a unit's refusal one that the page knows.
func exceptionOf(err error) error {
	var refusal interface {
		error
		ExceptionCode() uint8
	}
	if errors.As(err, &refusal) {
		return &web.Exception{Code: refusal.ExceptionCode(), Text: refusal.Error()}
	}
	return err
}

// Command implements [web.Commander].
func (l *looking) Command(ctx context.Context, a command.Actor, text []byte) (command.Reply, error) {
	g := l.gateway.Load()
	if g == nil {
		return command.NotNow(text, "the gateway is starting"), nil
	}
	return g.Command(ctx, a, text)
}

// PauseCommands implements [web.Commander].
func (l *looking) PauseCommands(a command.Actor, pause bool) error {
	g := l.gateway.Load()
	if g == nil {
		return errors.New("the gateway is starting")
	}
	return g.PauseCommands(a, pause)
}

// audit puts what somebody did on the page into the stream of the gateway.
func (l *looking) audit(a web.Audit) {
	if g := l.gateway.Load(); g != nil {
		g.Audit(a.Time, record.Audit{Action: a.Action, Who: a.Who, By: "web", From: a.From, Detail: a.Detail})
	}
}

// fault reports whether the page can be served.
func (l *looking) fault(err error) {
	if g := l.gateway.Load(); g != nil {
		g.WebFault(err)
	}
}

// shows reports which certificate the page shows.
func (l *looking) shows(cert *x509.Certificate) {
	l.certificate.Store(cert)
	if g := l.gateway.Load(); g != nil {
		g.WebCertificate(cert)
	}
}

// running is which configuration runs, for those who look.
type running struct {
	sum  string
	text string // without secrets
	read time.Time
	cfg  *config.Config
	by   Actor
	note string
}

// page is the web server of the daemon. It outlives a change of the
// configuration.
type page struct {
	looking looking
	d       *Daemon // its options only
	running atomic.Pointer[running]
	cfg     web.Config
	dir     string // buffer.path of its accounts
	renew   func() // reads the certificate again
	stop    func()
}

// Config implements [web.Configs].
func (p *page) Config() (web.ConfigText, error) {
	path := p.d.opts.Path
	text, err := config.ReadSite(path)
	var unread config.SiteError
	if err != nil && !errors.As(err, &unread) {
		return web.ConfigText{}, err
	}
	now := p.running.Load()
	out := web.ConfigText{Path: path, Text: string(config.Redact(text)), SHA256: web.Sum(text), Read: now.read,
		Running: err == nil && now.sum == sum(text), Problems: p.Check(text)}
	for _, u := range unread { // it stands in no line
		out.Problems = append(out.Problems, live.ConfigProblem{Key: u.File, What: u.What, Fix: u.Fix, Warning: u.Warning})
	}
	out.Changes = web.Diff(now.text, out.Text)
	p.past(&out, now)
	return out, nil
}

// past adds what the store knows of the configurations before. It only reads: an
// entry that is swept away meanwhile is not shown.
func (p *page) past(out *web.ConfigText, now *running) {
	st := p.d.opts.Store.State()
	for _, e := range st.History {
		out.History = append(out.History, web.ConfigEntry{Time: e.Time, ID: e.ID, By: e.By, Result: string(e.Result), Why: e.Why})
	}
	if k, err := p.d.opts.Store.Get(st.Previous); err == nil {
		out.Previous = &web.ConfigBefore{ID: st.Previous, Changes: web.Diff(string(config.Redact(k.text)), now.text)}
	}
}

// Check implements [web.Configs].
func (p *page) Check(text []byte) []web.ConfigProblem {
	file := p.d.site()
	text, hidden := config.Restore(p.d.opts.Path, text, p.running.Load().cfg.Text(), file)
	if len(hidden) > 0 {
		return shownProblems(hidden)
	}
	o := p.d.opts.Config()
	o.Parts = p.inherited()
	_, problems := config.Parse(p.d.opts.Path, text, o)
	return shownProblems(problems)
}

// bundle writes the support bundle of the running daemon.
func (p *page) bundle(ctx context.Context, w io.Writer, o web.BundleOptions) error {
	return p.d.opts.Bundle(ctx, w, &p.looking, o)
}

// follow makes the page show a gateway, and starts the server again if its
// configuration has changed.
func (p *page) follow(g *gateway.Gateway, of *change, log *slog.Logger) {
	c := of.cfg
	p.running.Store(&running{sum(c.Text()), string(config.Redact(c.Text())), time.Now().UTC(), c, of.by, of.note})
	p.looking.now.Store(g.Look())
	p.looking.gateway.Store(g)
	g.WebCertificate(p.looking.certificate.Load())
	cfg, dir := c.Web, c.Buffer.Dir
	if p.stop != nil && (!reflect.DeepEqual(p.cfg, cfg) || p.dir != dir) {
		p.end()
	}
	p.cfg, p.dir = cfg, dir
	if p.stop != nil || cfg.Listen == "" {
		return
	}
	server := web.New(cfg, web.Options{
		Log: log.With("part", "web"), Files: statedir.In(dir), View: &p.looking, Reader: &p.looking, Commands: &p.looking,
		Configs: p, Changer: p.d, Redact: config.Redact, Logs: p.d.opts.Logs, Bundle: p.bundle,
		Audit: p.looking.audit, Fault: p.looking.fault, Shows: p.looking.shows, ReadPair: config.ReadPair,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Run(ctx) }()
	p.stop, p.renew = func() { cancel(); <-ended }, server.Renew
}

// end stops the server.
func (p *page) end() {
	if p.stop != nil {
		p.stop()
		p.looking.shows(nil)
		p.stop, p.renew = nil, nil
	}
}
