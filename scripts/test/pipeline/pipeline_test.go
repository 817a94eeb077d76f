package pipeline

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.etcd.io/bbolt"

	"fieldferry/bus/can"
	"fieldferry/gateway"
	"fieldferry/gateway/config"
	"fieldferry/scripts/test/rig"
)

// BenchmarkPipeline takes b.N frames to their PUBACK. The naive program waits
// for each step of each frame. The others are the gateway: as much as four
// simulated buses yield, and one bus at the pace of a full one of 1 Mbit/s.
func BenchmarkPipeline(b *testing.B) {
	b.Run("naive", benchmarkNaive)
	b.Run("fieldferry", func(b *testing.B) { benchmarkGateway(b, 4, can.MaxRampRate) })
	b.Run("fieldferry-10k", func(b *testing.B) { benchmarkGateway(b, 1, 10_000) })
}

// report tells what b.N frames took.
func report(b *testing.B, cpu time.Duration, lost uint64) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/1e3/float64(b.N), "cpu-us/frame")
	b.ReportMetric(float64(lost), "lost")
	b.ReportMetric(0, "ns/op") // says the same as frames/s
}

// benchmarkNaive stores, publishes and removes each frame by itself, and waits
// for the disk and the broker each time.
func benchmarkNaive(b *testing.B) {
	broker := startMosquitto(b)
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "frames.db"), 0o600, nil)
	must(b, err)
	defer db.Close()
	bucket := []byte("frames")
	must(b, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(bucket); return err }))
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("naive"))
	await(b, client.Connect())
	defer client.Disconnect(0)

	cpu := cpuTime(b)
	b.ResetTimer()
	for i := range b.N {
		text, err := naiveJSON(i)
		must(b, err)
		key := binary.BigEndian.AppendUint64(nil, uint64(i))
		must(b, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, text) }))
		await(b, client.Publish("naive/can0", 1, false, text))
		must(b, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Delete(key) }))
	}
	b.StopTimer()
	report(b, cpuTime(b)-cpu, 0)
}

func naiveJSON(i int) ([]byte, error) {
	var data [8]byte
	binary.LittleEndian.PutUint64(data[:], uint64(i))
	return json.Marshal(struct {
		Seq  int    `json:"seq"`
		TS   string `json:"ts"`
		Type string `json:"type"`
		ID   string `json:"id"`
		Data string `json:"data"`
	}{i, time.Now().UTC().Format(time.RFC3339Nano), "can", fmt.Sprintf("%03X", can.RampID), hex.EncodeToString(data[:])})
}

func await(b *testing.B, t mqtt.Token) {
	t.Wait()
	must(b, t.Error())
}

// benchmarkGateway counts from the first frames that are acknowledged, so that
// neither the connection nor the first sync weighs in.
func benchmarkGateway(b *testing.B, buses, rate int) {
	g, err := gateway.Open(load(b, startMosquitto(b), buses, rate), gateway.Options{Drain: time.Nanosecond})
	must(b, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()

	first := acked(b, g, 1)
	cpu := cpuTime(b)
	b.ResetTimer()
	acked(b, g, first+uint64(b.N))
	b.StopTimer()
	cpu = cpuTime(b) - cpu
	st := g.Stats().Buffer
	report(b, cpu, st.Lost)
	b.ReportMetric(float64(st.Pending), "behind")
	stop()
	must(b, <-ended)
}

// acked waits until so many records are acknowledged, and returns how many are.
func acked(b *testing.B, g *gateway.Gateway, want uint64) uint64 {
	b.Helper()
	for last, since := uint64(0), time.Now(); ; time.Sleep(time.Millisecond) {
		n := g.Stats().Buffer.Acked
		if n >= want {
			return n
		}
		if n > last {
			last, since = n, time.Now()
		} else if time.Since(since) > 30*time.Second {
			b.Fatalf("nothing is acknowledged any more: %+v", g.Stats())
		}
	}
}

func load(b *testing.B, broker string, buses, rate int) *config.Config {
	b.Helper()
	var text strings.Builder
	text.WriteString("gateway: {id: bench}\ncan:\n")
	for i := range buses {
		fmt.Fprintf(&text, "  - {interface: \"sim:ramp?rate=%d\", name: can%d}\n", rate, i)
	}
	fmt.Fprintf(&text, "buffer: {path: %q}\nuplink: {servers: [\"mqtt://%s\"]}\n", b.TempDir(), broker)
	path := filepath.Join(b.TempDir(), "fieldferry.yaml")
	must(b, os.WriteFile(path, []byte(text.String()), 0o600))
	cfg, problems := config.Load(path, config.Options{})
	if cfg == nil {
		b.Fatal(problems)
	}
	return cfg
}

// startMosquitto starts a broker and returns its address.
func startMosquitto(b *testing.B) string {
	b.Helper()
	return rig.StartMosquitto(b, rig.Quiet).Addr()
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
