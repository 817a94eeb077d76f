//go:build ignore

// Command consumer prints each record of every gateway once, as JSON lines; at the end what came
// twice and what is missing. Usage: go run consumer.go HOST PORT
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

type stream struct {
	Gateway string
	Session uint64
	Source  string
}

type head struct { // of a record; of a loss record From and To instead of Seq
	Seq, From, To uint64
	Type          string
}

var (
	mu   sync.Mutex
	seen = map[stream][][2]uint64{} // disjoint ranges of numbers, in order

	records, duplicates, lost uint64
)

// enter remembers the numbers first to last. false: they came before.
func enter(s stream, first, last uint64) bool {
	var below, above [][2]uint64
	one := [2]uint64{first, last}
	for _, r := range seen[s] {
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
	seen[s] = append(append(below, one), above...)
	return true
}

func receive(_ mqtt.Client, m mqtt.Message) {
	var e struct {
		V int
		stream
		Records []json.RawMessage
	}
	if json.Unmarshal(m.Payload(), &e) != nil || e.V != 1 {
		return // a form of the future; status and meta have no records
	}
	mu.Lock()
	defer mu.Unlock()
	for _, text := range e.Records {
		var r head
		if json.Unmarshal(text, &r) != nil {
			continue
		}
		switch {
		case r.Type == "loss":
			if enter(e.stream, r.From, r.To) {
				lost += r.To - r.From + 1
			}
		case enter(e.stream, r.Seq, r.Seq):
			records++
			fmt.Println(string(text)) // your work, before the PUBACK
		default:
			duplicates++
		}
	}
}

func main() {
	// The broker keeps what comes while this program is away.
	o := mqtt.NewClientOptions().AddBroker("tcp://" + os.Args[1] + ":" + os.Args[2]).SetClientID("consumer-1").SetCleanSession(false)
	o.OnConnect = func(c mqtt.Client) { c.Subscribe("fieldferry/#", 1, receive) }
	c := mqtt.NewClient(o)
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		fmt.Fprintln(os.Stderr, t.Error())
		os.Exit(1)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	<-end
	mu.Lock()
	defer mu.Unlock()
	var missing uint64
	for _, ranges := range seen {
		next := uint64(1)
		for _, r := range ranges {
			missing += r[0] - next
			next = r[1] + 1
		}
	}
	fmt.Printf("{\"records\":%d,\"duplicates\":%d,\"lost\":%d,\"missing\":%d}\n", records, duplicates, lost, missing)
}
