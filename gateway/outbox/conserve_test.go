package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/gateway/ledger"
	"fieldferry/gateway/record"
	"fieldferry/uplink"
)

// The law of conservation: every number ever given out ends as acknowledged by
// the broker, inside a loss record it has acknowledged, or still in the
// buffer; after a crash also as accepted less than the sync interval before
// it. And once the broker takes everything, everything comes.
//
// SCHEDULES=100000 go test -run Conservation -timeout 10h ./gateway/outbox runs that
// many random schedules, SCHEDULES_FROM=n begins with seed n.
func TestConservation(t *testing.T) {
	n, from := uint64(100), uint64(0)
	if testing.Short() {
		n = 20
	}
	for name, v := range map[string]*uint64{"SCHEDULES": &n, "SCHEDULES_FROM": &from} {
		if given, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
			*v = given
		}
	}
	dir := t.TempDir()
	if shared, err := os.MkdirTemp("/dev/shm", "conserve"); err == nil { // fsync costs nothing there
		dir = shared
		defer os.RemoveAll(shared)
	}
	for seed := from; seed < from+n && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			s := newSchedule(t, seed, filepath.Join(dir, fmt.Sprint(seed)))
			defer os.RemoveAll(s.dir)
			s.run()
		})
	}
}

// schedule is one random run.
type schedule struct {
	*rand.Rand
	t     *testing.T
	seed  uint64
	dir   string
	lives int
	v5    bool

	broker whim
	store  buffer.Config
	uplink uplink.Config
	queue  Config
	buffer *buffer.Buffer
	stop   func()

	given map[string][]time.Time // when each number was given out, by session and source
	crash map[uint64]time.Time   // when a session ended badly
}

const syncInterval = time.Second

func newSchedule(t *testing.T, seed uint64, dir string) *schedule {
	s := &schedule{Rand: rand.New(rand.NewPCG(seed, 3)), t: t, seed: seed, dir: dir,
		given: map[string][]time.Time{}, crash: map[uint64]time.Time{}}
	s.v5 = s.IntN(2) == 0
	s.broker = whim{s: s}
	s.store = buffer.Config{SyncInterval: syncInterval, MaxSize: 64 << 20, SegmentSize: 64 << 10}
	if s.IntN(4) == 0 {
		s.store.MaxSize, s.store.Overflow = 1<<20, []buffer.Policy{buffer.DropOldest, buffer.DropNewest}[s.IntN(2)]
	}
	if s.IntN(4) == 0 {
		s.store.MaxAge = time.Duration(s.IntN(1000)+10) * time.Second
	}
	s.queue = testConfig(t, []string{"{gateway}/{source}", "{gateway}/all", "{gateway}/{source}/{id}"}[s.IntN(3)], 1+s.IntN(100), 1<<(10+s.IntN(7)))
	s.queue.Backlog = Backlog{NewestFirst: s.IntN(3) == 0}
	if s.IntN(4) == 0 {
		s.queue.Backlog.MaxRate = 2000
	}
	s.uplink = uplink.Config{Servers: []string{"mqtt://broker"}, ClientID: "gw", InFlight: []int{1, 3, 100}[s.IntN(3)],
		KeepAlive: 10 * time.Second, Birth: birthOf}
	if s.v5 {
		s.uplink.Protocol = uplink.Protocol5
	}
	return s
}

func birthOf(most int) []uplink.Message {
	list := []uplink.Message{{Topic: "gw/status", Payload: []byte(`{"state":"online"}`), Retain: true}, {Topic: "gw/meta", Payload: make([]byte, 3000), Retain: true}}
	if most > 0 && most < 3000 {
		list[1].Payload = make([]byte, max(most-len("gw/meta"), 0))
	}
	if most > 0 && most < 40 {
		return nil
	}
	return list
}

func (s *schedule) fatalf(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf("SCHEDULES_FROM=%d SCHEDULES=1: %s", s.seed, fmt.Sprintf(format, args...))
}

