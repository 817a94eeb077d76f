package uplink

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/uplink/mqtt"
)

// asked is when a publisher was asked for, and for which host.
type asked struct {
	mu  sync.Mutex
	at  []time.Duration
	url []string
}

func (a *asked) add(d time.Duration, s Server) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at, a.url = append(a.at, d), append(a.url, s.Host)
	return len(a.at)
}

// What the clock and the secrets ask for at every moment of an uplink's life:
// when there is the next attempt, and how many in all.
func TestReconnectAndRetry(t *testing.T) {
	retry, reconnect := (*Uplink).Retry, (*Uplink).Reconnect
	tests := []struct {
		name  string
		call  func(*Uplink)
		after time.Duration // the call
		takes time.Duration // the first attempt
		fails bool          // it does, and the broker must be spared
		count int           // attempts within 10 s
	}{
		{"retry before the start", retry, 0, 0, false, 1},
		{"reconnect before the start", reconnect, 0, 0, false, 1},
		{"retry during an attempt that succeeds", retry, time.Second, 2 * time.Second, false, 1},
		{"reconnect during an attempt that succeeds", reconnect, time.Second, 2 * time.Second, false, 2},
		{"retry during an attempt that fails", retry, time.Second, 2 * time.Second, true, 2},
		{"reconnect during an attempt that fails", reconnect, time.Second, 2 * time.Second, true, 2},
		{"retry in the pause", retry, 2 * time.Second, 0, true, 2},
		{"reconnect in the pause", reconnect, 2 * time.Second, 0, true, 2},
		{"retry of a connection", retry, 2 * time.Second, 0, false, 1},
		{"reconnect of a connection", reconnect, 2 * time.Second, 0, false, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, err := New(Config{Servers: []string{"mqtt://a"}, ClientID: "x"}, newTestQueue(t, 3), nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				u.watch = func(context.Context) {}
				began := time.Now()
				var seen asked
				u.connect = func(s Server) publisher {
					p := &fakePublisher{}
					if seen.add(time.Since(began), s) == 1 {
						p.connectFor = tt.takes
						if tt.fails {
							p.connectErr = mqtt.NewError(ReasonUser, nil) // at the slow pace
						}
					}
					return p
				}
				if tt.after == 0 {
					tt.call(u)
				} else {
					time.AfterFunc(tt.after, func() { tt.call(u) })
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := u.Run(ctx); err != nil {
					t.Error(err)
				}
				if len(seen.at) != tt.count {
					t.Errorf("%d attempts, at %v; want %d", len(seen.at), seen.at, tt.count)
				}
			})
		})
	}
}

// A connection that was asked about while it lived does not shorten the pause
// after it.
func TestRetryIsNotKeptOverAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, err := New(Config{Servers: []string{"mqtt://a"}, ClientID: "x"}, newTestQueue(t, 0), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		u.watch = func(context.Context) {}
		began := time.Now()
		var seen asked
		u.connect = func(s Server) publisher {
			seen.add(time.Since(began), s)
			return &fakePublisher{lifetime: 3 * time.Second, lostBy: io.EOF}
		}
		time.AfterFunc(time.Second, u.Retry)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		if err := u.Run(ctx); err != nil {
			t.Error(err)
		}
		if len(seen.at) > 1 && seen.at[1] < 3400*time.Millisecond {
			t.Errorf("attempts at %v: no pause after the loss", seen.at)
		}
	})
}

// The second of two servers takes the data as soon as the first has been silent
// for long enough, whatever the clock says meanwhile.
func TestASilentFirstServerIsTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(t, 1)
		u, err := New(Config{Servers: []string{"mqtt://a", "mqtt://b"}, ClientID: "x"}, q, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		u.watch = func(context.Context) {}
		began := time.Now()
		var came time.Duration
		q.onAcked = func(Message) { came = time.Since(began) }
		u.connect = func(s Server) publisher {
			if s.Host == "a" {
				return &fakePublisher{connectFor: 20 * time.Second, connectErr: mqtt.NewError(ReasonNoConnack, nil)}
			}
			return &fakePublisher{}
		}
		u.Retry()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		if err := u.Run(ctx); err != nil {
			t.Error(err)
		}
		if came > 21*time.Second {
			t.Errorf("the data came after %v, want 20 s", came)
		}
	})
}

// A broker in a crash loop takes connections and dies: its port refuses in
// between, and the pauses stay those of a lost connection. A twin behind the
// second server is found out all the same while the first refuses.
func TestACrashLoopIsNoTakeover(t *testing.T) {
	for _, tt := range []struct {
		name    string
		servers []string
		refuses func(host string, attempt int) bool
		found   bool
		told    Protocol
	}{
		{"crash loop", []string{"mqtt://a"}, func(_ string, n int) bool { return n%2 == 0 }, false, Protocol311},
		{"twin", []string{"mqtt://a"}, func(string, int) bool { return false }, true, Protocol311},
		{"twin behind the second", []string{"mqtt://a", "mqtt://b"}, func(host string, _ int) bool { return host == "a" }, true, Protocol311},
		{"a broker of MQTT 5 without a word", []string{"mqtt://a"}, func(string, int) bool { return false }, true, Protocol5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newTestQueue(t, 0)
				obs := newEvents()
				simulate(t, Config{Servers: tt.servers, Protocol: tt.told}, q, obs, nil, 3*time.Minute, func(n int, s Server) *fakePublisher {
					if tt.refuses(s.Host, n) {
						return &fakePublisher{connectErr: mqtt.NewError(ReasonConnRefused, nil)}
					}
					q.add(2)
					return &fakePublisher{lostAfter: 2, lostBy: io.EOF}
				})
				found := false
				for len(obs.ch) > 0 {
					e, ok := obs.next(t).err.(*Error) //nolint:errorlint // the contract says: is one
					found = found || ok && e.Reason == ReasonTakenOver
				}
				if found != tt.found {
					t.Errorf("found another client: %v, want %v", found, tt.found)
				}
			})
		})
	}
}
