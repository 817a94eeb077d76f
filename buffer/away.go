package buffer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A disk may go away and come again: a file system that the kernel has made
// read-only is checked and mounted anew, a directory is removed, a cable comes
// loose. After such a fault nothing is kept open, since one open file would keep
// the disk from being unmounted, and each retry looks for the directory as a
// start does. The session stays the same: its number is in the state.
// docs/decisions/buffer-away.md has the reasons.
const (
	awayPatience = 10 * time.Minute // after that what cannot be read is lost, so that what comes behind it is delivered
	awayBackoff  = 2 * time.Second  // long enough for the fault to be seen by whoever looks at Stats
)

// errAway says that the disk is not there at the moment; what is on it may come
// back.
var errAway = errors.New("the disk of the buffer is away")

// errOther says that there is another buffer in the directory now.
var errOther = errors.New("it holds another buffer than before; start fieldferry again to take that one over, or bring the disk back")

// goesAway says whether after this error nothing of the disk may stay open.
func goesAway(err error) bool {
	for _, not := range []error{errFull, errAway, ErrLocked, syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, not) {
			return false
		}
	}
	return err != nil
}

// present says why the directory is not the one that is locked. It is called
// with disk held.
func (b *Buffer) present() error {
	if err := mounted(b.cfg.MountPoint); err != nil {
		return fmt.Errorf("%w: %w", errAway, err)
	}
	if b.away || !named(b.lock) {
		return fmt.Errorf("%w: %s was removed or replaced while it was in use", errAway, b.cfg.Dir)
	}
	return nil
}

// ready takes the directory again when it is away, and gives it up when it is
// not the one that was locked any more.
func (b *Buffer) ready() error {
	if b.away {
		return b.reattach()
	}
	err := b.present()
	if err != nil {
		b.detach()
	}
	return err
}

// detach closes everything that is open. It is called with disk held.
func (b *Buffer) detach() {
	b.rmu.Lock()
	defer b.rmu.Unlock()
	if b.away || b.state == nil {
		return
	}
	b.away, b.awaySince = true, b.now()
	b.reading = nil
	b.mu.Lock()
	b.active = nil
	segs := slices.Clone(b.segs)
	b.mu.Unlock()
	for _, s := range segs {
		s.hmu.Lock()
		s.checked = false
		err := s.closeLocked()
		s.hmu.Unlock()
		if err != nil {
			b.log.Error("buffer: closing a segment failed", "file", s.path, "error", err)
		}
	}
	b.closeJournal()
	b.journalAt = 0
	b.generation = b.state.generation
	_ = b.state.close() // what it has was synced or will be written again
	_ = b.lock.Close()
	b.state, b.lock = nil, nil
}

// reattach takes the directory again, or makes it as at the start. What was
// only there is accounted for. It is called with disk held.
func (b *Buffer) reattach() error {
	if err := b.hook("attach"); err != nil {
		return err
	}
	if err := mounted(b.cfg.MountPoint); err != nil {
		return err
	}
	if err := b.sameDisk(); err != nil {
		return err
	}
	if err := makeDir(b.cfg.Dir); err != nil {
		return hint(fmt.Errorf("creating the directory of the buffer: %w", err), giveFiles)
	}
	lock, err := lockDir(b.cfg.Dir, lockWait)
	if err != nil {
		return hint(err, giveFiles)
	}
	b.lock = lock
	if err := b.takeBack(); err != nil {
		if b.state != nil {
			b.generation = b.state.generation
			_ = b.state.close()
		}
		_ = lock.Close()
		b.state, b.lock = nil, nil
		return hint(fmt.Errorf("opening the buffer in %s again: %w", b.cfg.Dir, err), giveFiles)
	}
	b.rmu.Lock()
	b.away = false
	b.rmu.Unlock()
	b.log.Info("buffer: the directory is in use again", "directory", b.cfg.Dir)
	return nil
}

// sameDisk refuses to begin a new buffer on another file system than the one
// that the buffer was on: that is what lies under a disk that is not mounted.
func (b *Buffer) sameDisk() error {
	_, err := os.Lstat(b.path(stateName))
	if dev, known := deviceOf(b.cfg.Dir); errors.Is(err, os.ErrNotExist) && known && dev != b.device {
		return fmt.Errorf("the disk that had the buffer in %s is not mounted; records are kept in memory until it is, or start fieldferry again to use what is there now", b.cfg.Dir)
	}
	return nil
}

// deviceOf returns the file system of a directory or of what there is above it.
func deviceOf(dir string) (uint64, bool) {
	for {
		var st unix.Stat_t
		err := unix.Stat(dir, &st)
		if err == nil {
			return uint64(st.Dev), true //nolint:unconvert // it has 32 bits elsewhere
		}
		above := filepath.Dir(dir)
		if !errors.Is(err, unix.ENOENT) || above == dir {
			return 0, false
		}
		dir = above
	}
}

