// Command canburst sends numbered frames on a SocketCAN interface: the number
// in eight bytes, most significant first. Every third one is extended.
//
//	canburst IFACE ID FIRST COUNT PERIOD
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

func main() {
	if err := burst(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "canburst:", err)
		os.Exit(1)
	}
}

func burst(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("five arguments are needed, got %d", len(args))
	}
	id, err := strconv.ParseUint(args[1], 16, 11)
	if err != nil {
		return err
	}
	first, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	count, err := strconv.ParseUint(args[3], 10, 64)
	if err != nil {
		return err
	}
	period, err := time.ParseDuration(args[4])
	if err != nil {
		return err
	}
	s, err := cantest.NewSender(args[0])
	if err != nil {
		return err
	}
	defer s.Close()
	tick := time.NewTicker(period)
	defer tick.Stop()
	for n := first; n < first+count; n++ {
		f := can.Frame{ID: uint32(id), Len: 8}
		if n%3 == 2 {
			f.Flags = can.Extended
		}
		binary.BigEndian.PutUint64(f.Data[:], n)
		if err := s.Send(f); err != nil {
			return fmt.Errorf("frame %d: %w", n, err)
		}
		<-tick.C
	}
	return nil
}
