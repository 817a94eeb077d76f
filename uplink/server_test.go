package uplink

import (
	"strings"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	good := Config{Servers: []string{"mqtt://host"}, ClientID: "x"}
	if u, err := New(good, newTestQueue(t, 0), nil, nil); err != nil {
		t.Errorf("a good configuration: %v", err)
	} else if c := u.cfg; c.KeepAlive != 30*time.Second || c.AckTimeout != time.Minute || c.InFlight != 100 {
		t.Errorf("defaults: %+v", c)
	}
	bad := Config{
		Servers: []string{"host", "mqtt://u:secret@host:0"}, Username: strings.Repeat("x", 65536),
		KeepAlive: time.Millisecond, AckTimeout: -1, InFlight: -1, Will: &Message{Topic: "a/#", Payload: make([]byte, 65536)},
	}
	_, err := New(bad, nil, nil, nil)
	if err == nil {
		t.Fatal("New accepted everything that is wrong")
	}
	for _, want := range []string{"server 1", "server 2", "client id", "user name", "keep alive", "ack timeout", "in flight", "last will: topic", "last will is longer", "no queue"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said about %q in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the secret is in: %v", err)
	}
	if bad.Validate() == nil || good.Validate() != nil || (Config{ClientID: "x"}).Validate() == nil {
		t.Error("Validate and New do not agree")
	}
}
