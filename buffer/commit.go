package buffer

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"
)

const (
	stateDelay = 5 * time.Second // how long an acknowledgement may stay unstored
	stateProof = time.Minute     // how long the state goes unwritten: while all is acknowledged at once nothing else would notice a failed disk, until an outage needs it
	maxBackoff = 5 * time.Second
	stallAfter = 2 * time.Second // then a disk that has not answered is a fault
)

// errFull says that the size limit leaves no room.
var errFull = errors.New("the size limit of the buffer is reached")

// now is the monotonic time since Open.
func (b *Buffer) now() time.Duration { return time.Since(b.base) }

// timeOfDay is ns since 1970, or 0 while it is not to be trusted.
func (b *Buffer) timeOfDay() int64 {
	if b.cfg.Clock != nil {
		return b.cfg.Clock()
	}
	return time.Now().UnixNano()
}

// run is the committer: the only goroutine that writes to the disk. It sleeps
// until the oldest record is due, not on a tick.
func (b *Buffer) run(first chan<- error) {
	defer close(b.done)
	if !b.attachLoop(first) {
		return
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, idle := b.untilWork()
		if !idle {
			timer.Reset(max(wait, 0))
		} else {
			timer.Stop()
		}
		select {
		case <-b.stop:
			return
		case <-b.kicked:
		case <-timer.C:
		}
		if wait, idle = b.untilWork(); idle || wait > 0 {
			continue
		}
		b.disk.Lock()
		err := b.work()
		if goesAway(err) {
			b.detach()
		}
		b.measureFree()
		b.disk.Unlock()
		b.settled(err)
	}
}

// untilWork says how long the committer may sleep; idle: until it is kicked.
func (b *Buffer) untilWork() (wait time.Duration, idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	wait, idle = b.untilDue(now)
	sooner := func(at time.Duration) {
		if idle || at-now < wait {
			wait, idle = at-now, false
		}
	}
	if b.stateDue > 0 {
		sooner(b.stateDue)
	}
	if b.sweep {
		sooner(now)
	}
	if at, ok := b.journalOld(); ok {
		sooner(at)
	}
	if b.cfg.MaxAge > 0 && len(b.segs) > 0 {
		sooner(b.segs[0].saved + b.cfg.MaxAge)
	}
	if !idle && b.retryAt > now {
		wait = max(wait, b.retryAt-now)
	}
	return wait, idle
}

// untilDue says when the next commit has to begin so that it has ended before
// the oldest record that nobody has acknowledged is SyncInterval old.
func (b *Buffer) untilDue(now time.Duration) (time.Duration, bool) {
	if b.missing && b.mem.bytes < b.mem.limit-b.mem.limit/8 {
		b.settleAll()
	}
	b.hurry = b.hurry && b.mem.unsynced > b.mem.limit/2
	for _, k := range b.mem.blocks {
		if k.synced || k.logged {
			continue
		}
		off := b.gone.outside(k.first)
		if off >= k.end() {
			continue
		}
		b.armed = true
		if b.hurry {
			return 0, false
		}
		age := time.Duration(uint32(now/time.Millisecond)-k.rows[off-k.first].at) * time.Millisecond
		return b.cfg.SyncInterval - b.margin() - age, false
	}
	b.armed = false
	return 0, true
}

// margin is how long before it is due a commit begins.
func (b *Buffer) margin() time.Duration {
	i := b.cfg.SyncInterval
	return min(max(2*b.slowest, i/8), i/2) + time.Millisecond
}

// settleAll puts the losses that found no room into the stream.
func (b *Buffer) settleAll() {
	b.missing = false
	for _, s := range b.sources {
		b.missing = !s.settle() || b.missing
	}
}

// settled notes how the last work ended.
func (b *Buffer) settled(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busyFrom = 0
	if err == nil {
		if b.fault != "" {
			b.log.Info("buffer: the disk takes records again")
		}
		b.fault, b.backoff, b.retryAt = "", 0, 0
		return
	}
	if text := err.Error(); text != b.fault {
		b.log.Error("buffer: the disk does not take records; they are kept in memory", "error", err)
		b.fault = text
	}
	least := 100 * time.Millisecond
	if errors.Is(err, errAway) {
		least = awayBackoff
	}
	b.backoff = min(max(2*b.backoff, least), maxBackoff)
	b.retryAt = b.now() + b.backoff
}

