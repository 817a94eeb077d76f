package uplink_test

import (
	"errors"
	"testing"

	"fieldferry/uplink"
	"fieldferry/uplink/uplinktest"
)

// A probe says of each server whether it would take the gateway, and leaves
// nothing behind but a connection that has ended in order.
func TestProbe(t *testing.T) {
	for _, protocol := range []uplink.Protocol{uplink.Protocol311, uplink.Protocol5} {
		good, err := uplinktest.NewFaultBroker(uplinktest.Transport{})
		if err != nil {
			t.Fatal(err)
		}
		defer good.Close()
		refuses, err := uplinktest.NewFaultBroker(uplinktest.Transport{}, uplinktest.Fault{Refuse: 5})
		if err != nil {
			t.Fatal(err)
		}
		defer refuses.Close()
		list, err := uplink.Probe(t.Context(), uplink.Config{
			Servers: []string{"mqtt://" + good.Addr(), "mqtt://127.0.0.1:1", "mqtt://" + refuses.Addr()}, ClientID: "gateway", Protocol: protocol,
			Will: &uplink.Message{Topic: "a", Payload: []byte("x")}, Birth: func(int) []uplink.Message { return []uplink.Message{{Topic: "b"}} },
		})
		if err != nil || len(list) != 3 {
			t.Fatal(list, err)
		}
		for i, want := range []uplink.Reason{0, uplink.ReasonConnRefused, uplink.ReasonUser} {
			var e *uplink.Error
			if errors.As(list[i], &e) != (i > 0) || e != nil && protocol == uplink.Protocol311 && e.Reason != want {
				t.Errorf("server %d: %v", i, list[i])
			}
		}
		c := good.Connects()
		if len(c) != 1 || len(good.Received()) != 0 {
			t.Errorf("connects %+v, messages %v", c, good.Received())
		}
		if err := good.Wait(t.Context(), func(_ []uplinktest.Received, _, open int) bool { return open == 0 }); err != nil || good.Disconnects() != 1 {
			t.Errorf("%v, %d disconnects", err, good.Disconnects())
		}
	}
	if _, err := uplink.Probe(t.Context(), uplink.Config{}); err == nil {
		t.Error("no server, no error")
	}
}
