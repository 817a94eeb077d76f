package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fieldferry/buffer/buffertest"
	"fieldferry/scripts/test/rig"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	bolt "go.etcd.io/bbolt"
)

// document is a record as JSON.
func document(seq uint64, at int64, data []byte) []byte {
	return fmt.Appendf(nil, `{"seq":%d,"ts":%q,"type":"can","id":"%08X","ext":true,"data":"%X"}`,
		seq, time.Unix(0, at).UTC().Format(time.RFC3339Nano), binary.LittleEndian.Uint32(data), hex.EncodeToString(data[8:16]))
}

// others measures the alternatives in an outage at 10,000 records/s.
func (b *bench) others() error {
	fmt.Println("\n## The same records elsewhere, in an outage")
	fmt.Println("\n| where | records/s offered | records/s stored | bytes per record | times the buffer |")
	fmt.Println("| --- | --- | --- | --- | --- |")
	line := func(what string, offered int, stored, cost, ours float64) {
		offer := "as many as go"
		if offered > 0 {
			offer = fmt.Sprint(offered)
		}
		fmt.Printf("| %s | %s | %.0f | %.1f | **%.1f** |\n", what, offer, stored, cost, cost/ours)
	}
	stored, cost, err := b.bolt(1, 0)
	if err != nil {
		return err
	}
	b.durable = stored
	line("bbolt, JSON per key, a transaction per record (`sync_interval: 0`)", 0, stored, cost, b.outage[caseName(0, 1000)])
	for _, interval := range []time.Duration{100 * time.Millisecond, time.Second} {
		const rate = 10000
		stored, cost, err := b.bolt(int(interval.Seconds()*rate), rate)
		if err != nil {
			return err
		}
		line(fmt.Sprintf("bbolt, JSON per key, a transaction each %v", interval), rate, stored, cost, b.outage[caseName(interval, rate)])
	}
	for _, rate := range []int{100, 1000} {
		stored, cost, err = b.mosquitto(rate)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: mosquitto left out:", err)
			return nil
		}
		line("mosquitto, persistent session, `autosave_interval 1`", rate, stored, cost, b.outage[caseName(time.Second, 1000)])
	}
	return nil
}

// bolt stores JSON documents in one bucket of one file, group at a time.
func (b *bench) bolt(group, rate int) (perSecond, cost float64, err error) {
	dir, err := b.disk.fresh("bolt")
	if err != nil {
		return 0, 0, err
	}
	db, err := bolt.Open(filepath.Join(dir, "queue.db"), 0o600, nil)
	if err != nil {
		return 0, 0, err
	}
	tr := buffertest.NewTraffic(1, 10000, epoch)
	seq := uint64(0)
	store := func() error {
		return db.Update(func(tx *bolt.Tx) error {
			q, err := tx.CreateBucketIfNotExists([]byte("queue"))
			for range group {
				if err == nil {
					seq++
					at, data := tr.Next()
					err = q.Put(binary.BigEndian.AppendUint64(nil, seq), document(seq, at, data))
				}
			}
			return err
		})
	}
	begin := time.Now()
	n, err := b.disk.cost(func() error {
		for time.Since(begin) < b.seconds || seq == 0 {
			if err := store(); err != nil {
				return err
			}
			if rate > 0 {
				time.Sleep(time.Until(begin.Add(time.Duration(float64(seq) / float64(rate) * 1e9))))
			}
		}
		return nil
	})
	took := time.Since(begin)
	return float64(seq) / took.Seconds(), float64(n) / float64(seq), errors.Join(err, db.Close())
}

// mosquitto has a broker keep records for a subscriber that is away.
func (b *bench) mosquitto(rate int) (perSecond, cost float64, err error) {
	dir, err := b.disk.fresh("mosquitto")
	if err != nil {
		return 0, 0, err
	}
	broker, err := rig.NewMosquitto(dir, "127.0.0.1", rig.Unbounded, rig.Persistent(dir), rig.Quiet)
	if err != nil {
		return 0, 0, err
	}
	defer broker.Kill()
	connect := func(id string) (mqtt.Client, error) {
		c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker.Addr()).SetClientID(id).SetCleanSession(false))
		t := c.Connect()
		t.Wait()
		return c, t.Error()
	}
	away, err := connect("away")
	if err != nil {
		return 0, 0, err
	}
	if t := away.Subscribe("queue", 1, nil); t.Wait() && t.Error() != nil {
		return 0, 0, t.Error()
	}
	away.Disconnect(100)
	c, err := connect("publisher")
	if err != nil {
		return 0, 0, err
	}
	defer c.Disconnect(100)
	tr := buffertest.NewTraffic(1, 10000, epoch)
	seq := uint64(0)
	begin := time.Now()
	n, err := b.disk.cost(func() error {
		var last mqtt.Token
		for time.Since(begin) < max(b.seconds, 4*time.Second) {
			seq++
			at, data := tr.Next()
			last = c.Publish("queue", 1, false, document(seq, at, data))
			time.Sleep(time.Until(begin.Add(time.Duration(float64(seq) / float64(rate) * 1e9))))
		}
		last.Wait()
		time.Sleep(1500 * time.Millisecond) // the broker's own interval
		return last.Error()
	})
	took := time.Since(begin) - 1500*time.Millisecond
	return float64(seq) / took.Seconds(), float64(n) / float64(seq), err
}
