package uplink

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// pathed is a broker of the tests behind a path that loses packets, and its
// address there.
func pathed(t testing.TB, s uplinktest.Shape) (*uplinktest.Path, *uplinktest.Broker, string) {
	t.Helper()
	p, err := uplinktest.NewPath()
	if errors.Is(err, uplinktest.ErrNoTUN) {
		t.Skip(err) // nothing that could be installed
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	b, err := uplinktest.NewBroker(uplinktest.BrokerConfig{Address: p.Near()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	far, err := p.Far(b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	p.Shape(s)
	return p, b, far
}

// asInTheField takes the short times of tests back. The devices of other
// tests are no news of the network.
func asInTheField(u *Uplink) {
	u.time = defaultTiming()
	u.watch = func(context.Context) {}
}

// busy is what a machine that does other things may add to a time.
const busy = 2 * time.Second

// A link that was away and comes back without anybody saying so: the next
// record gets through within three seconds, whatever the kernel waits for.
func TestLinkUpWithoutASignal(t *testing.T) {
	for name, tt := range map[string]struct {
		protocol  Protocol
		keepAlive time.Duration
		away      time.Duration
		happened  func(p *uplinktest.Path, b *uplinktest.Broker)
	}{
		"stays connected":       {Protocol311, time.Minute, 4 * time.Second, nil},
		"the broker restarted":  {Protocol5, time.Minute, 4 * time.Second, func(_ *uplinktest.Path, b *uplinktest.Broker) { b.Stop(); _ = b.Start() }},
		"the NAT has forgotten": {Protocol5, time.Minute, 4 * time.Second, func(p *uplinktest.Path, _ *uplinktest.Broker) { p.Forget() }},
		"was given up":          {Protocol311, 2 * time.Second, 6 * time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, b, far := pathed(t, uplinktest.Shape{Delay: 50 * time.Millisecond})
			var arrived atomic.Int64
			if err := b.Subscribe("test/topic", func(string, []byte) { arrived.Store(time.Now().UnixNano()) }); err != nil {
				t.Fatal(err)
			}
			q := newTestQueue(t, 1)
			cfg := Config{Protocol: tt.protocol, Servers: []string{"mqtt://" + far}, KeepAlive: tt.keepAlive, Birth: births, Verify: true}
			u, stop := run(t, cfg, q, nil, asInTheField)
			q.wait(1)
			p.Cut()
			q.add(1)
			time.Sleep(tt.away) // the outage itself, nothing is synchronised by it
			if tt.happened != nil {
				tt.happened(p, b)
			}
			up := time.Now()
			p.Restore()
			q.wait(2)
			stop()
			took := time.Unix(0, arrived.Load()).Sub(up).Round(time.Millisecond)
			t.Logf("the first record came %v after the link; last error %q", took, u.Stats().LastError)
			if took > 3*time.Second+busy {
				t.Errorf("the first record came %v after the link, the promise is 3 s", took)
			}
		})
	}
}

// Where packets are lost and delayed, on fast and slow lines, all arrives, in
// order, on one connection: it is not taken for dead.
func TestLossyPaths(t *testing.T) {
	t.Parallel()
	for name, shape := range map[string]uplinktest.Shape{
		"200 ms and 5 % loss":          {Delay: 100 * time.Millisecond, Loss: 0.05},
		"20 kB/s, 300 ms and 2 % loss": {Delay: 150 * time.Millisecond, Loss: 0.02, Rate: 20_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			protocols(t, func(t *testing.T, proto Protocol) {
				t.Parallel()
				p, b, far := pathed(t, shape)
				in := newInbox()
				if err := b.Subscribe("test/#", func(_ string, p []byte) { in.put(p) }); err != nil {
					t.Fatal(err)
				}
				q := newTestQueue(t, 500)
				u, stop := run(t, Config{Protocol: proto, Servers: []string{"mqtt://" + far}, Birth: births, Verify: true}, q, nil,
					asInTheField)
				q.wait(500)
				stop()
				if missing := in.wait(500); len(missing) > 0 {
					t.Errorf("%d messages never came, the first is %q", len(missing), missing[0])
				}
				if s := u.Stats(); p.Lost() == 0 || s.Refused != 0 || s.Connects != 1 || s.Failures != 0 {
					t.Errorf("%d packets lost, stats %+v", p.Lost(), s)
				}
			})
		})
	}
}
