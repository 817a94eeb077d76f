package e2e

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fieldferry/gateway/ledger"
	"fieldferry/scripts/test/rig"
)

const (
	outage       = 10 * time.Second
	syncInterval = time.Second
	framePeriod  = time.Millisecond
	pollPeriod   = 100 * time.Millisecond
	frames       = 16_000
)

// bench is a site: a CAN log being replayed, a Modbus slave, a broker, a
// witness at the broker.
type bench struct {
	t       *testing.T
	dir     string
	config  string
	broker  *mosquitto
	witness *subscriber
	account *account
}

// newBench sets up a site; uplink are further keys of that section.
func newBench(t *testing.T, uplink string) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), broker: startMosquitto(t, "127.0.0.1"), account: newAccount(t)}
	b.witness = b.broker.subscribe(t, "site/#")
	writeLog(t, filepath.Join(b.dir, "drive.log"), frames, framePeriod)
	b.config = filepath.Join(b.dir, "fieldferry.yaml")
	text := fmt.Sprintf(`gateway: {id: gw-e2e}
can:
  - {interface: "replay:drive.log", name: engine}
modbus:
  - name: line1
    port: %s
    baud_rate: 19200
    parity: E
    devices:
      - name: meter
        unit_id: 1
        interval: %s
        registers:
          - {name: first, register: holding, address: 0, type: uint16}
          - {name: pair, register: holding, address: 6, type: uint32}
buffer: {path: buffer, sync_interval: %s}
uplink:
  servers: ["mqtt://%s"]
  keep_alive: 5s
  topic: "site/{gateway}/{source}"
%s`, startSlave(t), pollPeriod, syncInterval, b.broker.Addr(), uplink)
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// await feeds the account with what the witness gets until ok says so.
func (b *bench) await(what string, ok func() bool) {
	b.t.Helper()
	limit := time.NewTimer(60 * time.Second)
	defer limit.Stop()
	for {
		b.witness.mu.Lock()
		payloads := b.witness.payloads
		b.witness.payloads = nil
		b.witness.mu.Unlock()
		for _, p := range payloads {
			b.account.add(p)
		}
		if ok() {
			return
		}
		select {
		case <-b.witness.changed:
		case <-b.witness.ended:
			b.t.Fatalf("%s: mosquitto_sub has ended", what)
		case <-limit.C:
			b.t.Fatalf("%s: still waiting; so far %s", what, b.account)
		}
	}
}

func (b *bench) has(session uint64, source string, n uint64) func() bool {
	return func() bool { return b.account.last(session, source) >= n }
}

// hasAll is true once the records up to n have come, those of an outage too, which
// what is new overtakes.
func (b *bench) hasAll(session uint64, source string, n uint64) func() bool {
	return func() bool { return b.account.last(session, source) >= n && len(b.account.gaps(session, source)) == 0 }
}

// rest takes what the witness gets up to a message published now: everything
// the broker had acknowledged before.
func (b *bench) rest() {
	b.t.Helper()
	b.broker.publish(b.t, "site/end", endMark)
	b.await("the rest", func() bool { return b.account.ended })
}

// The broker is killed for ten seconds in the middle: every record arrives at
// least once and, in order per source, none is missing.
func TestBrokerOutage(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	d := startDaemon(t, b.config)
	b.await("data before the outage", b.has(1, "engine", 2000))
	b.broker.Kill()
	time.Sleep(outage) // the outage itself, nothing is synchronised by it
	b.broker.restart(b.t)
	b.await("every frame of the log", b.hasAll(1, "engine", frames))
	stop(t, d)
	b.rest()
	b.account.complete(1, "engine")
	if n := b.account.last(1, "line1"); n < uint64(outage/pollPeriod) {
		t.Errorf("only %d readings", n)
	}
	b.account.complete(1, "line1")
	b.nothingPending()
	t.Logf("%d records were late, %d overtook them", b.account.late, b.account.overtook)
}

// A backlog that takes its time: live data overtakes it, each of the two lanes
// is in order, and in the end nothing is missing.
func TestLiveDataOvertakesABacklog(t *testing.T) {
	t.Parallel()
	b := newBench(t, "  backlog: {max_rate: 128KiB/s}\n")
	d := startDaemon(t, b.config)
	b.await("data before the outage", b.has(1, "engine", 2000))
	b.broker.Kill()
	time.Sleep(outage * 3 / 10) // the outage itself
	b.broker.restart(b.t)
	b.await("live data before the backlog", func() bool { return b.account.overtook > 1000 })
	b.await("the backlog", func() bool { return b.account.ledger.Missing(true) == 0 })
	stop(t, d)
	b.rest()
	b.account.complete(1, "engine")
	b.account.complete(1, "line1")
	b.nothingPending()
	if late := b.account.late; late < 1000 {
		t.Errorf("%d records are late; the outage has left more", late)
	}
}

