package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"fieldferry/gateway"
	"fieldferry/uplink"
)

// subscription is where watch looks: at the servers of a configuration or the
// one that was named, as the flags say.
func (a *app) subscription(o *watchOptions) (cfg uplink.SubscribeConfig, err error) {
	switch {
	case (o.tls.Cert == "") != (o.tls.Key == ""):
		return cfg, usageError("--cert and --key belong together; give both")
	case o.server == "" && !o.configured:
		return cfg, usageError("--server is missing; give the broker, as in --server mqtt://localhost:1883, or a configuration with -c FILE")
	case o.configured:
		loaded, err := a.load(o.config)
		if err != nil {
			return cfg, err
		}
		if cfg, err = gateway.Subscription(loaded); err != nil {
			return cfg, err
		}
	}
	if o.server != "" {
		cfg.Server, cfg.Others = o.server, nil
	}
	if o.topic != "" {
		cfg.Topic = o.topic
	} else if cfg.Topic == "" {
		cfg.Topic = "fieldferry/#"
	}
	if o.username != "" {
		cfg.Username = o.username
	}
	if o.passwordFile != "" {
		cfg.Password = func() (string, error) { return readPassword(o.passwordFile) }
	}
	if o.tls.CA != "" || o.tls.Cert != "" {
		files := o.tls
		files.MinVersion = tls.VersionTLS12
		cfg.TLS = func() (*tls.Config, error) { return files.Load("--") }
		if _, err := cfg.TLS(); err != nil {
			return cfg, usageError("%w", err)
		}
	}
	return cfg, nil
}

// watchedLink is whether there is a connection, and what its end was.
type watchedLink struct {
	mu     sync.Mutex
	ever   bool
	now    bool
	again  int // times that it was lost and came back
	reason error
	said   failures
}

func (l *watchedLink) up(uplink.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ever && !l.now {
		l.again++
	}
	l.ever, l.now, l.said = true, true, failures{}
}

// sayAgain is how often a failure that lasts is said.
const sayAgain = 30 * time.Second

// failures are those that were said, and when: each is said at once, and while it
// lasts from time to time. The zero value is ready.
type failures struct{ said map[string]time.Time }

// news reports whether a failure is to be said now.
func (f *failures) news(err error, now time.Time) bool {
	key := err.Error()
	var e *uplink.Error
	if errors.As(err, &e) && e.Reason != uplink.ReasonUnknown { // without what differs from one attempt to the next
		key = e.Reason.String() + " " + e.Server
	}
	if since := now.Sub(f.said[key]); since >= 0 && since < sayAgain {
		return false
	}
	if f.said == nil || len(f.said) >= 64 { // as many servers and reasons as there are
		f.said = map[string]time.Time{}
	}
	f.said[key] = now
	return true
}

func (l *watchedLink) absences() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.again
}

// down notes the end of a connection, or that there was none; news: say so.
func (l *watchedLink) down(err error, now time.Time) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now, l.reason = false, err
	return l.said.news(err, now)
}

// trouble says why what was seen is not all there was to see; nil: it is.
func (l *watchedLink) trouble() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.now:
		return nil
	case l.reason == nil:
		return errors.New("the broker was not reached in that time")
	case !l.ever:
		return fmt.Errorf("the broker was never reached: %w", l.reason)
	}
	return fmt.Errorf("the connection was lost and did not come back; what was published since is not counted: %w", l.reason)
}

// silentFor is how long watch waits for the first record before it says what may
// be wrong: a broker need not say that nobody may read there.
const silentFor = 10 * time.Second

// silence speaks up once if nothing ends it.
type silence struct {
	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func (s *silence) begin(say func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer == nil && !s.over {
		s.timer = time.AfterFunc(silentFor, say)
	}
}

func (s *silence) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// flagsFor names the flags that an error of a connection is about, where the
// server was named by flags, too.
func (o *watchOptions) flagsFor(err error) string {
	var e *uplink.Error
	if o.configured || !errors.As(err, &e) {
		return ""
	}
	switch e.Reason {
	case uplink.ReasonUnknownCA:
		return " (--ca FILE)"
	case uplink.ReasonClientCert:
		return " (--cert FILE --key FILE)"
	case uplink.ReasonUser:
		return " (--username NAME --password-file FILE)"
	}
	return ""
}

// verdict is the exit code: what was watched is whole, or an error says why
// nobody may rely on that.
func (w *watcher) verdict() error {
	if err := w.link.trouble(); err != nil {
		return err
	}
	w.wasAway()
	missing, unseen := w.ledger.Absent(w.opts.fromOne)
	switch {
	case missing > unseen:
		return fmt.Errorf("%d records are missing", missing-unseen)
	case unseen > 0:
		return fmt.Errorf("%d records may have passed while watch was not connected: nobody can say that nothing is missing", unseen)
	case w.ledger.Unknown() > 0:
		return errors.New("records may have passed while watch was not connected: the end of a session is not known")
	case !w.ledger.Exact() || w.skipped > 0:
		return errors.New("the account is not exact: nobody can say that nothing is missing")
	case w.ledger.Records < w.opts.records:
		return fmt.Errorf("%d of %d records came", w.ledger.Records, w.opts.records)
	}
	return nil
}

// meet notes whose message it is.
func (w *watcher) meet(gateway string) {
	switch {
	case w.gateway == "":
		w.gateway = gateway
	case w.gateway != gateway:
		w.several = true
	}
}

// name is what a line calls a source: by itself where there is one gateway.
func (w *watcher) name(gateway, source string) string {
	if w.several {
		source = gateway + "/" + source
	}
	return printable(clipped(source))
}
