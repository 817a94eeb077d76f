package uplink

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fieldferry/uplink/uplinktest"
)

// TestMain lets more tests wait side by side than there are cores: most of
// them wait for a network.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen. It is no measure of
// anything: a loaded machine may need seconds.
const patience = 30 * time.Second

// testQueue is a Queue of given messages. It fails the test when the uplink
// breaks the contract: calls at the same time, acknowledgements out of order,
// twice, or for what was not handed out.
type testQueue struct {
	t       testing.TB
	onAcked func(Message) // may be nil; is called before the message counts as acknowledged

	busy    atomic.Int32
	mu      sync.Mutex
	msgs    []Message
	handed  int
	acked   int
	rewinds int
	refused []string
	final   int  // of them refused for ever
	holds   bool // a topic that connections end with
	limits  []int
	most    int // handed out and not acknowledged, at most
	changed chan struct{}
}

func newTestQueue(t testing.TB, n int) *testQueue {
	q := &testQueue{t: t, changed: make(chan struct{})}
	q.add(n)
	return q
}

// add appends n messages with distinct payloads.
func (q *testQueue) add(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range n {
		i := len(q.msgs)
		q.msgs = append(q.msgs, Message{
			Topic: "test/topic", Payload: fmt.Appendf(nil, "message %d", i), Token: uint64(i + 1),
		})
	}
	q.change()
}

func (q *testQueue) change() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *testQueue) enter(what string) func() {
	if !q.busy.CompareAndSwap(0, 1) {
		q.t.Errorf("%s was called while another method ran", what)
		return func() {}
	}
	return func() { q.busy.Store(0) }
}

func (q *testQueue) Next(ctx context.Context) (Message, error) {
	defer q.enter("Next")()
	for {
		q.mu.Lock()
		if q.handed < len(q.msgs) {
			m := q.msgs[q.handed]
			q.handed++
			q.most = max(q.most, q.handed-q.acked)
			q.mu.Unlock()
			return m, nil
		}
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			if ctx.Err() == nil {
				q.t.Error("context is done without an error")
			}
			return Message{}, ctx.Err()
		case <-changed:
		}
	}
}

func (q *testQueue) Acked(m Message) {
	defer q.enter("Acked")()
	if q.onAcked != nil {
		q.onAcked(m)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.acked >= q.handed {
		q.t.Errorf("Acked(%d), but nothing is handed out", m.Token)
		return
	}
	if want := q.msgs[q.acked].Token; m.Token != want {
		q.t.Errorf("Acked(%d), want the oldest, %d", m.Token, want)
	}
	q.acked++
	q.change()
}

func (q *testQueue) Refused(m Message, v Verdict) {
	defer q.enter("Refused")()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.acked >= q.handed || m.Token != q.msgs[q.acked].Token {
		q.t.Errorf("Refused(%d), which is not the oldest handed out", m.Token)
		return
	}
	if v.Final {
		q.final++
	}
	if v.Ended && q.holds {
		q.msgs = slices.DeleteFunc(q.msgs, func(x Message) bool { return x.Topic == m.Topic && x.Token > m.Token })
	}
	q.refused = append(q.refused, fmt.Sprintf("%s: %s", m.Payload, v.Reason))
	q.acked++
	q.change()
}

func (q *testQueue) Limit(bytes int) bool {
	defer q.enter("Limit")()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits = append(q.limits, bytes)
	return true
}

func (q *testQueue) Rewind() {
	defer q.enter("Rewind")()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.handed = q.acked
	q.rewinds++
	q.change()
}

// wait waits until n messages were acknowledged.
func (q *testQueue) wait(n int) {
	q.t.Helper()
	q.until(fmt.Sprintf("%d acknowledged", n), func() bool { return q.acked >= n })
}

// until waits until cond, asked with the lock held, is true.
func (q *testQueue) until(what string, cond func() bool) {
	q.t.Helper()
	deadline := time.After(patience)
	for {
		q.mu.Lock()
		ok, changed := cond(), q.changed
		state := fmt.Sprintf("handed %d, acked %d, rewinds %d", q.handed, q.acked, q.rewinds)
		q.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			q.t.Fatalf("waited in vain until %s: %s", what, state)
		}
	}
}

func (q *testQueue) counts() (acked, most, rewinds int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.acked, q.most, q.rewinds
}

