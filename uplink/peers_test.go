package uplink

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"fieldferry/uplink/uplinktest"
)

const (
	peerRecords = 100 // in a message
	peerTopic   = "test/engine"
	peerTime    = 2 * time.Second // of each peer
)

// tally is how much a peer did in how long.
type tally struct {
	messages uint64
	took     time.Duration
	cpu      time.Duration
}

func (t tally) rate() float64 { return peerRecords * float64(t.messages) / t.took.Seconds() }

func (t tally) cpuPerRecord() float64 {
	return float64(t.cpu.Nanoseconds()) / (peerRecords * float64(max(t.messages, 1)))
}

// BenchmarkPeers sends messages of 100 records to mosquitto over links of
// several round trips: by the uplink, by paho as one writes it first (publish
// and wait), by paho with the uplink's window and nothing else, and by
// mosquitto's bridge with its default window. All take turns within one run, for two seconds each. The
// units ending in x are how many times the rate of the peer the uplink has.
//
// CPU time is that of this process, or of the bridge; with a round trip the
// relay is part of this process. The paho loops keep nothing for a lost
// connection, the bridge keeps messages in memory.
func BenchmarkPeers(b *testing.B) {
	for _, rtt := range []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond} {
		b.Run(fmt.Sprintf("rtt=%v", rtt), func(b *testing.B) {
			m := newMosquitto(b)
			address := m.addr
			if rtt > 0 {
				l, err := uplinktest.NewLink(m.addr)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(l.Close)
				l.Shape(uplinktest.Shape{Delay: rtt / 2})
				address = l.Addr()
			}
			var ours, wide, wait, window, bridge tally
			for range b.N {
				ours.add(peerUplink(b, address, DefaultInFlight))
				wide.add(peerUplink(b, address, 1000))
				wait.add(peerPaho(b, address, 1))
				window.add(peerPaho(b, address, DefaultInFlight))
				bridge.add(peerBridge(b, m, address))
			}
			b.ReportMetric(0, "ns/op")
			for name, t := range map[string]tally{"uplink": ours, "uplink-1000": wide, "paho-wait": wait, "paho-window": window, "bridge": bridge} {
				b.ReportMetric(t.rate(), name+"-records/s")
				if rtt == 0 { // nobody else's work is in it
					b.ReportMetric(t.cpuPerRecord(), name+"-cpu-ns/record")
				}
				if !strings.HasPrefix(name, "uplink") {
					b.ReportMetric(ours.rate()/t.rate(), name+"-x")
				}
			}
		})
	}
}

func (t *tally) add(o tally) {
	t.messages, t.took, t.cpu = t.messages+o.messages, t.took+o.took, t.cpu+o.cpu
}

// count measures for peerTime, from when done has begun to grow.
func count(b *testing.B, done *atomic.Uint64, cpu func() time.Duration) tally {
	b.Helper()
	for deadline := time.Now().Add(patience); done.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("nothing comes through")
		}
	}
	first, used, begin := done.Load(), cpu(), time.Now()
	time.Sleep(peerTime)
	return tally{done.Load() - first, time.Since(begin), cpu() - used}
}

// endlessQueue always has a message.
type endlessQueue struct {
	msg   Message
	acked atomic.Uint64
}

func (q *endlessQueue) Next(context.Context) (Message, error) { return q.msg, nil }
func (q *endlessQueue) Acked(Message)                         { q.acked.Add(1) }
func (q *endlessQueue) Refused(Message, Verdict)              {}
func (q *endlessQueue) Limit(int) bool                        { return true }
func (q *endlessQueue) Rewind()                               {}

func peerPayload() []byte { return bytes.Repeat([]byte{'x'}, peerRecords*recordSize) }

func peerUplink(b *testing.B, address string, window int) tally {
	b.Helper()
	q := &endlessQueue{msg: Message{Topic: peerTopic, Payload: peerPayload()}}
	_, stop := run(b, Config{Servers: []string{"mqtt://" + address}, InFlight: window}, q, nil, nil)
	defer stop()
	return count(b, &q.acked, cpuTime)
}

// peerPaho publishes with up to window messages in flight.
func peerPaho(b *testing.B, address string, window int) tally {
	b.Helper()
	client := peerClient(b, address, "peer")
	defer client.Disconnect(0)
	var acked atomic.Uint64
	stop := flood(client, window, &acked, func() bool { return true })
	defer stop()
	return count(b, &acked, cpuTime)
}

func peerClient(b *testing.B, address, id string) mqtt.Client {
	b.Helper()
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID(id).SetProtocolVersion(4).SetAutoReconnect(false))
	if t := client.Connect(); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	return client
}

// flood publishes as long as there is room, until stop.
func flood(client mqtt.Client, window int, acked *atomic.Uint64, room func() bool) (stop func()) {
	tokens, ended := make(chan mqtt.Token, window-1), make(chan struct{}) // and the one waited for
	var over atomic.Bool
	go func() {
		defer close(ended)
		for t := range tokens {
			if t.Wait() && t.Error() == nil {
				acked.Add(1)
			}
		}
	}()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		defer close(tokens)
		for payload := peerPayload(); !over.Load(); {
			if !room() {
				time.Sleep(time.Millisecond)
				continue
			}
			t := client.Publish(peerTopic, 1, false, payload)
			if window == 1 {
				t.Wait()
			}
			tokens <- t
		}
	}()
	return func() { over.Store(true); <-sent; <-ended }
}

// peerBridge has a mosquitto beside this process pass messages on to m.
func peerBridge(b *testing.B, m *mosquitto, address string) tally {
	b.Helper()
	near := newMosquitto(b, "max_inflight_messages 20", "connection away", "address "+address, "topic # out 1",
		"bridge_protocol_version mqttv311", "try_private false", "notifications false", "restart_timeout 1")
	defer near.Kill()
	var came atomic.Uint64
	watcher := peerClient(b, m.addr, "watcher")
	defer watcher.Disconnect(0)
	if t := watcher.Subscribe("test/#", 0, func(mqtt.Client, mqtt.Message) { came.Add(1) }); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	client := peerClient(b, near.addr, "peer")
	defer client.Disconnect(0)
	var acked atomic.Uint64
	stop := flood(client, 20, &acked, func() bool { return acked.Load() < came.Load()+2000 }) // its queue is memory
	defer stop()
	return count(b, &came, func() time.Duration { return cpuOf(b, near.PID()) })
}

// cpuOf is the CPU time of another process (proc(5), stat).
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		b.Fatal(err)
	}
	const tick = 10 * time.Millisecond
	return time.Duration(user+system) * tick
}
