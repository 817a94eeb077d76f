package uplink

import (
	"net"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// loopbackAddress returns how to add and remove an address of the loopback
// interface that nobody uses, or why that is not possible here.
func loopbackAddress() (add, remove func(), err error) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return nil, nil, err
	}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, nil, err
	}
	_ = conn.Close()
	body := func() []byte {
		// struct ifaddrmsg, and one attribute IFA_LOCAL (rtnetlink(7)).
		b := []byte{unix.AF_INET, 32, 0, unix.RT_SCOPE_HOST, 0, 0, 0, 0, 8, 0, unix.IFA_LOCAL, 0, 127, 77, 31, 9}
		b[4] = byte(lo.Index)
		return b
	}()
	do := func(kind netlink.HeaderType, flags netlink.HeaderFlags) error {
		c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Execute(netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Acknowledge | flags}, Data: body,
		})
		return err
	}
	if err := do(unix.RTM_NEWADDR, netlink.Create); err != nil {
		return nil, nil, err
	}
	remove = func() { _ = do(unix.RTM_DELADDR, 0) }
	remove()
	return func() { _ = do(unix.RTM_NEWADDR, netlink.Create) }, remove, nil
}
