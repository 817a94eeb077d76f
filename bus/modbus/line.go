package modbus

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	gomodbus "github.com/goburrow/modbus"

	"fieldferry/bus"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/modbus/tcp"
)

// When a device counts as silent and how often it is asked then.
const (
	offlineAfter = 3 // polls without an answer
	firstProbe   = 5 * time.Second
	longestProbe = 10 * time.Second       // somebody stands beside the device and waits
	probePause   = 4                      // probes of silent devices take a fifth of the line's time at most
	firstBusy    = 500 * time.Millisecond // exception 6
	longestBusy  = 30 * time.Second
	acknowledged = 100 * time.Millisecond // exception 5: the wait before asking again
	mostPatience = 5                      // times a request is asked again after exception 5
	// suspectMisses bounds the search for registers a device passes over in
	// silence; it may as well have gone again.
	suspectMisses = 6
)

// Line polls the devices of one serial line. Make it with [NewLine].
type Line struct {
	cfg      LineConfig
	tcp      bool // Modbus TCP
	log      *slog.Logger
	openPort func(context.Context) (rtu.Port, error)
	openIn   func(context.Context, rtu.Mode) (rtu.Port, error) // for Find
	link     link
	wire     Master
	devices  []*device

	// of the present Run
	ctx     context.Context
	handler Handler
	again   bool // the request in progress is a retry
	probing bool // the request in progress is a stretched one
	lost    bool // the port-lost alarm is raised
	pace    pace

	asked   chan struct{}       // wakes an idle line for an order or a one-shot read
	several map[severalKey]bool // learned by writing

	mu      sync.Mutex
	stats   Stats
	open    bool       // one-shot reads are taken
	queries []*oneShot // those that wait
	orders  []*order   // likewise
	spare   allowance  // of orders
	account account
}

// Stats are the counters of a line since it was made.
type Stats struct {
	_ [0]func() // nobody compares them: saves the code for it

	rtu.Stats
	Polls    uint64 // of a device
	Good     uint64 // of these, those that brought a value
	Retries  uint64
	OneShots uint64 // requests of [Line.Read]
	Writes   uint64 // requests of [Line.Write] that write
	Overruns uint64 // polls that were left out because the line was busy
	Offline  int    // devices that do not answer at present
	Refused  int    // registers that are not read at present although their devices answer
	PortLost bool
	Lent     bool // polls are paused, see [Line.Find]
}

// device is a unit with what is known of it.
type device struct {
	cfg     *Device
	client  gomodbus.Client
	cost    cost
	points  []point // in table and address order
	groups  []group // by interval
	cuts    []bool  // cuts[i]: no request may span points i and i+1
	results []result
	taken   uint64 // requests that brought values

	failures int // polls in a row without an answer
	offline  bool
	probeAt  time.Time
	backoff  time.Duration
	inRow    int  // requests in a row without an answer
	partial  int  // polls that brought some answers but not all
	suspect  bool // a timeout may be its way to refuse a block
	turn     int  // which request goes first
	seen     struct{ answered, missed, held bool }
	replied  time.Time
	silent   []int  // points that timed out alone, until something answers
	fault    string // the first since it last answered: why it is offline

	// as far as learned, until it is forgotten: see forget
	holes []bool // holes[i]: refuses points i and i+1 together
	exact bool   // refuses stretched requests
	// stretches is how many of those were refused, by what it looks like.
	stretches int
	most      int // registers it gives at once; 0: no less than configured
	doubtAt   time.Time
	trust     time.Duration
	refusing  string // why it refuses all it is asked; empty if it does not
	inVain    int    // points of this poll that were refused, while none was read
	refusals  int    // points that are not read, as last reported; -1: nothing was yet

	busyUntil time.Time // it asked for patience
	busyFor   time.Duration

	shown struct { // to those who look; kept by the line's lock
		offline      bool
		since, probe time.Time
	}
}

