package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"fieldferry/buffer"
	"fieldferry/bus/can"
	"fieldferry/gateway"
	"fieldferry/gateway/config"
	"fieldferry/gateway/ledger"
	"fieldferry/gateway/record"
	"fieldferry/uplink/uplinktest"
)

// backlogRecords are what the outage has left.
const backlogRecords = 1_000_000

// BenchmarkBacklog connects a gateway with a million records of backlog and a
// live bus of 1000 frames a second, over links of several kinds. One op is the
// time from the connection to the first live record at the consumer; worst-ms
// is how long a live record took at most once what had waited for that was
// through, and records/s what was acknowledged of both lanes meanwhile. The
// acked-by-then is how much of the backlog came before the first live record. The
// rate of a relayed link is nominal: the relay itself reaches about half of it.
func BenchmarkBacklog(b *testing.B) {
	for _, link := range []struct {
		name   string
		shape  uplinktest.Shape
		settle time.Duration // after the first live record
		watch  time.Duration
	}{
		{"loopback", uplinktest.Shape{}, 500 * time.Millisecond, 10 * time.Second},
		{"200ms", uplinktest.Shape{Delay: 100 * time.Millisecond}, 3 * time.Second, 10 * time.Second},
		{"200ms-1MBs", uplinktest.Shape{Delay: 100 * time.Millisecond, Rate: 1_000_000}, 3 * time.Second, 20 * time.Second},
	} {
		b.Run(link.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				benchmarkBacklog(b, link.shape, link.settle, link.watch)
			}
		})
	}
}

func benchmarkBacklog(b *testing.B, shape uplinktest.Shape, settle, watch time.Duration) {
	broker := startMosquitto(b)
	dir := b.TempDir()
	fillBuffer(b, filepath.Join(dir, "buffer"))
	l, err := uplinktest.NewLink(broker)
	must(b, err)
	defer l.Close()
	l.Shape(shape)
	l.Cut()
	c := newConsumer(b, broker)
	text := fmt.Sprintf("gateway: {id: bench}\ncan: [{interface: \"sim:ramp?rate=1000\", name: can0}]\n"+
		"buffer: {path: buffer}\nuplink: {servers: [\"mqtt://%s\"]}\n", l.Addr())
	path := filepath.Join(dir, "fieldferry.yaml")
	must(b, os.WriteFile(path, []byte(text), 0o600))
	cfg, problems := config.Load(path, config.Options{})
	if cfg == nil {
		b.Fatal(problems)
	}
	g, err := gateway.Open(cfg, gateway.Options{Drain: time.Nanosecond})
	must(b, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()

	l.Restore()
	for g.Stats().Uplink.Connects == 0 {
		time.Sleep(time.Millisecond)
	}
	b.StartTimer()
	c.await(b)
	b.StopTimer()
	b.ReportMetric(float64(g.Stats().Buffer.Acked), "acked-by-then")
	time.Sleep(settle)
	acked := g.Stats().Buffer.Acked
	c.reset()
	begin := time.Now()
	for time.Since(begin) < watch && g.Stats().Buffer.Pending > 1000 {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(g.Stats().Buffer.Acked-acked)/time.Since(begin).Seconds(), "records/s")
	b.ReportMetric(float64(c.reset().Milliseconds()), "worst-ms")
	stop()
	must(b, <-ended)
}

// fillBuffer leaves records of an earlier session.
func fillBuffer(b *testing.B, dir string) {
	b.Helper()
	buf, err := buffer.Open(buffer.Config{Dir: dir, SyncInterval: time.Second, MaxSize: 512 << 20}, nil)
	must(b, err)
	src := buf.Source("can0")
	at := time.Now().Add(-time.Hour).UnixNano()
	var body []byte
	for i := range uint64(backlogRecords) {
		f := can.Frame{ID: 0x123, Len: 8}
		for k := range 8 {
			f.Data[k] = byte(i >> (8 * k))
		}
		body = record.AppendFrame(body[:0], &f)
		src.Append(at+int64(i)*1e6, body)
		for i%10_000 == 0 && buf.Stats().MemoryBytes > 8<<20 {
			time.Sleep(time.Millisecond)
		}
	}
	must(b, buf.Close())
}

// consumer subscribes and looks at live records of the bus.
type consumer struct {
	live chan struct{} // closed at the first one

	mu    sync.Mutex
	first bool
	worst time.Duration
}

func newConsumer(b *testing.B, broker string) *consumer {
	b.Helper()
	c := &consumer{live: make(chan struct{})}
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("consumer"))
	await(b, client.Connect())
	b.Cleanup(func() { client.Disconnect(0) })
	await(b, client.Subscribe("fieldferry/bench/can0", 0, func(_ mqtt.Client, m mqtt.Message) { c.take(m.Payload()) }))
	return c
}

func (c *consumer) take(data []byte) {
	if bytes.HasSuffix(data, []byte(`"late":true}]}`)) {
		return // quickly: a slow consumer would measure itself
	}
	m, err := ledger.Parse(data)
	if err != nil || len(m.Records) == 0 {
		return
	}
	var h ledger.Head
	if json.Unmarshal(m.Records[0], &h) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.worst = max(c.worst, time.Since(h.Time))
	if !c.first {
		c.first = true
		close(c.live)
	}
}

func (c *consumer) await(b *testing.B) {
	b.Helper()
	select {
	case <-c.live:
	case <-time.After(2 * time.Minute):
		b.Fatal("no live record")
	}
}

// reset returns how long a live record took at most since the last call.
func (c *consumer) reset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.worst = 0 }()
	return c.worst
}
