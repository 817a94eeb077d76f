package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// The guest's side of the user-mode network: the defaults of QEMU and slirp.
var (
	guestIP   = []byte{10, 0, 2, 15}
	gatewayIP = []byte{10, 0, 2, 2}
)

// addVCAN creates a virtual CAN interface and sets it up.
func addVCAN(name string) error {
	kind := attribute(unix.IFLA_INFO_KIND, []byte("vcan"))
	msg := slices.Concat(linkMessage(0, 0, 0),
		attribute(unix.IFLA_IFNAME, append([]byte(name), 0)),
		attribute(unix.IFLA_LINKINFO, kind))
	if err := netlink(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, msg); err != nil {
		return fmt.Errorf("creating vcan %s: %w", name, err)
	}
	return setLink(name, true)
}

func setLink(name string, up bool) error {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	var flags uint32
	if up {
		flags = unix.IFF_UP
	}
	return netlink(unix.RTM_NEWLINK, 0, linkMessage(i.Index, flags, unix.IFF_UP))
}

func deleteLink(name string) error {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	return netlink(unix.RTM_DELLINK, 0, linkMessage(i.Index, 0, 0))
}

// setUpNetwork gives an interface the address and the default route the
// user-mode network expects.
func setUpNetwork(name string) error {
	if err := setLink(name, true); err != nil {
		return err
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	index := native.AppendUint32(nil, uint32(i.Index))
	address := slices.Concat([]byte{unix.AF_INET, 24, 0, 0}, index, // struct ifaddrmsg
		attribute(unix.IFA_LOCAL, guestIP), attribute(unix.IFA_ADDRESS, guestIP))
	if err := netlink(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, address); err != nil {
		return fmt.Errorf("address of %s: %w", name, err)
	}
	route := slices.Concat([]byte{unix.AF_INET, 0, 0, 0, // struct rtmsg
		unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0},
		attribute(unix.RTA_GATEWAY, gatewayIP), attribute(unix.RTA_OIF, index))
	if err := netlink(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, route); err != nil {
		return fmt.Errorf("default route by %s: %w", name, err)
	}
	return nil
}

// linkMessage is struct ifinfomsg (rtnetlink(7)).
func linkMessage(index int, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	native.PutUint32(b[4:], uint32(index))
	native.PutUint32(b[8:], flags)
	native.PutUint32(b[12:], change)
	return b
}

// attribute is struct rtattr with its padding.
func attribute(kind uint16, value []byte) []byte {
	n := unix.SizeofRtAttr + len(value)
	b := make([]byte, (n+3)&^3)
	native.PutUint16(b, uint16(n))
	native.PutUint16(b[2:], kind)
	copy(b[4:], value)
	return b
}

// netlink sends one rtnetlink request and returns the kernel's verdict.
func netlink(kind, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	header := make([]byte, unix.SizeofNlMsghdr)
	native.PutUint32(header, uint32(len(header)+len(body)))
	native.PutUint16(header[4:], kind)
	native.PutUint16(header[6:], flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if err := unix.Sendto(fd, slices.Concat(header, body), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	reply := make([]byte, 8192)
	n, _, err := unix.Recvfrom(fd, reply, 0)
	if err != nil {
		return err
	}
	// With NLM_F_ACK and no dump the answer is one NLMSG_ERROR, 0 for success.
	if n < unix.SizeofNlMsghdr+4 || native.Uint16(reply[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("unexpected answer of %d bytes from the kernel", n)
	}
	if e := int32(native.Uint32(reply[unix.SizeofNlMsghdr:])); e != 0 {
		return unix.Errno(-e)
	}
	return nil
}