// NewLine checks cfg and makes a line; it does no I/O. log may be nil.
func NewLine(cfg LineConfig, log *slog.Logger) (*Line, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	endpoint, err := ParseEndpoint(cfg.Port)
	if err != nil {
		return nil, fmt.Errorf("modbus line %s: %w", cfg.Name, err)
	}
	port := rtu.PortConfig{RS485: cfg.RS485, Mode: cfg.withDefaults().mode()}
	l, err := newLine(cfg, endpoint, log, func(ctx context.Context) (rtu.Port, error) {
		p, err := endpoint.Open(ctx, port)
		if err != nil {
			return nil, err
		}
		if serial, ok := p.(*rtu.SerialPort); ok {
			for _, what := range serial.Adjusted() {
				log.Warn("serial port not as configured", "port", cfg.Port, "what", what)
			}
			if who := serial.Direction(); who != "" {
				log.Info("RS-485 direction is switched", "port", cfg.Port, "who", who)
			}
		}
		return p, nil
	})
	if err != nil {
		return nil, err
	}
	l.openIn = func(ctx context.Context, mode rtu.Mode) (rtu.Port, error) {
		return endpoint.Open(ctx, rtu.PortConfig{RS485: port.RS485, Mode: mode})
	}
	return l, nil
}

// Probe opens the port of a line, or connects, and closes it again; nothing is
// sent. The error of a port that somebody has wraps [rtu.ErrInUse].
func Probe(ctx context.Context, cfg LineConfig) error {
	endpoint, err := ParseEndpoint(cfg.Port)
	if err != nil {
		return err
	}
	port, err := endpoint.Open(ctx, rtu.PortConfig{RS485: cfg.RS485, Mode: cfg.withDefaults().mode()})
	if err != nil {
		return err
	}
	return port.Close()
}

func newLine(cfg LineConfig, endpoint Endpoint, log *slog.Logger, open func(context.Context) (rtu.Port, error)) (*Line, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("modbus line %s: %w", cfg.Name, err)
	}
	cfg = cfg.withDefaults()
	l := &Line{cfg: cfg, tcp: endpoint.Framing == TCP, log: log.With("line", cfg.Name), openPort: open,
		ctx: context.Background(), asked: make(chan struct{}, 1), several: map[severalKey]bool{},
		link: link{network: endpoint.Framing.Network()}}
	l.wire = endpoint.NewMaster(rtu.Config{Mode: cfg.mode(), Timeout: cfg.Timeout, Turnaround: cfg.Turnaround}, tcp.Options{
		AnyUnit: cfg.AnyReplyUnit || len(cfg.Devices) == 1, AnyTransaction: cfg.AnyTransactionID,
		Notice: func(text string) {
			l.log.Warn("the far end does not keep to Modbus TCP", "port", cfg.Port, "what", text)
		},
	})
	for i := range l.cfg.Devices {
		d := newDevice(&l.cfg.Devices[i], endpoint.costOf(cfg))
		// goburrow's handler serves as packager only: it opens nothing, and
		// its unit id is a plain field, hence one per device.
		packager := gomodbus.NewRTUClientHandler("")
		packager.SlaveId = d.cfg.UnitID
		d.client = gomodbus.NewClient2(packager, sender{l})
		l.devices = append(l.devices, d)
	}
	return l, nil
}

// sender lets goburrow's client, which knows no context, send in that of Run.
type sender struct{ l *Line }

func (s sender) Send(request []byte) ([]byte, error) {
	return s.l.exchange(request, s.l.again)
}

// Stats returns the counters. It may be called from any goroutine.
func (l *Line) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// count changes the counters that the line keeps itself and takes over those
// of the wire.
func (l *Line) count(change func(*Stats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Stats = l.wire.Stats()
	change(&l.stats)
}

// Run opens the port and polls until ctx ends, then returns nil. If the port
// cannot be opened or is lost it returns the error, and may be called again
// when the caller sees fit: what was learned of the devices stays, and
// bus.PortLost is raised and cleared once. Run must not be called twice at
// the same time.
func (l *Line) Run(ctx context.Context, handler Handler) error {
	l.ctx, l.handler = ctx, handler
	if ctx.Err() != nil {
		return nil
	}
	l.link.reset()
	defer l.disconnect()
	if err := l.connect(); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		err = fmt.Errorf("modbus line %s: %w", l.cfg.Name, err)
		l.portLost(err)
		return err
	}
	if !l.link.network { // a connection has to bring something first
		l.portFound()
	}
	l.admit()
	err := l.loop(ctx)
	l.dismiss(ErrNotOpen)
	if ctx.Err() != nil {
		return nil
	}
	err = fmt.Errorf("modbus line %s, port %s: %w", l.cfg.Name, l.cfg.Port, err)
	l.portLost(err)
	return err
}

func (l *Line) portLost(err error) {
	if l.lost {
		return
	}
	l.lost = true
	l.count(func(s *Stats) { s.PortLost = true })
	l.log.Error(l.link.word()+" lost", "port", l.cfg.Port, "error", err)
	l.event(bus.PortLost, "", bus.Raised, map[string]any{"port": l.cfg.Port, "error": err.Error()})
}

