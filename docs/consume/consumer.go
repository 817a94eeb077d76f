//go:build ignore

// Command consumer prints each record of every gateway once, as JSON lines; at the end what came
// twice and what is missing. Usage: go run consumer.go HOST PORT
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/klauspost/compress/zstd"
)

type session struct {
	Gateway string
	Session uint64
}

type stream struct {
	session
	Source string
}

type head struct { // of a record; of a loss record From and To instead of Seq
	Seq, From, To uint64
	Type, Event   string
}

type record struct {
	head
	text json.RawMessage
}

var (
	mu     sync.Mutex
	came   = map[stream][][2]uint64{} // disjoint ranges of the numbers of records, in order
	seen   = map[stream][][2]uint64{} // the same with the numbers in loss records, whose ranges may overlap
	opened = map[session]bool{}       // their start was seen: the account begins with 1

	records, duplicates, unread uint64
)

// unpack returns the text of a message, which its first bytes call gzip, zstd or neither.
func unpack(payload []byte) ([]byte, error) {
	var r io.Reader = bytes.NewReader(payload)
	var err error
	switch {
	case bytes.HasPrefix(payload, []byte("\x1f\x8b")):
		r, err = gzip.NewReader(r)
	case bytes.HasPrefix(payload, []byte("\x28\xb5\x2f\xfd")):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20)); err == nil {
			defer z.Close()
			r = z
		}
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 16<<20))
}

// enter remembers the numbers first to last. false: they are known.
func enter(known map[stream][][2]uint64, s stream, first, last uint64) bool {
	var below, above [][2]uint64
	one := [2]uint64{first, last}
	for _, r := range known[s] {
		switch {
		case r[0] <= first && last <= r[1]:
			return false
		case r[1]+1 < first:
			below = append(below, r)
		case r[0] > last+1:
			above = append(above, r)
		default:
			one = [2]uint64{min(one[0], r[0]), max(one[1], r[1])}
		}
	}
	known[s] = append(append(below, one), above...)
	return true
}

// read returns the records of a message; of status, meta and a form of the future none.
func read(payload []byte) (s stream, found []record, err error) {
	text, err := unpack(payload)
	if err != nil {
		return s, nil, err
	}
	var e struct {
		V int
		stream
		Records []json.RawMessage
	}
	if err := json.Unmarshal(text, &e); err != nil || e.V != 1 {
		return s, nil, err
	}
	for _, text := range e.Records {
		r := record{text: text}
		if err := json.Unmarshal(text, &r.head); err != nil {
			return s, nil, err
		}
		if r.Type != "loss" {
			r.From, r.To = r.Seq, r.Seq
		}
		if r.From == 0 || r.To < r.From {
			return s, nil, errors.New("a record has no number")
		}
		found = append(found, r)
	}
	return e.stream, found, nil
}

func receive(_ mqtt.Client, m mqtt.Message) {
	if len(m.Payload()) == 0 || strings.Contains(m.Topic(), "/config/part/") {
		return // a retained message that was cleared, a piece of a configuration
	}
	mu.Lock()
	defer mu.Unlock()
	s, found, err := read(m.Payload())
	if err != nil { // one message that nobody can read does not stop the others
		unread++
		log.Printf("not read: %s: %v", m.Topic(), err)
	}
	for _, r := range found {
		enter(seen, s, r.From, r.To)
		switch {
		case r.Type == "loss":
		case enter(came, s, r.From, r.To):
			records++
			if r.Event == "started" {
				opened[s.session] = true
			}
			fmt.Println(string(r.text)) // your work, before the PUBACK
		default:
			duplicates++
		}
	}
}

func main() {
	// The broker keeps what comes while this program is away.
	o := mqtt.NewClientOptions().AddBroker("tcp://" + os.Args[1] + ":" + os.Args[2]).SetClientID("consumer-1").SetCleanSession(false)
	o.SetConnectRetry(true).SetConnectRetryInterval(2 * time.Second).SetMaxReconnectInterval(10 * time.Second)
	o.SetDefaultPublishHandler(receive) // what the broker kept comes before the subscription is confirmed
	mqtt.ERROR = log.Default()
	o.OnConnect = func(c mqtt.Client) { c.Subscribe("fieldferry/#", 1, receive) }
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	connected := mqtt.NewClient(o).Connect()
	select {
	case <-end:
	case <-connected.Done(): // until then it tries again
		if err := connected.Error(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		<-end
	}
	mu.Lock() // for good: no record is printed behind the account
	var lost, missing uint64
	for s, ranges := range seen {
		next := ranges[0][0]
		if opened[s.session] {
			next = 1
		}
		for _, r := range ranges {
			missing += r[0] - next
			next = r[1] + 1
			lost += next - r[0]
		}
	}
	lost -= records
	fmt.Printf("{\"records\":%d,\"duplicates\":%d,\"lost\":%d,\"unread\":%d,\"missing\":%d}\n", records, duplicates, lost, unread, missing)
}
