package buffer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	openWait  = 10 * time.Second // how long Open waits for the disk before it goes on without
	closeWait = 5 * time.Second  // how long Close waits for a disk that does not get on
)

// ErrNewer says that a newer version of fieldferry has written the buffer. Its
// files are left as they are.
var ErrNewer = errors.New("the buffer was written by a newer version")

// Without a disk the buffer takes records into memory and gives none out: they
// have no session, because the one number that must never come twice is on the
// disk. attach finds the disk; then the session begins, and what was taken
// meanwhile is its first records.

// attach takes the directory, recovers what is in it and begins the session.
func (b *Buffer) attach() error {
	r, err := newBuffer(b.cfg, b.log, b.hook)
	if err != nil {
		return err
	}
	r.base = b.base
	if err := b.hook("attach"); err != nil {
		return err
	}
	if err := mounted(b.cfg.MountPoint); err != nil {
		return err
	}
	if err := makeDir(b.cfg.Dir); err != nil {
		return hint(fmt.Errorf("creating the directory of the buffer: %w", err), giveFiles)
	}
	if r.lock, err = lockDir(b.cfg.Dir, lockWait); err != nil {
		return hint(err, giveFiles)
	}
	r.measureLimit()
	r.device, _ = deviceOf(b.cfg.Dir)
	if err := r.recover(); err != nil {
		r.release()
		return hint(fmt.Errorf("opening the buffer in %s: %w", b.cfg.Dir, err), giveFiles)
	}
	r.readFront()
	if what, advice := Exposed(b.cfg.Dir); what != "" {
		b.log.Warn("buffer: others may change what is stored: "+what, "advice", advice)
	}
	b.adopt(r)
	b.reckon()
	return nil
}

// hint says what to do about files of another user, as a run by hand as root
// leaves them.
func hint(err error, advice string) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w; this runs as user %d: %s", err, os.Geteuid(), advice)
	}
	return err
}

const giveFiles = "give it the directory and its files by chown"

