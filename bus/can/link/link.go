// Package link shows and changes CAN network interfaces by rtnetlink, as
// "ip -details link" does: bit timing, controller mode, state and counters.
//
// # Nouns
//
// [Info] is what the kernel knows of one interface. A [Controller] is the part
// of it that only a real CAN controller has; a virtual interface has none.
// [Settings] are what [Up] makes of an interface.
//
// # Caveats
//
// Reading needs no privilege. Changing needs CAP_NET_ADMIN, and a controller
// takes a new bit rate or mode only while it is down: [Up] takes it down for
// that, and a frame on the wire meanwhile is not received. Nothing here writes
// to a bus, but a controller that is not listen-only acknowledges the frames
// of others. Functions are safe for concurrent use.
package link

import (
	"fmt"
	"strings"
)

// Kinds of interfaces, as [Info].Kind names them. Others (slcan, vxcan, ...)
// stand there as the kernel calls them.
const (
	KindController = "can"
	KindVirtual    = "vcan"
)

// State is the state of a controller (enum can_state of linux/can/netlink.h).
type State uint32

// The states of a controller.
const (
	ErrorActive  State = iota // fewer than 96 errors
	ErrorWarning              // fewer than 128
	ErrorPassive              // fewer than 256
	BusOff                    // it has left the bus
	Stopped                   // the interface is down
	Sleeping
)

var stateNames = [...]string{"error-active", "error-warning", "error-passive", "bus-off", "stopped", "sleeping"}

// String returns the state as ip(8) writes it, in small letters.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint32(s))
}

// Mode is a set of controller modes (CAN_CTRLMODE_*).
type Mode uint32

// The modes of a controller.
const (
	Loopback Mode = 1 << iota
	ListenOnly
	TripleSampling
	OneShot
	BerrReporting
	FD
	PresumeAck
	FDNonISO
	ClassicLenDLC
	TDCAuto
	TDCManual
)

var modeNames = [...]string{"loopback", "listen-only", "triple-sampling", "one-shot", "berr-reporting", "fd",
	"presume-ack", "fd-non-iso", "cc-len8-dlc", "tdc-auto", "tdc-manual"}

// Names returns the modes as ip(8) takes them, in small letters.
func (m Mode) Names() []string {
	names := []string{}
	for i, name := range modeNames {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String returns the modes joined by commas.
func (m Mode) String() string { return strings.Join(m.Names(), ",") }

// BitTiming is how a controller samples the bits of one phase.
type BitTiming struct {
	Bitrate     uint32 // bit/s; 0: not set
	SamplePoint uint32 // per mille of the bit
	TimeQuantum uint32 // ns
	PropSeg     uint32 // time quanta, as the next three
	PhaseSeg1   uint32
	PhaseSeg2   uint32
	SJW         uint32
	Prescaler   uint32
}

// Const are the limits of a controller's bit timing.
type Const struct {
	Name                     string
	TSeg1Min, TSeg1Max       uint32
	TSeg2Min, TSeg2Max       uint32
	SJWMax                   uint32
	BRPMin, BRPMax, BRPSteps uint32
}

// Controller is what only a real CAN controller has.
type Controller struct {
	State        State
	Timing       BitTiming
	Data         BitTiming // CAN FD: the data phase
	Limits       *Const    // nil: a fixed set of bit rates, or unknown
	DataLimits   *Const
	Bitrates     []uint32 // the only ones there are, if any
	DataBitrates []uint32
	BitrateMax   uint32 // of the transceiver; 0: not told
	Clock        uint32 // Hz
	Mode         Mode
	Supported    Mode // 0: the kernel does not say (before Linux 5.17)
	RestartMs    uint32
	HasErrors    bool // TxErrors and RxErrors are known
	TxErrors     uint16
	RxErrors     uint16
	Termination  uint16 // ohm; 0: none, or not told
	Counters     Counters
}

// Counters are what a controller has been through (struct can_device_stats).
type Counters struct {
	BusErrors       uint32
	ErrorWarning    uint32 // changes to that state
	ErrorPassive    uint32
	BusOff          uint32
	ArbitrationLost uint32
	Restarts        uint32
}

// Traffic are the counters every network interface has.
type Traffic struct {
	RxFrames, TxFrames   uint64
	RxBytes, TxBytes     uint64
	RxErrors, TxErrors   uint64
	RxDropped, TxDropped uint64
	RxOverruns           uint64 // the controller's own buffer overflowed
}

// Info is what the kernel knows of a CAN interface.
type Info struct {
	Name       string
	Index      int
	Kind       string // "can", "vcan", ...; empty: the driver does not say
	Up         bool
	MTU        uint32
	TxQueueLen uint32
	Controller *Controller // nil: a virtual interface
	Traffic    Traffic
}

// The MTU of an interface tells which frames it carries.
const (
	mtuClassic = 16
	mtuFD      = 72
)

// FD reports whether the interface carries CAN FD frames.
func (i *Info) FD() bool { return i.MTU >= mtuFD }

// Settings are what [Up] makes of an interface.
type Settings struct {
	Bitrate         uint32 // bit/s; 0: leave it
	SamplePoint     uint32 // per mille; 0: the kernel's choice
	DataBitrate     uint32 // bit/s, with FD
	DataSamplePoint uint32 // per mille; 0: the kernel's choice
	Mode            Mode   // of ManagedModes, those that are on; the others go off
	RestartMs       *uint32
	TxQueueLen      uint32 // frames; 0: leave it
}

// ManagedModes are the modes that [Settings] decide about. Others stay as they are.
const ManagedModes = Loopback | ListenOnly | TripleSampling | OneShot | BerrReporting | FD

// Matches reports whether an interface is set as s says, as far as s says.
func (s *Settings) Matches(i *Info) bool {
	if s.TxQueueLen != 0 && i.TxQueueLen != s.TxQueueLen {
		return false
	}
	c := i.Controller
	if c == nil {
		return s.Bitrate == 0
	}
	if s.Bitrate == 0 {
		return true
	}
	same := func(want, got uint32) bool { return want == 0 || want == got }
	return same(s.Bitrate, c.Timing.Bitrate) && same(s.SamplePoint, c.Timing.SamplePoint) &&
		same(s.DataBitrate, c.Data.Bitrate) && same(s.DataSamplePoint, c.Data.SamplePoint) &&
		s.Mode == c.Mode&ManagedModes && (s.RestartMs == nil || *s.RestartMs == c.RestartMs)
}
