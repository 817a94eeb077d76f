package modbus

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/modbus/tcp"
	"fieldferry/bus/permit"
)

// Master sends one request at a time, in RTU framing, and returns its reply.
// [rtu.Transporter] describes the methods.
type Master interface {
	SendContext(ctx context.Context, request []byte) ([]byte, error)
	Resend(ctx context.Context, request []byte) ([]byte, error)
	Write(ctx context.Context, p permit.Register, request []byte) ([]byte, error)
	Listen(ctx context.Context, d time.Duration) error
	Hold(unit, function byte, address, count uint16) time.Duration
	Owes(unit byte) bool
	Slowest(unit byte) time.Duration
	SetTimeout(d time.Duration)
	Attach(port rtu.Port)
	Stats() rtu.Stats
}

// Framing is how requests are carried.
type Framing uint8

// The framings.
const (
	Serial     Framing = iota // RTU on a serial port
	TCP                       // Modbus TCP
	RTUOverTCP                // RTU through a serial device server
)

// Endpoint is where the devices of a line are reached.
type Endpoint struct {
	Framing Framing
	Address string // path of the serial device, or host:port
}

const (
	tcpScheme    = "tcp://"
	rtuTCPScheme = "rtu+tcp://"
	defaultPort  = "502"
)

// The timeouts of a request that names none.
const (
	SerialTimeout  = 300 * time.Millisecond
	NetworkTimeout = time.Second // wireless dongles take 0.5 s, gateways answer for a dead unit after that
)

// Network reports whether the devices are reached by a network connection.
func (f Framing) Network() bool { return f != Serial }

// DefaultTimeout is how long a reply through the port is waited for unless
// something else is configured, by the daemon and by the verbs.
func DefaultTimeout(port string) time.Duration {
	if e, err := ParseEndpoint(port); err == nil && e.Framing.Network() {
		return NetworkTimeout
	}
	return SerialTimeout
}

// ParseEndpoint reads a path, tcp://host[:port] or rtu+tcp://host:port. Two
// spellings of one host and port give the same address.
func ParseEndpoint(port string) (Endpoint, error) {
	framing, rest := Serial, port
	switch {
	case strings.HasPrefix(port, tcpScheme):
		framing, rest = TCP, strings.TrimPrefix(port, tcpScheme)
	case strings.HasPrefix(port, rtuTCPScheme):
		framing, rest = RTUOverTCP, strings.TrimPrefix(port, rtuTCPScheme)
	case port == "":
		return Endpoint{}, fmt.Errorf("no port; name a serial device such as /dev/ttyS1, or tcp://host:502")
	case strings.Contains(port, "://"):
		return Endpoint{}, fmt.Errorf("port %q: use a serial device, tcp://host:502 or rtu+tcp://host:port", port)
	default:
		return Endpoint{Serial, port}, nil
	}
	rest = strings.TrimSuffix(rest, "/")
	host, service, err := net.SplitHostPort(rest)
	if err != nil && framing == TCP {
		host, service = strings.Trim(rest, "[]"), defaultPort
		if strings.Contains(host, ":") != strings.HasPrefix(rest, "[") {
			return Endpoint{}, fmt.Errorf("port %q: write an IPv6 address in brackets, such as tcp://[fe80::1]:502", port)
		}
	} else if err != nil {
		return Endpoint{}, fmt.Errorf("port %q: write host and port, such as %shost:4001", port, rtuTCPScheme)
	}
	if n, err := strconv.Atoi(service); host == "" || err != nil || n < 1 || n > 65535 {
		return Endpoint{}, fmt.Errorf("port %q: write host and port, such as tcp://192.168.1.20:502", port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String() // an IPv6 address has many spellings
	} else {
		host = strings.ToLower(host)
	}
	return Endpoint{framing, net.JoinHostPort(host, service)}, nil
}

// Open opens the port or connects. The caller attaches it to a master.
func (e Endpoint) Open(ctx context.Context, cfg rtu.PortConfig) (rtu.Port, error) {
	if e.Framing == Serial {
		cfg.Path = e.Address
		p, err := rtu.Open(cfg)
		if err != nil {
			return nil, err // not p: a nil *SerialPort is no nil Port
		}
		return p, nil
	}
	p, err := rtu.Dial(ctx, e.Address)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// NewMaster makes a master that speaks the endpoint's framing; replies is about
// Modbus TCP.
func (e Endpoint) NewMaster(cfg rtu.Config, replies tcp.Options) Master {
	switch e.Framing {
	case TCP:
		return tcp.NewTransporter(cfg, replies)
	case RTUOverTCP:
		// The characters' time on the line behind is not ours to reckon.
		cfg.Mode.BaudRate = 0
		return rtu.NewTransporter(cfg)
	default:
		return rtu.NewTransporter(cfg)
	}
}
