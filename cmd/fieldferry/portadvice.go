package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"fieldferry/bus/modbus/rtu"
	"fieldferry/gateway/passwd"
)

// advisePort adds what to do to the error of a serial port that cannot be used;
// daemon says so of one that the daemon has.
func advisePort(port, daemon string, err error) error {
	if advice := portAdvice(port, err); advice != "" {
		return adviceError{error: err, advice: advice}
	}
	if errors.Is(err, rtu.ErrInUse) {
		return adviceError{error: err, advice: "if that is the daemon, " + daemon}
	}
	return err
}

// portAdvice is what to do about a serial port that cannot be opened; empty:
// the error says it all.
func portAdvice(port string, err error) string {
	switch {
	case err == nil || strings.Contains(port, "://"):
		return ""
	case errors.Is(err, fs.ErrPermission):
		return "use sudo, or join the group of the device: sudo adduser $USER " + groupOf(port) + ", and log in again"
	case errors.Is(err, fs.ErrNotExist):
		if there := serialPorts("/dev"); len(there) > 0 {
			return "there are " + strings.Join(there, ", ")
		}
		return "there is no USB or RS-485 port at all: is the adapter plugged in (dmesg | tail)?"
	case errors.Is(err, syscall.ENOTTY):
		return "it is not a serial port"
	}
	return ""
}

// serialPorts are the serial devices that a person may have meant: those that
// keep their name, and others.
func serialPorts(dev string) (names []string) {
	for _, pattern := range []string{"serial/by-id/*", "ttyUSB*", "ttyACM*", "ttyAMA*", "ttySC*", "ttymxc*", "ttyRS485*"} {
		found, _ := filepath.Glob(filepath.Join(dev, pattern))
		slices.Sort(found)
		names = append(names, found...)
	}
	const most = 12
	return names[:min(len(names), most)]
}

// groupOf is the group that may use a device.
func groupOf(port string) string {
	info, err := os.Stat(port)
	if err != nil {
		return "dialout"
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		if g, err := passwd.GroupOf(stat.Gid); err == nil && g.Name != "root" {
			return g.Name
		}
	}
	return "dialout"
}
