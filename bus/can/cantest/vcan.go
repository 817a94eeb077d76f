package cantest

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The MTU of a CAN interface tells whether it carries CAN FD.
const (
	mtuClassic = 16
	mtuFD      = 72
)

// VCAN is a virtual CAN interface. Its methods need CAP_NET_ADMIN.
type VCAN struct {
	Name string
}

// NewVCAN makes a virtual CAN interface, down. With fd it carries CAN FD.
func NewVCAN(name string, fd bool) (*VCAN, error) {
	mtu := uint32(mtuClassic)
	if fd {
		mtu = mtuFD
	}
	attrs := func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Uint32(unix.IFLA_MTU, mtu)
		ae.Nested(unix.IFLA_LINKINFO, func(nae *netlink.AttributeEncoder) error {
			nae.String(unix.IFLA_INFO_KIND, "vcan")
			return nil
		})
	}
	if err := rtnetlink(unix.RTM_NEWLINK, netlink.Create|netlink.Excl, 0, 0, attrs); err != nil {
		return nil, fmt.Errorf("cantest: making %s: %w", name, err)
	}
	return &VCAN{Name: name}, nil
}

// Up brings the interface up.
func (v *VCAN) Up() error { return v.set(unix.IFF_UP) }

// Down takes it down.
func (v *VCAN) Down() error { return v.set(0) }

// Rename gives it another name. It must be down.
func (v *VCAN) Rename(name string) error {
	index, err := v.index()
	if err == nil {
		err = rtnetlink(unix.RTM_NEWLINK, 0, index, 0, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_IFNAME, name)
		})
	}
	if err != nil {
		return fmt.Errorf("cantest: renaming %s: %w", v.Name, err)
	}
	v.Name = name
	return nil
}

// Delete removes it, as when an adapter is unplugged.
func (v *VCAN) Delete() error {
	index, err := v.index()
	if err == nil {
		err = rtnetlink(unix.RTM_DELLINK, 0, index, 0, nil)
	}
	if err != nil {
		return fmt.Errorf("cantest: removing %s: %w", v.Name, err)
	}
	return nil
}

// Queue gives it a queue for so many frames. One for none is always full: sending
// fails with ENOBUFS, as when a controller gets no frame through.
func (v *VCAN) Queue(limit uint32) error {
	return v.qdisc(unix.RTM_NEWQDISC, netlink.Create|netlink.Replace, func(ae *netlink.AttributeEncoder) {
		ae.String(tcaKind, "pfifo")
		ae.Uint32(tcaOptions, limit) // struct tc_fifo_qopt
	})
}

// OwnQueue undoes Queue.
func (v *VCAN) OwnQueue() error {
	return v.qdisc(unix.RTM_DELQDISC, 0, func(*netlink.AttributeEncoder) {})
}

// TCA_KIND and TCA_OPTIONS of linux/rtnetlink.h, TC_H_ROOT of linux/pkt_sched.h.
const (
	tcaKind, tcaOptions = 1, 2
	tcRoot              = 0xffffffff
)

// qdisc changes the queueing discipline at the root of the interface.
func (v *VCAN) qdisc(kind netlink.HeaderType, flags netlink.HeaderFlags, attrs func(*netlink.AttributeEncoder)) error {
	index, err := v.index()
	if err == nil {
		// struct tcmsg: family and padding, index i32, handle, parent, info u32
		data := make([]byte, 20)
		binary.NativeEndian.PutUint32(data[4:], uint32(index))
		binary.NativeEndian.PutUint32(data[12:], tcRoot)
		err = request(kind, flags, data, attrs)
	}
	if err != nil {
		return fmt.Errorf("cantest: the queue of %s: %w", v.Name, err)
	}
	return nil
}

// set sets IFF_UP or clears it.
func (v *VCAN) set(flags uint32) error {
	index, err := v.index()
	if err == nil {
		err = rtnetlink(unix.RTM_NEWLINK, 0, index, flags, nil)
	}
	if err != nil {
		return fmt.Errorf("cantest: changing %s: %w", v.Name, err)
	}
	return nil
}

func (v *VCAN) index() (int, error) {
	i, err := net.InterfaceByName(v.Name)
	if err != nil {
		return 0, err
	}
	return i.Index, nil
}

// rtnetlink sends one request about a link and waits for the answer. For an
// existing link (index is not 0) and without attributes it sets IFF_UP.
func rtnetlink(kind netlink.HeaderType, flags netlink.HeaderFlags, index int, up uint32, attrs func(*netlink.AttributeEncoder)) error {
	// struct ifinfomsg: family, pad, type u16, index i32, flags u32, change u32
	data := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(data[4:], uint32(index))
	if index != 0 && attrs == nil && kind == unix.RTM_NEWLINK {
		binary.NativeEndian.PutUint32(data[8:], up)
		binary.NativeEndian.PutUint32(data[12:], unix.IFF_UP)
	}
	return request(kind, flags, data, attrs)
}

// request sends a message with attributes, if any, and waits for the answer.
func request(kind netlink.HeaderType, flags netlink.HeaderFlags, data []byte, attrs func(*netlink.AttributeEncoder)) error {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if attrs != nil {
		ae := netlink.NewAttributeEncoder()
		attrs(ae)
		b, err := ae.Encode()
		if err != nil {
			return err
		}
		data = append(data, b...)
	}
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   data,
	})
	return err
}
