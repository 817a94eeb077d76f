package gateway

import (
	"context"
	"testing"
	"time"

	"fieldferry/gateway/source"
	"fieldferry/uplink/uplinktest"
)

// closing is a source that says when it ends.
type closing struct {
	Source
	begun chan struct{}
	ends  func()
}

func (e *closing) Run(ctx context.Context, to source.Sink) error {
	close(e.begun)
	err := e.Source.Run(ctx, to)
	e.ends()
	return err
}

// Whatever waits for the broker, and however long: before a stop the buses end
// first, so that what they have read can leave. Where another gateway takes over
// the buffer they are read until the uplink has ended.
func TestBusesAreReadUntilAReload(t *testing.T) {
	for name, replaced := range map[string]bool{"stop": false, "reload": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker, err := uplinktest.NewFaultBroker(uplinktest.Transport{}, uplinktest.Fault{Ack: uplinktest.AckNever})
			if err != nil {
				t.Fatal(err)
			}
			defer broker.Close()
			g, err := Open(gatewayConfig(t, t.TempDir(), "mqtt://"+broker.Addr(), ""), Options{})
			if err != nil {
				t.Fatal(err)
			}
			var connected bool
			e := &closing{Source: g.sources[0].Source, begun: make(chan struct{}), ends: func() { connected = g.uplink.Stats().Connected }}
			g.sources[0].Source = e
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- g.Run(ctx) }()
			<-e.begun
			for st := g.uplink.Stats(); !st.Connected || st.InFlight == 0; st = g.uplink.Stats() {
				time.Sleep(time.Millisecond) // until the broker has something to acknowledge
			}
			if replaced {
				g.Replaced()
			}
			stop()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if connected == replaced {
				t.Errorf("the bus ended while the uplink was connected: %v", connected)
			}
		})
	}
}
