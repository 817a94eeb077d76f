// Package can reads one CAN bus: a SocketCAN interface, a recorded candump
// log, or a simulation.
//
// # Nouns
//
// A [Frame] is what was on the wire. A [Bus] reads frames and hands them in
// batches to a [Handler]. A [Filter] is applied in the kernel, so that frames
// nobody asked for cost nothing.
//
// # Caveats
//
// The package never writes to a bus. Error frames are counted and reported as
// events; they are never handed over as data. Linux only.
package can

import (
	"time"

	"fieldferry/bus"
)

// MaxDataLen is the longest payload of a CAN FD frame, in bytes.
const MaxDataLen = 64

// Flags are the bits of a frame besides its arbitration id and data.
type Flags uint8

// The flags of a [Frame].
const (
	Extended      Flags = 1 << iota // 29-bit arbitration id (CAN 2.0B)
	Remote                          // remote transmission request: no data, Len is the length asked for
	FD                              // CAN FD frame
	BitRateSwitch                   // FD: the data phase was sent at the data bit rate
	ErrorState                      // FD: the sender was error passive (ESI)
)

// Frame is one data or remote frame, by value. Frames compare with ==.
type Frame struct {
	Time  int64            // reception, nanoseconds since 1970 UTC
	ID    uint32           // arbitration id, 11 bits or, with Extended, 29 bits
	Flags Flags            //
	Len   uint8            // data length in bytes: 0 to 8, with FD to 64
	Data  [MaxDataLen]byte // the first Len bytes count, the rest is zero
}

// Filter passes frames whose arbitration id matches under a mask, as the
// kernel's CAN_RAW_FILTER does: received & Mask == ID & Mask, or the opposite
// with Invert. Both carry the kernel's flag bits (CAN_EFF_FLAG 1<<31,
// CAN_RTR_FLAG 1<<30).
type Filter struct {
	ID, Mask uint32
	Invert   bool
}

// Config says which bus to read and how.
type Config struct {
	// Interface is the name of a SocketCAN device ("can0"), "replay:FILE" for
	// a candump -l log in its own timing (with "?speed=10", "?loop",
	// "?time=log", joined by "&"), or "sim:NAME" for a simulation.
	Interface string
	// Filters are applied in the kernel, at most 512; none means every frame.
	Filters []Filter
	// FD accepts CAN FD frames too.
	FD bool
	// Tick is how long frames are gathered while they keep coming; 0 means 5 ms.
	Tick time.Duration
	// ReceiveBuffer is the socket buffer asked for, in bytes; 0 means 4 MiB.
	ReceiveBuffer int
}

// Handler takes what a bus delivers. All calls come from one goroutine, in
// the order of the wire, and must not block: the kernel drops frames meanwhile.
type Handler interface {
	// Frames takes a batch in order of reception. The slice is valid only
	// during the call.
	Frames(batch []Frame)
	// Lost takes the exact number of frames the kernel dropped before the
	// next batch because this process did not read them in time.
	Lost(frames uint64)
	// Event takes a condition of the bus.
	Event(bus.Event)
}

// Stats are the counters of a bus since the process started.
type Stats struct {
	Frames, Lost, ErrorFrames uint64
	Errors                    map[string]uint64 // error frames by class
	Timestamps                string            // "kernel", "receive", or "log"
	Up                        bool
}
