package gateway

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/buffer"
)

// A sign of life follows every look, and a look that hangs is seen by there
// being none.
func TestSignsOfLife(t *testing.T) {
	withBench(t, "", func(b *bench) {
		var signs atomic.Uint64
		var hangs atomic.Bool
		hung := make(chan struct{})
		b.opts.Alive = func() { signs.Add(1) }
		b.h.losses = append(b.h.losses, &losses{feed: b.self, code: "test", count: func(*buffer.Stats) uint64 {
			if hangs.Load() {
				<-hung
			}
			return 0
		}})
		ctx, stop := context.WithCancel(b.t.Context())
		ended := make(chan struct{})
		go func() { b.h.watch(ctx); close(ended) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		n := signs.Load()
		if n < 60 || n > 61 {
			t.Errorf("%d signs of life in a minute", n)
		}
		hangs.Store(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		if more := signs.Load() - n; more > 0 {
			t.Errorf("%d signs of life of a dead loop", more)
		}
		stop()
		close(hung)
		<-ended
	})
}

// A source that hangs for ever keeps the gateway neither from looking after
// the rest nor from stopping, but its process should end then.
func TestSourceThatHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 6 s of real time")
	}
	t.Parallel()
	signs := make(chan struct{}, 100)
	g, err := Open(gatewayConfig(t, t.TempDir(), "mqtt://127.0.0.1:1", ""), Options{Alive: func() { signs <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	hung, left := make(chan struct{}), make(chan struct{})
	g.sources[0].Source = &posing{Source: g.sources[0].Source, run: func() error {
		<-hung
		close(left)
		return nil
	}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	for range 3 {
		<-signs
	}
	stop()
	if err := <-ended; err == nil {
		t.Error("nobody is told that something hangs")
	}
	g.sources[0].feed.Lose(1) // too late, and no harm
	close(hung)
	<-left
}