// makeDir creates the directory and its parents so that they outlive a power
// cut. Of one that has no buffer yet nobody knows whether it would.
func makeDir(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, stateName))
	if !errors.Is(err, os.ErrNotExist) {
		return nil // or opening it says what is wrong
	}
	if err := dangling(dir); err != nil {
		return err
	}
	above := filepath.Dir(dir)
	if above != dir {
		if _, err := os.Stat(above); errors.Is(err, os.ErrNotExist) {
			if err := makeDir(above); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := syncDir(above); !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil // it can be entered, not read: it was there before
}

// dangling refuses a link to something that is not there, as that to a data
// disk that is mounted late. What it names is not made: it would lie under the
// disk.
func dangling(dir string) error {
	target, err := os.Readlink(dir)
	if err != nil {
		return nil // it is not a link
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is a link to %s, which does not exist; it is used as soon as it does: mount its disk, or create it", dir, target)
	}
	return nil
}

// Mounted reports why the disk that belongs at dir is not there; nil: it is, or
// dir is empty.
func Mounted(dir string) error { return mounted(dir) }

// mounted says whether something is mounted at dir; empty: nothing need be.
func mounted(dir string) error {
	if dir == "" {
		return nil
	}
	var here, above syscall.Stat_t
	if err := syscall.Stat(dir, &here); err != nil {
		return fmt.Errorf("looking at the mount point of the buffer: %w", &os.PathError{Op: "stat", Path: dir, Err: err})
	}
	if err := syscall.Stat(filepath.Join(dir, ".."), &above); err != nil {
		return fmt.Errorf("looking at the mount point of the buffer: %w", &os.PathError{Op: "stat", Path: dir, Err: err})
	}
	if here.Dev == above.Dev && here.Ino != above.Ino {
		return fmt.Errorf("nothing is mounted at %s, where the buffer's disk belongs", dir)
	}
	return nil
}

// adopt takes over what r has recovered. What is in memory follows it.
func (b *Buffer) adopt(r *Buffer) {
	b.rmu.Lock()
	defer b.rmu.Unlock()
	b.reading = r.reading
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lock, b.state, b.enc, b.bad, b.nextID, b.badBytes = r.lock, r.state, r.enc, r.bad, r.nextID, r.badBytes
	b.session, b.gone, b.losses, b.segs, b.active = r.session, r.gone, r.losses, r.segs, r.active
	b.stateDue, b.sweep = r.stateDue, r.sweep
	b.journal, b.journalNumber, b.journalAt, b.journalBytes = r.journal, r.journalNumber, r.journalAt, r.journalBytes
	b.stateBytes, b.endings, b.front = r.stateBytes, r.endings, r.front
	b.limit, b.segmentSize, b.step, b.device = r.limit, r.segmentSize, r.step, r.device
	for i, n := range r.stats.LostBy {
		b.count(n, Reason(i))
	}
	own := b.lately // of before the session had its number
	b.lately = r.lately
	for _, l := range own {
		l.Session = r.session
		b.noteLoss(l)
	}
	// The offsets of what is in memory began at 1.
	for _, k := range b.mem.blocks {
		k.first += r.next - 1
	}
	b.next += r.next - 1
	b.syncedTo = r.next
	b.attached = true
	if b.wake != nil {
		close(b.wake)
		b.wake = nil
	}
}

// refused says whether an error of the first attempt is one that Open has to
// return: it will not go away by itself, and to go on could do harm.
func refused(err error) bool { return errors.Is(err, ErrLocked) || errors.Is(err, ErrNewer) }

// attachLoop is run's first part: it tries until the disk is there, and
// returns false when the buffer is closed before. The first result goes to
// first; after an error that Open returns the loop ends.
func (b *Buffer) attachLoop(first chan<- error) bool {
	for n := 0; ; n++ {
		b.disk.Lock()
		b.mu.Lock()
		b.busyFrom = max(b.now(), 1)
		b.mu.Unlock()
		err := b.attach()
		b.disk.Unlock()
		if n == 0 && err != nil && refused(err) {
			first <- err
			return false
		}
		b.settled(err)
		if n == 0 { // Open returns now, and whoever has the buffer can see the fault
			first <- err
		}
		if err == nil {
			return true
		}
		b.mu.Lock()
		wait := b.retryAt - b.now()
		b.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-b.stop:
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

// Close stores everything that is not acknowledged and gives the directory
// back. It waits for the disk while that gets on: after a fault it tries again
// for a moment, and a disk that has done nothing for five seconds is given
// up. Records appended afterwards are lost; Read and Wait return [ErrClosed].
// An error says that something could not be stored.
func (b *Buffer) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return ErrClosed
	}
	b.settleAll()
	b.closed = true
	if b.wake != nil {
		close(b.wake)
		b.wake = nil
	}
	b.mu.Unlock()
	close(b.stop)
	ended := make(chan error, 1)
	go func() { ended <- b.end() }()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	for steps := b.steps.Load(); ; {
		select {
		case err := <-ended:
			return err
		case <-timer.C:
		}
		if n := b.steps.Load(); n != steps {
			steps = n
			timer.Reset(closeWait)
			continue
		}
		return fmt.Errorf("closing the buffer with %d records that are not on disk: the disk has not answered for %s",
			b.Stats().Unsynced, closeWait)
	}
}

// end is the part of Close that waits for the disk.
func (b *Buffer) end() error {
	<-b.done
	b.disk.Lock()
	defer b.disk.Unlock()
	err := b.last()
	for wait := 50 * time.Millisecond; err != nil && wait < time.Second; wait *= 2 {
		time.Sleep(wait)
		err = b.last()
	}
	b.rmu.Lock()
	defer b.rmu.Unlock()
	b.ended = true
	b.release()
	if err != nil {
		return fmt.Errorf("closing the buffer with %d records that are not on disk: %w", b.Stats().Unsynced, err)
	}
	return nil
}

// last does all that is left to do.
func (b *Buffer) last() error {
	if !b.isAttached() {
		if err := b.attach(); err != nil {
			return err
		}
	}
	if b.away {
		if err := b.reattach(); err != nil {
			return err
		}
	}
	if err := b.commit(true); err != nil {
		b.log.Error("buffer: the last segment failed; the journal may have room", "error", err)
		if err := b.commit(false); err != nil {
			return err
		}
	}
	if err := b.sweepSegments(true); err != nil {
		return err
	}
	return b.storeStateAs(true)
}

func (b *Buffer) isAttached() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.attached
}
