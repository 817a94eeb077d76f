package buffer

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fieldferry/buffer/beneath"

	"golang.org/x/sys/unix"
)

// Bytes of [Config.MaxSize] and [Config.MaxMemory] when they are 0, and the least
// that works.
const (
	DefaultMaxSize   = 512 << 20
	DefaultMaxMemory = 16 << 20
	MinMaxSize       = 1 << 20
	MinMaxMemory     = 256 << 10
)

const (
	defaultSegment = 8 << 20
	maxSegment     = 256 << 20 // address space of a 32-bit process
	lockWait       = 2 * time.Second
)

// ErrLocked says that another process has the buffer. The error that wraps it
// names its process id.
var ErrLocked = errors.New("the buffer is in use by another process")

// ErrClosed is returned by operations on a closed buffer.
var ErrClosed = errors.New("the buffer is closed")

// withDefaults fills in what was left out and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if c.MaxSize == 0 {
		c.MaxSize = DefaultMaxSize
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = DefaultMaxMemory
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = min(defaultSegment, c.MaxSize/8)
	}
	switch {
	case c.Dir == "":
		return c, errors.New("the buffer needs a directory")
	case c.MaxSize < MinMaxSize:
		return c, fmt.Errorf("the size limit of the buffer is %d bytes; at least %d are needed", c.MaxSize, MinMaxSize)
	case c.MaxMemory < MinMaxMemory:
		return c, fmt.Errorf("the memory limit of the buffer is %d bytes; at least %d are needed", c.MaxMemory, MinMaxMemory)
	case c.SegmentSize < 64<<10 || c.SegmentSize > maxSegment || c.SegmentSize > c.MaxSize/4:
		return c, fmt.Errorf("the segment size of the buffer is %d bytes; it must be between %d and %d, and at most a quarter of the size limit", c.SegmentSize, 64<<10, maxSegment)
	case c.Quota > c.MaxSize/2:
		return c, fmt.Errorf("the quota of the buffer is %d bytes; it must be at most half of the size limit, %d", c.Quota, c.MaxSize/2)
	case c.Quota > 0 && c.Overflow == DropNewest:
		return c, errors.New("the buffer has a quota and drops the newest: then nobody is driven out, and a quota has no effect")
	case c.SyncInterval < 0 || c.MaxAge < 0:
		return c, errors.New("the sync interval and the age limit of the buffer must not be negative")
	}
	return c, nil
}

// Buffer keeps records until they are acknowledged. All methods may be called
// from any goroutine.
type Buffer struct {
	cfg  Config
	log  *slog.Logger
	base time.Time // monotonic zero
	lock *os.File

	away       bool          // everything is closed until the disk comes back; under disk and rmu
	awaySince  time.Duration // likewise
	generation uint64        // of the state, while it is closed
	device     uint64        // the file system that has the directory

	// As the file system lets it; under disk and mu.
	limit       int64 // of all files
	vacant      int64 // of the file system, for all its users, after the last work; below 0: not known
	segmentSize int64
	step        int // by which segment files grow

	// Lock order: disk, rmu, segment.hmu, mu.
	disk   sync.Mutex // changes of the chain of segments and of the state file
	state  *stateFile
	enc    *encoder
	out    []byte
	heads  []head
	skip   []span
	names  []string // of the sources, by index
	bad    []badFile
	nextID uint64 // of the next segment: a name is not used twice

	journal       *journal      // nil: there is none, for a while
	journalNumber uint64        // of its last entry, when it is not open
	journalAt     time.Duration // when it may be tried again

	renamed bool // names were exchanged since the directory was synced

	rmu     sync.Mutex // the one sealed segment that is open for reading
	reading *segment
	ended   bool // Close has given the files back

	mu       sync.Mutex // everything below; never held during disk I/O
	session  uint64
	next     uint64 // the next offset
	syncedTo uint64 // offsets below are on disk or gone
	gone     spans  // offsets that hold nothing (any longer)
	handed   spans  // offsets that Read returned and nobody has acknowledged
	losses   losses
	lately   []LossRange
	mem      memory
	sources  []*Source
	byName   map[string]*Source
	ages     ages
	front    front // what an earlier session has left
	segs     []*segment
	active   *segment // the last of segs, open for appending; may be nil
	wake     chan struct{}
	stats    Stats
	badBytes int64

	journalBytes int64 // of the file
	stateBytes   int64 // likewise

	endings []Ending // of earlier sessions, the last one last

	rewrites  uint64        // how often records got other offsets
	leaving   span          // offsets of a segment that is being evicted
	left      chan struct{} // closed when it is
	accounted bool          // the damage of a segment that is being evicted; under disk

	armed, hurry, missing, closed bool
	reckoned                      bool          // see reckon
	attached                      bool          // the disk is there and the session has begun
	steps                         atomic.Uint64 // what the disk has done; grows

	stateDue time.Duration // when the state has to be stored; 0: not before the disk is there
	sweep    bool          // a segment may be acknowledged wholly
	retryAt  time.Duration // after a fault
	backoff  time.Duration
	fault    string
	full     bool          // new records are refused for want of room
	busyFrom time.Duration // since when the disk has been at work; 0: idle
	slowest  time.Duration // commit, decaying

	kicked chan struct{}
	stop   chan struct{}
	done   chan struct{}

	hook func(stage string) error // tests make the disk stall and fail
}

