package write

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/permit"
	"fieldferry/bus/scalar"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a bus that confirms frames as it is told.
type bench struct {
	sent    []string
	queue   [][]byte // on their way, in their order
	stuck   bool     // nobody acknowledges
	full    atomic.Bool
	left    bool // bus-off
	opened  int
	confirm time.Duration
}

func (b *bench) Check(f *can.Frame) error { return f.Validate() }

func (b *bench) Write(f *can.Frame) error {
	if b.full.Load() {
		return unix.ENOBUFS
	}
	b.sent = append(b.sent, f.String())
	b.queue = append(b.queue, slices.Clone(f.Payload()))
	return nil
}

func (b *bench) Confirmed(d time.Duration) ([]byte, error) {
	switch {
	case b.left:
		return nil, ErrBusOff
	case b.stuck || len(b.queue) == 0:
		time.Sleep(d)
		return nil, nil
	}
	time.Sleep(b.confirm)
	data := b.queue[0]
	b.queue = b.queue[1:]
	return data, nil
}

func (b *bench) Close() error { return nil }

func newWriter(t *testing.T, b *bench, ready *error) *Writer {
	t.Helper()
	raw, err := NewRaw(2, []byte{0x10, 0}, []byte{0x0F, 0xFF})
	if err != nil {
		t.Fatal(err)
	}
	p, err := permit.ForFrame(permit.FrameScope{Interface: "can0", ID: 0x123, Length: 2, Limits: raw.Within})
	if err != nil {
		t.Fatal(err)
	}
	w := New(p)
	w.open = func() (socket, error) { b.opened++; b.queue = nil; return b, nil }
	w.ready = func() error { return *ready }
	return w
}

func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ready := &bench{confirm: 3 * time.Millisecond}, error(nil)
		w := newWriter(t, b, &ready)
		send := func(wantSent bool, want error, data ...byte) {
			t.Helper()
			n := len(b.sent)
			sent, err := w.Send(t.Context(), data)
			if sent != wantSent || (want == nil) != (err == nil) || want != nil && !errors.Is(err, want) || (len(b.sent) > n) != wantSent {
				t.Errorf("%x: %v, %v; sent %q", data, sent, err, b.sent[n:])
			}
			if uncertain := new(*UncertainError); errors.As(err, uncertain) != (err != nil && wantSent) {
				t.Errorf("%x: %v", data, err)
			}
		}
		send(true, nil, 0x1A, 0xBC)
		send(false, permit.ErrNotPermitted, 0x2A, 0xBC) // a bit beside the mask
		send(false, permit.ErrNotPermitted, 0x1A)
		send(false, permit.ErrNotPermitted)
		b.full.Store(true)
		send(false, ErrBusy, 0x10, 0)
		b.full.Store(false)
		ready = ErrListenOnly
		send(false, ErrListenOnly, 0x10, 0)
		ready = fmt.Errorf("%w", ErrDown)
		send(false, ErrDown, 0x10, 0)
		ready = nil
		send(true, nil, 0x10, 0)
		b.left = true
		send(true, ErrBusOff, 0x10, 0)
		b.left = false
		send(true, nil, 0x10, 0)
		if b.opened != 3 {
			t.Errorf("opened %d times", b.opened)
		}
	})
}

// The confirmation of a frame that was given up is not that of the next one.
func TestLateConfirmationIsNotTheNextFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ready := &bench{stuck: true}, error(nil)
		w := newWriter(t, b, &ready)
		start := time.Now()
		if sent, err := w.Send(t.Context(), []byte{0x11, 0}); !sent || !errors.As(err, new(*UncertainError)) || time.Since(start) < confirmTime {
			t.Fatal(sent, err, time.Since(start))
		}
		// Only the confirmation of the first comes.
		w.socket = &lateBench{bench: b, first: b.queue[0]}
		if sent, err := w.Send(t.Context(), []byte{0x11, 0}); !sent || err == nil {
			t.Errorf("the first frame's confirmation passed for the second's: %v, %v", sent, err)
		}
	})
}

// lateBench confirms the first frame only.
type lateBench struct {
	*bench
	first []byte
}

func (l *lateBench) Write(f *can.Frame) error { return nil }

func (l *lateBench) Confirmed(d time.Duration) ([]byte, error) {
	time.Sleep(d)
	first := l.first
	l.first = nil
	return first, nil
}

// The zero permit permits nothing.
func TestNoPermit(t *testing.T) {
	b, ready := &bench{}, error(nil)
	w := newWriter(t, b, &ready)
	w.permit = permit.Frame{}
	for _, data := range [][]byte{nil, {}, {1, 2}} {
		if sent, err := w.Send(t.Context(), data); sent || !errors.Is(err, permit.ErrNotPermitted) {
			t.Errorf("%v, %v", sent, err)
		}
	}
	if len(b.sent) != 0 || b.opened != 0 {
		t.Errorf("%q", b.sent)
	}
}

func TestRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ready := &bench{}, error(nil)
		w := newWriter(t, b, &ready)
		ctx, cancel := context.WithTimeout(t.Context(), 1050*time.Millisecond)
		defer cancel()
		failed := 0
		go func() {
			time.Sleep(350 * time.Millisecond)
			b.full.Store(true)
			time.Sleep(200 * time.Millisecond)
			b.full.Store(false)
		}()
		w.Repeat(ctx, []byte{0x10, 7}, 100*time.Millisecond, func(error) { failed++ })
		if len(b.sent) != 8 || failed != 2 {
			t.Errorf("%d frames, %d left out", len(b.sent), failed)
		}
		n := len(b.sent)
		time.Sleep(time.Second)
		if len(b.sent) != n {
			t.Error("it goes on after its time")
		}
	})
}

func TestRaw(t *testing.T) {
	r, err := NewRaw(3, []byte{0, 0, 0xF0}, []byte{0xFF, 0xFF, 0x0F})
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{`"0102F3"`: "", `"01 02 f3"`: "", `"010203"`: scalar.CodeRange, `"0102"`: scalar.CodeType,
		`"0102F300"`: scalar.CodeType, `"xy02F3"`: scalar.CodeType, "10203": scalar.CodeType, "null": scalar.CodeType, `""`: scalar.CodeType} {
		err := r.Check(value)
		var no *scalar.Refusal
		if errors.As(err, &no) != (want != "") || want != "" && no.Code != want {
			t.Errorf("%s: %v", value, err)
		}
	}
	for _, c := range [][2][]byte{{{1}, {1, 2, 3}}, {nil, {1}}, {{1, 2, 3}, nil}} {
		if _, err := NewRaw(3, c[0], c[1]); err == nil {
			t.Errorf("%x", c)
		}
	}
}
