package systemd

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
)

// stream is one numbering, see docs/payload.md.
type stream struct {
	session uint64
	source  string
}

type record struct {
	Seq    uint64 `json:"seq"`
	Type   string `json:"type"`
	Data   string `json:"data"`
	Event  string `json:"event"`
	State  string `json:"state"`
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Reason string `json:"reason"`
	Detail struct {
		Previous string            `json:"previous"`
		Session  uint64            `json:"previous_session"`
		Stored   map[string]uint64 `json:"stored"`
	} `json:"detail"`
	Values map[string]any `json:"values"`
}

// account is what a subscriber was given, counted by itself: nothing of the
// product is used.
type account struct {
	streams map[stream]map[uint64]record
	lost    map[stream][]record
	started []record // events of this name
	again   int      // records that came before
}

// read makes the account of lines of the form TOPIC PAYLOAD.
func read(t *testing.T, text string) *account {
	t.Helper()
	a := &account{streams: map[stream]map[uint64]record{}, lost: map[stream][]record{}}
	for line := range strings.Lines(text) {
		_, payload, _ := strings.Cut(line, " ")
		var e struct {
			V       int      `json:"v"`
			Session uint64   `json:"session"`
			Source  string   `json:"source"`
			Records []record `json:"records"`
		}
		if !strings.HasSuffix(line, "\n") || !strings.HasPrefix(payload, "{") {
			continue // it is being written, or mosquitto_sub speaks
		}
		err := json.Unmarshal([]byte(payload), &e)
		if err == nil && e.Records == nil {
			continue // status or meta
		}
		if err != nil || e.V != 1 {
			t.Fatalf("%v: %s", err, line)
		}
		for _, r := range e.Records {
			a.add(stream{e.Session, e.Source}, r)
		}
	}
	return a
}

func (a *account) add(s stream, r record) {
	if a.streams[s] == nil {
		a.streams[s] = map[uint64]record{}
	}
	if r.Type == "loss" {
		a.lost[s] = append(a.lost[s], r)
		return
	}
	if _, known := a.streams[s][r.Seq]; known {
		a.again++
		return
	}
	a.streams[s][r.Seq] = r
	if r.Event == "started" {
		a.started = append(a.started, r)
	}
}

func (a *account) reported(s stream, seq uint64) bool {
	return slices.ContainsFunc(a.lost[s], func(l record) bool { return l.From <= seq && seq <= l.To })
}

// last is the highest number of a stream.
func (a *account) last(s stream) uint64 {
	var n uint64
	for seq := range a.streams[s] {
		n = max(n, seq)
	}
	for _, l := range a.lost[s] {
		n = max(n, l.To)
	}
	return n
}

// faults are what is missing, came wrong, or was lost: nothing gives a reason
// for a loss here.
func (a *account) faults() (list []string) {
	for s := range a.streams {
		for seq := uint64(1); seq <= a.last(s); seq++ {
			if _, came := a.streams[s][seq]; !came && !a.reported(s, seq) {
				list = append(list, fmt.Sprintf("session %d, source %s: number %d is missing", s.session, s.source, seq))
			}
		}
		for _, l := range a.lost[s] {
			list = append(list, fmt.Sprintf("session %d, source %s: numbers %d to %d are lost: %s", s.session, s.source, l.From, l.To, l.Reason))
		}
		list = append(list, a.frames(s)...)
	}
	for _, r := range a.started {
		for source, n := range r.Detail.Stored {
			if last := a.last(stream{r.Detail.Session, source}); last < n || r.Detail.Previous == "clean" && last != n {
				list = append(list, fmt.Sprintf("session %d, source %s: ended %s with %d stored, and %d came", r.Detail.Session, source, r.Detail.Previous, n, last))
			}
		}
	}
	slices.Sort(list)
	return list[:min(len(list), 20)]
}

// frames finds frames that are missing between two that came, or came twice
// under two numbers. cangen counts in their data.
func (a *account) frames(s stream) (list []string) {
	var before uint64
	begun := false
	for _, seq := range slices.Sorted(maps.Keys(a.streams[s])) {
		r := a.streams[s][seq]
		if r.Type != "can" {
			continue
		}
		data, err := hex.DecodeString(r.Data)
		if err != nil || len(data) != 8 {
			return append(list, fmt.Sprintf("session %d: frame %d has the data %q", s.session, seq, r.Data))
		}
		n := binary.LittleEndian.Uint64(data)
		if begun && n != before+1 {
			list = append(list, fmt.Sprintf("session %d: frame %d counts %d, and the one before it %d", s.session, seq, n, before))
		}
		before, begun = n, true
	}
	return list
}

func (a *account) count(kind string) (n int) {
	for _, records := range a.streams {
		for _, r := range records {
			if r.Type == kind {
				n++
			}
		}
	}
	return n
}

// newest is the session that began last.
func (a *account) newest() uint64 {
	if len(a.streams) == 0 {
		return 0
	}
	return slices.MaxFunc(slices.Collect(maps.Keys(a.streams)), func(x, y stream) int { return cmp.Compare(x.session, y.session) }).session
}

// outside is the broker, and a subscriber whose session outlives its restarts.
type outside struct {
	broker *rig.Mosquitto
	sub    *rig.Process
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	dir := t.TempDir()
	sub := rig.Need(t, "mosquitto_sub", "mosquitto-clients")
	o := &outside{broker: rig.StartMosquittoOn(t, dir, "127.0.0.1", rig.Unbounded, rig.Persistent(dir), "log_type subscribe", "log_type error")}
	o.sub = rig.Start(t, nil, sub, "-h", "127.0.0.1", "-p", fmt.Sprint(o.broker.Port), "-i", "account", "-c", "-q", "1", "-F", "%t %p", "-t", "fieldferry/gw/+")
	o.sub.Until("a subscription", func() bool { return strings.Contains(o.broker.Said(), "fieldferry/gw/+") })
	return o
}

func (o *outside) account(t *testing.T) *account {
	t.Helper()
	return read(t, o.sub.Log.String())
}

// until waits until the account says something.
func (o *outside) until(t *testing.T, what string, so func(*account) bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Second) {
		if so(o.account(t)) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// more waits for records that come now, of both buses.
func (o *outside) more(t *testing.T) {
	t.Helper()
	a := o.account(t)
	can, modbus := a.count("can"), a.count("modbus")
	o.until(t, "more records of both buses", func(a *account) bool { return a.count("can") > can+20 && a.count("modbus") > modbus+2 })
}

// settled waits until there is nothing to object to: a backlog is on its way
// after live records.
func (o *outside) settled(t *testing.T) {
	t.Helper()
	var list []string
	for end := time.Now().Add(patience / 10); time.Now().Before(end); time.Sleep(time.Second) {
		if list = o.account(t).faults(); len(list) == 0 {
			return
		}
	}
	t.Errorf("the subscriber's account:\n%s", strings.Join(list, "\n"))
}
