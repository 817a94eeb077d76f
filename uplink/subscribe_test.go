package uplink_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"fieldferry/uplink"
	"fieldferry/uplink/uplinktest"
)

// A subscriber gets what is published, retained messages marked as such, and
// comes back by itself after the connection was lost.
func TestSubscribe(t *testing.T) {
	broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	link, err := uplinktest.NewLink(broker.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan string, 100)
	connected, lost, ended := make(chan struct{}, 10), make(chan error, 100), make(chan error, 1)
	go func() {
		ended <- uplink.Subscribe(ctx, uplink.SubscribeConfig{
			Server:       "mqtt://" + link.Addr(),
			Topic:        "a/+",
			Connected:    func(uplink.Server) { connected <- struct{}{} },
			Disconnected: func(err error) { lost <- err },
		}, func(topic string, payload []byte, retained bool) {
			got <- fmt.Sprintf("%s %s %v", topic, payload, retained)
		})
	}()
	await(t, connected, "the subscription")
	publish := func(text string) {
		t.Helper()
		if err := broker.Publish("a/b", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if m := await(t, got, text); m != "a/b "+text+" false" {
			t.Errorf("got %q", m)
		}
	}
	publish("one")
	link.Cut()
	if err := await(t, lost, "the loss"); err == nil {
		t.Error("no reason for the loss")
	}
	link.Restore()
	await(t, connected, "the second subscription")
	publish("two")
	cancel()
	if err := await(t, ended, "the end"); err != nil {
		t.Error(err)
	}
}

func TestSubscribeRefusesWhatCannotWork(t *testing.T) {
	for _, cfg := range []uplink.SubscribeConfig{
		{Server: "broker:1883", Topic: "#"},
		{Server: "mqtt://broker"},
	} {
		if err := uplink.Subscribe(t.Context(), cfg, nil); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

func await[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not come", what)
	}
	return v
}

// A message that is too large is named and skipped, and costs memory or the
// connection to nobody: those behind it arrive.
func TestSubscribeSkipsWhatIsTooLarge(t *testing.T) {
	broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got, connected, ended := make(chan string, 100), make(chan struct{}, 10), make(chan error, 1)
	go func() {
		ended <- uplink.Subscribe(ctx, uplink.SubscribeConfig{
			Server:       "mqtt://" + broker.Addr(),
			Topic:        "a/+",
			MaxMessage:   1000,
			TooLarge:     func(topic string, size int) { got <- fmt.Sprintf("%s: %v", topic, size == 10_000) },
			Connected:    func(uplink.Server) { connected <- struct{}{} },
			Disconnected: func(err error) { t.Error(err) },
		}, func(_ string, payload []byte, _ bool) { got <- string(payload) })
	}()
	await(t, connected, "the subscription")
	for range 50 { // more than a broker has in flight
		for _, m := range []struct {
			payload []byte
			want    string
		}{{make([]byte, 10_000), "a/b: true"}, {[]byte("small"), "small"}} {
			if err := broker.Publish("a/b", m.payload); err != nil {
				t.Fatal(err)
			}
			if is := await(t, got, m.want); is != m.want {
				t.Fatalf("got %q, want %q", is, m.want)
			}
		}
	}
	cancel()
	if err := await(t, ended, "the end"); err != nil {
		t.Error(err)
	}
}
