package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoDevice is wrapped when there is no interface of that name.
var ErrNoDevice error = unix.ENODEV

// ErrPermission is wrapped when CAP_NET_ADMIN is missing.
var ErrPermission error = unix.EPERM

// arphrdCAN is the link type of CAN interfaces (linux/if_arp.h).
const arphrdCAN = unix.ARPHRD_CAN

// request sends one rtnetlink message about links and returns the answers.
func request(kind netlink.HeaderType, flags netlink.HeaderFlags, data []byte) ([]netlink.Message, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | flags},
		Data:   data,
	})
	return msgs, kernelError(err)
}

// kernelError makes an errno of the library's error, which has a text for
// programmers: whoever reads ours has the interface's name already.
func kernelError(err error) error {
	var op *netlink.OpError
	var errno unix.Errno
	if errors.As(err, &op) && errors.As(op.Err, &errno) {
		if op.Message != "" { // the kernel's own words (extended acknowledgement)
			return fmt.Errorf("%w (%s)", errno, op.Message)
		}
		return errno
	}
	return err
}

// List returns all CAN interfaces, by name.
func List() ([]Info, error) {
	msgs, err := request(unix.RTM_GETLINK, netlink.Dump, header(0, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("listing the interfaces: %w", err)
	}
	list := []Info{}
	for _, m := range msgs {
		info, ok, err := decode(m.Data)
		if err != nil {
			return nil, fmt.Errorf("listing the interfaces: %w", err)
		}
		if ok {
			list = append(list, info)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

// Get returns the CAN interface of that name.
func Get(name string) (Info, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.IFLA_IFNAME, name)
	attrs, err := ae.Encode()
	if err != nil {
		return Info{}, fmt.Errorf("%s: %w", name, err)
	}
	msgs, err := request(unix.RTM_GETLINK, 0, append(header(0, 0, 0), attrs...))
	if err != nil {
		return Info{}, missing(name, err)
	}
	for _, m := range msgs {
		info, ok, err := decode(m.Data)
		if err != nil {
			return Info{}, fmt.Errorf("%s: %w", name, err)
		}
		if ok {
			return info, nil
		}
	}
	return Info{}, fmt.Errorf("%s is not a CAN interface: %w", name, ErrNoDevice)
}

// header is struct ifinfomsg: family, pad, type u16, index i32, flags u32, change u32.
func header(index int, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// encode is the message that changes an interface: its flags and, with
// attributes, what is below them. current are the modes the controller has.
func encode(index int, flags, change uint32, s *Settings, kind string, current Mode) ([]byte, error) {
	msg := header(index, flags, change)
	if s == nil {
		return msg, nil
	}
	ae := netlink.NewAttributeEncoder()
	if s.TxQueueLen != 0 {
		ae.Uint32(unix.IFLA_TXQLEN, s.TxQueueLen)
	}
	if s.Bitrate != 0 {
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, kind)
			info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
				encodeController(data, s, current)
				return nil
			})
			return nil
		})
	}
	attrs, err := ae.Encode()
	return append(msg, attrs...), err
}

// encodeController writes what stands below IFLA_INFO_DATA (linux/can/netlink.h).
func encodeController(ae *netlink.AttributeEncoder, s *Settings, current Mode) {
	ae.Bytes(unix.IFLA_CAN_BITTIMING, timing(s.Bitrate, s.SamplePoint))
	if s.DataBitrate != 0 {
		ae.Bytes(unix.IFLA_CAN_DATA_BITTIMING, timing(s.DataBitrate, s.DataSamplePoint))
	}
	// struct can_ctrlmode: mask, flags. Only what changes or is on stands in
	// the mask: some kernels refuse a bit the controller does not know even
	// when it is to be off.
	mode := make([]byte, 8)
	binary.NativeEndian.PutUint32(mode, uint32((s.Mode|current)&ManagedModes))
	binary.NativeEndian.PutUint32(mode[4:], uint32(s.Mode&ManagedModes))
	ae.Bytes(unix.IFLA_CAN_CTRLMODE, mode)
	if s.RestartMs != nil {
		ae.Uint32(unix.IFLA_CAN_RESTART_MS, *s.RestartMs)
	}
}

// timing is struct can_bittiming with everything but these two left to the kernel.
func timing(bitrate, samplePoint uint32) []byte {
	b := make([]byte, 32)
	binary.NativeEndian.PutUint32(b, bitrate)
	binary.NativeEndian.PutUint32(b[4:], samplePoint)
	return b
}

// missing says what an error about a name means.
func missing(name string, err error) error {
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%s: there is no such interface; plug the adapter in, or correct the name: %w", name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}
