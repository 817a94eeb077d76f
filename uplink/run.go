package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// The defaults and limits of a Config.
const (
	DefaultKeepAlive = 30 * time.Second
	DefaultInFlight  = 100
	MaxInFlight      = 65000               // packet ids are 16 bits
	MaxKeepAlive     = 65535 * time.Second // MQTT 3.1.1, 3.1.2.10
)

// Uplink delivers messages of one queue to one of several brokers.
type Uplink struct {
	cfg     Config // with the defaults filled in
	servers []Server
	queue   Queue
	obs     Observer
	log     *slog.Logger
	time    timing
	now     func() time.Time
	random  func() float64 // [0, 1)
	connect func(s Server) publisher
	running atomic.Bool
	report  reporter

	up, down           atomic.Uint64
	sent, acked        atomic.Uint64
	connects, failures atomic.Uint64
	inFlight           atomic.Int64
	mu                 sync.Mutex // guards what follows
	server             string
	since              time.Time
	lastError          string
	lastReason         Reason
	lastErrorAt        time.Time
}

// New checks cfg, all of it at once, and does no input or output. The
// observer and the logger may be nil.
func New(cfg Config, q Queue, obs Observer, log *slog.Logger) (*Uplink, error) {
	servers, err := cfg.normalize()
	if q == nil {
		err = errors.Join(err, errors.New("uplink: no queue"))
	}
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if obs == nil {
		obs = nobody{}
	}
	u := &Uplink{
		cfg: cfg, servers: servers, queue: q, obs: obs, log: log,
		time: defaultTiming(), now: time.Now, random: rand.Float64,
	}
	u.since = u.now()
	u.report.log = log
	u.connect = u.newPublisher
	return u, nil
}

// Validate says everything that New would refuse.
func (c Config) Validate() error {
	_, err := c.normalize()
	return err
}

// normalize fills in the defaults and checks.
func (c *Config) normalize() ([]Server, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("uplink: "+format, args...)) }
	var servers []Server
	for i, text := range c.Servers {
		s, err := ParseServer(text)
		if err != nil {
			bad("server %d: %w", i+1, err)
		}
		servers = append(servers, s)
	}
	if len(servers) == 0 {
		bad("no server")
	}
	if c.ClientID == "" || len(c.ClientID) > maxTopic {
		bad("the client id must have 1 to %d bytes", maxTopic)
	}
	if len(c.Username) > maxTopic {
		bad("the user name is longer than %d bytes", maxTopic)
	}
	c.checkTimes(bad)
	if c.InFlight == 0 {
		c.InFlight = DefaultInFlight
	}
	if c.InFlight < 1 || c.InFlight > MaxInFlight {
		bad("in flight must be 1 to %d, not %d", MaxInFlight, c.InFlight)
	}
	if c.Will != nil {
		if err := ValidateTopic(c.Will.Topic); err != nil {
			bad("last will: %w", err)
		}
		if len(c.Will.Payload) > maxTopic {
			bad("the last will is longer than %d bytes", maxTopic) // MQTT 3.1.1, 3.1.3.3
		}
	}
	return servers, errors.Join(errs...)
}

func (c *Config) checkTimes(bad func(string, ...any)) {
	if c.KeepAlive == 0 {
		c.KeepAlive = DefaultKeepAlive
	}
	if c.KeepAlive < time.Second || c.KeepAlive > MaxKeepAlive {
		bad("keep alive must be 1s to %v, not %v", MaxKeepAlive, c.KeepAlive)
	}
	if rest := c.KeepAlive % time.Second; rest != 0 {
		c.KeepAlive += time.Second - rest
	}
	if c.AckTimeout == 0 {
		c.AckTimeout = 2 * c.KeepAlive
	}
	if c.AckTimeout < 0 {
		bad("the ack timeout must be positive, not %v", c.AckTimeout)
	}
}

// nobody is the Observer when there is none.
type nobody struct{}

func (nobody) Connected(string)           {}
func (nobody) Disconnected(string, error) {}

func (u *Uplink) newPublisher(s Server) publisher {
	d := dialer{
		write: u.time.write,
		user:  min(u.cfg.AckTimeout, 2*u.cfg.KeepAlive),
		up:    &u.up, down: &u.down, now: u.now,
	}
	return newPahoPublisher(&u.cfg, s, d, u.time)
}

var errRunning = errors.New("uplink: Run is already running")

// Run connects and delivers until ctx ends, whatever happens meanwhile, and
// then returns nil within about two seconds: it waits a little for
// acknowledgements under way, publishes the goodbyes and disconnects. Another
// error means that it could not start: only one Run may run at a time.
func (u *Uplink) Run(ctx context.Context) error {
	if u.running.Swap(true) {
		return errRunning
	}
	defer u.running.Store(false)
	var b backoff
	start := 0 // the server to begin with
	for ctx.Err() == nil {
		end := u.round(ctx, start)
		start = end.next
		if ctx.Err() != nil {
			break
		}
		pause := b.next(end, &u.time, u.random())
		u.log.Debug("uplink pauses before it connects again", "pause", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// outcome is how a round went.
type outcome struct {
	good bool // messages were acknowledged, or the connection lived long
	slow bool // every server refused us
	next int  // the server to begin the next round with
}

// round tries the servers in turn, beginning with start, until one accepts,
// and then lasts as long as the session.
func (u *Uplink) round(ctx context.Context, start int) outcome {
	slow := true
	for i := range u.servers {
		k := (start + i) % len(u.servers)
		srv := u.servers[k]
		pub := u.connect(srv)
		if err := pub.connect(ctx); err != nil {
			if ctx.Err() != nil {
				return outcome{}
			}
			e := asError(srv.String(), err)
			slow = slow && e.slow()
			u.disconnected(e)
			continue
		}
		begin := u.now()
		u.connected(srv.String(), begin)
		s := newSession(u, pub, srv.String())
		if err := s.run(ctx); err != nil {
			u.disconnected(asError(srv.String(), err))
		} else {
			u.stopped(srv.String())
		}
		if s.proved || u.now().Sub(begin) >= u.time.stable {
			return outcome{good: true} // the first server is the preferred one
		}
		return outcome{next: (k + 1) % len(u.servers)}
	}
	return outcome{slow: slow}
}

// backoff is the pause between rounds: doubled after each bad one, and taken
// between half and all of it at random, so that a thousand gateways do not
// return to a restarted broker in step.
type backoff struct {
	step time.Duration
}

func (b *backoff) next(end outcome, t *timing, random float64) time.Duration {
	low, high := t.retryMin, t.retryMax
	if end.slow {
		low, high = t.refuseMin, t.refuseMax
	}
	switch {
	case end.good:
		b.step = low
	default:
		b.step = min(max(2*b.step, low), high)
	}
	return b.step/2 + time.Duration(random*float64(b.step/2))
}
