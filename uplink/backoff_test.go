package uplink

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/uplink/mqtt"
)

// attempts are the times of the attempts within some time, when the given
// server fails so.
func attempts(t *testing.T, during time.Duration, servers []string, fail func(host string) *Error) []time.Duration {
	t.Helper()
	var at []time.Duration
	begin := time.Now()
	simulate(t, Config{Servers: servers}, newTestQueue(t, 0), nil, nil, during, func(_ int, s Server) *fakePublisher {
		at = append(at, time.Since(begin))
		e := fail(s.Host)
		pub := &fakePublisher{connectErr: e}
		if e.Reason == ReasonConnectTimeout {
			pub.connectFor = 10 * time.Second
		}
		return pub
	})
	return at
}

func withContact(r Reason, c mqtt.Contact) func(string) *Error {
	return func(string) *Error { e := mqtt.NewError(r, nil); e.Contact = c; return e }
}

// Where nobody answers, the next attempt is never far.
func TestNobodyThere(t *testing.T) {
	for reason, longest := range map[Reason]time.Duration{
		ReasonConnRefused:    1500 * time.Millisecond,
		ReasonNoSuchHost:     1500 * time.Millisecond,
		ReasonConnectTimeout: 10 * time.Second, // which dials all the time
	} {
		synctest.Test(t, func(t *testing.T) {
			at := attempts(t, time.Hour, []string{"mqtt://a"}, withContact(reason, mqtt.Unreached))
			for i := 1; i < len(at); i++ {
				if pause := at[i] - at[i-1]; pause > longest || pause < 500*time.Millisecond {
					t.Fatalf("%v: attempt %d came after %v", reason, i, pause)
				}
			}
			if len(at) > 4000 {
				t.Errorf("%v: %d attempts in an hour", reason, len(at))
			}
		})
	}
}

// One of several servers that answers and fails is spared.
func TestSomebodyIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := attempts(t, time.Hour, []string{"mqtt://gone", "mqtt://busy"}, func(host string) *Error {
			e := mqtt.NewError(ReasonUnavailable, nil)
			if host == "gone" {
				e = mqtt.NewError(ReasonConnRefused, nil)
				e.Contact = mqtt.Unreached
			}
			return e
		})
		if len(at) < 2*120 || len(at) > 2*250 {
			t.Errorf("%d attempts in an hour at a busy server and one that is gone", len(at))
		}
	})
}

// Who hangs up without a word is taken for a relay whose broker is away, for
// minutes; then for a broker that wants to be left alone.
func TestHangUps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := attempts(t, time.Hour, []string{"mqtt://a"}, withContact(ReasonNoConnack, mqtt.HungUp))
		early := 0
		for _, d := range at {
			if d < 4*time.Minute {
				early++
			}
		}
		if early < 200 || len(at)-early > 400 {
			t.Errorf("%d attempts in the first four minutes, %d in the rest of the hour", early, len(at)-early)
		}
	})
}

// stallFor makes a connection stall at its first message, and the server
// answer new connections after a while. It returns when the second one began.
func stallFor(t *testing.T, d time.Duration, cfg Config) (second time.Duration, why Reason) {
	t.Helper()
	u, err := New(cfg, newTestQueue(t, 3), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	u.watch = func(context.Context) {}
	begin := time.Now()
	pubs := 0
	u.connect = func(Server) publisher {
		if pubs++; pubs > 1 {
			second = time.Since(begin)
			return &fakePublisher{}
		}
		return &fakePublisher{ackAfter: -1, stuck: func() bool { return true }}
	}
	u.answers = func(ctx context.Context, _ Server) bool {
		sleep(ctx, d-time.Since(begin))
		return ctx.Err() == nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := u.Run(ctx); err != nil {
		t.Error(err)
	}
	return second, u.Stats().LastReason
}

// A connection that the network does not answer is replaced when the server
// answers a new one, and not before; the ack timeout counts all the same.
func TestAStalledConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Servers: []string{"mqtt://a"}, ClientID: "x"}
		if second, why := stallFor(t, 20*time.Second, cfg); second < 20*time.Second || second > 22*time.Second || why != ReasonKeepAlive {
			t.Errorf("replaced after %v by %v, the server answered after 20 s", second, why)
		}
		if second, why := stallFor(t, 5*time.Minute, cfg); second < time.Minute || second > 62*time.Second || why != ReasonAckTimeout {
			t.Errorf("replaced after %v by %v, the ack timeout is a minute", second, why)
		}
	})
}
