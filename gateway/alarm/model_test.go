package alarm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus"
)

// consumer is what somebody at the other end believes who follows the stream,
// as docs/ALARMS.md tells him to. A simple one knows only raised and cleared:
// if what was told right before a crash is lost with it, that has to do as well.
type consumer struct {
	t      *testing.T
	simple bool
	raised map[uint64]key
	last   uint64 // the highest id so far
}

func (c *consumer) take(n *note) {
	k := key{n.source, n.Code, n.Subject}
	switch {
	case n.Code == Started && c.simple:
	case n.Code == Started:
		goesOn := n.Detail["alarms"].([]uint64)
		for id := range c.raised {
			if id < n.ID-n.ID%idsPerSession && !slices.Contains(goesOn, id) {
				delete(c.raised, id)
			}
		}
	case n.State == bus.Raised:
		if !n.Again && n.ID <= c.last {
			c.t.Fatalf("%v: id after %d", n, c.last)
		}
		for id, other := range c.raised {
			if other == k && id != n.ID && !c.simple {
				c.t.Fatalf("%v: it is raised already as %d", n, id)
			}
		}
		c.raised[n.ID] = k
	default:
		delete(c.raised, n.ID)
	}
	c.last = max(c.last, n.ID)
}

// model runs an account through raising, clearing, restarts and crashes.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	dir     string
	session uint64
	keys    []key
	holds   map[key]bool
	told    map[key]uint64 // of this life: alternation
	over    map[uint64]bool
	l       *life
	c       []*consumer
}

// follow lets the consumer take what is new, and checks that within a life
// what is raised is cleared before it is raised again.
func (m *model) follow(notes []note) {
	for i := range notes {
		n := &notes[i]
		if n.Code != Started {
			k := key{n.source, n.Code, n.Subject}
			before, known := m.told[k]
			switch {
			case n.State == bus.Cleared && n.ID != before && n.ID < m.session*idsPerSession && !m.over[n.ID]:
				m.over[n.ID] = true // of an earlier life, and superseded
			case n.State == bus.Raised && before != 0, n.State == bus.Cleared && known && before != n.ID:
				m.t.Fatalf("%v %v follows %d", n, k, before)
			case n.State == bus.Raised:
				m.told[k] = n.ID
			default:
				m.told[k] = 0
			}
		}
		for _, c := range m.c {
			c.take(n)
		}
	}
}

func (m *model) start() {
	m.session++
	m.told, m.over = map[key]uint64{}, map[uint64]bool{}
	m.l = begin(m.t, m.dir, 0, nil)
	if m.rng.IntN(4) == 0 { // the disk is late
		m.some()
		pass(time.Duration(m.rng.IntN(10)) * time.Second)
	}
	m.l.Begin(m.session, "gateway", map[string]any{})
}

// report says how a condition is, as a bus or a watcher does.
func (m *model) report(k key) {
	state := bus.Cleared
	if m.holds[k] {
		state = bus.Raised
	}
	m.l.say(k.source, k.code, k.subject, state)
}

func (m *model) some() {
	for range m.rng.IntN(10) {
		k := m.keys[m.rng.IntN(len(m.keys))]
		if m.rng.IntN(2) == 0 {
			m.holds[k] = !m.holds[k]
		}
		m.report(k)
		if m.rng.IntN(3) == 0 {
			pass(time.Duration(m.rng.IntN(3000)) * time.Millisecond)
		}
	}
}

// crash loses the process, and of the stream what was told within the time
// after which a note is on disk.
func (m *model) crash() {
	m.l.mu.Lock()
	m.l.cfg.Files = nil
	notes := m.l.notes
	m.l.mu.Unlock()
	m.l.stop()
	safe := 0
	for safe < len(notes) && time.Since(notes[safe].at) >= m.l.cfg.Durable {
		safe++
	}
	if len(m.c) == 1 { // some of it may have been delivered
		safe += m.rng.IntN(len(notes) - safe + 1)
	}
	m.follow(notes[:safe])
}

func (m *model) restart() {
	m.l.stop()
	m.follow(m.l.notes)
}

// settled lets everything come to rest and compares.
func (m *model) settled() {
	for _, k := range m.keys {
		m.report(k)
	}
	pass(time.Hour)
	m.follow(m.l.all())
	m.l.mu.Lock()
	m.l.notes = nil
	m.l.mu.Unlock()
	raised := map[uint64]key{}
	for _, a := range m.l.Raised() {
		raised[a.ID] = key{a.Source, a.Code, a.Subject}
	}
	for _, c := range m.c {
		if !maps.Equal(raised, c.raised) {
			m.t.Fatalf("the consumer (simple: %v) believes %v, and raised are %v", c.simple, c.raised, raised)
		}
	}
	for _, n := range m.l.Counts() {
		if uint64(n.Active) > n.Raised {
			m.t.Fatalf("of %s %d are raised now, and %d ever were", n.Code, n.Active, n.Raised)
		}
	}
	believed := slices.Collect(maps.Values(raised))
	for _, k := range m.keys {
		explained := k.code == bus.SlaveOffline && m.holds[key{k.source, bus.PortLost, ""}] || k.code == UplinkDown && m.holds[key{k.source, UplinkDenied, ""}]
		if is := slices.Contains(believed, k); is != m.holds[k] && !(explained && !is) {
			m.t.Fatalf("%v: raised %v, holds %v", k, is, m.holds[k])
		}
	}
	stored, err := readFile(m.l.cfg.Files)
	if err != nil || len(stored) != len(raised) {
		m.t.Fatalf("stored: %v %v, raised %v", stored, err, raised)
	}
}

func TestModel(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), holds: map[key]bool{}}
				for _, simple := range []bool{false, true}[:1+seed%2] {
					m.c = append(m.c, &consumer{t: t, simple: simple, raised: map[uint64]key{}})
				}
				for _, source := range []string{"line1", "line2"} {
					m.keys = append(m.keys, key{source, bus.PortLost, ""}, key{source, bus.SlaveOffline, "a"}, key{source, bus.SlaveOffline, "b"})
				}
				m.keys = append(m.keys, key{"gateway", UplinkDown, ""}, key{"gateway", UplinkDenied, ""}, key{"gateway", DiskFault, ""})
				m.start()
				for range 60 {
					switch m.rng.IntN(8) {
					case 0:
						m.restart()
						m.start()
					case 1:
						m.crash()
						m.start()
					case 2:
						m.settled()
					case 3:
						pass(time.Duration(m.rng.IntN(20)) * time.Second)
					default:
						m.some()
					}
				}
				m.settled()
				m.l.stop()
			})
		})
	}
}
