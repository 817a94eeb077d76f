package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/can/write"
	"fieldferry/bus/permit"
)

// fakeBus notes what it is to send.
type fakeBus struct {
	mu   sync.Mutex
	sent []string
	err  error
	was  bool // sent, with err
}

func (f *fakeBus) Send(_ context.Context, data []byte) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.was, f.err
	}
	f.sent = append(f.sent, fmt.Sprintf("%x", data))
	return true, nil
}

func (f *fakeBus) Repeat(ctx context.Context, data []byte, interval time.Duration, _ func(error)) {
	for tick := time.NewTicker(interval); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
			_, _ = f.Send(ctx, data)
		}
	}
}

func (f *fakeBus) Close() {}

// A frame is repeated only until its time is over, a new value comes, or the
// point is closed.
func TestCANPointRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw, err := write.NewRaw(1, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		bus := &fakeBus{}
		c := &CANPoint{Sender: bus, Codec: raw, Repeat: 100 * time.Millisecond}
		count := func() int { bus.mu.Lock(); defer bus.mu.Unlock(); return len(bus.sent) }
		if out := c.Write(t.Context(), `"01"`, time.Now().Add(time.Second)); !out.Sent || out.Err != nil {
			t.Errorf("%+v", out)
		}
		time.Sleep(10 * time.Second)
		if n := count(); n < 10 || n > 11 {
			t.Errorf("%d frames in a time to live of 1 s", n)
		}
		c.Write(t.Context(), `"02"`, time.Now().Add(time.Hour))
		time.Sleep(550 * time.Millisecond)
		n := count()
		c.Write(t.Context(), `"03"`, time.Now().Add(time.Hour))
		time.Sleep(550 * time.Millisecond)
		bus.mu.Lock()
		later := slices.Clone(bus.sent[n:])
		bus.mu.Unlock()
		for _, s := range later {
			if s != "03" {
				t.Errorf("%s goes on after 03", s)
			}
		}
		c.Close()
		n = count()
		time.Sleep(10 * time.Second)
		if count() != n || n < 20 {
			t.Errorf("%d frames, %d before it was closed", count(), n)
		}
		if _, err := c.Read(t.Context()); !errors.Is(err, ErrNoRead) {
			t.Error(err)
		}
		var no *Refusal
		if err := c.Check(`"0102"`); !errors.As(err, &no) || no.Code != Type {
			t.Error(err)
		}
	})
}

func TestCANPointCodes(t *testing.T) {
	raw, err := write.NewRaw(1, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err  error
		sent bool
		want Code
	}{
		{write.ErrBusy, false, Busy},
		{write.ErrDown, false, Offline},
		{write.ErrListenOnly, false, Offline},
		{fmt.Errorf("%w: %w", write.ErrBusOff, write.ErrDown), false, BusOff},
		{&write.UncertainError{Err: write.ErrBusOff}, true, BusOff},
		{&write.UncertainError{Err: errors.New("not confirmed")}, true, NoReply},
		{permit.ErrNotPermitted, false, NotAllowed},
	} {
		bus := &fakeBus{err: c.err, was: c.sent}
		out := (&CANPoint{Sender: bus, Codec: raw, Repeat: time.Second}).Write(t.Context(), `"01"`, time.Now().Add(time.Hour))
		var no *Refusal
		if !errors.As(out.Err, &no) || no.Code != c.want || out.Sent != c.sent {
			t.Errorf("%v: %+v", c.err, out)
		}
	}
}
