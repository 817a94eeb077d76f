// Package can reads one CAN bus: a SocketCAN interface, a recorded candump
// log, or a simulation.
//
// # Nouns
//
// A [Frame] is what was on the wire. A [Bus] reads frames and hands them in
// batches to a [Handler]. A [Filter] is applied in the kernel, so that frames
// nobody asked for cost nothing. A [Source] is what [Config].Interface names:
//
//	can0                     a SocketCAN device
//	replay:FILE              a log written by candump -l, in its own timing
//	  ?speed=10              ten times as fast; speed=max: as fast as it can be read
//	  ?loop                  again and again
//	  ?time=log              stamped with the log's times, not with the present
//	  ?bus=can1              the frames of this interface of the log; else those of the first
//	sim:engine               a J1939 diesel engine on a test cycle, 150 frames/s
//	sim:ramp?rate=1000       one counter in frame 123, 1000 times a second
//
// Options are joined by "&". A simulation is deterministic: what it sends
// depends on nothing but the time since its start.
//
// # How a device is read
//
// [Bus.Run] sleeps in the poller until a first frame comes, hands it over at
// once, and then drains the socket every [Config].Tick with recvmmsg(2) for as
// long as frames keep coming. An idle bus costs nothing; a busy one costs one
// wake-up per tick. Times are the kernel's, and so are the counts of what was
// dropped, so gathering falsifies neither.
//
// # What is known of the link
//
// With [Config].Link the interface is brought up by netlink (package
// [fieldferry/bus/can/link]) and kept up. Without it the link is only looked
// at: a controller that is bus-off already when Run begins sends no error
// frame about it, so its state is asked for.
//
// # Caveats
//
// The package never writes to a bus; sending is [fieldferry/bus/can/send].
// Error frames are counted and reported as events; they are never handed over
// as data. Linux only.
package can

import (
	"errors"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/can/link"
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
	ErrorFrame                      // the controller's report of an error; ID is the kernel's class mask. Only logs yield these: a Handler never gets one
)

// Frame is one data or remote frame, by value. Frames compare with ==.
type Frame struct {
	Time  int64            // reception, nanoseconds since 1970 UTC
	ID    uint32           // arbitration id, 11 bits or, with Extended, 29 bits
	Flags Flags            //
	Len   uint8            // data length in bytes: 0 to 8, with FD to 64
	Data  [MaxDataLen]byte // the first Len bytes count, the rest is zero

	// Suppressed is how many frames of this id a [Limit] has kept back since
	// the one handed over before.
	Suppressed uint32

	// Clock is when the frame was on the bus by the clock of a log that is
	// replayed, however fast; it only serves to measure silences. 0: as Time.
	Clock int64
}

// BusTime is the time by which silences on the bus are measured.
func (f *Frame) BusTime() int64 {
	if f.Clock != 0 {
		return f.Clock
	}
	return f.Time
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
	// A frame passes when one of them passes it, with Join when all do.
	Filters []Filter
	Join    bool
	// ErrorClasses are the classes of error frames to be read (CAN_ERR_*);
	// 0 means all. Those that tell the controller's state are always read.
	ErrorClasses uint32
	// FD accepts CAN FD frames too.
	FD bool
	// Tick is how long frames are gathered while they keep coming; 0 means
	// 5 ms, the most is 1 s. The first frame after silence does not wait.
	Tick time.Duration
	// ReceiveBuffer is the socket buffer asked for, in bytes; 0 means 4 MiB.
	// Without CAP_NET_ADMIN the kernel grants at most net.core.rmem_max.
	ReceiveBuffer int
	// Timestamps says where the times of frames come from, if there.
	Timestamps Timestamps
	// Link is what the interface is brought up with and kept at. nil: the
	// link is never changed.
	Link *link.Settings
	// Bitrate and DataBitrate (bit/s) are what [Stats].Load is reckoned with
	// if the interface does not tell.
	Bitrate, DataBitrate uint32
	// Limit keeps frames back, for each id by itself. Limits are those of
	// single messages, which count instead of it: the first whose ID matches
	// under its Mask.
	Limit  Limit
	Limits []MessageLimit
	// Pages says which messages are multiplexed; nil: none.
	Pages Multiplexing
}

// Timestamps is a source of times.
type Timestamps uint8

// The sources of times. Where one is not there, the next is used, in the
// order hardware, kernel, receive.
const (
	TimesKernel   Timestamps = iota // when the kernel got the frame from the driver
	TimesHardware                   // when the controller got it, by its clock, brought onto the machine's
	TimesReceive                    // when it was read
)

// ErrorHandler is what a [Handler] may be besides, to see error frames too. It
// is called as Frames is, after the frames before it.
type ErrorHandler interface {
	ErrorFrame(f *Frame)
}

// Onlooker is what a [Handler] may be besides, to see every frame that was read,
// also those that a [Limit] keeps back.
type Onlooker interface {
	// Look takes a batch before the limits, followed by Frames with those that
	// pass, if any do. The slice is valid only during the call and is not to be
	// changed.
	Look(batch []Frame)
}

// GapHandler is what a [Handler] may be besides, to be told where the frames
// may have a gap that nobody can count: the controller had an overflow or went
// bus-off, the link was down, or Run begins. It is called as Frames is, after
// the frames before the gap.
type GapHandler interface {
	Gap()
}

// ErrEnd is what [Bus.Run] returns when a replayed log has been played to its
// end: there is nothing to wait for.
var ErrEnd = errors.New("can: the log has ended")

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
	Frames      uint64            // handed over
	Suppressed  uint64            // kept back by a Limit
	Lost        uint64            // dropped by the kernel before they were read
	ErrorFrames uint64            // reports of the controller; never handed over
	Errors      map[string]uint64 // error frames by class; a frame may have several
	Malformed   uint64            // faulty lines of a log, or frames of a size that no CAN frame has
	Timestamps  string            // "hardware", "kernel", "receive", or "log"; empty before the first is expected
	Up          bool              // the interface is up, or the replay or simulation runs
	Ended       bool              // the log has been replayed to its end
	Restarts    uint64            // how often the controller was restarted after bus-off by this process

	// Of the link, as last seen; 0 and empty if it does not tell.
	Bitrate, DataBitrate uint32 // bit/s
	State                string // "error-active", ..., as link.State names it
	// The transmit and receive error counters (TEC, REC of ISO 11898-1), when
	// the controller was asked last; not known of every one.
	CountersKnown      bool
	TxErrors, RxErrors uint16

	// Load is the share of the bus that the frames of the last full second
	// took, in percent: all that pass the filters, whether a Limit keeps them
	// back or not. See [FrameBits] for stuff bits. -1: the bit rate is not known.
	Load float64
	Rate uint64 // frames in the last full second
	IDs  int    // different arbitration ids seen, at most MaxIDs
}