// badFile is a damaged segment that was put aside.
type badFile struct {
	path string
	size int64
}

// Open opens the buffer in cfg.Dir and begins a new session; that is durable
// before Open returns. What was stored and not acknowledged can be read again.
// Damaged segments are put aside and accounted for, never a reason to fail.
//
// A disk that is not there, cannot be written or does not answer is no reason
// either: then the buffer begins in memory, Stats.Fault says so, and it tries
// again. Until the disk is there it takes records, up to MaxMemory, and gives
// none out, and Stats.Session is 0.
//
// Open fails with [ErrLocked] while another process has the directory, with
// [ErrNewer] if it was written by a newer version, and when the configuration
// cannot work. A nil log discards messages.
func Open(cfg Config, log *slog.Logger) (*Buffer, error) {
	return open(cfg, log, nil)
}

func open(cfg Config, log *slog.Logger, hook func(string) error) (*Buffer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b, err := newBuffer(cfg, log, hook)
	if err != nil {
		return nil, err
	}
	first := make(chan error, 1)
	go b.run(first)
	timer := time.NewTimer(openWait)
	defer timer.Stop()
	select {
	case err := <-first:
		if err != nil && refused(err) {
			<-b.done
			return nil, err
		}
	case <-timer.C:
		b.log.Error("buffer: the disk does not answer; records are kept in memory", "directory", cfg.Dir)
	}
	return b, nil
}

func newBuffer(cfg Config, log *slog.Logger, hook func(string) error) (*Buffer, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if hook == nil {
		hook = func(string) error { return nil }
	}
	b := &Buffer{
		cfg: cfg, log: log, base: time.Now(), hook: hook, next: 1, vacant: -1,
		byName: map[string]*Source{},
		kicked: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	b.setLimit(cfg.MaxSize)
	b.mem.init(cfg.MaxMemory)
	return b, nil
}

// release gives back what Open took.
func (b *Buffer) release() {
	for _, s := range b.segs {
		if err := s.close(); err != nil {
			b.log.Error("buffer: closing a segment failed", "file", s.path, "error", err)
		}
	}
	if b.state != nil {
		_ = b.state.close()
	}
	if b.enc != nil {
		_ = b.enc.z.Close()
	}
	b.closeJournal()
	if b.lock != nil {
		_ = b.lock.Close()
	}
}

const lockName = "lock"

// lockDir takes the directory for this process.
func lockDir(dir string, wait time.Duration) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := beneath.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the buffer: %w", err)
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking the buffer in %s: %w", dir, err)
		}
		if time.Now().After(deadline) {
			pid := lockHolder(f)
			f.Close()
			return nil, fmt.Errorf("%w: %s is held by process %d; stop it or use another directory", ErrLocked, dir, pid)
		}
	}
	// The content is only for people; the lock itself is flock's.
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := f.WriteAt([]byte(pid), 0); err == nil {
		_ = f.Truncate(int64(len(pid)))
	}
	return f, nil
}

func lockHolder(f *os.File) int {
	b, _ := io.ReadAll(io.LimitReader(io.NewSectionReader(f, 0, 32), 32))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}
