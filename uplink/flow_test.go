package uplink

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/uplink/mqtt"
	"fieldferry/uplink/uplinktest"
)

func TestMaxRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t, 0)
		q.add(1000)
		for i := range q.msgs {
			q.msgs[i].Payload = make([]byte, 1000-perMessage-len("test/topic"))
		}
		u := simulate(t, Config{Servers: []string{"mqtt://a"}, MaxRate: 10_000}, q, nil, nil, time.Minute,
			func(int, Server) *fakePublisher { return &fakePublisher{} })
		// One second's worth may come at once.
		if sent := u.Stats().Sent; sent < 590 || sent > 612 {
			t.Errorf("%d messages of 1000 bytes in a minute at 10,000 bytes/s", sent)
		}
	})
}

func TestMaxMessagesIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := simulate(t, Config{Servers: []string{"mqtt://a"}, MaxMessages: 100}, newTestQueue(t, 5000), nil, nil, 10*time.Second,
			func(int, Server) *fakePublisher { return &fakePublisher{} })
		if sent := u.Stats().Sent; sent < 990 || sent > 1102 {
			t.Errorf("%d messages in 10 s at 100/s", sent)
		}
	})
}

// Acknowledgements must be reported while the rate holds messages back.
func TestARateDoesNotHoldAcknowledgementsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t, 3)
		began := time.Now()
		var last time.Duration
		q.onAcked = func(Message) { last = time.Since(began) }
		simulate(t, Config{Servers: []string{"mqtt://a"}, MaxRate: 1}, q, nil, nil, 10*time.Second,
			func(int, Server) *fakePublisher { return &fakePublisher{ackAfter: 100 * time.Millisecond} })
		if acked, _, _ := q.counts(); acked != 1 || last != 100*time.Millisecond {
			t.Errorf("%d acknowledged, the last after %v; want 1 after 100ms", acked, last)
		}
	})
}

func TestTakeoverBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t, 0)
		obs := newEvents()
		attempts := 0
		simulate(t, Config{Servers: []string{"mqtt://a"}}, q, obs, nil, 30*time.Minute,
			func(int, Server) *fakePublisher {
				attempts++
				q.add(2)
				return &fakePublisher{lostAfter: 2, lostBy: io.EOF} // the first is acknowledged
			})
		// Five that look like any loss, then the slow pace.
		if attempts < 15 || attempts > 60 {
			t.Errorf("%d connections in 30 minutes while another client takes the sessions over", attempts)
		}
		seen := map[Reason]int{}
		for len(obs.ch) > 0 {
			if ev := obs.next(t); ev.err != nil {
				var e *Error
				if errors.As(ev.err, &e) {
					seen[e.Reason]++
				}
			}
		}
		if seen[ReasonLost] != contestCount-1 || seen[ReasonTakenOver] < 10 {
			t.Errorf("reasons %v", seen)
		}
	})
}

// A broker that restarts every five seconds is not another client.
func TestRestartsAreNoTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t, 0)
		attempts := 0
		simulate(t, Config{Servers: []string{"mqtt://a"}}, q, nil, nil, 5*time.Minute,
			func(int, Server) *fakePublisher {
				attempts++
				q.add(1)
				return &fakePublisher{lostBy: io.EOF, lifetime: 5 * time.Second}
			})
		if attempts < 45 {
			t.Errorf("%d connections in 5 minutes to a broker that restarts every 5 s", attempts)
		}
	})
}

func TestNewsOfTheNetworkEndsThePause(t *testing.T) {
	for reason, quick := range map[Reason]bool{ReasonUnreachable: true, ReasonUser: false} {
		synctest.Test(t, func(t *testing.T) {
			u, err := New(Config{Servers: []string{"mqtt://a"}, ClientID: "x"}, newTestQueue(t, 0), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			var at []time.Duration
			began := time.Now()
			u.watch = func(ctx context.Context) {
				sleep(ctx, 2*time.Minute+time.Second/2)
				u.networkSignal()
				u.networkSignal()
			}
			u.connect = func(Server) publisher {
				at = append(at, time.Since(began))
				return &fakePublisher{connectErr: mqtt.NewError(reason, nil)}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute+3*time.Second)
			defer cancel()
			if err := u.Run(ctx); err != nil {
				t.Error(err)
			}
			soon := 0
			for _, d := range at {
				if d > 2*time.Minute+time.Second/2 && d <= 2*time.Minute+1100*time.Millisecond {
					soon++
				}
			}
			if (soon > 0) != quick {
				t.Errorf("%v: %d attempts within 600 ms of the network's return; attempts at %v", reason, soon, at)
			}
		})
	}
}

// An attempt that began before the network changed is waiting for nothing.
func TestNewsOfTheNetworkEndsAnOldAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, err := New(Config{Servers: []string{"mqtt://a"}, ClientID: "x"}, newTestQueue(t, 0), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		attempts := 0
		began := time.Now()
		var second time.Duration
		u.watch = func(ctx context.Context) {
			sleep(ctx, 5*time.Second)
			u.networkSignal()
		}
		u.connect = func(Server) publisher {
			if attempts++; attempts == 2 {
				second = time.Since(began)
			}
			return &fakePublisher{connectFor: time.Hour}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := u.Run(ctx); err != nil {
			t.Error(err)
		}
		if second < 5*time.Second || second > 6*time.Second {
			t.Errorf("the second attempt came after %v, want 5 to 6 s", second)
		}
	})
}

func TestReturnsToThePreferredServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, err := New(Config{Servers: []string{"mqtt://a", "mqtt://b"}, ClientID: "x",
			Goodbye: func() []Message { return births(0) }}, newTestQueue(t, 3), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		u.watch = func(context.Context) {}
		began := time.Now()
		up := func() bool { return time.Since(began) > 12*time.Minute }
		var order []string
		var pubs []*fakePublisher
		u.connect = func(s Server) publisher {
			order = append(order, s.Host)
			p := &fakePublisher{}
			if s.Host == "a" && !up() {
				p.connectErr = mqtt.NewError(ReasonConnRefused, nil)
			}
			pubs = append(pubs, p)
			return p
		}
		asked := 0
		u.reachable = func(_ context.Context, s Server) bool {
			asked++
			return s.Host == "a" && up()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := u.Run(ctx); err != nil {
			t.Error(err)
		}
		if got := strings.Join(order, " "); got != "a b a" || asked != 3 {
			t.Errorf("connected to %s, asked %d times; want a b a, and 3", got, asked)
		}
		if !pubs[1].polite || !strings.Contains(pubs[1].list(), "test/status") {
			t.Error("the connection to b was not ended in the orderly way")
		}
	})
}

func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, err := New(Config{Servers: []string{"mqtt://a"}, ClientID: "x"}, newTestQueue(t, 3), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		u.watch = func(context.Context) {}
		var mu sync.Mutex
		var pubs []*fakePublisher
		attempts := func() int { mu.Lock(); defer mu.Unlock(); return len(pubs) }
		u.connect = func(Server) publisher {
			mu.Lock()
			defer mu.Unlock()
			p := &fakePublisher{}
			if len(pubs) == 0 {
				p.connectErr = mqtt.NewError(ReasonUser, nil)
			}
			pubs = append(pubs, p)
			return p
		}
		go func() {
			time.Sleep(time.Second) // of the bubble, in the long pause
			u.Reconnect()
			time.Sleep(time.Second)
			if n := attempts(); n != 2 {
				t.Errorf("%d attempts a second after Reconnect in a pause, want 2", n)
			}
			u.Reconnect()
			time.Sleep(2 * time.Second)
			if n := attempts(); n != 3 {
				t.Errorf("%d attempts after Reconnect of a connection, want 3", n)
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := u.Run(ctx); err != nil {
			t.Error(err)
		}
		if !pubs[1].polite {
			t.Error("the connection was not ended in the orderly way")
		}
	})
}

// A link on which no large message survives: they are made smaller, and
// nothing is given up, as it is not the message.
func TestABadLinkIsNotTheMessagesFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t, 1)
		q.msgs[0].Payload = make([]byte, 60_000)
		simulate(t, Config{Servers: []string{"mqtt://a"}, Birth: births}, q, nil, nil, time.Hour,
			func(int, Server) *fakePublisher {
				return &fakePublisher{lifetime: 20 * time.Second, ackAfter: 25 * time.Second, birthAckAfter: time.Millisecond}
			})
		if len(q.refused) > 0 {
			t.Errorf("given up: %.30q", q.refused)
		}
		if last := q.limits[len(q.limits)-1]; last == 0 || last > 30_010 {
			t.Errorf("messages are limited to %d bytes after an hour of losses", last)
		}
	})
}

// What the kernel says reaches the uplink: an address comes and goes on the
// loopback interface.
func TestWatchesTheNetwork(t *testing.T) {
	u, err := New(Config{Servers: []string{"mqtt://a"}, ClientID: "x"}, newTestQueue(t, 0), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	add, remove, err := loopbackAddress()
	if err != nil {
		t.Skip("addresses cannot be set here: ", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); u.watchNetwork(ctx) }()
	defer func() { cancel(); <-done }()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond) // the watch may not have begun
	defer tick.Stop()
	defer remove()
	for {
		add()
		select {
		case <-u.networkUp:
			return
		case <-tick.C:
			remove()
		case <-deadline:
			t.Fatal("an address came, and nothing was heard of it")
		}
	}
}

func TestReachable(t *testing.T) {
	b := embeddedBroker(t, uplinktest.Transport{})
	u, err := New(Config{Servers: []string{"mqtt://" + b.Addr()}, ClientID: "x"}, newTestQueue(t, 0), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !u.reach(t.Context(), u.servers[0]) {
		t.Error("a broker that runs cannot be reached")
	}
	b.Stop()
	if u.reach(t.Context(), u.servers[0]) {
		t.Error("a broker that is stopped can be reached")
	}
}