// The same, and fieldferry is killed in the outage: what was read more than
// sync_interval before that arrives nevertheless.
func TestKillInAnOutage(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	d := startDaemon(t, b.config)
	b.await("data before the outage", b.has(1, "engine", 2000))
	b.broker.Kill()
	time.Sleep(outage / 2)
	killed := d.Kill()
	d = startDaemon(t, b.config)
	time.Sleep(outage / 2)
	b.broker.restart(b.t)
	b.await("data of the new session", b.has(2, "engine", 9000))
	stop(t, d)
	b.rest()
	for source, period := range map[string]time.Duration{"engine": framePeriod, "line1": pollPeriod} {
		b.account.complete(1, source)
		b.account.complete(2, source)
		// A reading takes a moment on the line; the next may have been about
		// to come when the sync was due.
		slack := 2*period + 20*time.Millisecond
		if lost := killed.Sub(b.account.newest(1, source)); lost > syncInterval+slack {
			t.Errorf("%s: the last %v before the kill are lost, more than %v", source, lost, syncInterval)
		} else {
			t.Logf("%s: lost the last %v before the kill", source, lost)
		}
	}
	b.nothingPending()
}

func (b *bench) nothingPending() {
	b.t.Helper()
	// The gateway's own stream may say at the end that the uplink went away.
	if n := rig.Pending(b.t, filepath.Join(b.dir, "buffer")); n > 2 {
		b.t.Errorf("%d records are still in the buffer", n)
	}
}

// account checks every message against what the site must yield.
type account struct {
	t        *testing.T
	ledger   ledger.Ledger
	times    map[ledger.Stream]time.Time
	sessions []uint64        // that were seen, in order
	lanes    map[lane]uint64 // the last number of each
	ended    bool            // the end mark has come

	late     int // records that said so
	overtook int // live records that came while earlier ones were missing
}

// lane is live data or the backlog of a stream: within it there is an order.
type lane struct {
	ledger.Stream
	late bool
}

// endMark is no record; it ends a test's account.
const endMark = `{"v":0,"end":true}`

func newAccount(t *testing.T) *account {
	return &account{t: t, times: map[ledger.Stream]time.Time{}, lanes: map[lane]uint64{}}
}

func (a *account) String() string {
	s := fmt.Sprintf("%d records, %d duplicates, %d lost", a.ledger.Records, a.ledger.Duplicates, a.ledger.Lost)
	for _, stream := range a.ledger.Streams() {
		s += fmt.Sprintf("; session %d %s up to %d", stream.Session, stream.Source, a.ledger.Last(stream))
	}
	return s
}

// stream is that of the nth session: sessions are drawn, and grow.
func (a *account) stream(nth uint64, source string) ledger.Stream {
	session := uint64(0)
	if nth <= uint64(len(a.sessions)) {
		session = a.sessions[nth-1]
	}
	return ledger.Stream{Gateway: "gw-e2e", Session: session, Source: source}
}

func (a *account) last(session uint64, source string) uint64 {
	return a.ledger.Last(a.stream(session, source))
}

func (a *account) newest(session uint64, source string) time.Time {
	return a.times[a.stream(session, source)]
}

// add takes one message: what is new in it must follow on what came before in
// its lane, and every value must be the one that was on the bus.
func (a *account) add(data []byte) {
	a.t.Helper()
	m, err := ledger.Parse(data)
	if err != nil { // status, meta, the end mark
		a.ended = a.ended || string(data) == endMark
		return
	}
	s := ledger.Stream{Gateway: m.Gateway, Session: m.Session, Source: m.Source}
	if !slices.Contains(a.sessions, m.Session) {
		a.sessions = append(a.sessions, m.Session)
		slices.Sort(a.sessions)
	}
	entries, err := a.ledger.Add(m)
	if err != nil {
		a.t.Fatal(err)
	}
	for i, e := range entries {
		if e.Type == "loss" {
			a.t.Errorf("loss: %s", m.Records[i])
			continue
		}
		if e.Duplicate {
			continue
		}
		in := lane{s, e.Late}
		if last := a.lanes[in]; e.Seq <= last {
			a.t.Errorf("%s: %d came after %d, late: %v", m.Source, e.Seq, last, e.Late)
		}
		a.lanes[in] = e.Seq
		if e.Late {
			a.late++
		} else if m.Source == "engine" && a.ledger.Missing(true) > 0 {
			a.overtook++
		}
		if e.Time.After(a.times[s]) {
			a.times[s] = e.Time
		}
		a.value(m.Source, m.Records[i], e)
	}
}

func (a *account) value(source string, raw json.RawMessage, e ledger.Entry) {
	var r struct {
		Type, ID, Data string
		Values         map[string]float64
		Errors         map[string]string
	}
	if source == "gateway" || e.Type == "event" { // its id is a number
		return
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		a.t.Fatalf("%s: %v", raw, err)
	}
	switch e.Type {
	case "can":
		var index [8]byte
		if _, err := hex.Decode(index[:], []byte(r.Data)); err != nil || fmt.Sprintf("%016X", e.Seq-1) != r.Data {
			a.t.Errorf("record %d has data %s", e.Seq, r.Data)
		}
	case "modbus":
		if len(r.Errors) == 0 && (r.Values["first"] != 1000 || r.Values["pair"] != 1006<<16+1007) {
			a.t.Errorf("wrong values: %s", raw)
		}
	}
}

// complete says that every number of a stream has come.
func (a *account) complete(session uint64, source string) {
	a.t.Helper()
	if a.last(session, source) == 0 {
		a.t.Errorf("session %d: nothing of %s came", session, source)
	}
	for _, gap := range a.gaps(session, source) {
		a.t.Errorf("session %d %s: %d to %d are missing", session, source, gap.From, gap.To)
	}
}

func (a *account) gaps(session uint64, source string) []ledger.Gap {
	return slices.DeleteFunc(a.ledger.Gaps(true), func(g ledger.Gap) bool { return g.Stream != a.stream(session, source) })
}
