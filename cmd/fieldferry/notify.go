package main

import (
	"net"
	"strings"
)

// notifySystemd tells the service manager a state such as "READY=1", as
// sd_notify(3) does. Without a manager it does nothing.
func (a *app) notifySystemd(state string) error {
	path, ok := a.getenv("NOTIFY_SOCKET")
	if !ok || path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") { // an abstract address
		path = "\x00" + path[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
