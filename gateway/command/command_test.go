package command

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"fieldferry/gateway/quota"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs a test with a site in simulated time.
func bubble(t *testing.T, f func(t *testing.T, s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newSite(t)) })
}

func TestAWriteIsDoneOnceHoweverOftenItIsSent(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.start()
		text := fmt.Sprintf(`{"v":1,"id":"a1","point":"setpoint","value":62.5,"epoch":%q}`, s.engine.Epoch())
		for i := range 100 {
			s.send(alice, "%s", text)
			synctest.Wait()
			if i%25 == 24 { // a restart
				s.stop()
				s.start()
			}
		}
		if n := s.plant.written(); n != 1 {
			t.Errorf("written %d times", n)
		}
		if n := len(s.all()["a1"]); n != 100 {
			t.Errorf("%d answers", n)
		}
		for i, r := range s.all()["a1"] {
			if r.State != Done || r.Code != OK || string(r.Read) != "62.5" || r.Duplicate != (i > 0) {
				t.Fatalf("answer %d: %+v", i, r)
			}
		}
		time.Sleep(3 * time.Minute)
		s.send(alice, "%s", text)
		synctest.Wait()
		if r := s.last("a1"); s.plant.written() != 1 || r.State != Rejected && !r.Duplicate {
			t.Errorf("after two max_ttl: %+v, %d writes", r, s.plant.written())
		}
		s.write("a2", "50") // the control: the point can still be written
		synctest.Wait()
		s.want("a2", Done, OK)
		s.stop()
	})
}

func TestRefusals(t *testing.T) {
	cases := []struct {
		name, text string // %E: the epoch
		code       Code
	}{
		{"not JSON", `{"id":`, Invalid},
		{"an array", `[]`, Invalid},
		{"unknown member", `{"id":"x","point":"setpoint","value":50,"epoch":"%E","valeu":1}`, Invalid},
		{"a member twice", `{"id":"x","point":"setpoint","value":50,"value":60,"epoch":"%E"}`, Invalid},
		{"another case", `{"id":"x","Point":"setpoint","value":50,"epoch":"%E"}`, Invalid},
		{"something behind", `{"id":"x","point":"setpoint","value":50,"epoch":"%E"} {}`, Invalid},
		{"version 2", `{"v":2,"id":"x","point":"setpoint","value":50,"epoch":"%E"}`, Invalid},
		{"no id", `{"point":"setpoint","value":50,"epoch":"%E"}`, Invalid},
		{"an id with a space", `{"id":"x y","point":"setpoint","value":50,"epoch":"%E"}`, Invalid},
		{"an id of 65", `{"id":"` + strings.Repeat("x", 65) + `","point":"setpoint","value":50,"epoch":"%E"}`, Invalid},
		{"an id that is a number", `{"id":1,"point":"setpoint","value":50,"epoch":"%E"}`, Invalid},
		{"no value", `{"id":"x","point":"setpoint","epoch":"%E"}`, Invalid},
		{"read and write", `{"id":"x","read":"setpoint","value":50,"epoch":"%E"}`, Invalid},
		{"nothing shows its age", `{"id":"x","point":"setpoint","value":50}`, Invalid},
		{"issued alone", `{"id":"x","point":"setpoint","value":50,"issued":"2000-01-01T00:00:00Z"}`, Invalid},
		{"a ttl that is none", `{"id":"x","point":"setpoint","value":50,"epoch":"%E","ttl":"soon"}`, Invalid},
		{"another epoch", `{"id":"x","point":"setpoint","value":50,"epoch":"ABCDEFGHIJKLMNOP"}`, Expired},
		{"issued long ago", `{"id":"x","point":"setpoint","value":50,"issued":"1999-01-01T00:00:00Z","ttl":"30s"}`, Expired},
		{"issued in the future", `{"id":"x","point":"setpoint","value":50,"issued":"2200-01-01T00:00:00Z","ttl":"30s"}`, ClockDoubt},
		{"no such point", `{"id":"x","point":"setpoin","value":50,"epoch":"%E"}`, UnknownPoint},
		{"too much", `{"id":"x","point":"setpoint","value":75.5,"epoch":"%E"}`, Range},
		{"null", `{"id":"x","point":"setpoint","value":null,"epoch":"%E"}`, Type},
		{"a text", `{"id":"x","point":"setpoint","value":"50","epoch":"%E"}`, Type},
		{"1e400", `{"id":"x","point":"setpoint","value":1e400,"epoch":"%E"}`, Range},
		{"1e999999999", `{"id":"x","point":"setpoint","value":1e999999999,"epoch":"%E"}`, Type},
		{"NaN", `{"id":"x","point":"setpoint","value":NaN,"epoch":"%E"}`, Invalid},
		{"not what is expected", `{"id":"x","point":"setpoint","value":50,"expect":61,"epoch":"%E"}`, Conflict},
		{"a long one", `{"id":"x","point":"setpoint","value":50,"epoch":"%E","reason":"` + strings.Repeat("x", MaxRequest) + `"}`, Invalid},
		{"not UTF-8", "{\"id\":\"x\",\"point\":\"setpoint\",\"value\":50,\"reason\":\"\xff\",\"epoch\":\"%E\"}", Invalid},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *site) {
				s.start()
				s.send(alice, "%s", strings.ReplaceAll(c.text, "%E", s.engine.Epoch()))
				synctest.Wait()
				var all []Reply
				for _, list := range s.all() {
					all = append(all, list...)
				}
				if len(all) != 1 || all[0].State != Rejected || all[0].Code != c.code || all[0].Status != c.code.status() || all[0].Message == "" {
					t.Errorf("answers %+v, want rejected %s", all, c.code)
				}
				if s.plant.written() != 0 {
					t.Error("it was written")
				}
				if len(s.accounts()) != 1 || s.accounts()[0].Reply.Code != c.code {
					t.Errorf("audit %+v", s.accounts())
				}
				s.write("control", "50")
				synctest.Wait()
				s.want("control", Done, OK)
				s.stop()
			})
		})
	}
}

