package buffer

import (
	"sort"
	"unsafe"
)

const rowSize = int64(unsafe.Sizeof(row{}))

// block is a run of records in memory. The offsets of its rows are first,
// first+1, ... All fields are under Buffer.mu; rows and arena of a sealed
// block do not change until it is recycled.
type block struct {
	first  uint64
	rows   []row
	arena  []byte
	synced bool // in a segment; kept only to be read without the disk
	logged bool // in the journal, and to be put into a segment
	busy   bool // the committer reads it
	gone   bool // to be recycled when it is no longer busy
}

func (k *block) end() uint64 { return k.first + uint64(len(k.rows)) }

func (k *block) bytes() int64 { return int64(cap(k.rows))*rowSize + int64(cap(k.arena)) }

// memory is the queue of blocks, in the order of offsets and without holes
// between unsynced ones.
type memory struct {
	limit    int64
	cache    int64 // bytes of synced blocks worth keeping
	arena    int   // bytes of data in an ordinary block
	rowCap   int
	blocks   []*block
	tail     *block // the block that is appended to; also the last of blocks
	free     []*block
	bytes    int64
	unsynced int64 // bytes of blocks that are not synced
	logged   int64 // of those: in the journal
}

func (m *memory) init(limit int64) {
	m.limit = limit
	m.cache = min(limit/4, 1<<20)
	m.arena = int(min(max(limit/64, 2<<10), 32<<10))
	m.rowCap = m.arena / 32
}

// room returns the block that takes a record of size bytes, nil when memory
// is full. Losses, which need no data, may use one block beyond the limit.
func (m *memory) room(next uint64, size int, loss bool) *block {
	if k := m.tail; k != nil && len(k.rows) < cap(k.rows) && len(k.arena)+size <= cap(k.arena) {
		return k
	}
	m.seal()
	need := int64(m.rowCap)*rowSize + int64(max(m.arena, size))
	limit := m.limit
	if loss {
		limit += need
	}
	for m.bytes+need > limit && m.dropSynced() {
	}
	if m.bytes+need > limit {
		return nil
	}
	k := m.fresh(size)
	k.first = next
	m.blocks = append(m.blocks, k)
	m.tail = k
	m.bytes += k.bytes()
	m.unsynced += k.bytes()
	return k
}

func (m *memory) fresh(size int) *block {
	if n := len(m.free); n > 0 && size <= m.arena {
		k := m.free[n-1]
		m.free = m.free[:n-1]
		return k
	}
	return &block{rows: make([]row, 0, m.rowCap), arena: make([]byte, 0, max(m.arena, size))}
}

// seal ends the block that is appended to.
func (m *memory) seal() { m.tail = nil }

// dropSynced gives up the oldest block that is on disk.
func (m *memory) dropSynced() bool {
	for i, k := range m.blocks {
		if k.synced && !k.busy {
			m.remove(i, i+1)
			return true
		}
	}
	return false
}

// remove takes blocks i..j-1 out of the queue and recycles them.
func (m *memory) remove(i, j int) {
	for _, k := range m.blocks[i:j] {
		m.bytes -= k.bytes()
		m.uncount(k)
		if k == m.tail {
			m.tail = nil
		}
		if k.busy {
			k.gone = true
			continue
		}
		m.recycle(k)
	}
	n := copy(m.blocks[i:], m.blocks[j:])
	clear(m.blocks[i+n:])
	m.blocks = m.blocks[:i+n]
}

func (m *memory) recycle(k *block) {
	const keep = 32
	if len(m.free) < keep && cap(k.arena) == m.arena && cap(k.rows) == m.rowCap {
		*k = block{rows: k.rows[:0], arena: k.arena[:0]}
		m.free = append(m.free, k)
	}
}

// release is called by the committer when it no longer reads k.
func (m *memory) release(k *block) {
	k.busy = false
	if k.gone {
		m.recycle(k)
	}
}

// take removes one block.
func (m *memory) take(k *block) {
	for i := range m.blocks {
		if m.blocks[i] == k {
			m.remove(i, i+1)
			return
		}
	}
}

// uncount takes a block out of what is not synced.
func (m *memory) uncount(k *block) {
	if !k.synced {
		m.unsynced -= k.bytes()
	}
	if k.logged {
		m.logged -= k.bytes()
	}
}

// markSynced marks a block as in a segment.
func (m *memory) markSynced(k *block) {
	if !k.gone {
		m.uncount(k)
	}
	k.synced, k.logged = true, false
}

// markUnsynced marks a block as in memory only: what it was stored in is lost.
func (m *memory) markUnsynced(k *block) {
	if k.gone {
		return
	}
	if k.synced {
		m.unsynced += k.bytes()
	}
	if k.logged {
		m.logged -= k.bytes()
	}
	k.synced, k.logged = false, false
}

// markLogged marks a block as in the journal. It stays in memory for a while,
// so one that is not half full gives its room to the next.
func (m *memory) markLogged(k *block) {
	if k.gone {
		return
	}
	if was := k.bytes(); len(k.rows) < cap(k.rows)/2 && len(k.arena) < cap(k.arena)/2 {
		spare := &block{rows: k.rows, arena: k.arena}
		k.rows = append(make([]row, 0, len(k.rows)), k.rows...)
		k.arena = append(make([]byte, 0, len(k.arena)), k.arena...)
		m.recycle(spare)
		m.bytes += k.bytes() - was
		m.unsynced += k.bytes() - was
	}
	k.logged = true
	m.logged += k.bytes()
}

// trim keeps no more synced blocks than the cache may have.
func (m *memory) trim() {
	for m.bytes-m.unsynced > m.cache && m.dropSynced() {
	}
}

// find returns the index of the first block that ends behind off.
func (m *memory) find(off uint64) int {
	if len(m.blocks) == 0 || off < m.blocks[0].end() {
		return 0
	}
	return sort.Search(len(m.blocks), func(i int) bool { return m.blocks[i].end() > off })
}

// dropRange gives up the blocks on disk that reach into [from,to).
func (m *memory) dropRange(from, to uint64) {
	for i := len(m.blocks) - 1; i >= 0; i-- {
		if k := m.blocks[i]; k.synced && k.first < to && k.end() > from {
			m.remove(i, i+1)
		}
	}
}

// forget recycles the blocks in reach of [from,to) that gone covers wholly.
func (m *memory) forget(from, to uint64, gone *spans) {
	i := m.find(from)
	for i < len(m.blocks) && m.blocks[i].first < to {
		j := i
		for j < len(m.blocks) && m.blocks[j].first < to && gone.covers(m.blocks[j].first, m.blocks[j].end()) {
			j++
		}
		if j > i {
			m.remove(i, j)
			continue
		}
		i++
	}
}
