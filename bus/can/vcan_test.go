package can_test

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

// The tests of this file run on real virtual CAN interfaces. In a guest that
// was booted for them (FIELDFERRY_VM=1) none may be skipped.

// canInterface makes a vcan interface that goes away with the test.
func canInterface(t *testing.T, name string, fd bool) *cantest.VCAN {
	t.Helper()
	probe, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.CAN_RAW)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		unavailable(t, "no AF_CAN in this kernel")
	}
	must(t, err)
	must(t, unix.Close(probe))
	v, err := cantest.NewVCAN(name, fd)
	if errors.Is(err, unix.EPERM) {
		unavailable(t, "no CAP_NET_ADMIN to make a vcan interface")
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		unavailable(t, "no vcan in this kernel")
	}
	must(t, err)
	t.Cleanup(func() { _ = v.Delete() })
	return v
}

func upInterface(t *testing.T, name string, fd bool) *cantest.VCAN {
	t.Helper()
	v := canInterface(t, name, fd)
	must(t, v.Up())
	return v
}

func newSender(t *testing.T, name string) *cantest.Sender {
	t.Helper()
	s, err := cantest.NewSender(name)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// startUp starts a bus and waits until its socket is bound.
func startUp(t *testing.T, b *can.Bus, h can.Handler) *running {
	t.Helper()
	r := start(t, func(ctx context.Context) error { return b.Run(ctx, h) })
	waitStats(t, b, func(s can.Stats) bool { return s.Up })
	return r
}

// waitStats waits for something that shows only in the counters.
func waitStats(t *testing.T, b *can.Bus, done func(can.Stats) bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(b.Stats()); {
		if time.Now().After(deadline) {
			t.Fatalf("did not come to pass; counters are %+v", b.Stats())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestVCANFrames(t *testing.T) {
	upInterface(t, "vcanf", true)
	sent := []string{
		"123#DEADBEEF", "000#", "7FF#0011223344556677",
		"00000123#01", "1FFFFFFF#FF", // extended: not the same as standard 123
		"123#R", "456#R8", "18FEF100#R3",
		"123##0", "123##1112233445566778899AABBCC", "00000123##3" + strings.Repeat("A5", 64),
		"321#01",
	}
	for _, fd := range []bool{true, false} {
		var rec cantest.Recorder
		b := newBus(t, can.Config{Interface: "vcanf", FD: fd})
		r := startUp(t, b, &rec)
		before := time.Now()
		s := newSender(t, "vcanf")
		must(t, s.Send(frames(t, sent...)...))
		want := sent
		if !fd {
			want = slices.DeleteFunc(slices.Clone(sent), func(s string) bool { return strings.Contains(s, "##") })
		}
		must(t, rec.WaitFrames(testContext(t), len(want)))
		after := time.Now()
		r.stop()
		got := rec.All()
		if s := notations(got); !slices.Equal(s, want) {
			t.Errorf("FD %v: got %q\nwant %q", fd, s, want)
		}
		last := before.UnixNano()
		for _, f := range got {
			if f.Time < last || f.Time > after.UnixNano() {
				t.Errorf("FD %v: %v has time %v, not between the last frame's %v and the end %v", fd, f,
					time.Unix(0, f.Time), time.Unix(0, last), after)
			}
			last = f.Time
			for _, c := range f.Data[len(f.Payload()):] {
				if c != 0 {
					t.Errorf("%v: bytes behind the data are not zero", f)
				}
			}
		}
		if st := b.Stats(); st.Timestamps != "kernel" || st.Frames != uint64(len(want)) || st.Lost+st.Malformed+st.ErrorFrames != 0 || st.Up {
			t.Errorf("FD %v: counters %+v", fd, st)
		}
	}
}

func TestVCANFilters(t *testing.T) {
	upInterface(t, "vcanx", false)
	sent := frames(t, "100#01", "10F#02", "110#03", "7DF#04", "0CF00400#05", "0CF00401#06", "00000100#07", "100#R2", "10000100#08")
	sets := [][]string{
		nil,
		{"100:7FF"},
		{"100:7F0"},
		{"100:800007FF"}, // standard only
		{"00000100:9FFFFFFF"},
		{"0CF00400:1FFFFFFF"},
		{"0CF00400:1FFFFF00", "7DF:7FF"},
		{"7DF~7FF"},
		{"100:C00007FF"}, // data frames only
		{"40000100:C00007FF"},
		{"000:000"},
		{"0CF00400~FFFFFFFF"},
		{"110:7FF", "110:7FF"},
	}
	var rec cantest.Recorder
	for _, set := range sets {
		cfg := can.Config{Interface: "vcanx"}
		for _, s := range set {
			f, err := can.ParseFilter(s)
			must(t, err)
			cfg.Filters = append(cfg.Filters, f)
		}
		// An error frame, which filters do not touch, tells when all have come.
		rec = cantest.Recorder{}
		b := newBus(t, cfg)
		r := startUp(t, b, &rec)
		s := newSender(t, "vcanx")
		must(t, s.Send(sent...))
		must(t, s.Send(frame(t, "20000080#0000000000000000")))
		waitStats(t, b, func(s can.Stats) bool { return s.ErrorFrames == 1 })
		r.stop()
		var want []string
		for _, f := range sent {
			id := binary.NativeEndian.Uint32(cantest.Wire(f))
			if len(cfg.Filters) == 0 || slices.ContainsFunc(cfg.Filters, func(f can.Filter) bool { return f.Match(id) }) {
				want = append(want, f.String())
			}
		}
		if got := notations(rec.All()); !slices.Equal(got, want) {
			t.Errorf("%q: the kernel passed %q\nour own match %q", set, got, want)
		}
	}
}

func TestVCANMostFilters(t *testing.T) {
	upInterface(t, "vcanm", false)
	cfg := can.Config{Interface: "vcanm"}
	for i := range can.MaxFilters {
		cfg.Filters = append(cfg.Filters, can.Filter{ID: uint32(i), Mask: 0x7ff})
	}
	var rec cantest.Recorder
	r := startUp(t, newBus(t, cfg), &rec)
	must(t, newSender(t, "vcanm").Send(frames(t, "200#01", "1FF#02", "000#03")...))
	must(t, rec.WaitFrames(testContext(t), 2))
	r.stop()
	if got := notations(rec.All()); !slices.Equal(got, []string{"1FF#02", "000#03"}) {
		t.Errorf("got %q", got)
	}
}

func TestVCANErrorFrames(t *testing.T) {
	upInterface(t, "vcane", false)
	var rec cantest.Recorder
	b := newBus(t, can.Config{Interface: "vcane"})
	r := startUp(t, b, &rec)
	s := newSender(t, "vcane")
	for range 100 { // a storm is one event
		must(t, s.Send(frames(t, "20000204#0020000000008000", "20000040#0000000000000000")...))
	}
	must(t, s.Send(frames(t, "123#01", "20000100#0000000000000000", "20000104#0040000000000000", "20008000#00")...))
	waitStats(t, b, func(s can.Stats) bool { return s.ErrorFrames == 203 })
	r.stop()
	want := []string{"can_error_passive raised", "can_bus_off raised", "can_bus_off cleared", "can_error_passive cleared"}
	if got := rec.Events(); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	if got := notations(rec.All()); !slices.Equal(got, []string{"123#01"}) {
		t.Errorf("frames %q: error frames must not come as data", got)
	}
	for class, n := range map[string]uint64{"controller": 101, "bus_off": 100, "restarted": 2, "other": 1} {
		if got := b.Stats().Errors[class]; got != n {
			t.Errorf("class %s counted %d times, want %d", class, got, n)
		}
	}
}

// TestVCANOverflow holds the handler up until far more was sent than the
// socket can hold: every frame is either delivered or counted as lost, and the
// loss stands where it happened.
func TestVCANOverflow(t *testing.T) {
	upInterface(t, "vcano", false)
	const n = 3000
	hold, held := make(chan struct{}), make(chan struct{})
	first := true
	rec := cantest.Recorder{OnFrames: func([]can.Frame) {
		if first {
			first = false
			close(held)
			<-hold
		}
	}}
	b := newBus(t, can.Config{Interface: "vcano", ReceiveBuffer: 8 << 10})
	r := startUp(t, b, &rec)
	s := newSender(t, "vcano")
	counter := func(i uint32) can.Frame {
		f := can.Frame{ID: 0x123, Len: 4}
		binary.BigEndian.PutUint32(f.Data[:], i)
		return f
	}
	must(t, s.Send(counter(0)))
	<-held
	for i := range uint32(n - 1) {
		must(t, s.Send(counter(i+1)))
	}
	close(hold)
	// Nothing more is sent: the loss at the very end must show by itself.
	must(t, rec.WaitFrames(testContext(t), n))
	must(t, s.Send(counter(n)))
	must(t, rec.WaitFrames(testContext(t), n+1))
	r.stop()
	if rec.LostSum() == 0 {
		t.Error("nothing was lost: the test tests nothing")
	}
	next := uint64(0)
	for _, it := range rec.Items() {
		if it.Frame == nil {
			next += it.Lost
			continue
		}
		if got := uint64(binary.BigEndian.Uint32(it.Frame.Data[:])); got != next {
			t.Fatalf("frame %d came where %d was due: the loss is not where it happened", got, next)
		}
		next++
	}
	if st := b.Stats(); next != n+1 || st.Frames+st.Lost != n+1 {
		t.Errorf("%d frames accounted for, counters %+v, sent %d", next, st, n+1)
	}
}

func TestVCANDownAndUp(t *testing.T) {
	v := upInterface(t, "vcand", false)
	var rec cantest.Recorder
	b := newBus(t, can.Config{Interface: "vcand"})
	r := startUp(t, b, &rec)
	ctx := testContext(t)
	must(t, newSender(t, "vcand").Send(frame(t, "001#01")))
	for i := 1; i <= 2; i++ {
		must(t, rec.WaitFrames(ctx, i))
		must(t, v.Down())
		must(t, rec.WaitEvents(ctx, 2*i-1))
		if b.Stats().Up {
			t.Error("counted as up while it is down")
		}
		must(t, v.Up())
		must(t, rec.WaitEvents(ctx, 2*i)) // seen without any frame
		must(t, newSender(t, "vcand").Send(frame(t, "002#02")))
	}
	must(t, rec.WaitFrames(ctx, 3))
	r.stop()
	want := []string{"can_link_down raised", "can_link_down cleared", "can_link_down raised", "can_link_down cleared"}
	if got := rec.Events(); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestVCANBusOffEndsWithALinkThatComesUp(t *testing.T) {
	v := upInterface(t, "vcanb", false)
	var rec cantest.Recorder
	r := startUp(t, newBus(t, can.Config{Interface: "vcanb"}), &rec)
	must(t, newSender(t, "vcanb").Send(frame(t, "20000040#0000000000000000")))
	must(t, rec.WaitEvents(testContext(t), 1))
	must(t, v.Down())
	must(t, rec.WaitEvents(testContext(t), 2))
	must(t, v.Up())
	must(t, rec.WaitEvents(testContext(t), 4))
	r.stop()
	want := []string{"can_bus_off raised", "can_link_down raised", "can_link_down cleared", "can_bus_off cleared"}
	if got := rec.Events(); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestVCANRemoved takes the interface away under a running bus and brings it
// back under another index, down at first, with Run called again and again as
// the gateway does.
func TestVCANRemoved(t *testing.T) {
	v := upInterface(t, "vcanr", false)
	var rec cantest.Recorder
	b := newBus(t, can.Config{Interface: "vcanr"})
	ctx := testContext(t)
	r := startUp(t, b, &rec)
	must(t, newSender(t, "vcanr").Send(frame(t, "001#01")))
	must(t, rec.WaitFrames(ctx, 1))

	must(t, v.Delete())
	if err := r.wait(); !errors.Is(err, unix.ENODEV) {
		t.Fatalf("Run returned %v, want ENODEV", err)
	}
	for range 3 {
		if err := b.Run(ctx, &rec); !errors.Is(err, unix.ENODEV) {
			t.Fatalf("Run without the interface returned %v, want ENODEV", err)
		}
	}
	other := canInterface(t, "vcanr2", false) // takes the next index
	defer func() { _ = other.Delete() }()
	v = canInterface(t, "vcanr", false)
	r = start(t, func(ctx context.Context) error { return b.Run(ctx, &rec) })
	must(t, v.Up())
	must(t, rec.WaitEvents(ctx, 2))
	must(t, newSender(t, "vcanr").Send(frame(t, "002#02")))
	must(t, rec.WaitFrames(ctx, 2))
	r.stop()
	if got, want := rec.Events(), []string{"can_link_down raised", "can_link_down cleared"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	if got := notations(rec.All()); !slices.Equal(got, []string{"001#01", "002#02"}) {
		t.Errorf("frames %q", got)
	}
}

func TestVCANMissingOrDownAtStart(t *testing.T) {
	canInterface(t, "vcans0", false) // only to skip where there is no vcan
	var rec cantest.Recorder
	b := newBus(t, can.Config{Interface: "vcans"})
	ctx := testContext(t)
	for range 2 {
		if err := b.Run(ctx, &rec); !errors.Is(err, unix.ENODEV) {
			t.Fatalf("Run returned %v, want ENODEV", err)
		}
	}
	v := canInterface(t, "vcans", false) // there, but down
	r := start(t, func(ctx context.Context) error { return b.Run(ctx, &rec) })
	must(t, v.Up())
	must(t, rec.WaitEvents(ctx, 2))
	r.stop()
	if got, want := rec.Events(), []string{"can_link_down raised", "can_link_down cleared"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestVCANRenamed(t *testing.T) {
	v := upInterface(t, "vcann", false)
	var rec cantest.Recorder
	b := newBus(t, can.Config{Interface: "vcann"})
	r := startUp(t, b, &rec)
	must(t, v.Down())
	must(t, v.Rename("vcann2"))
	if err := r.wait(); !errors.Is(err, unix.ENODEV) {
		t.Fatalf("Run returned %v, want ENODEV: the interface of that name is gone", err)
	}
	must(t, v.Rename("vcann"))
	must(t, v.Up())
	r = start(t, func(ctx context.Context) error { return b.Run(ctx, &rec) })
	must(t, rec.WaitEvents(testContext(t), 2))
	r.stop()
	if got, want := rec.Events(), []string{"can_link_down raised", "can_link_down cleared"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestVCANEndsAtOnceOnAnIdleBus(t *testing.T) {
	v := upInterface(t, "vcani", false)
	b := newBus(t, can.Config{Interface: "vcani"})
	startUp(t, b, &cantest.Recorder{}).stop()
	var rec cantest.Recorder
	r := startUp(t, b, &rec)
	must(t, v.Down())
	must(t, rec.WaitEvents(testContext(t), 1))
	r.stop() // also while it waits for the link
}

func TestVCANNotACANInterface(t *testing.T) {
	canInterface(t, "vcanq", false)
	var rec cantest.Recorder
	err := newBus(t, can.Config{Interface: "lo"}).Run(testContext(t), &rec)
	if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "is it a CAN interface?") {
		t.Errorf("Run on lo returned %v", err)
	}
}

func TestNoCANInTheKernel(t *testing.T) {
	fd, err := unix.Socket(unix.AF_CAN, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.CAN_RAW)
	if err == nil {
		_ = unix.Close(fd)
		return // what happens here, the tests above show
	}
	var rec cantest.Recorder
	b := newBus(t, can.Config{Interface: "can0"})
	for range 2 {
		if err := b.Run(testContext(t), &rec); !errors.Is(err, unix.EAFNOSUPPORT) {
			t.Errorf("Run returned %v", err)
		}
	}
	if got := rec.Events(); !slices.Equal(got, []string{"can_link_down raised"}) {
		t.Errorf("events %q, want one", got)
	}
}
