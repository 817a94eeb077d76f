package buffer

import (
	"golang.org/x/sys/unix"
)

// noLimit is the MaxSize of a buffer that must not evict.
const noLimit = 1 << 50

// measureLimit sets the size limit to what is configured or to what the file
// system can hold, whichever is less. What is left of a file system is for its
// own tables, and so that evicting begins before writing fails.
func (b *Buffer) measureLimit() {
	limit := b.cfg.MaxSize
	if limit == noLimit {
		return // nothing is to be evicted
	}
	if size, ok := capacity(b.cfg.Dir); ok {
		limit = min(limit, max(size-size/16, MinMaxSize))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if limit < b.cfg.MaxSize && limit != b.limit {
		b.log.Warn("buffer: the file system holds less than max_size; what fits is kept",
			"directory", b.cfg.Dir, "max_size", b.cfg.MaxSize, "limit", limit)
	}
	b.setLimit(limit)
}

// setLimit sets the size limit, and segments that fit into it. It is called
// with disk and mu held.
func (b *Buffer) setLimit(limit int64) {
	b.limit = limit
	b.segmentSize = max(min(b.cfg.SegmentSize, limit/8), 64<<10)
	b.step = int(max(b.segmentSize/2, 16<<10)) &^ (pageSize - 1)
}

// measureFree notes how much others have left of the file system, which may be
// less than the size limit still allows. It is called with disk held.
func (b *Buffer) measureFree() {
	var st unix.Statfs_t
	if err := unix.Statfs(b.cfg.Dir, &st); err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.vacant = int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // it has 32 bits elsewhere
}

// canHold is how large all files may become now. It is called with mu held.
func (b *Buffer) canHold(files int64) int64 {
	if !b.attached || b.vacant < 0 {
		return b.limit
	}
	return min(b.limit, files+b.vacant)
}

// capacity is what the file system of a directory holds when it is empty, less
// what is kept for root.
func capacity(dir string) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Blocks == 0 {
		return 0, false
	}
	blocks := st.Blocks - min(st.Blocks, st.Bfree-min(st.Bfree, st.Bavail))
	return int64(blocks) * int64(st.Bsize), true //nolint:unconvert // it has 32 bits elsewhere
}