func TestWhoMayAndHowOften(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		p := &s.cfg.Points[0]
		p.Allow, p.MaxChange, p.MinInterval = []string{"alice", "scada"}, "10", 10*time.Second
		s.start()
		epoch := s.engine.Epoch()
		s.send(Actor{Who: "bob", By: ByMQTT}, `{"id":"b1","point":"setpoint","value":62,"epoch":%q}`, epoch)
		s.send(Actor{Who: "bo\nb", By: ByMQTT}, `{"id":"b2","point":"setpoint","value":62,"epoch":%q}`, epoch)
		s.write("far", "71")
		synctest.Wait()
		s.want("b1", Rejected, NotAllowed)
		s.want("b2", Rejected, Invalid)
		if r := s.want("far", Rejected, Range); string(r.Old) != "60" {
			t.Errorf("old %s", r.Old)
		}
		s.write("soon", "62")
		synctest.Wait()
		s.want("soon", Rejected, Rate) // the one before has begun
		time.Sleep(10 * time.Second)
		s.write("a1", "62")
		synctest.Wait()
		s.want("a1", Done, OK)
		s.write("a1", "63")
		synctest.Wait()
		s.want("a1", Rejected, Conflict)
		if n := s.plant.written(); n != 1 {
			t.Errorf("%d writes", n)
		}
		s.stop()
	})
}

func TestWhatABusDoesIsAnswered(t *testing.T) {
	cases := []struct {
		name  string
		do    outcome
		state State
		code  Code
		read  string
	}{
		{"it keeps what it had", outcome{ignores: true}, Failed, Mismatch, "60"},
		{"it does not answer", outcome{deaf: true}, Failed, NoReply, "50"},
		{"it cannot be read", outcome{blind: true}, Done, Unverified, ""},
		{"it is offline", outcome{err: &Refusal{Code: Offline, Err: errors.New("offline")}}, Failed, Offline, ""},
		{"its queue is full", outcome{err: &Refusal{Code: Busy, Err: errors.New("full")}}, Rejected, Busy, ""},
		{"it refuses", outcome{err: &Refusal{Code: Exception, Exception: 2, Err: errors.New("illegal data address")}}, Failed, Exception, ""},
		{"an error without a code", outcome{err: errors.New("odd")}, Failed, NoReply, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *site) {
				s.plant.outcome = c.do
				s.start()
				s.write("x", "50")
				synctest.Wait()
				if r := s.want("x", c.state, c.code); string(r.Read) != c.read {
					t.Errorf("read %s, want %s", r.Read, c.read)
				}
				s.stop()
			})
		})
	}
}

func TestTheJournalCannotBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.start()
		s.write("a", "50")
		synctest.Wait()
		s.disk.fails(errors.New("no space left"))
		s.write("b", "51")
		synctest.Wait()
		s.want("b", Rejected, Storage)
		if v := s.engine.View(); v.Fault == "" {
			t.Error("it is not visible")
		}
		if s.plant.written() != 1 {
			t.Error("it was written")
		}
		s.disk.fails(nil)
		s.write("c", "52")
		synctest.Wait()
		s.want("c", Done, OK)
		if v := s.engine.View(); v.Fault != "" {
			t.Errorf("still %s", v.Fault)
		}
		s.stop()
	})
}

func TestALongWayIsSaidToBeTaken(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.plant.slow = 3 * time.Second
		s.start()
		s.write("a", "50")
		time.Sleep(2 * time.Second)
		s.want("a", Accepted, Queued)
		time.Sleep(2 * time.Second)
		s.want("a", Done, OK)
		if n := len(s.all()["a"]); n != 2 {
			t.Errorf("%d answers", n)
		}
		s.stop()
	})
}

// Sixteen wait for a bus, the next is told so; what is late is not begun.
func TestABusyBus(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.plant.slow = 7 * time.Second
		s.start()
		for i := range 20 {
			s.write(fmt.Sprint("w", i), "50")
			synctest.Wait()
		}
		busy := 0
		for i := range 20 {
			if list := s.all()[fmt.Sprint("w", i)]; len(list) == 1 && list[0].Code == Busy {
				busy++
			}
		}
		if busy != 3 { // one on the bus, sixteen wait
			t.Errorf("%d were told that it is busy", busy)
		}
		time.Sleep(5 * time.Minute)
		late := 0
		for i := range 20 {
			if r := s.last(fmt.Sprint("w", i)); r.Code == Expired {
				late++
			}
		}
		if n := s.plant.written(); n != 9 || late != 8 {
			t.Errorf("%d written, %d too late; want 9 (63 s) and 8", n, late)
		}
		s.stop()
	})
}

func TestFloods(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.cfg.MaxPerMinute = 60
		s.start()
		for i := range 6000 {
			s.write(fmt.Sprint("w", i), "50")
			time.Sleep(10 * time.Millisecond)
		}
		codes := map[Code]int{}
		for _, list := range s.all() {
			codes[list[len(list)-1].Code]++
		}
		if n := codes[OK]; n < 110 || n > 121 || codes[OK]+codes[Rate] != 6000 {
			t.Errorf("%v", codes)
		}
		if n := s.remembered(); n > 200 {
			t.Errorf("%d entries", n)
		}
		var told, more int
		for _, a := range s.accounts() {
			if told++; a.Reply.Code == Rate {
				more += int(a.More)
			}
		}
		if told > 61*quota.PerSecond+codes[OK] || more == 0 {
			t.Errorf("%d told, %d counted", told, more)
		}
		s.stop()
	})
}

func TestPauseOutlivesAStart(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.start()
		if err := s.engine.Pause(Actor{Who: "root", By: ByCLI}); err != nil {
			t.Fatal(err)
		}
		s.write("a", "50")
		s.stop()
		s.start()
		s.engine.mu.Lock()
		if err := s.engine.journal.rewrite(s.engine.now()); err != nil { // as when the file has become long
			t.Error(err)
		}
		s.engine.mu.Unlock()
		s.stop()
		s.start()
		s.write("b", "50")
		synctest.Wait()
		for _, id := range []string{"a", "b"} {
			if r := s.want(id, Rejected, Disabled); !strings.Contains(r.Message, "root") {
				t.Errorf("%s", r.Message)
			}
		}
		if err := s.engine.Resume(Actor{Who: "root", By: ByCLI}); err != nil {
			t.Fatal(err)
		}
		s.write("c", "50")
		synctest.Wait()
		s.want("c", Done, OK)
		s.stop()
	})
}

// A takeover of the connection suspends what comes by MQTT, until one has held.
func TestATakeoverSuspends(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.start()
		s.engine.TakenOver()
		s.write("a", "50")
		s.engine.Connected()
		time.Sleep(59 * time.Second)
		s.write("b", "50")
		synctest.Wait()
		s.want("a", Rejected, Busy)
		s.want("b", Rejected, Busy)
		if !s.engine.View().Suspended {
			t.Error("it is not visible")
		}
		s.engine.Disconnected()
		time.Sleep(time.Hour)
		s.engine.Connected()
		time.Sleep(61 * time.Second)
		s.write("c", "50")
		synctest.Wait()
		s.want("c", Done, OK)
		if s.engine.View().Suspended {
			t.Error("it is still visible")
		}
		s.stop()
	})
}