// takeBack compares the directory with what is known of it and goes on in it.
func (b *Buffer) takeBack() error {
	st, generation, _, err := readState(b.cfg.Dir)
	if err != nil {
		return fmt.Errorf("reading the state file: %w", err)
	}
	// One write may have succeeded without being known to.
	if generation > 0 && (st.session != b.session || generation > b.generation+1) {
		return errOther
	}
	if err := b.clearOut(generation > 0); err != nil {
		return err
	}
	if b.state, err = openState(b.cfg.Dir, max(generation, b.generation)); err != nil {
		return err
	}
	b.measureLimit()
	b.device, _ = deviceOf(b.cfg.Dir)
	missing, err := b.missingFiles()
	if err != nil {
		return err
	}
	// Twice, so that each slot alone knows the session.
	if err := errors.Join(b.storeState(), b.storeState()); err != nil {
		return err
	}
	for _, s := range missing {
		if err := b.unlink(s); err != nil {
			return err
		}
	}
	b.mu.Lock()
	b.sweep = true
	b.mu.Unlock()
	return nil
}

// clearOut removes what an interrupted write has left, and segments that were
// removed before and are there again. Segments without our state are another
// buffer's.
func (b *Buffer) clearOut(ours bool) error {
	entries, err := os.ReadDir(b.cfg.Dir)
	if err != nil {
		return err
	}
	b.mu.Lock()
	chain := map[uint64]bool{}
	for _, s := range b.segs {
		chain[s.id] = true
	}
	b.mu.Unlock()
	for _, e := range entries {
		id, segment := segmentID(e.Name())
		switch {
		case strings.HasSuffix(e.Name(), ".tmp"):
		case !segment || chain[id]:
			continue
		case !ours:
			return errOther
		}
		if err := os.Remove(b.path(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// missingFiles accounts for the segments that are not there any more, except for
// what of them is still in memory: that is stored again.
func (b *Buffer) missingFiles() (missing []*segment, err error) {
	b.mu.Lock()
	segs := slices.Clone(b.segs)
	b.mu.Unlock()
	kept := uint64(0) // offsets below are in segments that are there
	for _, s := range segs {
		size, err := fileSize(s.path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			missing = append(missing, s)
			continue
		case err != nil:
			return nil, err
		}
		b.mu.Lock()
		s.size = size
		if s.sum.rows > 0 {
			kept = s.sum.last + 1
		}
		b.mu.Unlock()
		s.hmu.Lock()
		s.checked = false
		s.hmu.Unlock()
	}
	_, err = os.Lstat(b.path(journalName))
	noJournal := errors.Is(err, os.ErrNotExist)
	if noJournal {
		b.setJournalBytes(0)
	}
	if noJournal || len(missing) > 0 {
		b.storeAgain(kept)
	}
	for _, s := range missing {
		b.log.Error("buffer: a segment is missing", "file", s.path)
		if good, lost := b.inMemory(s); lost {
			b.account(s, good)
		}
	}
	b.dropMissingBad()
	return missing, nil
}

// storeAgain takes what is in memory from this offset on for not stored.
func (b *Buffer) storeAgain(from uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.mem.blocks {
		if k.first >= from {
			b.mem.markUnsynced(k)
			b.syncedTo = min(b.syncedTo, k.first)
		}
	}
	b.kick()
}

// inMemory describes what of a segment is in memory as a chunk; lost says that
// there was more.
func (b *Buffer) inMemory(s *segment) (good []found, lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var sum summary
	from, to := s.sum.first, s.sum.last+1
	for _, k := range b.mem.blocks {
		for i := range k.rows {
			off := k.first + uint64(i)
			if k.synced || off < from || off >= to {
				continue
			}
			w := &k.rows[i]
			if sum.first == 0 {
				sum.first = off
			}
			name := b.sources[w.src].name
			if sum.pair(b.session, name) == nil {
				sum.pairs = append(sum.pairs, table{session: b.session, name: name, first: w.seq})
			}
			sum.pair(b.session, name).last = w.next() - 1
		}
	}
	switch {
	case s.sum.rows == 0:
		return nil, false
	case sum.first == 0:
		return nil, true
	}
	return []found{{head: head{first: sum.first, last: to - 1, tables: sum.pairs}}}, b.unknown(from, sum.first)
}

// dropMissingBad forgets damaged files that were kept and are not there.
func (b *Buffer) dropMissingBad() {
	b.bad = slices.DeleteFunc(b.bad, func(f badFile) bool {
		_, err := os.Lstat(f.path)
		if !errors.Is(err, os.ErrNotExist) {
			return false
		}
		b.mu.Lock()
		b.badBytes -= f.size
		b.mu.Unlock()
		return true
	})
}

// readAway reads a segment while the disk is away: one that is read-only can
// still be read. The segment is closed at once. It is called with rmu held.
func (b *Buffer) readAway(s *segment, fn func() error) error {
	err := b.openForReading(s)
	if err == nil {
		err = fn()
		err = errors.Join(err, s.close())
		b.reading = nil
	}
	if damage(err) && b.now()-b.awaySince < awayPatience {
		return fmt.Errorf("%w: %v", errAway, err) //nolint:errorlint // it may be damage, and is not to be taken for it
	}
	return err
}

// repairAway is repair while the directory is not there: what is on the disk
// may come back, for a while. It is called with disk held.
func (b *Buffer) repairAway(s *segment, why error) error {
	if !b.away {
		b.mu.Lock()
		b.stateDue = max(b.now(), 1) // so that the committer looks at it
		b.kick()
		b.mu.Unlock()
		return why
	}
	if b.now()-b.awaySince < awayPatience {
		return why
	}
	b.account(s, nil)
	return nil
}
