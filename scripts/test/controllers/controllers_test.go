package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
	"fieldferry/bus/can/link"
	"fieldferry/bus/can/send"
)

// unprivilegedEnv makes the test binary a program that tries to change a link.
const unprivilegedEnv = "FIELDFERRY_TEST_UNPRIVILEGED"

func TestMain(m *testing.M) {
	if name := os.Getenv(unprivilegedEnv); name != "" {
		tryUnprivileged(name)
		return
	}
	goleak.VerifyTestMain(m)
}

// limit is how long a test waits for what must come.
const limit = time.Minute

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// need skips without controllers, except in a guest booted to have them.
// Afterwards both are down.
func need(t *testing.T) {
	t.Helper()
	for _, name := range []string{"can0", "can1"} {
		info, err := link.Get(name)
		if err != nil || info.Kind != link.KindController {
			if os.Getenv("FIELDFERRY_VM") == "1" {
				t.Fatalf("no controller %s: %v", name, err)
			}
			t.Skipf("no CAN controller %s; run scripts/test/vm/suite arm64 ./scripts/test/controllers", name)
		}
		if os.Geteuid() != 0 {
			t.Skip("no CAP_NET_ADMIN")
		}
		must(t, link.Down(name))
		t.Cleanup(func() { _ = link.Down(name) })
	}
}

func get(t *testing.T, name string) (link.Info, *link.Controller) {
	t.Helper()
	info, err := link.Get(name)
	must(t, err)
	return info, info.Controller
}

// running is a bus that reads until the test ends, and is run again as the
// gateway does it.
type running struct {
	bus  *can.Bus
	rec  cantest.Recorder
	stop func()
}

func run(t *testing.T, cfg can.Config) *running {
	t.Helper()
	b, err := can.New(cfg, nil)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r := &running{bus: b}
	r.stop = func() { cancel(); <-done }
	t.Cleanup(r.stop)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = b.Run(ctx, &r.rec)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	return r
}

func (r *running) waitUp(t *testing.T, up bool) {
	t.Helper()
	for ctx := testContext(t); r.bus.Stats().Up != up; {
		if ctx.Err() != nil {
			t.Fatalf("the bus did not become up=%v: %+v", up, r.bus.Stats())
		}
		time.Sleep(time.Millisecond)
	}
}

// TestUpReadsBack: what was asked for is what "ip -details link" would show.
func TestUpReadsBack(t *testing.T) {
	need(t)
	hundred, never := uint32(100), uint32(0)
	for _, c := range []struct {
		s    link.Settings
		mode link.Mode
	}{
		{link.Settings{Bitrate: 250_000, Mode: link.ListenOnly, RestartMs: &hundred, TxQueueLen: 50}, link.ListenOnly},
		{link.Settings{Bitrate: 250_000, Mode: link.ListenOnly, RestartMs: &hundred}, link.ListenOnly}, // as it is
		{link.Settings{Bitrate: 500_000, SamplePoint: 750, Mode: link.TripleSampling | link.OneShot, RestartMs: &never}, link.TripleSampling | link.OneShot},
		{link.Settings{Bitrate: 125_000}, 0},
		{link.Settings{Bitrate: 1_000_000, Mode: link.Loopback | link.BerrReporting}, link.Loopback | link.BerrReporting},
	} {
		told, err := link.Up("can0", c.s)
		must(t, err)
		info, ctl := get(t, "can0")
		if !info.Up || ctl.Timing.Bitrate != c.s.Bitrate || ctl.Mode != c.mode || ctl.State != link.ErrorActive ||
			ctl.Timing != told.Controller.Timing || ctl.Timing.SamplePoint < 500 || info.TxQueueLen != 50 {
			t.Errorf("asked for %+v, the kernel tells %+v of %+v", c.s, ctl, info)
		}
		if c.s.SamplePoint != 0 && ctl.Timing.SamplePoint != c.s.SamplePoint {
			t.Errorf("sample point %d, asked for %d", ctl.Timing.SamplePoint, c.s.SamplePoint)
		}
		if c.s.RestartMs != nil && ctl.RestartMs != *c.s.RestartMs {
			t.Errorf("restart-ms %d, asked for %d", ctl.RestartMs, *c.s.RestartMs)
		}
	}
	must(t, link.Down("can0"))
	info, ctl := get(t, "can0")
	if info.Up || ctl.State != link.Stopped || ctl.Timing.Bitrate != 1_000_000 {
		t.Errorf("after down: %+v %+v", info, ctl)
	}
	if info, err := link.Up("can0", link.Settings{}); err != nil || !info.Up || info.Controller.Timing.Bitrate != 1_000_000 {
		t.Errorf("up as it was: %+v, %v", info, err)
	}
}

