package uplink

import (
	"context"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// Whatever bytes a broker sends, as its CONNACK or as its first PUBACK, the
// uplink neither panics nor hangs, keeps to the contract of its queue, and ends
// when it is told to.
func FuzzUplink(f *testing.F) {
	f.Add([]byte("\x20\x02\x00\x00\x40\x02\x00\x01\x40\x02\x00\x02"), false, false)
	f.Add([]byte("\x20\x06\x00\x00\x03\x21\x00\x01\x40\x02\x00\x01\xe0\x02\x8e\x00"), true, false)
	f.Add([]byte("\x40\x04\x00\x01\x87\x00\x30\xff\xff\xff\x7f"), true, true)
	f.Add([]byte("HTTP/1.1 401 Unauthorized\r\n\r\n"), false, false)
	f.Add([]byte("\x90\x03\x00\x01\x80\xd0\x00\xd0\x00"), false, true)
	f.Fuzz(func(t *testing.T, in []byte, five, late bool) {
		fault := uplinktest.Fault{Connack: append([]byte{}, in...)}
		if late {
			fault = uplinktest.Fault{Garbage: in, GarbageAt: 1}
		}
		b := faultBroker(t, fault)
		cfg := Config{Servers: []string{"mqtt://" + b.Addr()}, ClientID: "x", Birth: births, Verify: !five}
		if five {
			cfg.Protocol = Protocol5
		}
		obs := newEvents()
		u, err := New(cfg, newTestQueue(t, 3), obs, nil)
		if err != nil {
			t.Fatal(err)
		}
		u.time = fast()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx) }()
		limit := time.NewTimer(50 * time.Millisecond) // half a packet is waited for
		defer limit.Stop()
		for waiting := true; waiting; {
			select {
			case ev := <-obs.ch:
				waiting = ev.connected
			case <-limit.C:
				waiting = false
			}
		}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("it does not end")
		}
	})
}
