package can_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

// The receive loop on descriptors that every kernel has: a SEQPACKET pair is
// ordered and loses nothing, a UDP socket has time stamps and counts drops as
// a CAN socket does.

func seqpacket(t testing.TB) (fd int, s *cantest.Sender) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, unix.SetNonblock(fds[0], true))
	s = cantest.SenderOn(fds[1])
	return fds[0], s
}

func udp(t testing.TB, receiveBuffer int) (fd int, s *cantest.Sender) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	// An emulator of another machine's user space may not pass these on.
	if err := can.AskForOverflows(fd); errors.Is(err, unix.ENOPROTOOPT) {
		_ = unix.Close(fd)
		unavailable(t, "no SO_RXQ_OVFL here")
	} else {
		must(t, err)
	}
	can.AskForStamps(fd, can.TimesKernel)
	if receiveBuffer > 0 {
		must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer))
	}
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	addr, err := unix.Getsockname(fd)
	must(t, err)
	out, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, unix.Connect(out, addr))
	s = cantest.SenderOn(out)
	t.Cleanup(func() { _ = s.Close() })
	return fd, s
}

func counterFrame(i int) can.Frame {
	f := can.Frame{ID: 0x123, Len: 8}
	binary.BigEndian.PutUint64(f.Data[:], uint64(i))
	return f
}

