package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// disk is files in memory. After the step die the process is dead: nothing more
// reaches the disk or the bus. With torn, half of what step die writes does.
type disk struct {
	mu    sync.Mutex
	files map[string][]byte
	step  int
	die   int // 0: never
	torn  bool
	fail  error
}

func newDisk() *disk { return &disk{files: map[string][]byte{}} }

// dead counts a step and reports whether it still has an effect.
func (d *disk) alive() (ok, torn bool) {
	d.step++
	if d.die == 0 || d.step < d.die {
		return true, false
	}
	return false, d.torn && d.step == d.die
}

var errDead = errors.New("dead")

func (d *disk) Read(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, ok := d.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(b), nil
}

func (d *disk) Write(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	if ok, _ := d.alive(); !ok {
		return errDead
	}
	d.files[name] = slices.Clone(data)
	return nil
}

func (d *disk) Append(name string, size int64, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	ok, torn := d.alive()
	if torn {
		data = data[:len(data)/2]
	}
	if ok || torn {
		if int64(len(d.files[name])) < size {
			return fmt.Errorf("%s is shorter than %d", name, size)
		}
		d.files[name] = append(slices.Clone(d.files[name][:size]), data...)
	}
	if !ok {
		return errDead
	}
	return nil
}

// isDead reports whether the process has died by now.
func (d *disk) isDead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.die != 0 && d.step >= d.die
}

// plant is a point that remembers what was written to it.
type plant struct {
	mu     sync.Mutex
	disk   *disk // whose steps a write belongs to; nil: none
	value  string
	writes []string
	outcome
	slow time.Duration
}

// outcome is what a plant is told to do.
type outcome struct {
	err     error // of a write that does not reach the bus
	deaf    bool  // it takes the value, and does not answer
	ignores bool  // it acknowledges, and keeps what it had
	blind   bool  // it cannot be read
}

func (p *plant) Check(value string) error {
	n, err := strconv.ParseFloat(value, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange), len(value) > 8: // this plant has no longer ones
		return &Refusal{Code: Type, Err: errors.New("not a number")}
	case n < 40 || n > 75:
		return &Refusal{Code: Range, Err: errors.New("not within 40 to 75")}
	}
	return nil
}

func (p *plant) Read(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blind {
		return "", ErrNoRead
	}
	return p.value, nil
}

func (p *plant) Write(ctx context.Context, value string, _ time.Time) Outcome {
	if p.slow > 0 {
		time.Sleep(p.slow)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return Outcome{Err: p.err}
	}
	if p.disk != nil {
		p.disk.mu.Lock()
		ok, torn := p.disk.alive()
		p.disk.mu.Unlock()
		if !ok && !torn { // killed before the write; torn: killed right after it
			return Outcome{Err: errDead}
		}
	}
	p.writes = append(p.writes, value)
	if !p.ignores {
		p.value = value
	}
	switch {
	case p.deaf:
		return Outcome{Sent: true, Err: &Refusal{Code: NoReply, Err: errors.New("no reply")}, Read: p.value, Verified: p.value == value}
	case p.blind:
		return Outcome{Sent: true}
	}
	return Outcome{Sent: true, Read: p.value, Verified: p.value == value}
}

func (p *plant) written() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.writes)
}

// wall is a clock in a bubble of synctest.
type wall struct {
	begun   time.Time
	boot    uint64
	doubted bool
	set     time.Duration // how far it was set
}

func (w *wall) Boot() (uint64, time.Duration) { return w.boot, time.Since(w.begun) }

func (w *wall) Now() (time.Time, bool) { return time.Now().Add(w.set), !w.doubted }

// site is an engine with one point and all that is around it.
type site struct {
	t      *testing.T
	cfg    Config
	disk   *disk
	plant  *plant
	clock  *wall
	engine *Engine
	opened error
	cancel context.CancelFunc
	ran    sync.WaitGroup

	mu      sync.Mutex
	answers map[string][]Reply // of MQTT, by id
	audits  []Audit
	fell    []string
}

func newSite(t *testing.T) *site {
	s := &site{t: t, disk: newDisk(), plant: &plant{value: "60"}, clock: &wall{begun: time.Now().Add(-time.Hour), boot: 1}, answers: map[string][]Reply{}}
	s.cfg = Config{
		Gateway: "gw", MaxTTL: time.Minute, MaxPerMinute: 6000,
		Points: []Point{{Name: "setpoint", Source: "line1", Target: s.plant, Permit: "p1"}},
		Reads:  Reads{MaxPerMinute: 600},
		Clock:  s.clock,
		Answer: func(_ Return, r Reply) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.disk.isDead() {
				s.answers[r.ID] = append(s.answers[r.ID], r)
			}
		},
		Audit: func(a Audit) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.audits = append(s.audits, a)
		},
		Fallback: func(point string, r *Reply) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if r == nil {
				s.fell = append(s.fell, "")
			} else {
				s.fell = append(s.fell, string(r.State))
			}
		},
		Renewed: func() {},
	}
	return s
}

// start opens an engine, as a process that starts does.
func (s *site) start() *site {
	s.cfg.Files = s.disk
	s.engine, s.opened = New(s.cfg)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	e := s.engine
	s.ran.Go(func() { e.Run(ctx) })
	return s
}

func (s *site) stop() {
	s.cancel()
	s.ran.Wait()
}

// kill ends the process at once, and starts the next.
func (s *site) kill() {
	s.disk.mu.Lock()
	s.disk.step, s.disk.die = 0, 1 // nothing more reaches the disk
	s.disk.mu.Unlock()
	s.stop()
	s.disk.mu.Lock()
	s.disk.die = 0
	s.disk.mu.Unlock()
	s.start()
}

var alice = Actor{Who: "alice", By: ByMQTT}

func (s *site) send(a Actor, format string, args ...any) {
	s.engine.Take(a, fmt.Appendf(nil, format, args...), Transport{Return: Return{Topic: "back"}}, nil)
}

// write asks for a value with the epoch there is.
func (s *site) write(id, value string) {
	s.send(alice, `{"v":1,"id":%q,"point":"setpoint","value":%s,"epoch":%q}`, id, value, s.engine.Epoch())
}

// last is the last answer to an id.
func (s *site) last(id string) Reply {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.answers[id]
	if len(list) == 0 {
		s.t.Errorf("%s was not answered", id)
		return Reply{}
	}
	return list[len(list)-1]
}

func (s *site) want(id string, state State, code Code) Reply {
	s.t.Helper()
	r := s.last(id)
	if r.State != state || r.Code != code {
		s.t.Errorf("%s: %s %s (%s), want %s %s", id, r.State, r.Code, r.Message, state, code)
	}
	return r
}

// all are the answers of MQTT until now, by id.
func (s *site) all() map[string][]Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.answers)
}

// accounts are the audit records until now.
func (s *site) accounts() []Audit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.audits)
}

// told is what was said of fallbacks until now.
func (s *site) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.fell)
}

// fails lets writes fail from now on.
func (p *plant) fails(c Code) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = nil
	if c != "" {
		p.err = &Refusal{Code: c, Err: errors.New(string(c))}
	}
}

func (d *disk) fails(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// remembered is how many requests the engine remembers.
func (s *site) remembered() int {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	return len(s.engine.journal.held)
}
