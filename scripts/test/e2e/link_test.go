package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// linkCut is how long the link of TestBadLink is away; in the field it is
// minutes: FIELDFERRY_LINK_CUT=5m runs it so.
func linkCut(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("FIELDFERRY_LINK_CUT")
	if text == "" {
		return 4 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A link as a modem in a cellar has it, of real packets: a round trip of 200
// ms with 5 % loss, cut without a word, 2 kB/s for a while, a NAT that forgets.
// Every record arrives, and the first one soon after the link is back.
func TestBadLink(t *testing.T) {
	t.Parallel()
	link, err := uplinktest.NewPath()
	if errors.Is(err, uplinktest.ErrNoTUN) {
		t.Skip(err) // nothing that could be installed
	}
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	away := linkCut(t)
	b := &bench{t: t, dir: t.TempDir(), broker: startMosquitto(t, "0.0.0.0"), account: newAccount(t)}
	b.witness = b.broker.subscribe(t, "site/#")
	const period = 10 * time.Millisecond
	count := uint64((away + 8*time.Second) / period)
	writeLog(t, filepath.Join(b.dir, "drive.log"), int(count), period)
	far, err := link.Far(b.broker.Addr())
	if err != nil {
		t.Fatal(err)
	}
	b.config = filepath.Join(b.dir, "fieldferry.yaml")
	text := fmt.Sprintf(`gateway: {id: gw-e2e}
can:
  - {interface: "replay:drive.log", name: engine}
buffer: {path: buffer}
uplink:
  servers: ["mqtt://%s"]
  compress: none
  topic: "site/{gateway}/{source}"
`, far)
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := uplinktest.Shape{Delay: 100 * time.Millisecond, Loss: 0.05}
	link.Shape(bad)
	d := startDaemon(t, b.config)
	b.await("data over a bad link", b.has(1, "engine", 100))

	link.Cut()
	time.Sleep(away) // the outage itself, nothing is synchronised by it
	b.await("what came before", func() bool { return true })
	before, back := b.account.last(1, "engine"), time.Now()
	link.Restore()
	b.await("a record after the outage", func() bool { return b.account.last(1, "engine") > before })
	t.Logf("the first record came %v after the link, which was away for %v", time.Since(back).Round(time.Millisecond), away)

	slow := bad
	slow.Rate = 2000
	link.Shape(slow)
	time.Sleep(3 * time.Second) // of a line that is too slow for all of it
	link.Shape(bad)
	link.Forget()
	b.await("every frame of the log", b.hasAll(1, "engine", count))
	stop(t, d)
	b.rest()
	b.account.complete(1, "engine")
	b.nothingPending()
	t.Logf("%s; %d packets were lost", b.account, link.Lost())
}
