package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/uplink/mqtt"
)

// fakePublisher is a publisher without a network, for what needs the time of
// testing/synctest. Its script says how it fares.
type fakePublisher struct {
	connectErr error
	connectFor time.Duration // how long connect takes
	ackAfter   time.Duration // negative: never
	lostAfter  int           // not 0: the connection is lost at that publish
	announced  mqtt.Limits
	stuck      func() bool   // nil: never stalled
	lostBy     error         // nil: something
	lifetime   time.Duration // not 0: the connection is lost so long after connect
	// birthAckAfter is ackAfter of retained messages, if not 0.
	birthAckAfter time.Duration
	confirmed     chan error
	slots         chan struct{}
	lostCh        chan struct{}
	mu            sync.Mutex
	published     []string
	tokens        []*fakeToken
	polite        bool
	closed        bool
}

type fakeToken struct {
	done chan struct{}
	err  error
}

func (t *fakeToken) Done() <-chan struct{} { return t.done }
func (t *fakeToken) Error() error          { return t.err }

func (p *fakePublisher) Connect(ctx context.Context) error {
	p.slots, p.lostCh = make(chan struct{}, 1), make(chan struct{})
	p.slots <- struct{}{}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(p.connectFor):
		if p.lifetime > 0 {
			time.AfterFunc(p.lifetime, func() { close(p.lostCh) })
		}
		return p.connectErr
	}
}

func (p *fakePublisher) Ready() <-chan struct{} { return p.slots }

func (p *fakePublisher) Limits() mqtt.Limits { return p.announced }

func (p *fakePublisher) Confirm(mqtt.Packet) <-chan error {
	if p.confirmed == nil {
		return nil
	}
	p.slots <- struct{}{}
	return p.confirmed
}

func (p *fakePublisher) Prove(mqtt.Packet, func(error)) *mqtt.Proof { return nil }

func (p *fakePublisher) Subscribe(*Subscription, func(error)) mqtt.Token { return &imitatedToken{} }

func (p *fakePublisher) Publish(m mqtt.Packet) mqtt.Token {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.published = append(p.published, fmt.Sprintf("%s=%s %v", m.Topic, m.Payload, m.Retain))
	t := &fakeToken{done: make(chan struct{})}
	p.tokens = append(p.tokens, t)
	if len(p.published) == p.lostAfter {
		close(p.lostCh)
		return t
	}
	after := p.ackAfter
	if m.Retain && p.birthAckAfter != 0 {
		after = p.birthAckAfter
	}
	switch {
	case after == 0:
		close(t.done)
	case after > 0:
		time.AfterFunc(after, func() { close(t.done) })
	}
	p.slots <- struct{}{}
	return t
}

func (p *fakePublisher) Stalled() bool         { return p.stuck != nil && p.stuck() }
func (p *fakePublisher) Lost() <-chan struct{} { return p.lostCh }
func (p *fakePublisher) Err() error {
	if p.lostBy != nil {
		return mqtt.NewError(ReasonLost, p.lostBy)
	}
	return mqtt.NewError(ReasonLost, errors.New("fake"))
}

func (p *fakePublisher) Close(polite bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polite, p.closed = polite, true
}

func (p *fakePublisher) list() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.published, "; ")
}

// simulate runs an uplink on fakes for the given time of the bubble. script
// is asked for the publisher of every attempt.
func simulate(t *testing.T, cfg Config, q Queue, obs Observer, log *slog.Logger, during time.Duration,
	script func(attempt int, s Server) *fakePublisher,
) *Uplink {
	t.Helper()
	cfg.ClientID = "test"
	u, err := New(cfg, q, obs, log)
	if err != nil {
		t.Fatal(err)
	}
	attempt := 0
	u.watch = func(context.Context) {}
	u.connect = func(s Server) publisher {
		attempt++
		return script(attempt-1, s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	if err := u.Run(ctx); err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
	return u
}

func TestBackoffOfABrokerThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begin := time.Now()
		refused := mqtt.NewError(ReasonUnavailable, nil)
		simulate(t, Config{Servers: []string{"mqtt://a"}}, newTestQueue(t, 0), nil, nil, 10*time.Minute,
			func(int, Server) *fakePublisher {
				at = append(at, time.Since(begin))
				return &fakePublisher{connectErr: refused}
			})
		step := time.Second
		for i := 1; i < len(at); i++ {
			if pause := at[i] - at[i-1]; pause < step/2 || pause > step {
				t.Errorf("pause %d was %v, want %v to %v", i, pause, step/2, step)
			}
			step = min(2*step, 30*time.Second)
		}
		if len(at) < 20 || len(at) > 50 {
			t.Errorf("%d attempts in 10 minutes", len(at))
		}
	})
}

func TestBackoffOfRefusedUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		simulate(t, Config{Servers: []string{"mqtt://a", "mqtt://b"}}, newTestQueue(t, 0), nil, nil, 10*time.Minute,
			func(int, Server) *fakePublisher {
				attempts++
				return &fakePublisher{connectErr: mqtt.NewError(ReasonUser, nil)}
			})
		if attempts < 2*5 || attempts > 2*20 {
			t.Errorf("two servers that refuse the user were asked %d times in 10 minutes", attempts)
		}
	})
}

func TestBackoffForgetsAfterSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t, 0)
		var at []time.Time
		simulate(t, Config{Servers: []string{"mqtt://a"}}, q, nil, nil, 5*time.Minute,
			func(attempt int, _ Server) *fakePublisher {
				at = append(at, time.Now())
				if attempt < 6 {
					return &fakePublisher{connectErr: errors.New("no")}
				}
				q.add(3)
				return &fakePublisher{lostAfter: 3} // two are acknowledged
			})
		for i := 7; i < len(at); i++ {
			if pause := at[i].Sub(at[i-1]); pause > time.Second {
				t.Errorf("the pause after a good connection was %v, want at most 1 s", pause)
			}
		}
		if len(at) < 100 {
			t.Errorf("%d attempts in 5 minutes with a broker that drops after two messages", len(at))
		}
	})
}

func TestAckTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		obs := newEvents()
		begin := time.Now()
		u := simulate(t, Config{Servers: []string{"mqtt://a"}, KeepAlive: 10 * time.Second}, newTestQueue(t, 3), obs, nil, 21*time.Second,
			func(int, Server) *fakePublisher { return &fakePublisher{ackAfter: -1} })
		if e := obs.lost(t); e.Reason != ReasonAckTimeout {
			t.Errorf("lost by %v, want %v", e, ReasonAckTimeout)
		}
		if after := u.Stats().LastErrorAt.Sub(begin); after != 20*time.Second {
			t.Errorf("given up after %v, want 2 x keep alive", after)
		}
	})
}

// A slow link is not a dead one: acknowledgements that come one by one keep
// the session, however long the last of the window waits.
func TestSlowAcksAreProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t, 10)
		attempts := 0
		slow := &fakePublisher{ackAfter: -1}
		go func() {
			time.Sleep(time.Second) // of the bubble
			for i := range 10 {
				time.Sleep(15 * time.Second)
				slow.mu.Lock()
				close(slow.tokens[i].done)
				slow.mu.Unlock()
			}
		}()
		simulate(t, Config{Servers: []string{"mqtt://a"}, KeepAlive: 10 * time.Second}, q, nil, nil, 3*time.Minute,
			func(int, Server) *fakePublisher { attempts++; return slow })
		if acked, _, _ := q.counts(); acked != 10 || attempts != 1 {
			t.Errorf("%d of 10 acknowledged in %d connections, want all in one", acked, attempts)
		}
	})
}

