package can

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"fieldferry/bus/can/link"
)

// The defaults and limits of a [Config].
const (
	DefaultTick          = 5 * time.Millisecond
	MaxTick              = time.Second
	DefaultReceiveBuffer = 4 << 20
	MaxReceiveBuffer     = 1 << 30
)

// Bus reads one CAN bus. Make it with [New].
type Bus struct {
	cfg     Config
	src     Source
	log     *slog.Logger
	links   links
	count   counters
	traffic traffic
	running atomic.Bool

	// Below: of the goroutine in Run.
	cond         conditions
	ctl          controller
	warnedBuffer bool
	warnedFD     bool
	warnedStamps bool
}

// New checks cfg and returns a bus that does nothing until [Bus.Run]. It does
// no I/O. All problems are reported, joined in one error. A nil log discards.
func New(cfg Config, log *slog.Logger) (*Bus, error) {
	src, err := ParseInterface(cfg.Interface)
	problems := []error{err}
	if len(cfg.Filters) > MaxFilters {
		problems = append(problems, fmt.Errorf("can: %d filters: the kernel takes at most %d", len(cfg.Filters), MaxFilters))
	}
	for _, f := range cfg.Filters {
		problems = append(problems, f.check())
	}
	if cfg.Tick < 0 || cfg.Tick > MaxTick {
		problems = append(problems, fmt.Errorf("can: tick %v: use 0 (%v) to %v", cfg.Tick, DefaultTick, MaxTick))
	}
	if cfg.ReceiveBuffer < 0 || cfg.ReceiveBuffer > MaxReceiveBuffer {
		problems = append(problems, fmt.Errorf("can: receive buffer of %d bytes: use 0 (%d) to %d", cfg.ReceiveBuffer, DefaultReceiveBuffer, MaxReceiveBuffer))
	}
	problems = append(problems, cfg.checkLink(src.Kind), cfg.Limit.check())
	for _, l := range cfg.Limits {
		if err := l.Limit.check(); err != nil {
			problems = append(problems, fmt.Errorf("id %X: %w", l.ID, err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if cfg.Tick == 0 {
		cfg.Tick = DefaultTick
	}
	if cfg.ReceiveBuffer == 0 {
		cfg.ReceiveBuffer = DefaultReceiveBuffer
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cfg.Filters = append([]Filter(nil), cfg.Filters...)
	cfg.Limits = append([]MessageLimit(nil), cfg.Limits...)
	b := &Bus{cfg: cfg, src: src, log: log.With("interface", cfg.Interface)}
	b.links = links{link.Get, link.Up, link.Restart}
	b.traffic.init(&b.cfg)
	b.traffic.logTime = src.LogTime
	return b, nil
}

// checkLink says what is wrong with the settings of a link.
func (c *Config) checkLink(kind SourceKind) error {
	switch {
	case c.Timestamps > TimesReceive:
		return fmt.Errorf("can: timestamps: there is no source %d", c.Timestamps)
	case c.Link == nil:
		return nil
	case kind != Device:
		return fmt.Errorf("can: interface %q has no link to bring up; leave the bit rate out", c.Interface)
	case c.Link.Bitrate == 0:
		return errors.New("can: a link cannot be brought up without a bit rate")
	}
	return nil
}

// Run reads the bus and hands what it reads to h until ctx ends; then it hands
// over what the kernel still holds and returns nil. An error means that the
// bus is lost or not there yet: call Run again after a while. A device that is
// merely down is waited for. [ErrEnd] says that a replayed log has been played.
//
// What is raised in one call may be cleared in a later one, so use the same
// Bus for the same bus. Run must not be called twice at the same time.
func (b *Bus) Run(ctx context.Context, h Handler) error {
	if !b.running.CompareAndSwap(false, true) {
		return fmt.Errorf("can: %s: Run is running already", b.cfg.Interface)
	}
	defer b.running.Store(false)
	defer b.count.up.Store(false)
	d := newDelivery(b, h)
	d.gap()
	var err error
	switch b.src.Kind {
	case Replay:
		err = b.runReplay(ctx, d)
	case Sim:
		err = b.runSim(ctx, d)
	default:
		err = b.runDevice(ctx, d)
	}
	d.flush()
	b.count.ended.Store(errors.Is(err, ErrEnd))
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Stats returns the counters. It may be called from any goroutine.
func (b *Bus) Stats() Stats {
	s := b.count.stats()
	b.traffic.stats(&s, time.Now().UnixNano())
	return s
}

// Traffic returns what each id contributes to the traffic. It may be called
// from any goroutine; it copies a table, so not for every frame.
func (b *Bus) Traffic() []IDTraffic { return b.traffic.list(time.Now().UnixNano()) }
