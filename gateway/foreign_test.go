package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/uplink/uplinktest"
)

// A last will that comes late does not stay at the status topic.
func TestAForeignOfflineIsPutRight(t *testing.T) {
	for name, text := range map[string]string{
		"offline":         `{"v":1,"state":"offline","gateway":"gw","session":7}`,
		"another session": `{"v":1,"state":"online","gateway":"gw","session":7}`,
		"nothing":         "",
		"not JSON":        "offline",
		"its own will":    "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "sim:ramp?rate=1", uplinktest.Transport{})
			states := make(chan foreign, 100)
			if err := s.broker.Subscribe("site/status", func(_ string, payload []byte) {
				var f foreign
				_ = json.Unmarshal(payload, &f)
				states <- f
			}); err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer // read when the gateway has ended
			s.open(Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
			s.run()
			s.event("started", "event", 1) // the birth has come back before
			own := s.gateway.buffer.Stats().Session
			isWill := name == "its own will"
			if isWill {
				text = fmt.Sprintf(`{"v":1,"state":"offline","gateway":"gw","session":%d}`, own)
			}
			if err := s.broker.Publish("site/status", []byte(text)); err != nil {
				t.Fatal(err)
			}
			limit := time.NewTimer(time.Minute)
			defer limit.Stop()
			for wrong := false; ; {
				select {
				case f := <-states:
					if f.State == "online" && f.Session == own {
						if wrong {
							s.stop()
							if isWill == strings.Contains(said.String(), "another status message") {
								t.Errorf("the log says %s", said.String())
							}
							return
						}
						continue
					}
					wrong = true
				case <-limit.C:
					t.Fatal("it was not put right")
				}
			}
		})
	}
}

// The answers get rare, as another gateway answers them, and raise an alarm that
// ends with their cause.
func TestForeignStatusIsAnsweredAtARate(t *testing.T) {
	s := newSite(t, "sim:ramp?rate=1", uplinktest.Transport{})
	s.open(Options{})
	g := s.gateway
	g.statusSeen(g.online(0).Payload)
	if len(g.foreign) != 0 {
		t.Error("its own status is taken for a foreign one")
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		answers := 0
		var c contradiction
		for range 3600 {
			if c.take(time.Now()) {
				answers++
			}
			time.Sleep(time.Second)
		}
		if answers < 7 || answers > 14 || !c.many() {
			t.Errorf("%d answers in an hour of messages every second", answers)
		}
		time.Sleep(time.Hour)
		if !c.over(time.Now()) || c.many() || !c.take(time.Now()) {
			t.Error("it does not forget")
		}
	})
}
