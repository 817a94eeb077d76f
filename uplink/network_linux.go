package uplink

import (
	"context"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watchNetwork signals every address and route that comes (rtnetlink(7)),
// until ctx ends. Without netlink the backoff runs its course, which is at
// most half a minute.
func (u *Uplink) watchNetwork(ctx context.Context) {
	const groups = 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV4_ROUTE-1) |
		1<<(unix.RTNLGRP_IPV6_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1)
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups})
	if err != nil {
		u.log.Debug("uplink cannot watch the network", "error", err)
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	for ctx.Err() == nil {
		messages, err := conn.Receive()
		if err != nil { // more came than the socket holds: something has changed
			if ctx.Err() != nil {
				break
			}
			u.networkSignal()
			sleep(ctx, u.time.networkUp)
			continue
		}
		for _, m := range messages {
			if m.Header.Type == unix.RTM_NEWADDR || m.Header.Type == unix.RTM_NEWROUTE {
				u.networkSignal()
			}
		}
	}
	_ = conn.Close()
}
