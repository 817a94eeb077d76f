package outbox

import (
	"encoding/json"
	"hash/crc32"
	"strings"
	"sync"
	"time"

	"fieldferry/gateway/ledger"
	"fieldferry/uplink"
)

// whim is a broker that refuses in every way the protocols know, and a
// consumer behind it.
type whim struct {
	s      *schedule
	mu     sync.Mutex
	dead   bool // the gateway is
	ledger ledger.Ledger
	losses []evicted

	away  bool
	max   uplink.Announced
	told  uplink.Announced // at the last CONNECT
	end   chan struct{}    // of the connection there is
	rules []rule
	count int
}

// rule is what becomes of some of the messages.
type rule struct {
	holds  func(topic string, payload []byte, retained bool) bool
	answer uplink.Answer
}

func rawRecords(records ...string) (list []json.RawMessage) {
	for _, r := range records {
		list = append(list, json.RawMessage(r))
	}
	return list
}

// codes are all that MQTT 5 has for PUBACK, and one it has not.
var codes = []byte{0x80, 0x83, 0x87, 0x90, 0x91, 0x95, 0x97, 0x99, 0xEE}

// behave makes it take everything.
func (w *whim) behave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calm()
}

// die says that the gateway is dead, or that there is another one.
func (w *whim) die(dead bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = dead
}

func (w *whim) calm() {
	if w.max != (uplink.Announced{}) {
		w.restart()
	}
	w.away, w.max, w.rules = false, uplink.Announced{}, nil
}

// restart ends the connection there is.
func (w *whim) restart() {
	if w.end != nil {
		close(w.end)
		w.end = nil
	}
}

// change makes it another broker.
func (w *whim) change() {
	s := w.s
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calm()
	if s.IntN(5) == 0 {
		return
	}
	if s.IntN(6) == 0 {
		w.away = true
	}
	if s.v5 && s.IntN(3) == 0 {
		w.max.Packet = []int{20, 60, 120, 200, 300, 600, 1000, 4000}[s.IntN(8)]
	}
	if s.v5 && s.IntN(4) == 0 {
		w.max.InFlight = 1 + s.IntN(5)
	}
	if w.max != (uplink.Announced{}) || s.IntN(4) == 0 {
		w.restart()
	}
	for range 1 + s.IntN(2) {
		w.rules = append(w.rules, rule{w.some(), w.reply()})
	}
}

// some chooses messages: all, by topic, by size, by time, by content, by turns.
func (w *whim) some() func(topic string, payload []byte, retained bool) bool {
	s := w.s
	n := 1 + s.IntN(6)
	began := time.Now()
	switch s.IntN(9) {
	case 0:
		return func(string, []byte, bool) bool { return true }
	case 1, 2:
		part := []string{"a", "b", "gw/", "1", "status", "meta", "all"}[s.IntN(7)]
		return func(topic string, _ []byte, _ bool) bool { return strings.Contains(topic[1:], part) }
	case 3:
		most := []int{50, 150, 250, 400, 1000, 5000}[s.IntN(6)]
		return func(topic string, p []byte, _ bool) bool { return len(topic)+len(p) > most }
	case 4:
		period := time.Duration(1+s.IntN(100)) * time.Second
		return func(string, []byte, bool) bool { return time.Since(began)/period%2 == 0 }
	case 5:
		return func(_ string, p []byte, _ bool) bool { return crc32.ChecksumIEEE(p)%uint32(n+1) == 0 }
	case 6:
		return func(string, []byte, bool) bool { w.count++; return w.count%(n+1) == 0 }
	case 7:
		return func(_ string, _ []byte, retained bool) bool { return retained }
	}
	return func(_ string, p []byte, _ bool) bool { return strings.Contains(string(p), `"loss"`) }
}

func (w *whim) reply() (a uplink.Answer) {
	s := w.s
	if s.IntN(3) == 0 {
		a.After = time.Duration(s.IntN(20_000)) * time.Millisecond
	}
	switch n := s.IntN(10); {
	case n < 6 && s.v5:
		a.Code = codes[s.IntN(len(codes))]
	case n < 8:
		a.Close = true
	case n == 8:
		a.Never = true
	}
	return a
}

// Connect implements [uplink.Imitation].
func (w *whim) Connect() (uplink.Announced, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away || w.dead {
		return uplink.Announced{}, errNoBroker
	}
	w.end = make(chan struct{})
	w.told = w.max // what holds for this connection
	a := w.max
	a.End = w.end
	return a, nil
}

// Publish implements [uplink.Imitation].
func (w *whim) Publish(topic string, body []byte, retained bool) uplink.Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead || w.away {
		return uplink.Answer{Close: true}
	}
	if w.told.Packet > 0 && len(topic)+len(body) > w.told.Packet {
		w.s.fatalf("%s: %d bytes for a broker that takes %d", topic, len(topic)+len(body), w.told.Packet)
	}
	for _, r := range w.rules {
		if r.holds(topic, body, retained) {
			if !r.answer.Close && !r.answer.Never && r.answer.Code == 0 {
				w.take(body, retained)
			}
			return r.answer
		}
	}
	w.take(body, retained)
	return uplink.Answer{}
}

// take is the consumer.
func (w *whim) take(body []byte, retained bool) {
	if retained {
		return
	}
	m, err := ledger.Parse(body)
	if err == nil {
		var found []ledger.Entry
		found, err = w.ledger.Add(m)
		w.overlap(m, found)
	}
	if err != nil {
		w.s.fatalf("%v: %s", err, body)
	}
}

// evicted is a loss record that came, in which life of the gateway.
type evicted struct {
	life, session uint64
	source        string
	from, to      uint64
}

// overlap checks that the loss of a number does not come again with other ends
// in one life.
func (w *whim) overlap(m *ledger.Message, found []ledger.Entry) {
	for _, e := range found {
		if e.Type != "loss" || e.Reason == reasonRejected {
			continue
		}
		x := evicted{uint64(w.s.lives), m.Session, m.Source, e.From, e.To}
		known := false
		for _, l := range w.losses {
			known = known || l == x
			if l != x && l.life == x.life && l.session == x.session && l.source == x.source && l.from <= x.to && x.from <= l.to {
				w.s.fatalf("the loss of %d to %d of %s, session %d, comes again as %d to %d", l.from, l.to, x.source, x.session, x.from, x.to)
			}
		}
		if !known {
			w.losses = append(w.losses, x)
		}
	}
}