func (l *Line) portFound() {
	if !l.lost {
		return
	}
	l.lost = false
	l.count(func(s *Stats) { s.PortLost = false })
	l.log.Info(l.link.word()+" is back", "port", l.cfg.Port)
	l.event(bus.PortLost, "", bus.Cleared, map[string]any{"port": l.cfg.Port})
}

func (l *Line) event(code, subject string, state bus.State, detail map[string]any) {
	l.handler.Event(bus.Event{Time: time.Now(), Code: code, Subject: subject, State: state, Detail: detail})
}

// loop polls what is due, earliest deadline first, until the port is lost or
// ctx ends.
func (l *Line) loop(ctx context.Context) error {
	l.schedule(time.Now())
	l.pace.restart()
	for {
		now := time.Now()
		d, at := l.next(now)
		err := error(nil)
		if d != nil && !at.After(now) {
			err = l.poll(d, now)
		} else {
			err = l.idle(ctx, now, at)
		}
		if err != nil {
			return err
		}
	}
}

// idle serves an order or a one-shot read or waits for one, but not past until;
// zero means that no poll will ever be due.
func (l *Line) idle(ctx context.Context, now, until time.Time) error {
	o, orderAt := l.nextOrder(now, false)
	if o != nil {
		return l.serve(o)
	}
	s, at := l.nextQuery(now)
	if s != nil {
		return l.answer(s)
	}
	for _, at := range [...]time.Time{at, orderAt} {
		if until.IsZero() || !at.IsZero() && at.Before(until) {
			until = at
		}
	}
	if heard, err := l.hearOut(now, until); heard || err != nil {
		return err
	}
	var wake <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(until.Sub(now))
		defer timer.Stop()
		wake = timer.C
	}
	select {
	case <-wake:
	case <-l.asked:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// schedule spreads the devices over their shortest interval, so that they do
// not all fall due at once. The groups of one device share their phase: then
// intervals that are multiples of each other share requests.
func (l *Line) schedule(now time.Time) {
	for i, d := range l.devices {
		if len(d.groups) == 0 {
			continue
		}
		phase := min(d.groups[0].interval, time.Second) * time.Duration(i) / time.Duration(len(l.devices))
		for k := range d.groups {
			d.groups[k].due = now.Add(phase)
		}
	}
}

// next picks the device to poll and when: of those due, the one whose value
// must be there earliest; if none is due, the one that will be first.
func (l *Line) next(now time.Time) (pick *device, at time.Time) {
	var deadline, pickDeadline time.Time
	for _, d := range l.devices {
		if len(d.groups) == 0 {
			continue
		}
		due, end := d.nextDue(now)
		switch {
		case pick == nil:
		case !due.After(now):
			if !at.After(now) && !end.Before(pickDeadline) {
				continue
			}
		case !due.Before(at):
			continue
		}
		deadline = end
		pick, at, pickDeadline = d, due, deadline
	}
	return pick, at
}

// nextDue is when the device is to be polled and by when that should be done.
func (d *device) nextDue(now time.Time) (due, deadline time.Time) {
	if d.offline {
		return d.probeAt, d.probeAt.Add(d.backoff)
	}
	if d.busyUntil.After(now) {
		return d.busyUntil, d.busyUntil.Add(d.groups[0].interval)
	}
	for i, g := range d.groups {
		end := g.due.Add(g.interval)
		switch {
		case i == 0, g.due.Before(due) && due.After(now):
			due, deadline = g.due, end
		case !g.due.After(now) && end.Before(deadline):
			due, deadline = g.due, end
		}
	}
	return due, deadline
}

// takeDue returns the points that are due, in address order, and sets their
// next time. Times that have passed meanwhile are left out, and counted.
func (d *device) takeDue(now time.Time) (due []int, overruns uint64) {
	for i := range d.groups {
		g := &d.groups[i]
		if g.due.After(now) && !d.offline {
			continue
		}
		due = append(due, g.members...)
		if late := now.Sub(g.due); late >= 0 {
			missed := late / g.interval
			g.due = g.due.Add((missed + 1) * g.interval)
			overruns += uint64(missed)
		}
	}
	if d.offline || d.busyFor > 0 { // left alone, not left out
		overruns = 0
	}
	slices.Sort(due)
	return due, overruns
}
