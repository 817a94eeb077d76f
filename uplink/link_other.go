//go:build !linux

package uplink

import (
	"syscall"
	"time"
)

// setSocketOptions does nothing: the options are Linux's.
func setSocketOptions(syscall.RawConn, time.Duration) error { return nil }
