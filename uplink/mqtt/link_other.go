//go:build !linux

package mqtt

import (
	"net"
	"syscall"
	"time"
)

// setSocketOptions does nothing: the options are Linux's.
func setSocketOptions(syscall.RawConn, time.Duration) error { return nil }

func unacknowledged(*net.TCPConn) (uint64, bool) { return 0, false }

func unanswered(*net.TCPConn) bool { return false }
