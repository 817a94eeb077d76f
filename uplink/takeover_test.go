package uplink

import (
	"fmt"
	"testing"

	"fieldferry/uplink/uplinktest"
)

// Another device with our client id: each throws the other out. Both find out,
// and stop doing it at full speed.
func TestTwoDevicesWithOneClientID(t *testing.T) {
	if testing.Short() {
		t.Skip("takes real time, and a machine that keeps up with it")
	}
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		m := newMosquitto(t)
		var seen [2]*events
		for i := range seen {
			seen[i] = newEvents()
			q := newTestQueue(t, 0)
			q.onAcked = func(Message) { go q.add(1) } // always something to send
			q.add(20)
			_, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + m.addr}, ClientID: "twin", Birth: births}, q, seen[i], nil)
			defer stop()
		}
		for i, obs := range seen {
			e := obs.lost(t)
			for n := 0; e.Reason != ReasonTakenOver; n++ {
				if n == 200 {
					t.Fatalf("device %d lost 200 connections and does not know why: %v", i, e)
				}
				e = obs.lost(t)
			}
			if !e.Slow() {
				t.Errorf("device %d goes on at full speed", i)
			}
		}
	})
}

// A broker that hands the session on after every acknowledgement.
func TestSessionsAreTakenOver(t *testing.T) {
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t, uplinktest.Fault{TakeOver: true})
		q := newTestQueue(t, 10)
		honest(q, b)
		obs := newEvents()
		_, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, InFlight: 1}, q, obs, nil)
		for e := obs.lost(t); e.Reason != ReasonTakenOver; e = obs.lost(t) {
			if p == Protocol5 {
				t.Fatalf("lost by %v although the broker said why", e)
			}
		}
		q.wait(10)
		stop()
		for i := range 10 {
			if !b.Acked(fmt.Sprintf("message %d", i)) {
				t.Errorf("the broker never acknowledged message %d", i)
			}
		}
	})
}
