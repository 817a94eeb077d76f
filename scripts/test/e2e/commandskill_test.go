package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

// The daemon is killed while it carries commands out, again and again: somewhere,
// or right behind a step of the journal, or behind the write on the line. None is
// ever written twice, and each that was asked for has a final answer, which
// agrees with what was written.
func TestCommandsOverKills(t *testing.T) {
	t.Parallel()
	count := 20
	if whole() {
		count = 1000
	}
	unit := &modbustest.Unit{Holding: map[uint16]uint16{setpoint: 600}, Coils: map[uint16]bool{pump: false}, WriteDelay: 5 * time.Millisecond}
	p := newPlantWith(t, plantOptions{protocol: "3.1.1", commands: boiler, unit: unit})
	alice := p.listen("alice")
	ended := map[string]int{}
	for n := range count {
		id := fmt.Sprint("k", n)
		text := fmt.Sprintf(`{"id":%q,"point":"boiler.setpoint","value":%s,"epoch":%q}`, id, fmt.Sprint(40.5+float64(n%69)/2), p.epoch())
		asked := len(p.slave.Writes())
		p.as("alice", "mosquitto_pub", "-q", "1", "-t", "site/gw-e2e/cmd/alice/req", "-m", text)
		step := []string{"somewhere", "received", "executing", "final", "written"}[n%5]
		p.reached(step, id, asked)
		p.daemon.Kill()
		p.daemon = startDaemon(t, p.config)
		p.epoch()
		before := len(answers(alice, id))
		p.ask(alice, "alice", id, text, before+1)
		var last reply
		p.daemon.Until("a final answer", func() bool {
			last = lastOf(answers(alice, id))
			return last.State != "accepted"
		})
		wrote := p.slave.Writes()[asked:]
		switch {
		case len(wrote) > 1:
			t.Errorf("%s, killed behind %s, was written %d times", id, step, len(wrote))
		case last.State == "done" && len(wrote) != 1, last.State == "rejected" && len(wrote) != 0:
			t.Errorf("%s, killed behind %s, is %s %s, and was written %d times", id, step, last.State, last.Code, len(wrote))
		case step == "final" && last.State != "done", step == "executing" && last.State == "rejected", step == "written" && last.State == "rejected":
			t.Errorf("%s, killed behind %s, is %s %s", id, step, last.State, last.Code)
		}
		ended[fmt.Sprintf("%s: %s, written %d times", step, last.State, len(wrote))]++
	}
	t.Logf("%d kills: %v", count, ended)
}

// reached returns as soon as the journal has a step of a request on disk, or the
// slave has its write; or some time within the first 10 ms.
func (p *plant) reached(step, id string, writes int) {
	p.t.Helper()
	if step == "somewhere" {
		time.Sleep(time.Duration(rand.IntN(10_000)) * time.Microsecond) // the kill comes somewhere, nothing is synchronised by it
		return
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
		if step == "written" && len(p.slave.Writes()) > writes {
			return
		}
		journal, _ := os.ReadFile(filepath.Join(p.dir, "buffer", "gateway", "commands"))
		for line := range bytes.Lines(journal) {
			if strings.Contains(string(line), `"op":"`+step+`"`) && strings.Contains(string(line), `"id":"`+id+`"`) {
				return
			}
		}
	}
	p.t.Fatalf("%s was never %s", id, step)
}
