package write

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
	"fieldferry/bus/can/internal/tx"
	"fieldferry/bus/permit"
)

// vcan is a virtual interface, down, until the end of the test.
func vcan(t *testing.T, name string) *cantest.VCAN {
	t.Helper()
	v, err := cantest.NewVCAN(name, false)
	if err != nil {
		if os.Getenv("FIELDFERRY_VM") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() { _ = v.Delete() })
	return v
}

func permitFor(t *testing.T, iface string) permit.Frame {
	t.Helper()
	p, err := permit.ForFrame(permit.FrameScope{Interface: iface, ID: 0x123, Length: 2, Limits: func([]byte) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Sent means looped back by the kernel to the socket that sent it; the reading
// source of the interface has the frame too, once.
func TestVCANWrite(t *testing.T) {
	v := vcan(t, "vcanp")
	w := New(permitFor(t, "vcanp"))
	defer w.Close()
	if sent, err := w.Send(t.Context(), []byte{1, 2}); sent || !errors.Is(err, ErrDown) {
		t.Errorf("on an interface that is down: %v, %v", sent, err)
	}
	if err := v.Up(); err != nil {
		t.Fatal(err)
	}
	b, err := can.New(can.Config{Interface: "vcanp"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rec cantest.Recorder
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	reading, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- b.Run(reading, &rec) }()
	for !b.Stats().Up {
		if ctx.Err() != nil {
			t.Fatal("the reader does not come up")
		}
		time.Sleep(time.Millisecond)
	}
	for i := range byte(20) {
		if sent, err := w.Send(ctx, []byte{i, i}); !sent || err != nil {
			t.Fatalf("frame %d: %v, %v", i, sent, err)
		}
	}
	if err := rec.WaitFrames(ctx, 20); err != nil {
		t.Fatal(err)
	}
	if err := v.Down(); err != nil {
		t.Fatal(err)
	}
	if sent, err := w.Send(ctx, []byte{1, 2}); sent || !errors.Is(err, ErrDown) {
		t.Errorf("down again: %v, %v", sent, err)
	}
	if err := v.Up(); err != nil {
		t.Fatal(err)
	}
	if sent, err := w.Send(ctx, []byte{3, 3}); !sent || err != nil {
		t.Errorf("up again: %v, %v", sent, err)
	}
	stop()
	if err := <-done; err != nil && ctx.Err() != nil {
		t.Error(err)
	}
	frames := rec.All()
	for i := range min(20, len(frames)) {
		if want := (can.Frame{ID: 0x123, Len: 2}); frames[i].ID != want.ID || frames[i].Data[0] != byte(i) {
			t.Errorf("frame %d is %v", i, frames[i])
		}
	}
	if n := b.Stats(); n.Frames > 21 || n.Lost != 0 {
		t.Errorf("%+v", n)
	}
}

// A queue that is full is busy: the frame was not sent, and the next one is.
func TestVCANFullQueue(t *testing.T) {
	v := vcan(t, "vcanr")
	if err := v.Up(); err != nil {
		t.Fatal(err)
	}
	w := New(permitFor(t, "vcanr"))
	defer w.Close()
	send := func(what string, want error) {
		t.Helper()
		if sent, err := w.Send(t.Context(), []byte{1, 2}); sent != (want == nil) || !errors.Is(err, want) {
			t.Errorf("%s: sent %v, %v", what, sent, err)
		}
	}
	send("before", nil)
	if err := v.Queue(0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		send("a full queue", ErrBusy)
	}
	if err := v.Queue(10); err != nil {
		t.Fatal(err)
	}
	send("a queue with room", nil)
	if err := v.OwnQueue(); err != nil {
		t.Fatal(err)
	}
	send("afterwards", nil)
}

// A frame of another program with the same id confirms nothing.
func TestVCANOthersFramesConfirmNothing(t *testing.T) {
	v := vcan(t, "vcanq")
	if err := v.Up(); err != nil {
		t.Fatal(err)
	}
	own, err := tx.Open("vcanq", &tx.Own{ID: 0x123})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	other, err := tx.Open("vcanq", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	f := can.Frame{ID: 0x123, Len: 1}
	if err := other.Write(&f); err != nil {
		t.Fatal(err)
	}
	if data, err := own.Confirmed(100 * time.Millisecond); data != nil || err != nil {
		t.Errorf("%x, %v", data, err)
	}
	f.Data[0] = 7
	if err := own.Write(&f); err != nil {
		t.Fatal(err)
	}
	if data, err := own.Confirmed(5 * time.Second); err != nil || len(data) != 1 || data[0] != 7 {
		t.Errorf("%x, %v", data, err)
	}
}
