package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"fieldferry/buffer/beneath"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// Files are portable between kernels with 4, 16 and 64 KiB pages because the
// page size is ours, not the system's.
const (
	pageSize    = 4096
	segmentLock = 2 * time.Second
)

var (
	chunkKey   = []byte("c")
	summaryKey = []byte("s")
	// metaBucket sorts behind every chunk: an offset never begins with 0xff.
	metaBucket = []byte("\xff\xff\xff\xff\xff\xff\xff\xffmeta")
)

// errDamaged says that a segment's structure cannot be trusted.
var errDamaged = errors.New("the segment is damaged")

// damage says whether an error means that a file does not hold what it
// should, as opposed to one that only could not be reached.
func damage(err error) bool {
	return errors.Is(err, errDamaged) || errors.Is(err, errChunk) || errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EIO)
}

// segment is one bbolt file of the chain. Each chunk has a bucket of its own,
// named by its first offset: a big value in a plain bucket would be rewritten
// whenever its neighbour arrives.
type segment struct {
	id    uint64
	path  string
	size  int64 // of the file; under Buffer.mu
	data  int64 // of that: what it needs; the rest is for later
	sum   summary
	saved time.Duration // monotonic, of the newest record on disk; may be negative

	opened time.Duration // monotonic, when it was made or taken up for appending

	checked bool // it was read through in this process; under hmu

	hmu  sync.RWMutex // held for reading while db is used
	db   *handle
	dead bool // unlinked
}

// guard runs fn so that a page that cannot be read, or contradicts itself,
// becomes an error: bbolt panics on those, and a file cut short under its
// memory map raises SIGBUS.
func guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("its pages cannot be followed (%v): %w", p, errDamaged)
		}
	}()
	return fn()
}

// openBolt opens a segment file. It never creates one out of an empty file,
// which bbolt would.
func openBolt(path string, readOnly bool, mapped int) (*handle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() < 4*pageSize {
		return nil, fmt.Errorf("it has only %d bytes: %w", info.Size(), errDamaged)
	}
	return openFile(path, readOnly, mapped)
}

func openFile(path string, readOnly bool, mapped int) (*handle, error) {
	h := new(handle)
	err := guard(func() (err error) {
		h.DB, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout: segmentLock, ReadOnly: readOnly, PageSize: pageSize,
			InitialMmapSize: mapped, FreelistType: bolt.FreelistMapType, NoStatistics: true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := beneath.OpenFile(name, flag, mode)
				h.file = f
				return f, err
			},
		})
		return err
	})
	if err != nil && h.file != nil {
		_ = h.drop() // a panic inside Open leaks it
	}
	switch {
	case err == nil:
		return h, nil
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", err, errDamaged)
	}
	return nil, fmt.Errorf("opening segment %s: %w", path, err)
}

// handle is an open bbolt file.
type handle struct {
	*bolt.DB
	file *os.File
}

// close gives the file back. When both meta pages went bad under the open
// file, bbolt panicked with a lock held and can never be closed: then its
// memory map stays, but the file and the lock on it are given back.
func (h *handle) close() error {
	done := make(chan error, 1)
	go func() { done <- guard(h.Close) }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Second):
		return errors.Join(errors.New("the segment could not be closed in order"), h.drop())
	}
}

// drop gives the file and its lock back. The lock by itself: what bbolt has not
// unmapped would keep it.
func (h *handle) drop() error {
	_ = unix.Flock(int(h.file.Fd()), unix.LOCK_UN)
	return h.file.Close()
}

// named says whether the open file still is the one that has the name.
func named(f *os.File) bool {
	a, err := f.Stat()
	b, berr := os.Stat(f.Name())
	return err == nil && berr == nil && os.SameFile(a, b)
}

func segmentName(id uint64) string { return fmt.Sprintf("%08d.db", id) }

// createSegment makes an empty segment. It appears under its name only when it
// is complete and synced; power may fail at any point.
func createSegment(dir string, id uint64, mapped, step int) (*segment, error) {
	s := &segment{id: id, path: filepath.Join(dir, segmentName(id)), checked: true}
	tmp := s.path + ".tmp"
	err := func() error {
		db, err := openFile(tmp, false, 0)
		if err != nil {
			return err
		}
		if err := db.close(); err != nil {
			return err
		}
		return publish(tmp, s.path)
	}()
	if err != nil {
		os.Remove(tmp)
		return nil, fmt.Errorf("creating segment %s: %w", s.path, err)
	}
	return s, s.openForAppend(mapped, step)
}

func (s *segment) openForAppend(mapped, step int) error {
	db, err := openBolt(s.path, false, mapped)
	if err != nil {
		return err
	}
	// The map is larger than the file will be, so it never moves under a
	// reader; the file grows by small steps.
	db.AllocSize = step
	s.db = db
	return nil
}

