package main

import (
	"strings"
	"testing"
)

// NATS closes the connection of a publisher whose topic has a space in it. Only
// the source with that name waits: all others are delivered, and the gateway
// says which topic it is.
func TestATopicThatNATSRefusesStopsOnlyItself(t *testing.T) {
	c, w := three(t)
	d := startDaemonWith(t, c.urls(), `  - {interface: "sim:ramp?rate=10", name: "left engine"}
`)
	w.until(t, "data of the allowed source", func() bool { return w.last() > rate })
	d.until(t, "the topic that is refused", func(s said) bool {
		return strings.Contains(s.Topic+s.Subject, "left engine")
	})
	there := w.last()
	w.until(t, "five seconds of data more", func() bool { return w.last() > there+5*rate })
	w.until(t, "what has waited in the meantime", func() bool { return len(w.gaps()) == 0 })
	d.Stop()
	for _, s := range w.streams() {
		if s.Source == "left engine" {
			t.Error("the source with the space was delivered: NATS no longer refuses it, and this test shows nothing")
		}
	}
	if n := d.count("uplink connected") + d.count(worksAgain); n > 30 {
		t.Errorf("%d connections", n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ledger.Lost > 0 {
		t.Errorf("%d of the allowed source were lost", w.ledger.Lost)
	}
	t.Logf("%d records came, %d connections", w.ledger.Records, d.count("uplink connected"))
}
