package can

import (
	"context"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can/link"
)

// RunFD runs the receive loop on any descriptor that yields a frame in each
// datagram. It takes over fd.
func (b *Bus) RunFD(ctx context.Context, fd int, h Handler) error {
	r, err := newReceiver(fd)
	if err != nil {
		return err
	}
	defer r.close()
	d := newDelivery(b, h)
	err = b.receive(ctx, r, d)
	d.flush()
	return err
}

// Stepper drives the parts of the receive loop one at a time.
type Stepper struct {
	r *receiver
	d *delivery
}

func NewStepper(b *Bus, fd int, h Handler) *Stepper {
	r, err := newReceiver(fd)
	if err != nil {
		panic(err)
	}
	return &Stepper{r, newDelivery(b, h)}
}

// Step waits for frames and hands them over.
func (s *Stepper) Step() int {
	n, err := s.r.wait()
	if err != nil {
		panic(err)
	}
	if err := s.d.frames(s.r, n); err != nil {
		panic(err)
	}
	s.d.flush()
	s.d.drops(s.r)
	return n
}

// OneByOne reads a frame per call through Go's poller, as most readers do.
type OneByOne struct {
	file *os.File
	d    *delivery
	buf  [fdMTU]byte
}

func NewOneByOne(b *Bus, fd int, h Handler) *OneByOne {
	return &OneByOne{file: os.NewFile(uintptr(fd), "test"), d: newDelivery(b, h)}
}

func (s *OneByOne) Step() {
	n, err := s.file.Read(s.buf[:])
	if err != nil {
		panic(err)
	}
	f := s.d.slot()
	f.Time = time.Now().UnixNano()
	decodeWire(f, s.buf[:n])
	s.d.keep(false)
	s.d.flush()
}

func (s *OneByOne) Close() { _ = s.file.Close() }

// Awake reports whether a frame that came now would wake, or has woken, the poller.
func (s *Stepper) Awake() bool {
	var events [1]unix.EpollEvent
	n, err := unix.EpollWait(s.r.epfd, events[:], 0)
	return n > 0 || err != nil
}

func (s *Stepper) Close() { s.r.close() }

// Deliverer hands frames to a handler as a source does.
type Deliverer struct{ d *delivery }

func NewDeliverer(b *Bus, h Handler) Deliverer { return Deliverer{newDelivery(b, h)} }

func (d Deliverer) Frame(f Frame, own bool) { *d.d.slot() = f; d.d.keep(own) }
func (d Deliverer) Link(up bool)            { d.d.link(up, "test") }
func (d Deliverer) Settle(now int64)        { d.d.flush(); d.d.settle(now) }
func (d Deliverer) Flush()                  { d.d.flush() }

// DropCounter follows the kernel's counter of dropped frames.
type DropCounter struct{ r receiver }

func (c *DropCounter) New(count uint32) uint64 { return c.r.newDrops(count) }

var (
	AskForOverflows = askForOverflows
	AskForStamps    = askForStamps
	DecodeWire      = decodeWire
	ErrClosed       = errClosed
)

// ParseControl returns what the kernel tells beside a frame.
func ParseControl(b []byte) (stamp, hardware int64, drops uint32, hasDrops bool) {
	c := parseControl(b)
	return c.stamp, c.hardware, c.drops, c.hasDrops
}

func (f Filter) Match(id uint32) bool { return f.match(id) }

const (
	SizeofMmsghdr = unsafe.Sizeof(mmsghdr{})
	BatchLen      = batchLen
	MaxPages      = maxPages
)

// EngineFrames returns the first n frames of sim:engine with their due times
// as their times.
func EngineFrames(n int) []Frame {
	t := newEngineTrack()
	frames := make([]Frame, n)
	for i := range frames {
		due, _ := t.next(&frames[i])
		frames[i].Time = int64(due)
	}
	return frames
}

// StatsAt and TrafficAt are Stats and Traffic at another time.
func (b *Bus) StatsAt(now int64) Stats {
	s := b.count.stats()
	b.traffic.stats(&s, now)
	return s
}

func (b *Bus) TrafficAt(now int64) []IDTraffic { return b.traffic.list(now) }

// HardwareClock brings a controller's times onto the machine's clock.
type HardwareClock struct{ c hardwareClock }

func (c *HardwareClock) ToMachine(hardware, told int64) int64 { return c.c.toMachine(hardware, told) }

func (c *Config) KernelFilters() []Filter { return c.kernelFilters() }

// Links puts functions in the place of the kernel.
func (b *Bus) Links(get func(string) (link.Info, error), up func(string, link.Settings) (link.Info, error), restart func(string) error) {
	b.links = links{get, up, restart}
}

func (b *Bus) BringUp() error { return b.bringUp() }

// Begin asks for the state of the controller as at the start of reading.
func (d Deliverer) Begin() { d.d.follow(d.d.b.ask()) }

// Attend does what the receive loop does whenever it comes by.
func (d Deliverer) Attend() { d.d.attend(&receiver{link: &netdev{}}) }
