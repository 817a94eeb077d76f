package command

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever a request brings to show that it is fresh has to hold: an epoch does
// not make an old time of issue young, and a time says nothing while the
// gateway's clock is not trusted.
func TestWhatARequestBringsHasToHold(t *testing.T) {
	for _, c := range []struct {
		epoch, issued      string
		trusted, untrusted Code
	}{
		{"", "", Invalid, Invalid}, // by MQTT; at the gateway itself it is asked now
		{"", "fresh", OK, ClockDoubt},
		{"", "past", Expired, ClockDoubt},
		{"", "future", ClockDoubt, ClockDoubt},
		{"now", "", OK, OK},
		{"now", "fresh", OK, ClockDoubt},
		{"now", "past", Expired, ClockDoubt},
		{"now", "future", ClockDoubt, ClockDoubt},
		{"before", "", OK, OK},
		{"before", "fresh", OK, ClockDoubt},
		{"before", "past", Expired, ClockDoubt},
		{"before", "future", ClockDoubt, ClockDoubt},
		{"old", "", Expired, Expired},
		{"old", "fresh", Expired, ClockDoubt},
		{"old", "past", Expired, ClockDoubt},
		{"old", "future", Expired, ClockDoubt},
	} {
		for _, trusted := range []bool{true, false} {
			for _, ttl := range []string{`,"ttl":"10s"`, ""} {
				for _, by := range []Door{ByMQTT, ByWeb, ByCLI} {
					for _, what := range []string{`"point":"setpoint","value":50`, `"read":"setpoint"`} {
						want := c.untrusted
						if trusted {
							want = c.trusted
						}
						switch {
						case c.issued == "" && c.epoch == "" && by != ByMQTT:
							want = OK
						case c.issued != "" && c.epoch == "" && ttl == "":
							want = Invalid
						}
						name := fmt.Sprintf("epoch %q, issued %q, trusted %v%s, by %s, %s", c.epoch, c.issued, trusted, ttl, by, what)
						t.Run(name, func(t *testing.T) {
							bubble(t, func(t *testing.T, s *site) {
								took(t, s, by, what+ttl, c.epoch, c.issued, trusted, want)
							})
						})
					}
				}
			}
		}
	}
}

// took sends a request with these members to an engine, and looks at the answer.
func took(t *testing.T, s *site, by Door, members, epochAge, issued string, trusted bool, want Code) {
	s.clock.doubted = !trusted
	s.start()
	defer s.stop()
	words := map[string]string{"old": s.engine.Epoch()}
	s.engine.Renew()
	words["before"] = s.engine.Epoch()
	s.engine.Renew()
	words["now"] = s.engine.Epoch()
	time.Sleep(time.Second)
	text := `{"id":"x",` + members
	if epochAge != "" {
		text += fmt.Sprintf(`,"epoch":%q`, words[epochAge])
	}
	if issued != "" {
		at := time.Now().Add(map[string]time.Duration{"past": -66 * time.Second, "future": 6 * time.Second}[issued])
		text += fmt.Sprintf(`,"issued":%q`, at.UTC().Format(time.RFC3339Nano))
	}
	var r Reply
	s.engine.Take(Actor{Who: "alice", By: by}, []byte(text+"}"), Transport{}, func(reply Reply) { r = reply })
	synctest.Wait()
	if by == ByMQTT && r.Code == "" {
		r = s.last("x")
	}
	if r.Code != want || (r.State == Done) != (want == OK) {
		t.Errorf("%s %s (%s), want %s", r.State, r.Code, r.Message, want)
	}
	if wrote := s.plant.written() > 0; wrote != (want == OK && members[1] == 'p') {
		t.Errorf("written %v", wrote)
	}
}

// A time that is there and empty is not one that is missing: a template that was
// not filled in must not be carried out.
func TestAnEmptyTimeIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.start()
		for _, member := range []string{"issued", "ttl"} {
			s.send(alice, `{"id":%q,"point":"setpoint","value":50,"epoch":%q,%q:""}`, member, s.engine.Epoch(), member)
			synctest.Wait()
			s.want(member, Rejected, Invalid)
		}
		if s.plant.written() != 0 {
			t.Error("it was written")
		}
		s.stop()
	})
}
