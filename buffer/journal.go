package buffer

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fieldferry/buffer/beneath"
)

// The journal is one small file, written in full when it is made, that takes
// small commits until there is enough for a commit to a segment. Its pages
// have blocks that have been written, so that a commit costs its own pages and
// one flush: a segment costs four pages more, and blocks from the file system.
//
// An entry is one chunk in pages that follow each other. Each page says which
// entry it belongs to, and has a checksum. The last page ends with a copy of
// the chunk's head and is never the first one, so that of an entry that has
// lost a page it is known what it had. Each sector ends with a stamp made of
// the number of the entry, so that a page of which power has left some sectors
// as they were before is not taken for a damaged one; what stood in the place
// of the stamps is in the page's head.
//
//	0   magic "FFj", version       40  page of the entry, from 0
//	4   CRC32C of what follows     42  pages of the entry
//	8   number of the entry        44  length of the chunk
//	16  stored                     48  length of its head
//	24  from                       52  the last four bytes of each sector
//	32  to                         84  part of the chunk
//
// Entries are numbered through the life of the buffer. A run of entries begins
// at the first page when nothing of the last run is needed any more: it is in
// a segment, or acknowledged. What lies behind a run is older.
//
// docs/decisions/buffer-journal.md says why it is so and what was measured.
const (
	journalName    = "journal"
	journalMagic   = "FFj\x01"
	journalFixed   = 84
	sectorSize     = 512
	stampBase      = 0x46466a00 // so that zeros are none
	journalPart    = pageSize - journalFixed
	minJournal     = 4 * pageSize
	maxJournal     = 512 << 10
	maxEntry       = 40 << 10    // a bigger chunk costs less in a segment at once
	journalBackoff = time.Minute // after a fault
)

// journal is the file, open for appending. It belongs to the committer.
type journal struct {
	f      *os.File
	pages  int           // of the file
	used   int           // of the run
	raw    int           // bytes of records in the run, as encode counts them
	number uint64        // of the last entry
	stored uint64        // offsets below are in segments, or gone and noted in one
	from   uint64        // offsets below are there, in the run, or gone
	since  time.Duration // when the run began
	buf    []byte

	lastPages, lastRaw int // of the last entry: the next one may be alike
}

// pageHead is what a page of the journal says.
type pageHead struct {
	number, stored, from, to uint64
	index, count             int
	chunk, head              int // bytes
}

// entryPages returns how many pages a chunk takes with the copy of its head.
func entryPages(chunk, head int) int {
	n := (chunk + journalPart - 1) / journalPart
	if n == 1 || n*journalPart-chunk < head {
		n++
	}
	return n
}

func (p *pageHead) put(b []byte) {
	copy(b, journalMagic)
	for i, v := range []uint64{p.number, p.stored, p.from, p.to} {
		binary.LittleEndian.PutUint64(b[8+8*i:], v)
	}
	binary.LittleEndian.PutUint16(b[40:], uint16(p.index))
	binary.LittleEndian.PutUint16(b[42:], uint16(p.count))
	binary.LittleEndian.PutUint32(b[44:], uint32(p.chunk))
	binary.LittleEndian.PutUint32(b[48:], uint32(p.head))
	for i := range pageSize / sectorSize {
		end := b[(i+1)*sectorSize-4 : (i+1)*sectorSize]
		copy(b[52+4*i:], end)
		binary.LittleEndian.PutUint32(end, stampBase+uint32(p.number))
	}
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:pageSize], castagnoli))
}

