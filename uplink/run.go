package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fieldferry/uplink/mqtt"
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
	conn    mqtt.Config
	servers []Server
	queue   Queue
	obs     Observer
	log     *slog.Logger
	time    timing
	now     func() time.Time
	random  func() float64 // [0, 1)
	connect func(s Server) publisher
	again   chan struct{} // Reconnect was called, and no attempt has begun since
	soon    chan struct{} // Retry was called
	// networkUp says that an address or a route has come.
	networkUp chan struct{}
	reachable func(ctx context.Context, s Server) bool // up to where MQTT begins
	answers   func(ctx context.Context, s Server) bool // TCP only
	watch     func(ctx context.Context)                // signals networkUp
	contested contest
	news      atomic.Pointer[func(most int) Message] // to be published by the session there is
	present   atomic.Pointer[session]
	running   atomic.Bool
	report    reporter
	suspect   suspect
	about     about
	proofs    proofs
	unwelcome rest // subscriptions
	receiver  *mqtt.Receiver
	pace      pace
	zip       encoder

	up, down           atomic.Uint64
	sent, acked        atomic.Uint64
	refused            atomic.Uint64
	connects, failures atomic.Uint64
	inFlight           atomic.Int64
	// unanswered is since when, in nanoseconds since begun; 0: none waits. Without
	// a connection it is how long it was, below 0.
	unanswered  atomic.Int64
	begun       time.Time
	acks        ackTimes
	mu          sync.Mutex // guards what follows
	server      string
	since       time.Time
	lastError   string
	lastReason  Reason
	lastErrorAt time.Time
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
	u.conn = u.cfg.connection()
	u.begun = u.now()
	u.since = u.begun
	u.pace, u.proofs = newPace(&cfg), newProofs()
	u.report.log, u.report.refusedFilters = log, map[string]bool{}
	u.receiver = mqtt.NewReceiver(u.Reconnect)
	u.connect, u.reachable, u.answers = u.newPublisher, u.reach, u.touch
	u.watch = u.watchNetwork
	u.again, u.soon, u.networkUp = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
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
	if c.ClientID == "" || len(c.ClientID) > mqtt.MaxTopic {
		bad("the client id must have 1 to %d bytes", mqtt.MaxTopic)
	}
	if len(c.Username) > mqtt.MaxTopic {
		bad("the user name is longer than %d bytes", mqtt.MaxTopic)
	}
	if c.Protocol != Protocol311 && c.Protocol != Protocol5 {
		bad("unknown protocol %d", c.Protocol)
	}
	c.checkTimes(bad)
	if len(c.Subscriptions) > mqtt.MaxSubscriptions {
		bad("more than %d subscriptions", mqtt.MaxSubscriptions)
	}
	c.Subscriptions = slices.Clone(c.Subscriptions)
	for i := range c.Subscriptions {
		c.Subscriptions[i].Check(bad)
	}
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
		if len(c.Will.Payload) > mqtt.MaxTopic {
			bad("the last will is longer than %d bytes", mqtt.MaxTopic) // MQTT 3.1.1, 3.1.3.3
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

// connection is what a connection has to know.
func (c *Config) connection() mqtt.Config {
	conn := mqtt.Config{
		Protocol: c.Protocol, ClientID: c.ClientID, Username: c.Username, Password: c.Password, TLS: c.TLS,
		KeepAlive: c.KeepAlive, Seen: c.Seen, Subscriptions: c.Subscriptions,
	}
	if c.Will != nil {
		will := c.Will.packet()
		conn.Will = &will
	}
	return conn
}

// nobody is the Observer when there is none.
type nobody struct{}

func (nobody) Connected(string)           {}
func (nobody) Accepted(string)            {}
func (nobody) Announced(string, string)   {}
func (nobody) Dropped(string, string)     {}
func (nobody) Unproved(string, string)    {}
func (nobody) Disconnected(string, error) {}

func (u *Uplink) dialer() *mqtt.Dialer {
	d := mqtt.NewDialer(u.time.Timing, min(u.cfg.AckTimeout, 2*u.cfg.KeepAlive))
	d.Up, d.Down, d.Now, d.Random = &u.up, &u.down, u.now, u.random
	d.Headers, d.Proxy = u.cfg.Headers, u.cfg.Proxy
	return &d
}

func (u *Uplink) newPublisher(s Server) publisher {
	return mqtt.New(&u.conn, s, *u.dialer(), u.time.Timing, u.receiver)
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
	var network sync.WaitGroup
	watching, stop := context.WithCancel(ctx)
	network.Go(func() { u.watch(watching) })
	if len(u.cfg.Subscriptions) > 0 {
		network.Go(func() { u.receiver.Run(watching) })
	}
	defer network.Wait()
	defer stop()
	var b backoff
	start := 0 // the server to begin with
	for ctx.Err() == nil {
		end := u.round(ctx, start)
		start = end.next
		if ctx.Err() != nil {
			break
		}
		u.pause(ctx, &b, end)
	}
	return nil
}

// pause waits before the next round. News of the network ends it, unless the
// broker was reached and did not want us.
func (u *Uplink) pause(ctx context.Context, b *backoff, end outcome) {
	pause := b.next(end, &u.time, u.random())
	u.log.Debug("uplink pauses before it connects again", "pause", pause)
	up := u.networkUp
	if end.slow {
		up = nil
	}
	select {
	case <-ctx.Done():
	case <-u.again:
	case <-u.soon:
	case <-up:
		*b = backoff{}
		// A fleet behind one mast would connect in step. And routes and
		// addresses come in pieces.
		sleep(ctx, time.Duration(u.random()*float64(u.time.networkUp)))
	case <-time.After(pause):
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Reconnect ends the connection in the orderly way and makes a new one, as
// for a certificate that was renewed. Without a connection it tries at once.
//
// An attempt that begins afterwards reads the credentials afterwards, and is
// all there is to do; one that is under way may have read the old ones, so that
// what comes of it is ended as well.
func (u *Uplink) Reconnect() { signal(u.again) }

// Retry ends the pause before the next attempt, as something has changed that
// may let it succeed. It leaves a connection alone. If an attempt is under way
// and fails, the next one follows at once.
func (u *Uplink) Retry() { signal(u.soon) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Announce publishes a message on the connection there is; see
// Config.Birth for most. Of several that wait only the last is published, and
// none if the connection ends: the births of the next one have to say the
// same. It may be called at any time from any goroutine and does not wait.
func (u *Uplink) Announce(news func(most int) Message) {
	u.news.Store(&news)
	if s := u.present.Load(); s != nil {
		s.rouse()
	}
}

// outcome is how a round went.
type outcome struct {
	good bool // messages were acknowledged, or the connection lived long
	slow bool // the servers refused us, or somebody takes our sessions over
	left bool // the connection was ended from here, to make another one
	next int  // the server to begin the next round with

	contact mqtt.Contact  // how far the best attempt came
	took    time.Duration // the round, if contact is not reached
}

// round tries the servers in turn, beginning with start, until one accepts,
// and then lasts as long as the session.
func (u *Uplink) round(ctx context.Context, start int) outcome {
	slow, contact, begin := true, mqtt.Unreached, u.now()
	for i := range u.servers {
		k := (start + i) % len(u.servers)
		srv := u.servers[k]
		drain(u.again) // the credentials are read from here on
		pub := u.connect(srv)
		if err := u.attempt(ctx, pub); err != nil {
			if ctx.Err() != nil {
				return outcome{}
			}
			e := mqtt.AsError(srv.String(), err)
			slow, contact = slow && e.Slow(), min(contact, e.Contact)
			u.contested.failed(e)
			u.disconnected(e)
			continue
		}
		return u.session(ctx, k, pub)
	}
	return outcome{slow: slow, contact: contact, took: u.now().Sub(begin)}
}

// attempt is connect, given up early when there is news of the network: what
// was sent into the old one may never be answered.
func (u *Uplink) attempt(ctx context.Context, pub publisher) error {
	drain(u.networkUp)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := u.now()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		for {
			select {
			case <-ctx.Done():
				return
			case <-u.networkUp:
				if u.now().Sub(begin) >= u.time.patient {
					u.networkSignal() // for the pause
					cancel()
					return
				}
			}
		}
	}()
	err := pub.Connect(ctx)
	cancel()
	<-watching
	return err
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// session is one connection to server k.
func (u *Uplink) session(ctx context.Context, k int, pub publisher) outcome {
	name := u.servers[k].String()
	begin := u.now()
	leaving, leave := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { u.beside(leaving, leave, k) })
	s := newSession(u, pub, name)
	s.reach = func(ctx context.Context) bool { return u.answers(ctx, u.servers[k]) }
	u.present.Store(s)
	err := s.run(leaving)
	drain(u.soon) // there was a connection since
	u.present.Store(nil)
	leave()
	beside.Wait()
	if err == nil {
		u.stopped(name)
		return outcome{good: true, left: true}
	}
	e := mqtt.AsError(name, err)
	lived := u.now().Sub(begin)
	if u.contested.ended(e, lived, s.proved && s.trial == noTrial) {
		e.Reason = ReasonTakenOver
	}
	u.disconnected(e)
	end := outcome{slow: e.Slow(), good: s.proved || lived >= u.time.stable || s.trial == inTest}
	switch {
	case s.proved && errors.Is(e, errStalled):
		end.left, end.next = true, k // which is there
	case !end.good: // the first server is the preferred one
		end.next = (k + 1) % len(u.servers)
	}
	return end
}

// beside waits while a session lasts, and ends it for a new one: when asked
// to, or when a server that is preferred to number k can be reached again.
func (u *Uplink) beside(ctx context.Context, leave func(), k int) {
	var look <-chan time.Time
	if k > 0 {
		ticker := time.NewTicker(u.time.lookBack)
		defer ticker.Stop()
		look = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.again:
			u.log.Info("uplink connects again")
			leave()
			return
		case <-look:
			for _, s := range u.servers[:k] {
				if u.reachable(ctx, s) {
					u.log.Info("uplink returns to a server that is preferred", "server", s.String())
					leave()
					return
				}
			}
		}
	}
}

// reach opens a connection up to where MQTT begins, and closes it: a CONNECT
// would take over the session that works.
func (u *Uplink) reach(ctx context.Context, s Server) bool {
	ctx, cancel := context.WithTimeout(ctx, u.time.Connect)
	defer cancel()
	if err := u.dialer().Reach(ctx, s, u.cfg.TLS); err != nil {
		u.log.Debug("a preferred server cannot be reached", "server", s.String(), "error", err)
		return false
	}
	return true
}

// touch opens a connection below TLS and closes it.
func (u *Uplink) touch(ctx context.Context, s Server) bool {
	return u.dialer().Touch(ctx, s) == nil
}

// networkSignal says that an address or a route has come.
func (u *Uplink) networkSignal() { signal(u.networkUp) }
