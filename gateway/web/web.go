// Package web is the door by which people and programs look into a running
// gateway over HTTP: a page, an API with a stream of events, and metrics. It
// only translates: what it shows it takes from a [View], and it knows no bus, no
// buffer and no uplink.
//
// # Nouns
//
// An [Account] is a person with a password or a program with a token; its [Role]
// says what it may do. A session is a login of a person. A topic is one subject
// of the event stream, such as the overview or the frames of one bus; the [hub]
// computes it once for all clients that have subscribed to it.
//
// # Caveats
//
// Nothing listens unless [Config.Listen] is set. There is no default password:
// until the first account exists, the server answers only the set-up page, whose
// code stands in the log, and /healthz. Every name and value in what it shows
// comes from a file, a bus or a broker and is hostile; the page puts it into
// text nodes only, and the content security policy allows no inline script.
package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"fieldferry/gateway/live"
)

// Bounds of the configuration, and its defaults.
const (
	MinClients     = 1
	MaxClients     = 5000
	DefaultClients = 200
	DefaultListen  = "127.0.0.1:8090"
	MaxHosts       = 32
	MaxSignals     = 200 // values that are metrics, and whose course is kept
)

// Config says whether and how the gateway can be looked into. The zero value
// listens on nothing.
type Config struct {
	Listen     string   // address and port, or unix: and a path; empty: nothing listens
	Group      string   // whose members may connect to the socket at a path; empty: nobody but the service's user
	CertFile   string   // PEM; with KeyFile. Without both and beyond loopback, the gateway makes its own
	KeyFile    string   // PEM
	TLS        bool     // speak TLS on loopback too
	Insecure   bool     // listen beyond loopback without TLS
	Hosts      []string // further names by which browsers may call it
	MaxClients int      // event streams at once, 1 to 5000; 0 means 200
	Metrics    Metrics
}

// Metrics is the part of /metrics.
type Metrics struct {
	OpenOnLoopback bool     // needs no token from this machine
	Signals        []string // SOURCE/NAME or SOURCE/DEVICE/NAME of values to show, at most 200
}

// Problem is something about a configuration that cannot work.
type Problem struct {
	_ [0]func() // nobody compares them: saves the code for it

	Key  string // of the configuration file, below web
	What string // what is wrong
	Fix  string // what to do
}

// Validate says what about c cannot work, all of it.
func (c *Config) Validate() (list []Problem) {
	if c.Listen == "" {
		return nil
	}
	wrong := func(key, what, fix string) { list = append(list, Problem{Key: key, What: what, Fix: fix}) }
	if c.socket() != "" {
		c.validateSocket(wrong)
	} else {
		c.validateAddress(wrong)
	}
	if n := cmp.Or(c.MaxClients, DefaultClients); n < MinClients || n > MaxClients {
		wrong("max_clients", fmt.Sprintf("%d is out of range", c.MaxClients), fmt.Sprintf("write %d to %d", MinClients, MaxClients))
	}
	if len(c.Hosts) > MaxHosts {
		wrong("hosts", fmt.Sprintf("there are %d names", len(c.Hosts)), fmt.Sprintf("write at most %d", MaxHosts))
	}
	if len(c.Metrics.Signals) > MaxSignals {
		wrong("metrics.signals", fmt.Sprintf("there are %d values", len(c.Metrics.Signals)), fmt.Sprintf("write at most %d", MaxSignals))
	}
	return list
}

// validateAddress says what about an address cannot work.
func (c *Config) validateAddress(wrong func(key, what, fix string)) {
	at, err := netip.ParseAddrPort(c.Listen)
	if err != nil {
		wrong("listen", fmt.Sprintf("%q is not an address with a port", c.Listen), "write "+DefaultListen)
	}
	if c.Group != "" {
		wrong("group", "only a socket in the file system belongs to a group", "remove the key, or listen at unix:/run/fieldferry/page")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		wrong("tls", "cert and key belong together", "write both or neither")
	}
	if c.Insecure && (c.CertFile != "" || c.TLS) {
		wrong("insecure", "it contradicts tls", "remove one of them")
	}
	if err == nil && c.Insecure && at.Addr().IsLoopback() {
		wrong("insecure", "loopback needs no TLS", "remove the key")
	}
}

