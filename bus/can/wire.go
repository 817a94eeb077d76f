package can

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The layout of struct can_frame and struct canfd_frame (linux/can.h):
// id u32, len u8, flags u8, two bytes reserved, data. The length of what was
// read tells one from the other.
const (
	classicMTU = unix.CAN_MTU
	fdMTU      = 72
	wireBRS    = 0x01 // CANFD_BRS
	wireESI    = 0x02 // CANFD_ESI
)

// decodeWire reads one frame as the kernel hands it over and reports whether b
// has the size of a frame. It sets all of f but the time. What the kernel
// leaves behind the data (any bytes the sender had there) is not taken.
func decodeWire(f *Frame, b []byte) bool {
	if len(b) != classicMTU && len(b) != fdMTU {
		return false
	}
	id := binary.NativeEndian.Uint32(b)
	*f = Frame{ID: id & unix.CAN_SFF_MASK, Time: f.Time}
	switch {
	case id&unix.CAN_ERR_FLAG != 0:
		f.ID, f.Flags = id&unix.CAN_ERR_MASK, ErrorFrame
	case id&unix.CAN_EFF_FLAG != 0:
		f.ID, f.Flags = id&unix.CAN_EFF_MASK, Extended
	}
	if len(b) == fdMTU {
		f.Flags |= FD
		if b[5]&wireBRS != 0 {
			f.Flags |= BitRateSwitch
		}
		if b[5]&wireESI != 0 {
			f.Flags |= ErrorState
		}
		f.Len = min(b[4], MaxDataLen)
	} else {
		f.Len = min(b[4], maxClassicLen)
		if id&unix.CAN_RTR_FLAG != 0 && f.Flags&ErrorFrame == 0 {
			f.Flags |= Remote
			return true
		}
	}
	copy(f.Data[:f.Len], b[8:])
	return true
}
