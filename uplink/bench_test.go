package uplink

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"fieldferry/uplink/mqtt"
	"fieldferry/uplink/uplinktest"
)

// pumpQueue hands out the same message n times.
type pumpQueue struct {
	msg           Message
	n             int
	handed, acked int
	done          chan struct{} // closed when the last one is acknowledged
}

func newPumpQueue(n, size int) *pumpQueue {
	return &pumpQueue{n: n, done: make(chan struct{}), msg: Message{Topic: "fieldferry/gw-01/engine", Payload: make([]byte, size)}}
}

func (q *pumpQueue) Next(ctx context.Context) (Message, error) {
	if q.handed == q.n {
		<-ctx.Done()
		return Message{}, ctx.Err()
	}
	q.handed++
	return q.msg, nil
}

func (q *pumpQueue) Acked(Message) {
	if q.acked++; q.acked == q.n {
		close(q.done)
	}
}

func (q *pumpQueue) Refused(m Message, _ Verdict) { q.Acked(m) }
func (q *pumpQueue) Limit(int) bool               { return true }

func (q *pumpQueue) Rewind() { q.handed = q.acked }

// BenchmarkUplink sends through the whole uplink to the embedded broker. It
// reports the CPU time of the process, the broker's included.
func BenchmarkUplink(b *testing.B) {
	for _, size := range []int{150, 12000} {
		for _, window := range []int{1, 10, 100, 1000} {
			b.Run(fmt.Sprintf("payload=%d/window=%d", size, window), func(b *testing.B) {
				broker := embeddedBroker(b, uplinktest.Transport{})
				q := newPumpQueue(b.N, size)
				before := cpuTime()
				b.ReportAllocs()
				b.ResetTimer()
				_, stop := run(b, Config{Servers: []string{"mqtt://" + broker.Addr()}, InFlight: window}, q, nil, nil)
				<-q.done
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
				b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/msg")
				stop()
			})
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// freePublisher acknowledges at once and allocates nothing.
type freePublisher struct {
	slots, lostCh chan struct{}
}

func (p *freePublisher) Connect(context.Context) error { return nil }
func (p *freePublisher) Ready() <-chan struct{}        { return p.slots }
func (p *freePublisher) Lost() <-chan struct{}         { return p.lostCh }
func (p *freePublisher) Stalled() bool                 { return false }
func (p *freePublisher) Err() error                    { return nil }
func (p *freePublisher) Close(bool)                    {}

func (p *freePublisher) Limits() mqtt.Limits                        { return mqtt.Limits{} }
func (p *freePublisher) Confirm(mqtt.Packet) <-chan error           { return nil }
func (p *freePublisher) Prove(mqtt.Packet, func(error)) *mqtt.Proof { return nil }

func (p *freePublisher) Subscribe(*Subscription, func(error)) mqtt.Token { return &imitatedToken{} }

func (p *freePublisher) Publish(mqtt.Packet) mqtt.Token {
	p.slots <- struct{}{}
	return ackedToken
}

type alwaysAcked struct{}

// settledAtOnce is closed.
var settledAtOnce = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (alwaysAcked) Done() <-chan struct{} { return settledAtOnce }
func (alwaysAcked) Error() error          { return nil }

var ackedToken mqtt.Token = alwaysAcked{}

// pump sends n messages through a session without a network.
func pump(tb testing.TB, n int) {
	tb.Helper()
	q := newPumpQueue(n, 150)
	u, err := New(Config{Servers: []string{"mqtt://x"}, ClientID: "x"}, q, nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	p := &freePublisher{slots: make(chan struct{}, 1), lostCh: make(chan struct{})}
	p.slots <- struct{}{}
	ctx, cancel := context.WithCancel(context.Background())
	s := newSession(u, p, "x")
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	<-q.done
	cancel()
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}

// What the uplink adds to its publisher must not depend on the number of
// messages. A queue that never waits is the case that counts: it is the
// backlog after an outage.
func TestSessionAllocatesNothingPerMessage(t *testing.T) {
	const n = 100_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	pump(t, n)
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / n; per > 0.01 {
		t.Errorf("%.3f allocations per message, want none", per)
	}
}

// BenchmarkSession is the uplink without publisher, network and broker.
func BenchmarkSession(b *testing.B) {
	b.ReportAllocs()
	pump(b, b.N)
}

// BenchmarkReconnect is how long a connection is gone that was cut, while the
// broker stays where it was: what an alarm about it should be patient with.
// Each takes about four seconds: -benchtime 20x.
func BenchmarkReconnect(b *testing.B) {
	broker := embeddedBroker(b, uplinktest.Transport{})
	link, err := uplinktest.NewLink(broker.Addr())
	if err != nil {
		b.Fatal(err)
	}
	defer link.Close()
	q, obs := newTestQueue(b, 0), newEvents()
	_, stop := run(b, Config{Servers: []string{"mqtt://" + link.Addr()}}, q, obs, func(u *Uplink) { u.time = defaultTiming() })
	defer stop()
	obs.next(b)
	var longest, total time.Duration
	n := 0
	for b.Loop() {
		n++
		q.add(1) // the connection works
		q.wait(n)
		time.Sleep(contestLife) // less, again and again, would be another client's doing
		begin := time.Now()
		link.Cut()
		link.Restore()
		obs.lost(b)
		for !obs.next(b).connected {
		}
		took := time.Since(begin)
		longest, total = max(longest, took), total+took
	}
	b.ReportMetric(longest.Seconds()*1000, "ms-longest")
	b.ReportMetric(total.Seconds()*1000/float64(n), "ms-mean")
	b.ReportMetric(0, "ns/op")
}