// Loopback reports whether only this machine can connect.
func (c *Config) Loopback() bool {
	if c.socket() != "" {
		return true
	}
	at, err := netip.ParseAddrPort(c.Listen)
	return err == nil && at.Addr().IsLoopback()
}

// encrypted reports whether the server speaks TLS.
func (c *Config) encrypted() bool {
	return c.CertFile != "" || c.TLS || !c.Insecure && !c.Loopback()
}

// Options are what a server takes besides its configuration.
type Options struct {
	Log      *slog.Logger
	Files    Files                                                 // where accounts and the key of TLS are kept
	View     View                                                  // what there is to see
	Reader   Reader                                                // reads registers by hand; nil: nobody can
	Commands Commander                                             // takes commands; nil: nobody can
	Configs  Configs                                               // shows and checks the configuration; nil: nobody can see it
	Changer  Changer                                               // puts configurations in place; nil: none
	Redact   func(text []byte) []byte                              // hides the secrets of a configuration; needed with Changer
	Logs     *live.Logs                                            // nil: nobody can see the log
	Bundle   func(context.Context, io.Writer, BundleOptions) error // writes a support bundle; nil: there is none
	Audit    func(Audit)                                           // told of logins, refusals and changes; must not block; nil: nobody
	Open     bool                                                  // no login for what only reads: the demonstration, on loopback
	ReadPair func(cert, key string) (tls.Certificate, error)       // reads Config's CertFile and KeyFile; needed with them
	Fault    func(error)                                           // told when the server cannot listen, and nil when it can again; may be nil
	Shows    func(*x509.Certificate)                               // told which certificate the server shows, nil: none; may be nil
}

// Reader reads registers through the running gateway, for commissioning.
type Reader interface {
	// ReadLine asks a unit of a Modbus line once: words, or each bit as 0 or 1.
	ReadLine(ctx context.Context, line string, q Query) ([]uint16, error)
	// FindLine asks units with the port of the line set in other ways, and calls
	// each with what came of every try. The line is not polled meanwhile.
	FindLine(ctx context.Context, line string, tries []Try, each func(Try, time.Duration, error)) error
}

// Try is one question in a setting of a serial line.
type Try struct {
	BaudRate int    `json:"baud_rate"`
	Parity   string `json:"parity"` // N, E or O
	StopBits int    `json:"stop_bits"`
	Unit     uint8  `json:"unit"`
}

// Query is one request by hand.
type Query struct {
	_ [0]func() // nobody compares them: saves the code for it

	Unit     uint8  `json:"unit"`
	Register string `json:"register"` // holding, input, coil or discrete
	Address  uint16 `json:"address"`  // 0-based, as on the wire
	Count    int    `json:"count"`
}

// Files are the server's own files, readable by nobody but the service's user.
type Files interface {
	// Read returns a file; an error of a missing one wraps fs.ErrNotExist.
	Read(name string) ([]byte, error)
	// Write replaces a file, or leaves the old one whole.
	Write(name string, data []byte) error
}

// Server answers over HTTP. It outlives a gateway: what it shows it takes from
// the view at each moment.
type Server struct {
	cfg      Config
	opts     Options
	log      *slog.Logger
	accounts *accounts
	sessions sessions
	limiter  limiter
	setup    setup
	hub      *hub
	scans    searches
	finds    searches
	marks    marks
	shown    shown
	handler  http.Handler
	bound    chan net.Addr // gets the address once; tests and the demonstration wait for it
}