// publish syncs the file tmp, gives it its name and syncs the directory.
func publish(tmp, path string) error {
	f, err := beneath.OpenFile(tmp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// close gives the file back to the system; it can be opened again to read.
func (s *segment) close() error {
	s.hmu.Lock()
	defer s.hmu.Unlock()
	return s.closeLocked()
}

func (s *segment) closeLocked() error {
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	return db.close()
}

// append stores chunks and the summary in one transaction and returns when it
// is synced. After an error the handle must not be used again.
func (s *segment) append(chunks [][]byte, heads []head, sum []byte) error {
	return guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			tx.Cursor().Bucket().FillPercent = 1 // keys only grow
			for i, c := range chunks {
				if err := putChunk(tx, heads[i].first, c); err != nil {
					return err
				}
			}
			return putSummary(tx, sum)
		})
	})
}

func putChunk(tx *bolt.Tx, first uint64, chunk []byte) error {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], first)
	b, err := tx.CreateBucket(key[:])
	if err != nil {
		return err
	}
	b.FillPercent = 1
	return b.Put(chunkKey, chunk)
}

func putSummary(tx *bolt.Tx, sum []byte) error {
	m, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	m.FillPercent = 1
	return m.Put(summaryKey, sum)
}

// allocate gives the file blocks for need more bytes, and half a segment more.
// To use what is reserved costs the file system's journal half of what new
// blocks cost it. Where that cannot be done, bbolt makes the file longer as it
// grows, and says what is wrong.
func (s *segment) allocate(need, step int64) error {
	used, err := s.used()
	if err != nil {
		return err
	}
	if info, err := s.db.file.Stat(); err == nil && used+need > info.Size() {
		_ = unix.Fallocate(int(s.db.file.Fd()), 0, 0, (used+need+step-1)/step*step)
	}
	return nil
}

// used returns the bytes the file needs: what lies behind is preallocation.
func (s *segment) used() (n int64, err error) {
	err = guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			n = tx.Size()
			return nil
		})
	})
	return n, err
}

// find copies into buf the chunk that has the first record at or after off.
// It returns nil when the segment has none.
func (s *segment) find(off uint64, buf []byte, h *head, names *interner) ([]byte, error) {
	found := buf[:0]
	err := guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			var key [8]byte
			binary.BigEndian.PutUint64(key[:], off)
			c := tx.Cursor()
			k, _ := c.Seek(key[:])
			if len(k) == 8 && binary.BigEndian.Uint64(k) == off {
				return s.load(tx, k, &found, h, names)
			}
			if k, _ = c.Prev(); len(k) == 8 {
				if err := s.load(tx, k, &found, h, names); err != nil || h.last >= off {
					return err
				}
			}
			found = buf[:0]
			if k, _ = c.Seek(key[:]); len(k) == 8 {
				return s.load(tx, k, &found, h, names)
			}
			return nil
		})
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found, nil
}

func (s *segment) load(tx *bolt.Tx, key []byte, dst *[]byte, h *head, names *interner) error {
	v, err := chunkValue(tx, key)
	if err != nil {
		return err
	}
	*dst = append((*dst)[:0], v...)
	if err := parseHead(*dst, names, h); err != nil {
		return errors.Join(err, errDamaged)
	}
	if h.first != binary.BigEndian.Uint64(key) {
		return fmt.Errorf("a chunk lies at offset %d and says %d: %w", binary.BigEndian.Uint64(key), h.first, errDamaged)
	}
	return nil
}

func chunkValue(tx *bolt.Tx, key []byte) ([]byte, error) {
	b := tx.Bucket(key)
	if b == nil {
		return nil, fmt.Errorf("an offset is not a bucket: %w", errDamaged)
	}
	v := b.Get(chunkKey)
	if v == nil {
		return nil, fmt.Errorf("an offset has no chunk: %w", errDamaged)
	}
	return v, nil
}

// walk calls fn with every chunk in the order of offsets; the bytes are valid
// during the call. It stops at the first damage.
func (s *segment) walk(fn func(h *head, chunk []byte) error) error {
	return guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			var h head
			var names interner
			var buf []byte
			c := tx.Cursor()
			for k, _ := c.First(); k != nil; k, _ = c.Next() {
				if !ours(k) {
					return fmt.Errorf("it has a key that is not the buffer's: %w", errDamaged)
				}
				if len(k) != 8 {
					continue
				}
				if err := s.load(tx, k, &buf, &h, &names); err != nil {
					return err
				}
				if err := fn(&h, buf); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// readSummary reads what the segment says about itself as a whole.
func (s *segment) readSummary() (sum summary, err error) {
	err = guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			m := tx.Bucket(metaBucket)
			if m == nil {
				return nil // created, and nothing was appended
			}
			return sum.decode(m.Get(summaryKey))
		})
	})
	return sum, err
}