func TestSignatures(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	bubble(t, func(t *testing.T, s *site) {
		s.cfg.Signers = map[string]ed25519.PublicKey{"ops": public}
		s.start()
		request := func(id, value, expect, signed string) string {
			sig := ed25519.Sign(private, []byte("1\ngw\nalice\n"+id+"\nsetpoint\n"+signed+"\n\n\n"+s.engine.Epoch()))
			return fmt.Sprintf(`{"id":%q,"point":"setpoint","value":%s,"epoch":%q%s,"sig":"ops:%s"}`, id, value, s.engine.Epoch(), expect, base64.StdEncoding.EncodeToString(sig))
		}
		s.write("plain", "50")
		s.send(alice, "%s", request("changed", "51", "", "50"))
		s.send(alice, "%s", request("expects", "50", `,"expect":60`, "50"))
		s.send(Actor{Who: "bob", By: ByMQTT}, "%s", request("other", "50", "", "50"))
		s.send(alice, "%s", strings.Replace(request("who", "50", "", "50"), "ops:", "nobody:", 1))
		s.send(alice, "%s", request("right", "50", "", "50"))
		synctest.Wait()
		for _, id := range []string{"plain", "changed", "expects", "other", "who"} {
			s.want(id, Rejected, Signature)
		}
		s.want("right", Done, OK)
		if a := s.accounts()[len(s.accounts())-1]; a.Signer != "ops" || a.Who != "alice" {
			t.Errorf("audit %+v", a)
		}
		s.stop()
	})
}

func TestReadOnDemand(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.cfg.Reads.Registers = map[string]Register{"meter.voltage": &plant{value: "230.1"}}
		s.cfg.Reads.Sources = map[string]string{"meter.voltage": "line1"}
		s.cfg.Reads.Allow = []string{"alice"}
		s.cfg.Points[0].Allow = []string{"scada"}
		s.start()
		e := s.engine.Epoch()
		s.send(alice, `{"id":"a","read":"meter.voltage","epoch":%q}`, e)
		s.send(alice, `{"id":"b","read":"setpoint","epoch":%q}`, e)
		s.send(Actor{Who: "scada", By: ByMQTT}, `{"id":"c","read":"setpoint","epoch":%q}`, e)
		s.send(alice, `{"id":"d","read":"meter.current","epoch":%q}`, e)
		synctest.Wait()
		if r := s.want("a", Done, OK); string(r.Value) != "230.1" {
			t.Errorf("value %s", r.Value)
		}
		s.want("b", Rejected, NotAllowed)
		if r := s.want("c", Done, OK); string(r.Value) != "60" {
			t.Errorf("value %s", r.Value)
		}
		s.want("d", Rejected, UnknownPoint)
		s.stop()
	})
}

// A point that is new in a configuration on trial waits until it is confirmed.
func TestAPointOnTrialWaits(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.cfg.Trial = map[string]bool{"setpoint": true}
		s.start()
		s.write("a", "50")
		synctest.Wait()
		s.want("a", Rejected, Busy)
		if !s.engine.View().Points[0].Trial {
			t.Error("it is not visible")
		}
		s.engine.Confirm()
		s.write("b", "50")
		synctest.Wait()
		s.want("b", Done, OK)
		s.stop()
	})
}

// A write that is on the bus when the engine ends is finished and answered; what
// waits behind it is left to the next engine, and asked for once.
func TestAnEndFinishesWhatIsOnTheBus(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.plant.slow = 2 * time.Second
		s.start()
		s.write("a", "50")
		s.write("b", "51")
		time.Sleep(time.Second)
		s.stop()
		s.want("a", Done, OK)
		if n := s.plant.written(); n != 1 {
			t.Errorf("%d writes before the end", n)
		}
		s.start()
		time.Sleep(5 * time.Second)
		s.want("b", Done, OK)
		if n := s.plant.written(); n != 2 {
			t.Errorf("%d writes", n)
		}
		s.stop()
	})
}

// A request is not begun later than max_ttl after its epoch was new, however
// late in that time it came.
func TestAnEpochBoundsTheWait(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.plant.slow = 70 * time.Second
		s.start()
		e := s.engine.Epoch()
		s.write("a", "50")
		time.Sleep(20 * time.Second)
		s.send(alice, `{"id":"b","point":"setpoint","value":51,"epoch":%q}`, e)
		time.Sleep(4 * time.Minute)
		s.want("a", Done, OK)
		s.want("b", Rejected, Expired)
		s.stop()
	})
}