func TestReceiveKeepsOrderAndBatches(t *testing.T) {
	const n = 1000
	fd, s := seqpacket(t)
	defer func() { _ = s.Close() }()
	b := newBus(t, can.Config{})
	var rec cantest.Recorder
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if err := s.Send(counterFrame(i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	r := start(t, func(ctx context.Context) error { return b.RunFD(ctx, fd, &rec) })
	must(t, rec.WaitFrames(testContext(t), n))
	must(t, <-sent)
	r.stop()
	for i, f := range rec.All() {
		f.Time = 0
		if f != counterFrame(i) {
			t.Fatalf("frame %d is %v", i, f)
		}
	}
	if got := slices.Max(rec.Batches()); got > can.BatchLen {
		t.Errorf("a batch of %d frames", got)
	}
	if st := b.Stats(); st.Frames != n || st.Lost != 0 {
		t.Errorf("counters %+v", st)
	}
}

// TestReceiveDrainsAtTheEnd: what the kernel holds when the context ends is
// still handed over, also if Run never got to read before.
func TestReceiveDrainsAtTheEnd(t *testing.T) {
	const n = 5
	fd, s := seqpacket(t)
	defer func() { _ = s.Close() }()
	for i := range n {
		must(t, s.Send(counterFrame(i)))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var rec cantest.Recorder
	must(t, newBus(t, can.Config{}).RunFD(ctx, fd, &rec))
	if got := len(rec.All()); got != n {
		t.Errorf("%d frames handed over, want %d", got, n)
	}
}

func TestReceiveOtherEndCloses(t *testing.T) {
	fd, s := seqpacket(t)
	must(t, s.Send(counterFrame(0)))
	must(t, s.Close())
	var rec cantest.Recorder
	err := newBus(t, can.Config{}).RunFD(testContext(t), fd, &rec)
	if !errors.Is(err, can.ErrClosed) {
		t.Errorf("RunFD returned %v", err)
	}
	if len(rec.All()) != 1 {
		t.Errorf("got %v", rec.All())
	}
}

func TestReceiveIgnoresWhatIsNoFrame(t *testing.T) {
	fd, s := udp(t, 0)
	out := cantest.Wire(counterFrame(1))
	b := newBus(t, can.Config{})
	var rec cantest.Recorder
	r := start(t, func(ctx context.Context) error { return b.RunFD(ctx, fd, &rec) })
	for _, raw := range [][]byte{out[:1], out[:15], append(out, 0), make([]byte, 71), make([]byte, 73), make([]byte, 2000)} {
		must(t, s.SendRaw(raw))
	}
	must(t, s.Send(counterFrame(2)))
	must(t, rec.WaitFrames(testContext(t), 1))
	r.stop()
	if st := b.Stats(); st.Malformed != 6 || st.Frames != 1 {
		t.Errorf("counters %+v", st)
	}
}

// TestReceiveCountsOverflow: as TestVCANOverflow, on UDP.
func TestReceiveCountsOverflow(t *testing.T) {
	const n = 500
	fd, s := udp(t, 4096)
	for i := range n {
		must(t, s.Send(counterFrame(i)))
	}
	b := newBus(t, can.Config{})
	var rec cantest.Recorder
	r := start(t, func(ctx context.Context) error { return b.RunFD(ctx, fd, &rec) })
	must(t, rec.WaitFrames(testContext(t), n)) // no later frame brings the count
	must(t, s.Send(counterFrame(n)))
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
		if got := binary.BigEndian.Uint64(it.Frame.Data[:]); got != next {
			t.Fatalf("frame %d came where %d was due", got, next)
		}
		next++
	}
	if st := b.Stats(); next != n+1 || st.Lost != rec.LostSum() {
		t.Errorf("%d accounted for of %d, counters %+v", next, n+1, st)
	}
}

func TestReceiveTimestamps(t *testing.T) {
	t.Run("kernel", func(t *testing.T) {
		fd, s := udp(t, 0)
		before := time.Now().UnixNano()
		must(t, s.Send(counterFrame(0)))
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != nil {
			t.Fatal(err)
		}
		after := time.Now().UnixNano() // it has come, and nobody has read it yet
		b := newBus(t, can.Config{})
		var rec cantest.Recorder
		r := start(t, func(ctx context.Context) error { return b.RunFD(ctx, fd, &rec) })
		must(t, rec.WaitFrames(testContext(t), 1))
		r.stop()
		if got := rec.All()[0].Time; got < before || got > after {
			t.Errorf("time %d, came between %d and %d", got, before, after)
		}
		if got := b.Stats().Timestamps; got != "kernel" {
			t.Errorf("times are said to be from %q", got)
		}
	})
	t.Run("hardware that is not there", func(t *testing.T) {
		fd, s := udp(t, 0)
		can.AskForStamps(fd, can.TimesHardware)
		b := newBus(t, can.Config{Timestamps: can.TimesHardware})
		var rec cantest.Recorder
		before := time.Now().UnixNano()
		r := start(t, func(ctx context.Context) error { return b.RunFD(ctx, fd, &rec) })
		must(t, s.Send(counterFrame(0)))
		must(t, rec.WaitFrames(testContext(t), 1))
		r.stop()
		if got := rec.All()[0].Time; got < before || got > time.Now().UnixNano() || b.Stats().Timestamps != "kernel" {
			t.Errorf("time %d, said to be from %q", got, b.Stats().Timestamps)
		}
	})
	t.Run("receive", func(t *testing.T) {
		fd, s := seqpacket(t)
		defer func() { _ = s.Close() }()
		b := newBus(t, can.Config{})
		var rec cantest.Recorder
		before := time.Now().UnixNano()
		r := start(t, func(ctx context.Context) error { return b.RunFD(ctx, fd, &rec) })
		must(t, s.Send(counterFrame(0)))
		must(t, rec.WaitFrames(testContext(t), 1))
		r.stop()
		if got := rec.All()[0].Time; got < before || got > time.Now().UnixNano() {
			t.Errorf("time %d", got)
		}
		if got := b.Stats().Timestamps; got != "receive" {
			t.Errorf("times are said to be from %q", got)
		}
	})
}

func TestReceiveEndsAtOnceWhenIdle(t *testing.T) {
	fd, s := seqpacket(t)
	defer func() { _ = s.Close() }()
	b := newBus(t, can.Config{})
	start(t, func(ctx context.Context) error { return b.RunFD(ctx, fd, &cantest.Recorder{}) }).stop()
}

// TestReceiveSleepsWhileFramesGather: a frame that nobody waits for does not
// wake the process. That, not the number of calls, is what a tick saves.
func TestReceiveSleepsWhileFramesGather(t *testing.T) {
	fd, s := seqpacket(t)
	defer func() { _ = s.Close() }()
	st := can.NewStepper(newBus(t, can.Config{}), fd, discard{})
	defer st.Close()
	for range 3 {
		must(t, s.Send(counterFrame(0)))
		if n := st.Step(); n != 1 {
			t.Fatalf("took %d frames", n)
		}
		must(t, s.Send(counterFrame(1)))
		if st.Awake() {
			t.Fatal("a frame between two waits wakes the poller")
		}
		if n := st.Step(); n != 1 {
			t.Fatalf("took %d frames: what came between is not seen", n)
		}
	}
}

// TestReceiveDoesNotAllocate: what a frame costs must not depend on the garbage collector.
func TestReceiveDoesNotAllocate(t *testing.T) {
	fd, s := seqpacket(t)
	defer func() { _ = s.Close() }()
	st := can.NewStepper(newBus(t, can.Config{}), fd, discard{})
	defer st.Close()
	raw := cantest.Wire(counterFrame(7))
	storm := cantest.Wire(frame(t, "20000204#0020000000008000"))
	step := func() {
		for range 10 {
			must(t, s.SendRaw(raw))
			must(t, s.SendRaw(storm))
		}
		if n := st.Step(); n != 20 {
			t.Fatalf("took %d frames", n)
		}
	}
	step() // the first error frame raises an event
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%v allocations for 20 frames, want none", n)
	}
}

func TestMmsghdrLayout(t *testing.T) {
	want := uintptr(64)
	if unsafe.Sizeof(uintptr(0)) == 4 {
		want = 32
	}
	if can.SizeofMmsghdr != want {
		t.Errorf("mmsghdr has %d bytes, the kernel's %d", can.SizeofMmsghdr, want)
	}
}

// cmsg builds a control message as the kernel does.
func cmsg(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func words(size int, vs ...int64) []byte {
	var b []byte
	for _, v := range vs {
		if size == 8 {
			b = binary.NativeEndian.AppendUint64(b, uint64(v))
		} else {
			b = binary.NativeEndian.AppendUint32(b, uint32(v))
		}
	}
	return b
}

func TestParseControl(t *testing.T) {
	const sec, nsec = 1_800_000_000, 123_456_789
	stamp := cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, words(8, sec, nsec))
	old64 := cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, words(8, sec, nsec))
	old32 := cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, words(4, sec, nsec))
	drops := cmsg(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, words(4, 0xfffffffe))
	other := cmsg(unix.SOL_IP, unix.SO_RXQ_OVFL, words(4, 7))
	lying := slices.Clone(stamp)
	(*unix.Cmsghdr)(unsafe.Pointer(&lying[0])).SetLen(1 << 20)
	for name, c := range map[string]struct {
		b        []byte
		stamp    int64
		drops    uint32
		hasDrops bool
	}{
		"nothing":        {nil, 0, 0, false},
		"new":            {stamp, sec*1e9 + nsec, 0, false},
		"old, 64 bit":    {old64, sec*1e9 + nsec, 0, false},
		"old, 32 bit":    {old32, sec*1e9 + nsec, 0, false},
		"both":           {slices.Concat(stamp, drops), sec*1e9 + nsec, 0xfffffffe, true},
		"drops first":    {slices.Concat(drops, stamp), sec*1e9 + nsec, 0xfffffffe, true},
		"other level":    {slices.Concat(other, stamp), sec*1e9 + nsec, 0, false},
		"lying length":   {lying, 0, 0, false},
		"zeros":          {make([]byte, 64), 0, 0, false},
		"cut":            {stamp[:len(stamp)-1], 0, 0, false},
		"header only":    {stamp[:unix.CmsgLen(0)], 0, 0, false},
		"short of stamp": {cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, words(4, 1)), 0, 0, false},
	} {
		if s, _, d, has := can.ParseControl(c.b); s != c.stamp || d != c.drops || has != c.hasDrops {
			t.Errorf("%s: %d %d %v", name, s, d, has)
		}
	}
}