// events is an Observer that keeps what it was told.
type events struct {
	ch       chan event
	news     chan struct{} // Unproved was called
	accepted atomic.Int32

	mu        sync.Mutex
	announced map[string]string
	dropped   []string
	unproved  map[string]string
}

type event struct {
	server    string
	connected bool
	err       error
}

func newEvents() *events { return &events{ch: make(chan event, 10000), news: make(chan struct{}, 1)} }

func (e *events) Connected(server string) { e.put(event{server: server, connected: true}) }

func (e *events) Accepted(string) { e.accepted.Add(1) }

func (e *events) Announced(topic, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.announced == nil {
		e.announced = map[string]string{}
	}
	e.announced[topic] = reason
}

func (e *events) Dropped(topic, _ string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped = append(e.dropped, topic)
}

// drops are the topics of what was dropped, in order.
func (e *events) drops() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.dropped)
}

func (e *events) Unproved(topic, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unproved == nil {
		e.unproved = map[string]string{}
	}
	e.unproved[topic] = reason
	signal(e.news)
}

// why is what was last said of a topic.
func (e *events) why(topic string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unproved[topic]
}

// waitUnproved waits until cond holds of what was said of topics.
func (e *events) waitUnproved(t testing.TB, cond func(map[string]string) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		e.mu.Lock()
		ok, state := cond(e.unproved), fmt.Sprint(e.unproved)
		e.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-e.news:
		case <-deadline:
			t.Fatalf("waited in vain for news of topics: %s", state)
		}
	}
}

// said is what was last said of a message about the client itself.
func (e *events) said(topic string) (reason string, is bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	reason, is = e.announced[topic]
	return reason, is
}

func (e *events) Disconnected(server string, err error) { e.put(event{server: server, err: err}) }

func (e *events) put(ev event) {
	select {
	case e.ch <- ev:
	default: // a test that does not read them
	}
}

// next waits for the next event.
func (e *events) next(t testing.TB) event {
	t.Helper()
	select {
	case ev := <-e.ch:
		return ev
	case <-time.After(patience):
		t.Fatal("waited in vain for the observer to be told something")
		return event{}
	}
}

// lost waits for the next disconnection and returns its error.
func (e *events) lost(t testing.TB) *Error {
	t.Helper()
	for {
		if ev := e.next(t); !ev.connected {
			err, ok := ev.err.(*Error) //nolint:errorlint // the contract says: is one
			if !ok {
				t.Fatalf("the observer got %T, want *Error", ev.err)
			}
			return err
		}
	}
}

// fast is a timing for tests: short pauses, but patient with a loaded machine
// where a time-out would be a failure.
func fast() timing {
	d := defaultTiming()
	d.retryMin, d.retryMax = time.Millisecond, 10*time.Millisecond
	d.DialAgain = 20 * time.Millisecond
	d.refuseMin, d.refuseMax = time.Millisecond, 10*time.Millisecond
	return d
}

// run starts an uplink. The returned function stops it and checks that it
// ended properly.
func run(t testing.TB, cfg Config, q Queue, obs Observer, tweak func(*Uplink)) (*Uplink, func()) {
	t.Helper()
	if cfg.ClientID == "" {
		cfg.ClientID = "test"
	}
	log := slog.New(slog.NewTextHandler(logWriter{t}, nil))
	if _, bench := t.(*testing.B); bench {
		log = nil
	}
	u, err := New(cfg, q, obs, log)
	if err != nil {
		t.Fatal(err)
	}
	u.time = fast()
	if tweak != nil {
		tweak(u)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("Run returned %v, want nil", err)
				}
			case <-time.After(patience):
				t.Error("Run did not return after its context had ended")
			}
		})
	}
	t.Cleanup(stop)
	return u, stop
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(string(p))
	return len(p), nil
}

func faultBroker(t testing.TB, faults ...uplinktest.Fault) *uplinktest.FaultBroker {
	t.Helper()
	b, err := uplinktest.NewFaultBroker(uplinktest.Transport{}, faults...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func embeddedBroker(t testing.TB, transport uplinktest.Transport) *uplinktest.Broker {
	t.Helper()
	b, err := uplinktest.NewBroker(uplinktest.BrokerConfig{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// waitFor waits on a broker's record.
func waitFor(t testing.TB, b *uplinktest.FaultBroker, what string, cond func(got []uplinktest.Received, connects, open int) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Wait(ctx, cond); err != nil {
		t.Fatalf("waited in vain until %s", what)
	}
}