// work does what is due. It is called with disk held.
func (b *Buffer) work() error {
	b.mu.Lock()
	now := b.now()
	b.busyFrom = now
	due, idle := b.untilDue(now)
	store := b.stateDue > 0 && b.stateDue <= now
	at, old := b.journalOld()
	old = old && at <= now
	b.mu.Unlock()
	if err := b.ready(); err != nil {
		return err
	}
	if err := b.sweepSegments(false); err != nil {
		return err
	}
	if err := b.expire(); err != nil {
		return err
	}
	if old || !idle && due <= 0 {
		if err := b.commit(old); err != nil {
			return err
		}
	}
	if store {
		return b.storeState()
	}
	return nil
}

// commit puts every record that is only in memory and not acknowledged on the
// disk: into the journal or, with what that has, into a segment. With seal
// everything goes into a segment.
func (b *Buffer) commit(seal bool) error {
	begin := b.now()
	all, logged := b.unstored()
	noted, encoded := false, 0
	if fresh := all[logged:]; !seal {
		noted, encoded = b.note(fresh)
		noted = noted || len(fresh) == 0
	}
	took := b.now() - begin
	var err error
	for full := b.journalFull(); (!noted || full) && len(all) > 0 && err == nil; encoded = 0 {
		var n int
		n, err = b.commitGroup(all, encoded)
		b.steps.Add(1)
		all = all[n:]
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range all {
		b.mem.release(k)
	}
	if !noted {
		took = b.now() - begin
	}
	b.slowest = max(took, b.slowest-b.slowest/8)
	return err
}

// unstored returns the blocks that are in no segment; the first logged ones
// are in the journal.
func (b *Buffer) unstored() (blocks []*block, logged int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.missing {
		b.settleAll()
	}
	b.mem.seal()
	for _, k := range b.mem.blocks {
		if k.synced {
			continue
		}
		k.busy = true
		blocks = append(blocks, k)
		if k.logged {
			logged = len(blocks)
		}
	}
	return blocks, logged
}

// commitGroup stores some of the blocks in one transaction and returns how
// many it is done with: those that encode has put into b.out, or, if it has
// not, about a megabyte. When the size limit leaves no room, those that are
// only in memory are lost, by policy.
func (b *Buffer) commitGroup(blocks []*block, encoded int) (n int, err error) {
	if b.stillFull() {
		return len(blocks), b.refuse(blocks)
	}
	if n = encoded; n == 0 {
		n, _ = b.encode(blocks)
	}
	if len(b.heads) > 0 { // else all was acknowledged meanwhile
		err = b.store()
	}
	switch {
	case errors.Is(err, errFull):
		return n, b.refuse(blocks[:n])
	case err != nil:
		b.spare(err)
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	end := blocks[n-1].end()
	if !blocks[n-1].logged {
		b.stats.Commits++
	}
	for _, k := range blocks[:n] {
		if len(k.rows) > 0 {
			b.ages.note(k.first, b.appendedAt(&k.rows[0]))
		}
		b.mem.markSynced(k)
		b.mem.release(k)
	}
	b.mem.trim()
	if j := b.journal; j != nil {
		j.stored, j.from = end, end
	}
	b.synced(end)
	return n, nil
}

// stillFull says whether there is no more room than before, so that nothing
// need be encoded to find that out.
func (b *Buffer) stillFull() bool {
	b.mu.Lock()
	full := b.full
	b.mu.Unlock()
	return full && errors.Is(b.makeRoom(int64(chunkOverhead+b.step)), errFull)
}

// synced notes that what lies below the offset end is on disk or gone. mu is
// held.
func (b *Buffer) synced(end uint64) {
	b.syncedTo = end
	if b.cfg.SyncInterval == 0 && b.wake != nil {
		close(b.wake)
		b.wake = nil
	}
}

// spare frees a segment's worth of a disk that is full before the size limit
// is reached, so that the next attempt succeeds.
func (b *Buffer) spare(err error) {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return
	}
	if len(b.bad) > 0 {
		b.dropBad()
		return
	}
	b.mu.Lock()
	var oldest *segment
	if len(b.segs) > 0 && (b.cfg.Overflow == DropOldest || b.finished(b.segs[0], true)) {
		oldest, _ = b.choose(b.protected())
	}
	b.mu.Unlock()
	if oldest == nil {
		return
	}
	if err := b.evict(oldest); err != nil {
		b.log.Error("buffer: making room on a full disk failed", "error", err)
	}
}

// groupLimit is about how many bytes of records one commit to a segment has.
func (b *Buffer) groupLimit() int { return int(min(b.segmentSize/2, 1<<20)) }

// encode turns blocks into chunks in b.out and b.heads, about a megabyte of
// records at most, and returns how many blocks and bytes of records.
func (b *Buffer) encode(blocks []*block) (n, size int) {
	limit := b.groupLimit()
	b.out, b.heads = b.out[:0], b.heads[:0]
	b.mu.Lock()
	for i := len(b.names); i < len(b.sources); i++ {
		b.names = append(b.names, b.sources[i].name)
	}
	b.mu.Unlock()
	for n < len(blocks) && (n == 0 || size < limit) {
		k := blocks[n]
		n++
		b.mu.Lock()
		b.skip = b.gone.within(k.first, k.end(), b.skip[:0], math.MaxInt)
		b.mu.Unlock()
		size += b.encodeBlock(k, limit)
	}
	if b.enc.rows > 0 {
		b.finishChunk()
	}
	return n, size
}

func (b *Buffer) encodeBlock(k *block, limit int) (size int) {
	skip := b.skip
	for i := range k.rows {
		off := k.first + uint64(i)
		for len(skip) > 0 && off >= skip[0].to {
			skip = skip[1:]
		}
		if len(skip) > 0 && off >= skip[0].from {
			continue
		}
		w := &k.rows[i]
		if b.enc.full(int(w.size), limit) {
			b.finishChunk()
		}
		b.enc.add(off, w, b.names[w.src], k.arena[w.pos:w.pos+w.size])
		size += int(w.size) + 8
	}
	return size
}

func (b *Buffer) finishChunk() {
	b.heads = append(b.heads, head{})
	b.out = b.enc.finish(b.out, &b.heads[len(b.heads)-1])
}

// store appends the chunks to the active segment and syncs.
func (b *Buffer) store() error {
	if err := b.roomForChunks(); err != nil {
		return err
	}
	s := b.active
	chunks := make([][]byte, len(b.heads))
	sum := s.sum.clone()
	at := 0
	for i := range b.heads {
		h := &b.heads[i]
		chunks[i] = b.out[at : at+h.size]
		at += h.size
		sum.note(h)
	}
	sum.born = b.timeOfDay()
	b.mu.Lock()
	sum.session, sum.next = b.session, b.next
	sum.gone = b.gone.within(0, b.next, sum.gone[:0], maxSpansStored)
	b.mu.Unlock()
	err := b.hook("commit")
	if err == nil {
		err = s.allocate(int64(len(b.out))+chunkOverhead+int64(2*pageSize*len(chunks)), int64(b.step))
	}
	if err == nil {
		err = s.append(chunks, b.heads, sum.encode(nil))
	}
	used := int64(0)
	if err == nil {
		used, err = s.used()
	}
	if err == nil {
		err = b.hook("committed")
	}
	if err != nil {
		b.abandon()
		return fmt.Errorf("storing records in %s: %w", s.path, err)
	}
	size, err := fileSize(s.path)
	if err != nil || !named(s.db.file) {
		// The file was removed under us: what it held is gone with it.
		b.abandon()
		return fmt.Errorf("%s was removed or replaced while it was in use", s.path)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.sum, s.size, s.data, s.saved = sum, size, used, b.now()
	b.taken()
	return nil
}

// taken notes that what is in b.out is on disk. mu is held.
func (b *Buffer) taken() {
	b.noteStored()
	if b.full {
		b.full = false
		b.log.Info("buffer: there is room for records again")
	}
	b.stats.WrittenBytes += uint64(len(b.out))
}

// fileSize returns what the file takes: its length or its blocks, whichever
// is more.
func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	size := info.Size()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		size = max(size, st.Blocks*512)
	}
	return size, nil
}

// refuse turns records that are only in memory into losses: the policy is to
// drop the newest, or there is nothing older to drop. What is in the journal
// stays there until there is room.
func (b *Buffer) refuse(blocks []*block) error {
	b.mu.Lock()
	b.synced(blocks[len(blocks)-1].end())
	some := false
	for _, k := range blocks {
		b.mem.release(k)
		if k.logged {
			continue
		}
		some = true
		runs := runs{handed: &b.handed}
		for i := range k.rows {
			if off := k.first + uint64(i); !b.gone.contains(off) {
				w := &k.rows[i]
				runs.add(off, b.session, b.sources[w.src].name, w, Evicted)
			}
		}
		b.replace(k.first, k.end(), runs.list)
		b.mem.take(k)
	}
	if some && !b.full {
		b.full = true
		b.log.Warn("buffer: the size limit is reached; new records are lost", "limit", b.limit)
	}
	b.mu.Unlock()
	if !some {
		return nil
	}
	return b.storeState()
}