// createJournal makes a journal without entries in the place of what is there.
func createJournal(dir string, size int64) error {
	path := filepath.Join(dir, journalName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	b := make([]byte, size)
	for at := int64(0); at < size; at += pageSize {
		new(pageHead).put(b[at : at+pageSize])
	}
	tmp := path + ".tmp"
	err := beneath.WriteFile(tmp, b, 0o600)
	if err == nil {
		err = publish(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// openJournal takes the journal up, whose entries are no longer needed. Without
// one commits go to segments, which only costs more.
func (b *Buffer) openJournal(number uint64) {
	j, err := b.tryJournal(number)
	if err != nil {
		b.log.Warn("buffer: there is no journal for small commits; they go to segments", "error", err)
		b.journalAt = b.now() + journalBackoff
		return
	}
	b.journal = j
}

func (b *Buffer) tryJournal(number uint64) (*journal, error) {
	path := b.path(journalName)
	info, err := os.Stat(path)
	if err != nil || info.Size() < minJournal || info.Size() > maxJournal || info.Size()%pageSize > 0 {
		b.setJournalBytes(0)
		size := min(max(b.segmentSize/16, minJournal), maxJournal) &^ (pageSize - 1)
		if err := b.makeRoom(size + pageSize); err != nil {
			return nil, err
		}
		if err := createJournal(b.cfg.Dir, size); err != nil {
			return nil, err
		}
		if info, err = os.Stat(path); err != nil {
			return nil, err
		}
	}
	f, err := beneath.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	end := b.setJournalBytes(info.Size())
	return &journal{f: f, pages: int(info.Size() / pageSize), number: number, stored: end, from: end}, nil
}

// setJournalBytes notes how large the journal is, and returns the end of what
// is on disk.
func (b *Buffer) setJournalBytes(n int64) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.journalBytes = n
	return b.syncedTo
}

// append stores one chunk, the records up to the offset to, and returns when
// it is synced. After an error the file must not be used again.
func (j *journal) append(chunk []byte, raw int, to uint64) error {
	p := pageHead{number: j.number + 1, stored: j.stored, from: j.from, to: to, chunk: len(chunk), head: headSize(chunk)}
	p.count = entryPages(p.chunk, p.head)
	if n := p.count * pageSize; cap(j.buf) < n {
		j.buf = make([]byte, n)
	}
	b := j.buf[:p.count*pageSize]
	clear(b)
	head, rest := chunk[:p.head], chunk
	for i := range p.count {
		page := b[i*pageSize : (i+1)*pageSize]
		rest = rest[copy(page[journalFixed:], rest):]
		if i == p.count-1 {
			copy(page[pageSize-len(head):], head)
		}
		p.index = i
		p.put(page)
	}
	if _, err := j.f.WriteAt(b, int64(j.used)*pageSize); err != nil {
		return err
	}
	if err := syscall.Fdatasync(int(j.f.Fd())); err != nil {
		return os.NewSyscallError("fdatasync", err)
	}
	if !named(j.f) {
		return errors.New("the journal was removed or replaced while it was in use")
	}
	j.number, j.from = p.number, to
	j.used += p.count
	j.raw += raw
	j.lastPages, j.lastRaw = p.count, raw
	return nil
}

// headSize returns the length of a chunk's head with its fixed part.
func headSize(chunk []byte) int { return chunkFixed + int(binary.LittleEndian.Uint32(chunk[8:])) }

// note puts blocks that are only in memory into the journal. It returns false
// when they have to go to a segment: they are many, or there is no room. Then
// encoded says how many of them b.out and b.heads have already.
func (b *Buffer) note(blocks []*block) (noted bool, encoded int) {
	b.mu.Lock()
	none := b.mem.logged == 0
	room := b.mem.logged <= b.mem.limit/4
	b.mu.Unlock()
	if b.journal == nil && none && b.now() >= b.journalAt {
		b.openJournal(b.journalNumber)
	}
	j := b.journal
	if j == nil || !room || len(blocks) == 0 {
		return false, 0
	}
	if none {
		j.used, j.raw, j.since = 0, 0, b.now()
	}
	n, raw := b.encode(blocks)
	if none {
		encoded = n
	}
	if n < len(blocks) || len(b.heads) > 1 || len(b.out) > maxEntry || j.raw+raw >= b.groupLimit() {
		return false, encoded
	}
	if len(b.heads) == 1 { // else all was acknowledged meanwhile
		if size := headSize(b.out); size > journalPart || j.used+entryPages(len(b.out), size) > j.pages {
			return false, encoded
		}
		if err := b.writeEntry(j, raw, blocks[n-1].end()); err != nil {
			b.log.Error("buffer: writing the journal failed; small commits go to segments", "error", err)
			b.closeJournal()
			b.journalAt = b.now() + journalBackoff
			return false, encoded
		}
	}
	b.steps.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range blocks {
		b.mem.markLogged(k)
	}
	b.taken()
	b.stats.Commits++
	b.synced(blocks[n-1].end())
	return true, 0
}

func (b *Buffer) writeEntry(j *journal, raw int, to uint64) error {
	err := b.hook("commit")
	if err == nil {
		err = j.append(b.out, raw, to)
	}
	if err == nil {
		err = b.hook("committed")
	}
	return err
}

// full says whether the next entry may find no room.
func (b *Buffer) journalFull() bool {
	j := b.journal
	b.mu.Lock()
	defer b.mu.Unlock()
	return j != nil && b.mem.logged > 0 &&
		(j.used+j.lastPages > j.pages || j.raw+j.lastRaw >= b.groupLimit() || b.mem.logged > b.mem.limit/4)
}

// journalOld says when what the journal has should go to a segment because
// records are not kept for ever; ok is false when it need not.
func (b *Buffer) journalOld() (at time.Duration, ok bool) {
	if b.cfg.MaxAge <= 0 || b.mem.logged == 0 || b.journal == nil {
		return 0, false
	}
	return b.journal.since + b.cfg.MaxAge/8, true
}

func (b *Buffer) closeJournal() {
	if b.journal != nil {
		b.journalNumber = b.journal.number + 1 // the last one may be half there
		_ = b.journal.f.Close()
		b.journal = nil
	}
}
