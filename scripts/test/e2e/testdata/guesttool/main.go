// Command guesttool changes what only a guest's machine may be changed in.
//
//	guesttool clock SECONDS      sets the time of day, in seconds since 1970
//	guesttool queue IFACE LIMIT  gives an interface a queue for so many frames; none: its own again
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can/cantest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "guesttool:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "clock":
		seconds, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return err
		}
		tv := unix.NsecToTimeval(seconds * 1e9)
		return unix.Settimeofday(&tv)
	case len(args) == 3 && args[0] == "queue":
		v := cantest.VCAN{Name: args[1]}
		if args[2] == "none" {
			return v.OwnQueue()
		}
		limit, err := strconv.ParseUint(args[2], 10, 32)
		if err != nil {
			return err
		}
		return v.Queue(uint32(limit))
	}
	return errors.New("clock SECONDS, or queue IFACE LIMIT")
}