func TestParseHardwareTime(t *testing.T) {
	const sec, nsec = 5, 123_456_789
	kernel := cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, words(8, 1_800_000_000, 0))
	for name, b := range map[string][]byte{
		"new":         cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, words(8, 1, 2, 3, 4, sec, nsec)),
		"old, 64 bit": cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, words(8, 1, 2, 3, 4, sec, nsec)),
		"old, 32 bit": cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, words(4, 1, 2, 3, 4, sec, nsec)),
	} {
		if s, hw, _, _ := can.ParseControl(slices.Concat(kernel, b)); s != 1_800_000_000*1e9 || hw != sec*1e9+nsec {
			t.Errorf("%s: kernel %d, hardware %d", name, s, hw)
		}
	}
	short := cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, words(8, 1, 2, 3, 4, sec))
	if _, hw, _, _ := can.ParseControl(short); hw != 0 {
		t.Errorf("of a message that is too short: %d", hw)
	}
}

// TestHardwareClock: a controller's clock that began a while ago and drifts,
// with frames told late by an amount that varies. The distances of frames
// stay the controller's, and no time is later than the frame was told.
func TestHardwareClock(t *testing.T) {
	const start, drift = int64(1_800_000_000e9), 50e-6
	var c can.HardwareClock
	for i := range int64(60_000) {
		wire := i * 1e6 // one frame a millisecond, for a minute
		hardware := 7e9 + wire + int64(float64(wire)*drift)
		late := i * 7919 % 1000 * 1000 // up to 1 ms
		told := start + wire + late
		got := c.ToMachine(hardware, told)
		if got > told {
			t.Fatalf("frame %d: has time %d ns after it was told", i, got-told)
		}
		// Settled after some frames; a stretch of 10 s drifts by half a millisecond.
		if off := got - (start + wire); i > 1000 && (off < -600e3 || off > 600e3) {
			t.Fatalf("frame %d: off by %d ns", i, off)
		}
	}
	for _, step := range []struct {
		what           string
		hardware, told int64
	}{
		{"the machine's clock is set", 70e9, start + 3600e9},
		{"the controller begins from zero", 1, start + 3601e9},
	} {
		if got := c.ToMachine(step.hardware, step.told); got != step.told {
			t.Errorf("%s: off by %d ns", step.what, got-step.told)
		}
	}
}

func FuzzParseControl(f *testing.F) {
	f.Add(cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, words(8, 1, 2)))
	f.Add(cmsg(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, words(4, 3)))
	f.Fuzz(func(_ *testing.T, b []byte) { can.ParseControl(b) })
}

func TestDropCounter(t *testing.T) {
	var c can.DropCounter
	var total uint64
	for i, step := range []struct {
		count uint32
		want  uint64
	}{
		{0, 0}, {3, 3}, {3, 0}, {10, 7},
		{8, 0}, // of a frame queued before the last count was asked for
		{11, 1},
		{math.MaxInt32, math.MaxInt32 - 11},
		{math.MaxUint32 - 1, math.MaxInt32},
		{4, 6}, // the kernel's counter has wrapped
		{math.MaxUint32, 0},
		{5, 1},
	} {
		got := c.New(step.count)
		if got != step.want {
			t.Errorf("step %d: %d new drops, want %d", i, got, step.want)
		}
		total += got
	}
	if total != 1<<32+5 {
		t.Errorf("%d in all", total)
	}
}

type discard struct{}
