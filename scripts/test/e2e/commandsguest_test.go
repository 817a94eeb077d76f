package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
	"fieldferry/scripts/test/vm"
)

const guestCommands = `commands:
  enabled: true
  max_ttl: 6s
  points:
    - {name: horn, can: vcan0, id: 0x123, length: 2}
    - {name: fan, can: vcan0, id: 0x124, length: 1, repeat: 50ms}
`

// The whole daemon at a real SocketCAN interface, on a machine whose clock stands
// in 1970: what is written was looped back by the kernel, a full queue and an
// interface that is down are answered as such, and an old epoch is refused by a
// gateway that does not know the time.
func TestCommandsToARealInterface(t *testing.T) {
	for _, kind := range guestKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			s := newGuestSite(ctx, t, kind, "guesttool", guestCommands)
			s.tool("clock", "3600")
			do := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			do(s.guest.AddVCAN(ctx, "vcan0"))
			daemon := s.start()
			s.daemon = daemon
			old := s.epochAfter("")

			s.asks("a1", "horn", `"0102"`, `"epoch":"`+old+`"`, "done", "unverified")
			s.asks("a1", "horn", `"0102"`, `"epoch":"`+old+`"`, "done", "unverified") // the same again
			s.asks("i1", "horn", `"0103"`, `"issued":"1970-01-01T01:00:01Z","ttl":"6s"`, "rejected", "clock")
			s.verb(0, "done", "command", "horn", "0A0B")
			e := s.epochAfter(old)
			for range 2 { // the last two are good
				e = s.epochAfter(e)
			}
			s.asks("o1", "horn", `"0104"`, `"epoch":"`+old+`"`, "rejected", "expired")
			s.asks("o2", "horn", `"0105"`, s.fresh(), "done", "unverified")

			s.await("the frame of o2", func() bool { return s.frames("123", "0105") == 1 })
			do(s.guest.SetLink(ctx, "vcan0", false))
			s.asks("d1", "horn", `"0106"`, s.fresh(), "failed", "offline")
			s.await("an alarm", func() bool { return s.hasAlarm("can_link_down") })
			do(s.guest.SetLink(ctx, "vcan0", true))
			s.await("no alarm", func() bool { return !s.hasAlarm("can_link_down") }) // the interface is read again
			s.asks("d2", "horn", `"0107"`, s.fresh(), "done", "unverified")

			s.tool("queue", "vcan0", "0")
			s.asks("q1", "horn", `"0108"`, s.fresh(), "rejected", "busy")
			s.verb(1, "busy", "command", "horn", "0109")
			s.tool("queue", "vcan0", "none")
			s.asks("q2", "horn", `"010A"`, s.fresh(), "done", "unverified")

			s.asks("f1", "fan", `"77"`, s.fresh()+`,"ttl":"1s"`, "done", "unverified")
			time.Sleep(2 * time.Second) // the request's time, in which it is repeated, and as much without
			n := s.frames("124", "77")
			if n < 2 || n > 21 { // a guest that gets little of the processor leaves some out
				t.Errorf("a second of a frame each 50 ms is %d", n)
			}
			s.asks("end", "horn", `"0FFF"`, s.fresh(), "done", "unverified")
			s.await("the last frame", func() bool { return s.frames("123", "0FFF") == 1 })
			if m := s.frames("124", "77"); m > n+1 {
				t.Errorf("%d frames, later %d: it is repeated after its time", n, m)
			}
			for data, want := range map[string]int{"0102": 1, "0A0B": 1, "0105": 1, "0107": 1, "010A": 1, "0103": 0, "0104": 0, "0106": 0, "0108": 0, "0109": 0} {
				if n := s.frames("123", data); n != want {
					t.Errorf("frame %s was on the bus %d times, want %d", data, n, want)
				}
			}
			do(daemon.Signal(ctx, os.Interrupt))
			if status, err := daemon.Wait(ctx); err != nil || status != 0 {
				t.Errorf("the daemon ended with status %d, %v", status, err)
			}
		})
	}
}

// tool runs guesttool in the guest.
func (s *guestSite) tool(args ...string) {
	s.t.Helper()
	out := &rig.Log{}
	if status, err := s.guest.Run(s.ctx, vm.Command{Argv: append([]string{"/bin/guesttool"}, args...), Output: out}); err != nil || status != 0 {
		s.t.Fatalf("guesttool %q: status %d, %v: %s", args, status, err, out)
	}
}

// verb runs fieldferry beside the daemon, which asks through the control socket.
func (s *guestSite) verb(want int, says string, args ...string) {
	s.t.Helper()
	out := &rig.Log{}
	argv := append(append([]string{"/bin/fieldferry"}, args...), "-c", "/etc/fieldferry.yaml")
	if status, err := s.guest.Run(s.ctx, vm.Command{Argv: argv, Output: out}); err != nil || status != want || !strings.Contains(out.String(), says) {
		s.t.Errorf("%q: status %d, %v: %s", args, status, err, out)
	}
}

// await waits for something to be so.
func (s *guestSite) await(what string, so func() bool) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-s.daemon.Done():
			s.t.Fatalf("the daemon has ended before this: %s", what)
		case <-s.ctx.Done():
			s.t.Fatalf("this never came: %s", what)
		}
	}
}

// epochAfter waits for another epoch in the status message than one before.
func (s *guestSite) epochAfter(before string) (word string) {
	s.t.Helper()
	s.await("an epoch", func() bool {
		word = s.status().Epoch
		return word != "" && word != before
	})
	return word
}

// guestStatus is the newest status message.
type guestStatus struct {
	State, Epoch string
	Alarms       []struct{ Code string }
}

func (s *guestSite) status() (last guestStatus) {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	for _, payload := range s.witness.payloads {
		var status guestStatus
		if json.Unmarshal(payload, &status) == nil && status.State == "online" {
			last = status
		}
	}
	return last
}

func (s *guestSite) hasAlarm(code string) bool {
	for _, a := range s.status().Alarms {
		if a.Code == code {
			return true
		}
	}
	return false
}

// fresh is what shows now that a request is fresh.
func (s *guestSite) fresh() string { return `"epoch":"` + s.epochAfter("") + `"` }

// asks sends a request and checks its answer.
func (s *guestSite) asks(id, point, value, fresh, state, code string) {
	s.t.Helper()
	before := len(answers(s.witness, id))
	s.broker.publish(s.t, "site/gw-vm/cmd/alice/req", fmt.Sprintf(`{"id":%q,"point":%q,"value":%s,%s}`, id, point, value, fresh))
	var r reply
	s.await("an answer to "+id, func() bool {
		for _, a := range answers(s.witness, id)[before:] {
			if a.Status != 0 && a.State != "accepted" { // not the request, nor its record
				r = a
				return true
			}
		}
		return false
	})
	if r.State != state || r.Code != code {
		s.t.Errorf("%s: %+v, want %s %s", id, r, state, code)
	}
}

// frames is how many frames the gateway has recorded.
func (s *guestSite) frames(id, data string) (n int) {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	for _, payload := range s.witness.payloads {
		var m struct {
			Records []struct{ Type, ID, Data string }
		}
		if !strings.Contains(string(payload), `"type":"can"`) || json.Unmarshal(payload, &m) != nil {
			continue
		}
		for _, r := range m.Records {
			if r.Type == "can" && r.ID == id && r.Data == data {
				n++
			}
		}
	}
	return n
}