func TestUpRefused(t *testing.T) {
	need(t)
	_, err := link.Up("can0", link.Settings{Bitrate: 500_000, DataBitrate: 2_000_000, Mode: link.FD})
	if err == nil {
		t.Error("an SJA1000 speaks CAN FD")
	}
	if _, err = link.Up("can0", link.Settings{Bitrate: 10_000_000}); err == nil {
		t.Error("an SJA1000 with 10 Mbit/s")
	}
	if info, _ := get(t, "can0"); info.Up {
		t.Error("up in spite of an error")
	}
	if err := link.Restart("can0"); err == nil {
		t.Error("a controller that is not bus-off was restarted")
	}
}

// TestBusKeepsTheLink: a source with a bit rate brings its link up, listen-only,
// leaves it alone when it is as configured, and brings it up again.
func TestBusKeepsTheLink(t *testing.T) {
	need(t)
	_, err := link.Up("can0", link.Settings{Bitrate: 250_000})
	must(t, err)
	must(t, link.Down("can1"))
	cfg := can.Config{Interface: "can1", Link: &link.Settings{Bitrate: 250_000, Mode: link.ListenOnly}}
	r := run(t, cfg)
	r.waitUp(t, true)
	if _, ctl := get(t, "can1"); ctl.Timing.Bitrate != 250_000 || ctl.Mode != link.ListenOnly {
		t.Errorf("the link is %+v", ctl)
	}
	if st := r.bus.Stats(); st.Bitrate != 250_000 || st.State != "error-active" || st.Timestamps != "kernel" {
		t.Errorf("counters %+v", st)
	}

	s, err := send.Open("can0")
	must(t, err)
	defer s.Close()
	ctx := testContext(t)
	var want []string
	for i := range 50 {
		f := can.Frame{ID: uint32(0x100 + i), Len: 8}
		f.Data[0] = byte(i)
		want = append(want, f.String())
		must(t, s.Send(ctx, &f))
	}
	must(t, r.rec.WaitFrames(ctx, len(want)))
	var got []string
	for _, f := range r.rec.All() {
		got = append(got, f.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}

	// A second bus of the same configuration changes nothing: the first sees no
	// link that goes down.
	second := run(t, cfg)
	second.waitUp(t, true)
	second.stop()
	if e := r.rec.Events(); len(e) != 2 && len(e) != 0 { // it may have been down at the start
		t.Errorf("events %q", e)
	}

	before := len(r.rec.Events())
	must(t, link.Down("can1"))
	must(t, r.rec.WaitEvents(ctx, before+2))
	if e := r.rec.Events()[before:]; !slices.Equal(e, []string{"can_link_down raised", "can_link_down cleared"}) {
		t.Errorf("events %q", e)
	}
	if info, ctl := get(t, "can1"); !info.Up || ctl.Mode != link.ListenOnly {
		t.Errorf("the link is %+v %+v", info, ctl)
	}
	if _, err := send.Open("can1"); !errors.Is(err, send.ErrListenOnly) {
		t.Errorf("sending on a listen-only interface: %v", err)
	}
}

// TestBusChangesTheLink: a link that is up with other settings is set anew.
func TestBusChangesTheLink(t *testing.T) {
	need(t)
	_, err := link.Up("can1", link.Settings{Bitrate: 125_000, Mode: link.OneShot})
	must(t, err)
	r := run(t, can.Config{Interface: "can1", Link: &link.Settings{Bitrate: 500_000, SamplePoint: 800, Mode: link.ListenOnly}})
	r.waitUp(t, true)
	for ctx := testContext(t); r.bus.Stats().Bitrate != 500_000; time.Sleep(time.Millisecond) {
		must(t, ctx.Err())
	}
	if _, ctl := get(t, "can1"); ctl.Timing.Bitrate != 500_000 || ctl.Mode != link.ListenOnly {
		t.Errorf("the link is %+v", ctl)
	}
}

// TestBusWithoutBitrateLeavesTheLink: nothing is touched that was not asked for.
func TestBusWithoutBitrateLeavesTheLink(t *testing.T) {
	need(t)
	_, err := link.Up("can1", link.Settings{Bitrate: 125_000, Mode: link.OneShot})
	must(t, err)
	_, before := get(t, "can1")
	r := run(t, can.Config{Interface: "can1"})
	r.waitUp(t, true)
	must(t, link.Down("can1"))
	r.waitUp(t, false)
	if info, after := get(t, "can1"); info.Up || after.Mode != before.Mode || after.Timing != before.Timing {
		t.Errorf("the link was changed from %+v to %+v", before, after)
	}
}

// TestUnplugged: a controller goes away under a running bus and comes back as
// a new device, down and without a bit rate.
func TestUnplugged(t *testing.T) {
	need(t)
	r := run(t, can.Config{Interface: "can1", Link: &link.Settings{Bitrate: 250_000, Mode: link.ListenOnly}})
	r.waitUp(t, true)
	device, err := filepath.EvalSymlinks("/sys/class/net/can1/device")
	must(t, err)
	before := len(r.rec.Events())
	must(t, os.WriteFile(filepath.Join(device, "remove"), []byte("1"), 0))
	must(t, r.rec.WaitEvents(testContext(t), before+1))
	must(t, os.WriteFile("/sys/bus/pci/rescan", []byte("1"), 0))
	must(t, r.rec.WaitEvents(testContext(t), before+2))
	if e := r.rec.Events()[before:]; !slices.Equal(e, []string{"can_link_down raised", "can_link_down cleared"}) {
		t.Errorf("events %q", e)
	}
	if info, ctl := get(t, "can1"); !info.Up || ctl.Timing.Bitrate != 250_000 || ctl.Mode != link.ListenOnly {
		t.Errorf("the link is %+v %+v", info, ctl)
	}
}

// TestUnprivileged: without CAP_NET_ADMIN everything can be seen and nothing
// changed, and the error says what to do.
func TestUnprivileged(t *testing.T) {
	need(t)
	out := unprivileged(t, "can0") // down: cannot be brought up
	for _, want := range []string{"get: <nil>", "CAP_NET_ADMIN", "PrivateUsers=no", "systemd-networkd"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %q", want, out)
		}
	}
	_, err := link.Up("can0", link.Settings{Bitrate: 250_000, Mode: link.OneShot})
	must(t, err)
	if out := unprivileged(t, "can0"); !strings.Contains(out, "reading") { // up, otherwise set: is read as it is
		t.Errorf("of a link that is up: %q", out)
	}
	if _, ctl := get(t, "can0"); ctl.Mode != link.OneShot {
		t.Errorf("an unprivileged process changed the link to %+v", ctl)
	}
}

func unprivileged(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	c := exec.CommandContext(testContext(t), self)
	c.Env = append(os.Environ(), unprivilegedEnv+"="+name)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func tryUnprivileged(name string) {
	_, err := link.Get(name)
	fmt.Println("get:", err)
	b, err := can.New(can.Config{Interface: name, Link: &link.Settings{Bitrate: 250_000, Mode: link.ListenOnly}}, nil)
	if err != nil {
		fmt.Println("new:", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	go func() {
		for ctx.Err() == nil && !b.Stats().Up {
			time.Sleep(time.Millisecond)
		}
		if b.Stats().Up {
			fmt.Println("reading")
		}
		cancel()
	}()
	if err := b.Run(ctx, &cantest.Recorder{}); err != nil {
		fmt.Println("run:", err)
	}
}