// start is a life of the gateway.
func (s *schedule) start() {
	s.lives++
	s.store.Dir = filepath.Join(s.dir, strconv.Itoa(s.lives))
	b, err := buffer.Open(s.store, nil)
	if err != nil {
		s.t.Fatal(s.seed, err)
	}
	s.buffer = b
	q := New(b, s.queue)
	u, err := uplink.Imitate(s.uplink, q, nil, nil, &s.broker)
	if err != nil {
		s.t.Fatal(s.seed, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = u.Run(ctx)
	}()
	s.stop = func() {
		cancel()
		<-done
	}
}

// end is the end of a life: an orderly one, or what kill -9 leaves.
func (s *schedule) end(crash bool) {
	next := filepath.Join(s.dir, strconv.Itoa(s.lives+1))
	if crash {
		synctest.Wait()
		s.crash[s.buffer.Stats().Session] = time.Now()
		if err := os.CopyFS(next, os.DirFS(s.store.Dir)); err != nil {
			s.t.Fatal(s.seed, err)
		}
		s.broker.die(true) // what it still does is of nobody
	}
	s.stop()
	if err := s.buffer.Close(); err != nil && !crash {
		s.fatalf("closing the buffer: %v", err)
	}
	s.broker.die(false)
	if !crash {
		if err := os.Rename(s.store.Dir, next); err != nil {
			s.t.Fatal(s.seed, err)
		}
	}
	os.RemoveAll(s.store.Dir)
}

// feed gives out numbers for a while.
func (s *schedule) feed(d time.Duration) {
	end := time.Now().Add(d)
	pause := []time.Duration{20 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second}[s.IntN(3)]
	for n := 0; time.Now().Before(end); n++ {
		if n < 300 {
			s.give()
			time.Sleep(time.Duration(s.Int64N(int64(2*pause) + 1)))
		} else {
			time.Sleep(time.Until(end))
		}
	}
}

func (s *schedule) give() {
	source := []string{"a", "b", "c"}[s.IntN(3)]
	now := time.Now()
	var body []byte
	if s.IntN(10) == 0 {
		body = record.AppendEvent(nil, &record.Event{Event: bus.Event{Time: now, Code: "note", Detail: map[string]any{"text": strings.Repeat("x", s.IntN(3000))}}})
	} else {
		f := can.Frame{ID: uint32(s.IntN(4)), Len: uint8(s.IntN(65)), Flags: can.FD}
		body = record.AppendFrame(nil, &f)
	}
	seq := s.buffer.Source(source).Append(now.UnixNano(), body)
	key := fmt.Sprint(s.buffer.Stats().Session, " ", source)
	for uint64(len(s.given[key])) < seq {
		s.given[key] = append(s.given[key], now)
	}
}

func (s *schedule) run() {
	s.start()
	for range 2 + s.IntN(6) {
		synctest.Wait() // nothing is sent between its old limit and its new one
		s.broker.change()
		s.feed(time.Duration(s.Int64N(int64([]time.Duration{5 * time.Second, time.Minute, 10 * time.Minute}[s.IntN(3)]))))
		switch s.IntN(8) {
		case 0:
			s.end(true)
			s.start()
		case 1:
			s.end(false)
			s.start()
		}
	}
	if s.IntN(4) == 0 {
		s.check("at the end")
		s.end(false)
		return
	}
	synctest.Wait()
	s.broker.behave()
	for began := time.Now(); s.buffer.Stats().Pending > 0 && time.Since(began) < 3*time.Hour; {
		time.Sleep(10 * time.Second)
	}
	if n := s.buffer.Stats().Pending; n > 0 {
		s.fatalf("%d records are still pending 3 hours after the broker takes everything", n)
	}
	s.check("when all is well")
	s.end(false)
}

// check checks the law. It is the end of a run: whoever reads a loss takes it on
// himself, as the buffer knows one reader only.
func (s *schedule) check(when string) {
	s.t.Helper()
	synctest.Wait()
	kept := s.kept()
	for key, times := range s.given {
		var session uint64
		var source string
		fmt.Sscan(key, &session, &source)
		stream := ledger.Stream{Gateway: "gw", Session: session, Source: source}
		crash, crashed := s.crash[session]
		for i, at := range times {
			seq := uint64(i + 1)
			switch {
			case s.broker.ledger.Seen(stream, seq) || kept.Seen(stream, seq):
			case crashed && crash.Sub(at) < syncInterval+100*time.Millisecond:
			default:
				s.fatalf("%s: number %d of %s, session %d, is gone without a word (protocol 5: %v)", when, seq, source, session, s.v5)
				return
			}
		}
	}
}

// kept is the account of what the buffer has.
func (s *schedule) kept() *ledger.Ledger {
	var l ledger.Ledger
	var batch buffer.Batch
	for at := uint64(0); ; {
		next, err := s.buffer.Read(at, &batch, 1000, 1<<20)
		if err != nil {
			s.fatalf("reading the buffer: %v", err)
		}
		if len(batch.Records) == 0 {
			return &l
		}
		for i := range batch.Records {
			r := &batch.Records[i]
			record := fmt.Sprintf(`{"seq":%d,"type":"x"}`, r.Seq)
			if r.Lost > 0 {
				record = fmt.Sprintf(`{"type":"loss","from":%d,"to":%d}`, r.Seq, r.Seq+r.Lost-1)
			}
			m := ledger.Message{Gateway: "gw", Session: r.Session, Source: r.Source, Records: rawRecords(record)}
			if _, err := l.Add(&m); err != nil {
				s.fatalf("%v", err)
			}
		}
		at = next
	}
}

var errNoBroker = errors.New("there is no broker")
