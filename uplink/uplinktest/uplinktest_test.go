package uplinktest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func client(t *testing.T, address string) mqtt.Client {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID("c").SetProtocolVersion(4)
	c := mqtt.NewClient(o.SetAutoReconnect(false).SetConnectTimeout(patience))
	if tok := c.Connect(); tok.Wait() && tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(1000) })
	return c
}

func TestBrokerStopsAndStartsAtTheSameAddress(t *testing.T) {
	b, err := NewBroker(BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	got := make(chan string, 100)
	if err := b.Subscribe("a/+", func(topic string, p []byte) { got <- topic + "=" + string(p) }); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		c := client(t, b.Addr())
		if tok := c.Publish("a/b", 1, true, "x"); tok.Wait() && tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		select {
		case s := <-got:
			if s != "a/b=x" {
				t.Errorf("got %q", s)
			}
		case <-time.After(patience):
			t.Fatal("the subscription got nothing")
		}
		b.Stop()
		if conn, err := net.Dial("tcp", b.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("a stopped broker must refuse connections, got %v, %v", conn, err)
		}
		if l, err := net.Listen("tcp", b.Addr()); err == nil {
			l.Close()
			t.Fatal("the port of a stopped broker can be taken")
		}
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if string(b.Retained("a/b")) != "x" || b.Retained("a/c") != nil {
		t.Error("retained messages must survive Stop and Start")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if b.Start() == nil {
		t.Error("a closed broker started")
	}
	if err := b.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestBrokerAtGivenAddress(t *testing.T) {
	first, err := NewBroker(BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	address := first.Addr()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := NewBroker(BrokerConfig{Address: address})
	if err != nil {
		t.Skipf("somebody else took %s meanwhile: %v", address, err)
	}
	defer second.Close()
	if second.Addr() != address {
		t.Errorf("listens at %s, want %s", second.Addr(), address)
	}
	client(t, address)
	if _, err := NewBroker(BrokerConfig{Address: "no port"}); err == nil {
		t.Error("a broker listens at no port")
	}
}

func TestFaultBrokerRecords(t *testing.T) {
	b, err := NewFaultBroker(Transport{}, Fault{Ack: AckLate}, Fault{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := client(t, b.Addr())
	tok := c.Publish("t", 1, false, "held")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Wait(ctx, func(got []Received, _, _ int) bool { return len(got) == 1 }); err != nil {
		t.Fatal(err)
	}
	if b.Acked("held") {
		t.Error("recorded as acknowledged before Release")
	}
	b.Release()
	if !tok.WaitTimeout(patience) || tok.Error() != nil || !b.Acked("held") || b.MaxUnacked() != 1 {
		t.Errorf("after Release: %v, acked %v, at most %d", tok.Error(), b.Acked("held"), b.MaxUnacked())
	}
	if got := b.Connects(); len(got) != 1 || got[0].ClientID != "c" {
		t.Errorf("connects %+v", got)
	}
	done, cancelNow := context.WithCancel(t.Context())
	cancelNow()
	if err := b.Wait(done, func([]Received, int, int) bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait returned %v at the end of its context", err)
	}
}

// A client that comes again while the broker still ends its former connection
// is a client like any other: what it publishes comes back to it.
func TestBrokerLetsAClientComeAgain(t *testing.T) {
	b, err := NewBroker(BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var former net.Conn
	for i := range 300 {
		c, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if former != nil {
			go former.Close()
		}
		former = c
		// CONNECT of "c" with a clean session, SUBSCRIBE to "a", PUBLISH to it.
		if _, err := c.Write([]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c" + "\x82\x06\x00\x01\x00\x01a\x00" + "\x30\x04\x00\x01a!")); err != nil {
			t.Fatal(err)
		}
		want := []byte("\x20\x02\x00\x00" + "\x90\x03\x00\x01\x00" + "\x30\x04\x00\x01a!")
		got := make([]byte, len(want))
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("connection %d: got %x, %v, want %x", i, got[:n], err, want)
		}
	}
}
