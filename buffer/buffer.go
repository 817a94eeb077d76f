// Package buffer keeps records until somebody says they have been delivered.
//
// # Nouns
//
// A record is a few bytes from a source. Per source and session, records are
// numbered from 1 without holes (seq). Over all sources each takes the next
// offset, so that a position in the buffer is one number. A session is one
// life of the process; its number grows with every [Open], by chance, so that
// no other buffer and no copy of this one has the same. A segment is one small append-only bbolt file; the buffer is a chain of them.
//
// # Promise
//
// A record that was appended is on disk, synced, at most SyncInterval later,
// unless it was acknowledged before. It is removed only by [Buffer.Ack], or
// it is accounted for by a loss record in the stream of its source.
//
// # Files
//
// NNNNNNNN.db are the segments, journal takes small commits until there is
// enough for a segment, state holds the session, acknowledgements and
// losses in two slots, lock is locked by the process that has the buffer. A
// damaged segment is kept as NNNNNNNN.db.bad while there is room; what ends in
// .tmp was not finished and is removed.
//
// # Caveats
//
// Appending never waits for the disk. The directory belongs to one process
// at a time. Acknowledgements are stored with the next commit or within five
// seconds: a crash before that delivers again what was delivered.
//
// A loss may name records that were being delivered when they were evicted or
// found damaged, and after a crash it may be told again. It never leaves out
// one that was lost.
package buffer

import (
	"time"
)

// Reason says why records were lost.
type Reason uint8

// The reasons for a loss, and the words of the payload for them; see
// [Reason.String].
const (
	Evicted    Reason = iota // "evicted": the buffer's cap or age limit was reached
	RxOverflow               // "rx_overflow": the kernel dropped them before they were read
	Corrupt                  // "corrupt": the storage gave back something else than was stored
	Memory                   // "memory": the disk did not take them and memory was full
)

// String returns the word of the payload.
func (r Reason) String() string {
	switch r {
	case Evicted:
		return "evicted"
	case RxOverflow:
		return "rx_overflow"
	case Corrupt:
		return "corrupt"
	default:
		return "memory"
	}
}

// Policy says what happens when the buffer is full.
type Policy uint8

// The policies.
const (
	DropOldest Policy = iota // whole segments from the front
	DropNewest               // refuse what comes
)

// Config says where the buffer is and what it may use.
type Config struct {
	Dir          string        // directory of the files; created with mode 0700
	SyncInterval time.Duration // see the promise; 0: readable only once synced
	MaxSize      int64         // bytes of all files on disk; 0 means 512 MiB; at least 1 MiB
	MaxAge       time.Duration // records older than this are evicted; 0: never
	Overflow     Policy
	SegmentSize  int64 // bytes at which a segment is sealed; 0 means min(8 MiB, MaxSize/8); 64 KiB to 256 MiB
	Quota        int64 // bytes on disk each source may hold before others can drive it out; 0: MaxSize/2 shared out; -1: none
	MaxMemory    int64 // bytes of records not yet on disk; 0 means 16 MiB; at least 256 KiB

	// Clock is the time of day in ns since 1970, or 0 while it is not to be
	// trusted; it serves MaxAge across restarts only. Nil: the machine's, as it
	// is. It may be called from any goroutine.
	Clock func() int64

	// Draw returns the session after prev. Nil: it is drawn so that no other
	// buffer has it; tests that say which sessions they expect count.
	Draw func(prev uint64) uint64

	// MountPoint is a directory at which something has to be mounted before
	// Dir is used, so that nothing is written under a disk that is late. Empty:
	// nothing need be.
	MountPoint string
}

// Record is one record read back. Data is valid until the next read into the
// same [Batch].
type Record struct {
	Offset  uint64 // position in the buffer
	Session uint64 // the life of the process that appended it
	Source  string // as given to [Buffer.Source]
	Seq     uint64 // per session and source, from 1; of a loss: the first one lost
	Time    int64  // as given to Append
	Data    []byte // as given to Append; nil for a loss
	Lost    uint64 // not 0: this is a loss record for Seq .. Seq+Lost-1
	Reason  Reason // of a loss
}

// Stats are the counters and gauges of a buffer.
type Stats struct {
	_ [0]func() // nobody compares them: saves the code for it

	Session      uint64
	Appended     uint64        // records appended in this session
	Acked        uint64        // records acknowledged in this session
	Lost         uint64        // records lost in this session, every reason
	Pending      uint64        // records not acknowledged
	Unsynced     uint64        // of those: not on disk
	OldestAge    time.Duration // of the oldest of those; below 0: there is none. Of an earlier session: since this one began, until the time of day is known
	DiskBytes    int64         // real size of all files
	Limit        int64         // of DiskBytes: MaxSize, or what the file system can hold if that is less, also for what others have put there
	Size         int64         // what Limit is while nothing else is on the disk
	MemoryBytes  int64
	LostBy       [4]uint64 // Lost by Reason
	WrittenBytes uint64    // record bytes written to disk in this session
	Commits      uint64
	Segments     int
	Fault        string // what keeps the disk from taking records; empty when healthy
	Full         bool   // Fault is no more than that the size limit is reached
}