func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t, 0)
		obs := newEvents()
		var order []string
		simulate(t, Config{Servers: []string{"mqtt://a", "mqtt://b", "mqtt://c"}}, q, obs, nil, time.Minute,
			func(attempt int, s Server) *fakePublisher {
				order = append(order, s.Host)
				switch attempt {
				case 0:
					return &fakePublisher{connectErr: mqtt.NewError(ReasonConnRefused, nil)}
				case 1: // b works for a while
					q.add(5)
					return &fakePublisher{lostAfter: 5}
				case 2: // a accepts, but brings nothing
					return &fakePublisher{lostAfter: 1}
				case 3:
					return &fakePublisher{connectErr: mqtt.NewError(ReasonConnectTimeout, nil)}
				}
				return &fakePublisher{}
			})
		// After b was lost, the preferred server again; after a brought
		// nothing, the next.
		if got, want := strings.Join(order, " "), "a b a b c"; got != want {
			t.Errorf("servers tried: %s, want %s", got, want)
		}
		if acked, _, _ := q.counts(); acked != 5 {
			t.Errorf("%d of 5 acknowledged", acked)
		}
		var got []string
		for len(obs.ch) > 0 {
			ev := obs.next(t)
			switch {
			case ev.connected:
				got = append(got, "+"+ev.server)
			case ev.err != nil:
				got = append(got, "-"+ev.server)
			default:
				got = append(got, "."+ev.server)
			}
		}
		want := "-mqtt://a:1883 +mqtt://b:1883 -mqtt://b:1883 +mqtt://a:1883 -mqtt://a:1883 -mqtt://b:1883 +mqtt://c:1883 .mqtt://c:1883"
		if strings.Join(got, " ") != want {
			t.Errorf("observer\n got %v\nwant %v", got, want)
		}
	})
}

func TestBirthAndGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t, 2)
		pub := &fakePublisher{ackAfter: 100 * time.Millisecond}
		births := 0
		simulate(t, Config{
			Servers: []string{"mqtt://a"}, InFlight: 2, // less than there are births
			Birth: func(int) []Message {
				births++
				return []Message{{Topic: "s/1", Payload: []byte("on"), Retain: true}, {Topic: "s/2", Payload: []byte("x"), Retain: true}, {Topic: "s/3", Payload: []byte("y"), Retain: true}}
			},
			Goodbye: func() []Message {
				return []Message{{Topic: "s/1", Payload: []byte("off"), Retain: true}, {Topic: "s/2", Payload: nil, Retain: true}, {Topic: "s/3", Payload: nil, Retain: true}}
			},
		}, q, nil, nil, 10*time.Second, func(int, Server) *fakePublisher { return pub })
		want := "s/1=on true; s/2=x true; s/3=y true; test/topic=message 0 false; test/topic=message 1 false; s/1=off true; s/2= true; s/3= true"
		if got := pub.list(); got != want {
			t.Errorf("published\n got %s\nwant %s", got, want)
		}
		if !pub.polite {
			t.Error("a clean end must send DISCONNECT")
		}
		if acked, _, _ := q.counts(); acked != 2 || births != 1 {
			t.Errorf("%d of 2 acknowledged, Birth called %d times", acked, births)
		}
	})
}

// What is in flight when the end comes is still reported if its PUBACK comes
// within the farewell, and the end does not wait longer than that.
func TestFarewellIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			ackAfter time.Duration
			acked    int
			takes    time.Duration
		}{{500 * time.Millisecond, 3, 500 * time.Millisecond}, {-1, 0, 1200 * time.Millisecond}} {
			q := newTestQueue(t, 3)
			begin := time.Now()
			pub := &fakePublisher{ackAfter: tt.ackAfter}
			simulate(t, Config{Servers: []string{"mqtt://a"}}, q, nil, nil, time.Millisecond,
				func(int, Server) *fakePublisher { return pub })
			if acked, _, rewinds := q.counts(); acked != tt.acked || rewinds != 1 {
				t.Errorf("%d acknowledged, want %d; %d rewinds, want 1", acked, tt.acked, rewinds)
			}
			if took := time.Since(begin); took > tt.takes+time.Millisecond {
				t.Errorf("the end took %v, want %v", took, tt.takes)
			}
			if !pub.closed {
				t.Error("the connection was not closed")
			}
		}
	})
}

func TestErrorsAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		log := slog.New(slog.NewTextHandler(&text, nil))
		q := newTestQueue(t, 1)
		u := simulate(t, Config{Servers: []string{"mqtt://a"}}, q, nil, log, 30*time.Minute,
			func(attempt int, _ Server) *fakePublisher {
				switch {
				case attempt < 30:
					return &fakePublisher{connectErr: mqtt.NewError(ReasonConnRefused, nil)}
				case attempt < 40:
					return &fakePublisher{lostAfter: 1}
				}
				return &fakePublisher{}
			})
		warnings, recovered := strings.Count(text.String(), "level=WARN"), strings.Count(text.String(), "failures=40")
		if warnings != 2 || recovered != 1 {
			t.Errorf("%d warnings, want 2 for two reasons; %d recoveries with the count, want 1:\n%s", warnings, recovered, &text)
		}
		if s := u.Stats(); s.Failures != 40 || s.Connects != 11 || s.LastReason != ReasonLost {
			t.Errorf("stats: %+v", s)
		}
	})
}

// badQueue breaks the contract: it has an error of its own.
type badQueue struct{ *testQueue }

var errBadQueue = errors.New("no such thing")

func (badQueue) Next(context.Context) (Message, error) { return Message{}, errBadQueue }

func TestQueueThatFailsDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		u := simulate(t, Config{Servers: []string{"mqtt://a"}}, badQueue{newTestQueue(t, 0)}, nil, nil, time.Hour,
			func(int, Server) *fakePublisher { attempts++; return &fakePublisher{} })
		if attempts > 200 {
			t.Errorf("%d connections in an hour", attempts)
		}
		if !strings.Contains(u.Stats().LastError, errBadQueue.Error()) {
			t.Errorf("last error %q", u.Stats().LastError)
		}
	})
}

// How long nothing of the queue is acknowledged is counted over all connections,
// without the time between them. Births that are acknowledged are no answer to it.
func TestUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 5
		for name, c := range map[string]struct {
			script func(attempt int) *fakePublisher
			want   map[time.Duration]time.Duration // by the time since the start
		}{
			"always answers": {func(int) *fakePublisher { return &fakePublisher{} },
				map[time.Duration]time.Duration{time.Second: 0, time.Minute: 0}},
			"never answers": {func(int) *fakePublisher { return &fakePublisher{ackAfter: -1} },
				map[time.Duration]time.Duration{10 * time.Second: 10 * time.Second, 55 * time.Second: 54 * time.Second}},
			"answers births alone": {func(int) *fakePublisher { return &fakePublisher{ackAfter: -1, birthAckAfter: 1} },
				map[time.Duration]time.Duration{10 * time.Second: 10 * time.Second, 55 * time.Second: 54 * time.Second}},
			"answers all but births": {func(int) *fakePublisher { return &fakePublisher{birthAckAfter: -1} }, // which come first
				map[time.Duration]time.Duration{10 * time.Second: 10 * time.Second}},
			"answers at last": {func(attempt int) *fakePublisher {
				return &fakePublisher{ackAfter: []time.Duration{-1, 0}[min(attempt, 1)]}
			},
				map[time.Duration]time.Duration{19 * time.Second: 19 * time.Second, time.Minute: 0}},
			"cannot be reached": {func(int) *fakePublisher {
				return &fakePublisher{connectErr: mqtt.NewError(ReasonConnRefused, nil)}
			}, map[time.Duration]time.Duration{time.Minute: 0}},
		} {
			attempt := 0
			cfg := Config{Servers: []string{"mqtt://a"}, ClientID: "test", KeepAlive: 10 * time.Second, Birth: func(int) []Message {
				return []Message{{Topic: "status", Retain: true}}
			}}
			u, err := New(cfg, newTestQueue(t, n), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			u.watch = func(context.Context) {}
			u.connect = func(Server) publisher { attempt++; return c.script(attempt - 1) }
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { _ = u.Run(ctx); close(ended) }()
			for s := range 60 {
				time.Sleep(time.Second)
				synctest.Wait()
				want, is := c.want[time.Duration(s+1)*time.Second]
				if got := u.Stats().Unanswered; is && (got < want-4*time.Second || got > want || want == 0 && got > 0) {
					t.Errorf("a broker that %s: unanswered for %v after %d s, want %v", name, got, s+1, want)
				}
			}
			stop()
			<-ended
		}
	})
}
