package link

import (
	"encoding/binary"
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes that golang.org/x/sys does not know yet (linux/can/netlink.h).
const (
	iflaCANCtrlmodeExt       = 17
	iflaCANCtrlmodeSupported = 1
)

var errShort = errors.New("the kernel's answer is shorter than a link message")

// decode reads a link message. ok is false if it is not about a CAN interface.
func decode(b []byte) (info Info, ok bool, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return info, false, errShort
	}
	if binary.NativeEndian.Uint16(b[2:]) != arphrdCAN {
		return info, false, nil
	}
	info.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	info.Up = binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return info, false, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			info.Name = ad.String()
		case unix.IFLA_MTU:
			info.MTU = ad.Uint32()
		case unix.IFLA_TXQLEN:
			info.TxQueueLen = ad.Uint32()
		case unix.IFLA_STATS64:
			info.Traffic = decodeTraffic(ad.Bytes())
		case unix.IFLA_LINKINFO:
			ad.Nested(func(nad *netlink.AttributeDecoder) error { return decodeLinkInfo(nad, &info) })
		}
	}
	return info, true, ad.Err()
}

func decodeLinkInfo(ad *netlink.AttributeDecoder, info *Info) error {
	var counters []byte
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_INFO_KIND:
			info.Kind = ad.String()
		case unix.IFLA_INFO_XSTATS:
			counters = ad.Bytes()
		case unix.IFLA_INFO_DATA:
			ad.Nested(func(nad *netlink.AttributeDecoder) error {
				c := &Controller{State: Stopped}
				info.Controller = c
				return c.decode(nad)
			})
		}
	}
	if info.Kind == KindVirtual {
		info.Controller = nil
	}
	if info.Controller != nil {
		info.Controller.Counters = decodeCounters(counters)
	}
	return ad.Err()
}

// decode reads what stands below IFLA_INFO_DATA. Lengths are looked at: the
// structures have grown before.
func (c *Controller) decode(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		w := words(ad.Bytes())
		switch ad.Type() {
		case unix.IFLA_CAN_STATE:
			c.State = State(w.at(0))
		case unix.IFLA_CAN_BITTIMING:
			c.Timing = w.timing()
		case unix.IFLA_CAN_DATA_BITTIMING:
			c.Data = w.timing()
		case unix.IFLA_CAN_BITTIMING_CONST:
			c.Limits = w.limits()
		case unix.IFLA_CAN_DATA_BITTIMING_CONST:
			c.DataLimits = w.limits()
		case unix.IFLA_CAN_BITRATE_CONST:
			c.Bitrates = w.list()
		case unix.IFLA_CAN_DATA_BITRATE_CONST:
			c.DataBitrates = w.list()
		case unix.IFLA_CAN_BITRATE_MAX:
			c.BitrateMax = w.at(0)
		case unix.IFLA_CAN_CLOCK:
			c.Clock = w.at(0)
		case unix.IFLA_CAN_CTRLMODE:
			c.Mode = Mode(w.at(1))
		case unix.IFLA_CAN_RESTART_MS:
			c.RestartMs = w.at(0)
		case unix.IFLA_CAN_BERR_COUNTER:
			if len(w) >= 4 { // struct can_berr_counter: two u16
				c.HasErrors = true
				c.TxErrors = binary.NativeEndian.Uint16(w)
				c.RxErrors = binary.NativeEndian.Uint16(w[2:])
			}
		case unix.IFLA_CAN_TERMINATION:
			if len(w) >= 2 {
				c.Termination = binary.NativeEndian.Uint16(w)
			}
		case iflaCANCtrlmodeExt:
			ad.Nested(func(nad *netlink.AttributeDecoder) error {
				for nad.Next() {
					if nad.Type() == iflaCANCtrlmodeSupported {
						c.Supported = Mode(nad.Uint32())
					}
				}
				return nad.Err()
			})
		}
	}
	return ad.Err()
}

// words is a structure of 32-bit words of the kernel's; what is not there is 0.
type words []byte

func (w words) at(i int) uint32 {
	if len(w) < 4*i+4 {
		return 0
	}
	return binary.NativeEndian.Uint32(w[4*i:])
}

func (w words) timing() BitTiming {
	return BitTiming{Bitrate: w.at(0), SamplePoint: w.at(1), TimeQuantum: w.at(2), PropSeg: w.at(3),
		PhaseSeg1: w.at(4), PhaseSeg2: w.at(5), SJW: w.at(6), Prescaler: w.at(7)}
}

// limits is struct can_bittiming_const, which begins with a name of 16 bytes.
func (w words) limits() *Const {
	const nameLen = 16
	if len(w) < nameLen {
		return nil
	}
	name := w[:nameLen]
	for i, c := range name {
		if c == 0 {
			name = name[:i]
			break
		}
	}
	v := w[nameLen:]
	return &Const{Name: string(name), TSeg1Min: v.at(0), TSeg1Max: v.at(1), TSeg2Min: v.at(2), TSeg2Max: v.at(3),
		SJWMax: v.at(4), BRPMin: v.at(5), BRPMax: v.at(6), BRPSteps: v.at(7)}
}

func (w words) list() []uint32 {
	var l []uint32
	for i := range len(w) / 4 {
		l = append(l, w.at(i))
	}
	return l
}

func decodeCounters(b words) Counters {
	return Counters{BusErrors: b.at(0), ErrorWarning: b.at(1), ErrorPassive: b.at(2), BusOff: b.at(3),
		ArbitrationLost: b.at(4), Restarts: b.at(5)}
}

// decodeTraffic reads struct rtnl_link_stats64, of which only the beginning is
// the same in all kernels. It may stand at any address.
func decodeTraffic(b []byte) Traffic {
	at := func(i int) uint64 {
		if len(b) < 8*i+8 {
			return 0
		}
		return binary.NativeEndian.Uint64(b[8*i:])
	}
	return Traffic{RxFrames: at(0), TxFrames: at(1), RxBytes: at(2), TxBytes: at(3), RxErrors: at(4), TxErrors: at(5),
		RxDropped: at(6), TxDropped: at(7), RxOverruns: at(11)}
}
