package uplinktest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoTUN says that this process cannot have a network device of its own:
// that takes root and /dev/net/tun.
var ErrNoTUN = errors.New("uplinktest: no TUN device")

// Path is a way for packets, where a [Link] is one for bytes: they can be
// lost, and both ends have the kernel's own TCP to cope with it. It is a TUN
// device of this machine. Who dials [Path.Far] reaches what listens at
// [Path.Near], and every packet between the two passes here: source and destination are
// swapped, which leaves all checksums right, and each end takes the other for
// a host beyond the device. All methods may be called from any goroutine.
type Path struct {
	device    *os.File
	near, far netip.Addr

	mu        sync.Mutex
	shape     Shape
	cut       bool
	dialled   map[uint16]bool // ports from which connections were opened
	forgotten map[uint16]bool // those whose packets go nowhere
	lost      uint64
	up, down  lane
	wg        sync.WaitGroup
}

// lane is one direction.
type lane struct{ queue chan chunk }

const (
	pathMTU = 1500
	// pathQueue is how many packets wait for a slow line before the next is
	// dropped: seconds of it, as in modems.
	pathQueue = 16
	// pathFlight is how many may be under way on a fast one.
	pathFlight = 8192
)

// NewPath makes a path.
func NewPath() (*Path, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTUN, err)
	}
	name, err := unix.NewIfreq("ffpath%d") // the kernel finds a number
	if err == nil {
		name.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, name)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%w: %w", ErrNoTUN, err)
	}
	p := &Path{device: os.NewFile(uintptr(fd), "tun"), dialled: map[uint16]bool{}, forgotten: map[uint16]bool{}}
	if err := p.address(name.Name()); err != nil {
		_ = p.device.Close()
		return nil, fmt.Errorf("uplinktest: %s: %w", name.Name(), err)
	}
	for _, l := range []*lane{&p.up, &p.down} {
		l.queue = make(chan chunk, pathFlight)
		p.wg.Go(func() { p.deliver(l) })
	}
	p.wg.Go(p.receive)
	return p, nil
}

// address gives the device two addresses of the network for tests (RFC 2544).
func (p *Path) address(name string) error {
	var index uint16
	if _, err := fmt.Sscanf(name, "ffpath%d", &index); err != nil {
		return err
	}
	base := 4 * (index % 8192)
	at := func(n uint16) netip.Addr {
		b := [4]byte{198, 18}
		binary.BigEndian.PutUint16(b[2:], base+n)
		return netip.AddrFrom4(b)
	}
	p.near, p.far = at(1), at(2)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	set := func(request uint, addr netip.Addr) error {
		r, err := unix.NewIfreq(name)
		if err == nil {
			err = r.SetInet4Addr(addr.AsSlice())
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, request, r)
		}
		return err
	}
	up, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	up.SetUint16(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_POINTOPOINT)
	return errors.Join(set(unix.SIOCSIFADDR, p.near), set(unix.SIOCSIFDSTADDR, p.far),
		unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up))
}

// Near is the address for a broker to listen at, with port 0.
func (p *Path) Near() string { return netip.AddrPortFrom(p.near, 0).String() }

// Far is the host:port to dial for what listens at near, host:port as well.
func (p *Path) Far(near string) (string, error) {
	at, err := netip.ParseAddrPort(near)
	return netip.AddrPortFrom(p.far, at.Port()).String(), err
}

// Shape sets what happens to packets from now on.
func (p *Path) Shape(s Shape) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shape = s
}

// Cut loses every packet until [Path.Restore], and tells nobody.
func (p *Path) Cut() { p.setCut(true) }

// Restore ends what Cut began.
func (p *Path) Restore() { p.setCut(false) }

func (p *Path) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
}

// Forget loses every packet of the connections there are, as a NAT does that
// has forgotten them. New ones work.
func (p *Path) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for port := range p.dialled {
		p.forgotten[port] = true
	}
}

// Lost is how many packets were lost, by whatever.
func (p *Path) Lost() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Close removes the device.
func (p *Path) Close() {
	_ = p.device.Close()
	p.wg.Wait()
}

// receive takes the packets that the kernel sends.
func (p *Path) receive() {
	defer close(p.up.queue)
	defer close(p.down.queue)
	buf := make([]byte, pathMTU)
	for {
		n, err := p.device.Read(buf)
		if err != nil {
			return
		}
		if l, at := p.route(buf[:n]); l != nil {
			l.queue <- chunk{append([]byte(nil), buf[:n]...), at}
		}
	}
}

// route turns a packet round and says by which lane it goes, and when it
// arrives; nil: it is lost.
func (p *Path) route(packet []byte) (*lane, time.Time) {
	const tcp, syn, ack = 6, 2, 16
	if len(packet) < 40 || packet[0]>>4 != 4 || packet[9] != tcp {
		return nil, time.Time{} // neighbour discovery of IPv6 and the like
	}
	header := 4 * int(packet[0]&15)
	if len(packet) < header+20 {
		return nil, time.Time{}
	}
	for i := range 4 {
		packet[12+i], packet[16+i] = packet[16+i], packet[12+i]
	}
	from, to := binary.BigEndian.Uint16(packet[header:]), binary.BigEndian.Uint16(packet[header+2:])
	p.mu.Lock()
	defer p.mu.Unlock()
	if packet[header+13]&(syn|ack) == syn {
		p.dialled[from] = true
	}
	l, port := &p.up, from
	if !p.dialled[from] {
		l, port = &p.down, to
	}
	s := p.shape
	most := cap(l.queue)
	if s.Rate > 0 {
		most = pathQueue
	}
	if p.cut || p.forgotten[port] || rand.Float64() < s.Loss || len(l.queue) >= most {
		p.lost++
		return nil, time.Time{}
	}
	return l, time.Now().Add(s.Delay)
}

// deliver gives the kernel the packets that arrive.
func (p *Path) deliver(l *lane) {
	var free time.Time // the line, see Shape.write
	for c := range l.queue {
		p.mu.Lock()
		if p.shape.Rate > 0 {
			free = later(free, c.at).Add(time.Duration(len(c.data)) * time.Second / time.Duration(p.shape.Rate))
			c.at = free
		}
		p.mu.Unlock()
		if pause := time.Until(c.at); pause > 0 {
			time.Sleep(pause)
		}
		_, _ = p.device.Write(c.data) // a packet that the kernel does not take is lost
	}
}
