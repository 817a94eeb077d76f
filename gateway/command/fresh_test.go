package command

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestAReplayedRequestIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.start()
		s.engine.Take(alice, fmt.Appendf(nil, `{"id":"x","point":"setpoint","value":50,"epoch":%q}`, s.engine.Epoch()), Transport{Replay: true}, nil)
		synctest.Wait()
		s.want("x", Rejected, Retained)
		s.stop()
	})
}

// An epoch is good for max_ttl, whatever the clock shows; the time of issue
// only while the clock is trusted.
func TestHowOldARequestMayBe(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.clock.doubted = true
		s.start()
		old := s.engine.Epoch()
		s.send(alice, `{"id":"c","point":"setpoint","value":50,"issued":%q,"ttl":"30s"}`, time.Now().Format(time.RFC3339))
		s.send(alice, `{"id":"d","point":"setpoint","value":50,"epoch":%q}`, old)
		synctest.Wait()
		s.want("c", Rejected, ClockDoubt)
		s.want("d", Done, OK)
		time.Sleep(59 * time.Second)
		s.send(alice, `{"id":"e","point":"setpoint","value":51,"epoch":%q}`, old)
		synctest.Wait()
		s.want("e", Done, OK)
		time.Sleep(2 * time.Second)
		s.send(alice, `{"id":"f","point":"setpoint","value":52,"epoch":%q}`, old)
		s.write("g", "53")
		synctest.Wait()
		s.want("f", Rejected, Expired)
		s.want("g", Done, OK)
		s.engine.Renew()
		s.engine.Renew() // as two connections do
		s.send(alice, `{"id":"h","point":"setpoint","value":52,"epoch":%q}`, old)
		s.clock.doubted = false
		s.send(alice, `{"id":"i","point":"setpoint","value":54,"issued":%q,"ttl":"30s"}`, time.Now().Format(time.RFC3339Nano))
		s.send(alice, `{"id":"j","point":"setpoint","value":55,"issued":%q,"ttl":"30s"}`, time.Now().Add(-36*time.Second).Format(time.RFC3339Nano))
		synctest.Wait()
		s.want("h", Rejected, Expired)
		s.want("i", Done, OK)
		s.want("j", Rejected, Expired)
		s.stop()
	})
}

// What was issued before the gateway began is old, even if the journal that
// knew of it is lost: else it could be carried out a second time.
func TestALostJournalCarriesNothingOutAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.start()
		text := fmt.Sprintf(`{"id":"x","point":"setpoint","value":50,"issued":%q,"ttl":"60s"}`, time.Now().Add(time.Millisecond).Format(time.RFC3339Nano))
		s.send(alice, "%s", text)
		synctest.Wait()
		s.want("x", Done, OK)
		time.Sleep(time.Second)
		s.stop()
		s.disk.files = map[string][]byte{}
		s.start()
		s.send(alice, "%s", text)
		synctest.Wait()
		s.want("x", Rejected, Expired)
		if s.plant.written() != 1 {
			t.Error("it was written again")
		}
		s.stop()
	})
}

// A clock that is set back makes a forgotten request young again.
func TestAClockThatIsSetBackCarriesNothingOutAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		s.start()
		time.Sleep(time.Second)
		text := fmt.Sprintf(`{"id":"x","point":"setpoint","value":50,"issued":%q,"ttl":"60s"}`, time.Now().Format(time.RFC3339Nano))
		s.send(alice, "%s", text)
		synctest.Wait()
		s.want("x", Done, OK)
		time.Sleep(time.Hour)
		s.engine.mu.Lock()
		s.engine.journal.forget(s.engine.now())
		s.engine.mu.Unlock()
		s.clock.set = -time.Hour
		s.send(alice, "%s", text)
		synctest.Wait()
		s.want("x", Rejected, Expired)
		s.stop()
	})
}