// The limits of a connection: a client that sends its request slowly is closed.
const (
	headerTime   = 5 * time.Second
	idleTime     = 60 * time.Second
	replyTime    = 30 * time.Second
	maxHeader    = 8 << 10
	maxBody      = 1 << 20
	listenRetry  = 5 * time.Second
	shutdownTime = time.Second
	maxConns     = 256 // beside the event streams
)

// New prepares a server. cfg must be valid.
func New(cfg Config, opts Options) *Server {
	cfg.MaxClients = cmp.Or(cfg.MaxClients, DefaultClients)
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Audit == nil {
		opts.Audit = func(Audit) {}
	}
	s := &Server{cfg: cfg, opts: opts, log: opts.Log, accounts: &accounts{files: opts.Files}, bound: make(chan net.Addr, 1)}
	s.shown.again = make(chan struct{}, 1)
	s.hub = newHub(cfg.MaxClients, opts.View)
	s.handler = s.routes()
	return s
}

// Handler is the server without its listener, for tests.
func (s *Server) Handler() http.Handler { return s.handler }

// Addr waits for the address the server listens at. It may be called once.
func (s *Server) Addr(ctx context.Context) (net.Addr, error) {
	select {
	case a := <-s.bound:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Run serves until ctx ends. A port that is taken, or an address that is not
// there yet, is tried again every five seconds and reported by Options.Fault; the
// gateway runs meanwhile.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Listen == "" {
		return nil
	}
	go s.hub.run(ctx)
	defer s.scans.end()
	defer s.finds.end()
	for ctx.Err() == nil {
		err := s.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.log.Warn("the page cannot be served; trying again", "listen", s.cfg.Listen, "error", err)
		if s.opts.Fault != nil {
			s.opts.Fault(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
	return nil
}

// serve listens once.
func (s *Server) serve(ctx context.Context) error {
	tlsConfig, err := s.tlsConfig()
	if err != nil {
		return err
	}
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	if s.opts.Fault != nil {
		s.opts.Fault(nil)
	}
	s.tell()
	s.greet(listener.Addr())
	select {
	case s.bound <- listener.Addr():
	default:
	}
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       replyTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // what clients do wrong is theirs
		TLSConfig:         tlsConfig,
	}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if server.Shutdown(end) != nil {
			server.Close()
		}
	})
	defer stop()
	if s.cfg.CertFile != "" {
		within, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() { defer close(ended); s.follow(within) }()
		defer func() { cancel(); <-ended }()
	}
	l := limitListener(listener, maxConns+s.cfg.MaxClients)
	if tlsConfig != nil {
		err = server.ServeTLS(l, "", "")
	} else {
		err = server.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if path := s.cfg.socket(); path != "" {
		return listenUnix(ctx, path, s.cfg.Group)
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
}

// greet says where the page is, and with which code the first account is made.
func (s *Server) greet(at net.Addr) {
	scheme := "http://"
	switch {
	case s.cfg.socket() != "":
		scheme = unixPrefix
	case s.cfg.encrypted():
		scheme = "https://"
	}
	log := s.log.With("url", scheme+at.String())
	if s.opts.Open || s.accounts.any() {
		log.Info("the page is served")
		return
	}
	log.Warn("the page is served and has no account yet; open it and enter the code, or run fieldferry web password",
		"code", s.setup.start(time.Now()), "valid", setupTime)
}

// hosts are the names by which a browser may call the server: whoever gets a
// browser to call it by another name is at a DNS rebinding.
func (s *Server) hostAllowed(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if ip, err := netip.ParseAddr(trimBrackets(name)); err == nil {
		return ip.IsLoopback() || ownAddress(ip)
	}
	return name == "localhost" || slices.Contains(s.cfg.Hosts, name)
}

func trimBrackets(s string) string {
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		return s[1 : len(s)-1]
	}
	return s
}

// ownAddress reports whether an interface of this machine has the address.
func ownAddress(ip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok && own.Unmap() == ip.Unmap().WithZone("") {
				return true
			}
		}
	}
	return false
}
