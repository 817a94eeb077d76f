package can_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fieldferry/bus"
	"fieldferry/bus/can"
)

func TestMain(m *testing.M) {
	if arg := os.Getenv(paceEnv); arg != "" {
		if err := sendPaced(arg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// unavailable skips the test, except in a guest that was booted so that
// everything is there.
func unavailable(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("FIELDFERRY_VM") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// limit is how long a test waits for what must come. It is only ever reached
// by a test that fails.
const limit = 30 * time.Second

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func newBus(t testing.TB, cfg can.Config) *can.Bus {
	t.Helper()
	if cfg.Interface == "" {
		cfg.Interface = "can0"
	}
	b, err := can.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// running is a bus that reads, until stop.
type running struct {
	t    testing.TB
	end  context.CancelFunc
	done chan error
}

func start(t testing.TB, run func(context.Context) error) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, end: cancel, done: make(chan error, 1)}
	go func() { r.done <- run(ctx) }()
	t.Cleanup(cancel)
	return r
}

// wait returns what the run ended with.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(limit):
		r.t.Fatal("the run did not end")
		return nil
	}
}

// stop ends the context and demands that the run ends without an error.
func (r *running) stop() {
	r.t.Helper()
	r.end()
	if err := r.wait(); err != nil {
		r.t.Errorf("after the end of its context Run returned %v, want nil", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// frame reads candump's notation.
func frame(t testing.TB, s string) can.Frame {
	t.Helper()
	f, err := can.ParseFrame(s)
	must(t, err)
	return f
}

func frames(t testing.TB, notations ...string) []can.Frame {
	t.Helper()
	var fs []can.Frame
	for _, s := range notations {
		fs = append(fs, frame(t, s))
	}
	return fs
}

// notations writes frames in candump's notation.
func notations(fs []can.Frame) []string {
	s := make([]string, len(fs))
	for i := range fs {
		s[i] = fs[i].String()
	}
	return s
}

func (discard) Frames([]can.Frame) {}
func (discard) Lost(uint64)        {}
func (discard) Event(bus.Event)    {}
