package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"

	"fieldferry/buffer/beneath"
)

// logged is an entry of the journal that was read back.
type logged struct {
	pageHead
	start int
	known bool // the head is
	head  head
	chunk []byte // nil: damaged
}

// logBook is what a journal has.
type logBook struct {
	run    []logged
	number uint64 // the highest one
	size   int64
	bad    int  // pages that are damaged, also behind the run
	broken bool // something of the run is damaged
	blind  bool // of some of that it is not known what it was
}

// readJournal reads the journal in dir as far as it can be read. Without one
// it is empty.
func readJournal(path string) (l logBook, err error) {
	f, err := beneath.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("reading the journal: %w", err)
	}
	info, err := f.Stat()
	if err = errors.Join(err, f.Close()); err != nil {
		return l, fmt.Errorf("reading the journal: %w", err)
	}
	if info.Size() > 4*maxJournal {
		return logBook{bad: 1, size: info.Size()}, nil
	}
	l.size = info.Size()
	l.parse(readRaw(path))
	return l, nil
}

// torn says whether a page has sectors of entry number and of older ones, and
// nothing else.
func torn(b []byte, number uint64) bool {
	older := false
	for i := range pageSize / sectorSize {
		stamp := binary.LittleEndian.Uint32(b[(i+1)*sectorSize-4:]) - stampBase
		if uint64(stamp) > number {
			return false
		}
		older = older || uint64(stamp) < number
	}
	return older
}

// parsePage reads page i of n, and puts what the stamps replaced in its place.
func parsePage(b []byte, i, n int) (p pageHead, ok bool) {
	if string(b[:4]) != journalMagic || crc32.Checksum(b[8:pageSize], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return p, false
	}
	for i := range pageSize / sectorSize {
		copy(b[(i+1)*sectorSize-4:(i+1)*sectorSize], b[52+4*i:])
	}
	for i, v := range []*uint64{&p.number, &p.stored, &p.from, &p.to} {
		*v = binary.LittleEndian.Uint64(b[8+8*i:])
	}
	p.index, p.count = int(binary.LittleEndian.Uint16(b[40:])), int(binary.LittleEndian.Uint16(b[42:]))
	chunk, head := binary.LittleEndian.Uint32(b[44:]), binary.LittleEndian.Uint32(b[48:])
	if p.number == 0 {
		return pageHead{}, true
	}
	if chunk > maxEntry || head > chunk || head < chunkFixed || head > journalPart {
		return p, false
	}
	p.chunk, p.head = int(chunk), int(head)
	ok = p.count == entryPages(p.chunk, p.head) && p.index < p.count && i >= p.index && i-p.index+p.count <= n &&
		p.stored <= p.from && p.from < p.to && p.to < 1<<62
	return p, ok
}

// parse finds the run: what lies in front of the newest entry, and that one,
// unless it was never finished.
func (l *logBook) parse(b []byte) {
	pages := make([]pageHead, len(b)/pageSize)
	sound := make([]bool, len(pages))
	last := logged{}
	for i := range pages {
		pages[i], sound[i] = parsePage(b[i*pageSize:(i+1)*pageSize], i, len(pages))
		if sound[i] && pages[i].number > last.number {
			last.pageHead, last.start = pages[i], i-pages[i].index
		}
	}
	l.number = last.number
	end := last.start + last.count
	for i := range pages {
		page := b[i*pageSize : (i+1)*pageSize]
		switch mine := i >= last.start && i < last.start+last.count; {
		case mine && (sound[i] && pages[i].number != last.number || !sound[i] && torn(page, last.number)):
			// Something older has not been overwritten: the commit did not
			// end, and nothing was promised.
			end = last.start
		case !sound[i] && (mine || !torn(page, last.number+1)):
			l.bad++
		}
	}
	next := 0
	for i := 0; i < end; i++ {
		if !sound[i] || pages[i].number == 0 {
			continue
		}
		e := logged{pageHead: pages[i], start: i - pages[i].index}
		if e.start < next || e.start+e.count > end || len(l.run) > 0 && e.number <= l.run[len(l.run)-1].number {
			continue
		}
		gap := e.start > next
		l.blind = l.blind || gap
		e.read(b, pages, sound)
		l.broken = l.broken || gap || e.chunk == nil
		l.blind = l.blind || !e.known
		l.run = append(l.run, e)
		next = e.start + e.count
		i = next - 1
	}
	if next < end {
		l.broken, l.blind = true, true
	}
}

// read puts an entry together from its pages, or finds its head in what is
// left of them.
func (e *logged) read(b []byte, pages []pageHead, sound []bool) {
	var chunk []byte
	whole := true
	first, last := e.start, e.start+e.count-1
	mine := func(i int) bool { return sound[i] && pages[i].number == e.number }
	for i := first; i <= last; i++ {
		whole = whole && mine(i)
		chunk = append(chunk, b[i*pageSize+journalFixed:(i+1)*pageSize]...)
	}
	if whole && parseHead(chunk[:e.pageHead.chunk], nil, &e.head) == nil && e.head.size == e.pageHead.chunk {
		e.chunk, e.known = chunk[:e.pageHead.chunk], true
	}
	if !e.known && mine(first) {
		_, err := parseHeadOnly(chunk[:e.pageHead.head], nil, &e.head)
		e.known = err == nil
	}
	if !e.known && mine(last) {
		_, err := parseHeadOnly(b[(last+1)*pageSize-e.pageHead.head:(last+1)*pageSize], nil, &e.head)
		e.known = err == nil
	}
	e.known = e.known && e.head.first >= e.from && e.head.last < e.to
	if !e.known {
		e.chunk = nil
	}
}

// rest describes what a journal has that no segment has. end is the offset
// behind the last one that a segment has. What the journal knows to be gone is
// added to gone first.
func (l *logBook) rest(end uint64, gone *spans, unknown func(from, to uint64) bool) (sum summary, good []found) {
	for i := range l.run {
		e := &l.run[i]
		if e.start == 0 {
			gone.add(e.stored, e.from)
		}
		if e.known {
			gone.add(e.from, e.head.first)
			gone.add(e.head.last+1, e.to)
		}
		sum.next = e.to
	}
	for i := range l.run {
		e := &l.run[i]
		if !e.known || e.head.first < end || !unknown(e.head.first, e.head.last+1) {
			continue
		}
		sum.note(&e.head)
		if e.chunk != nil {
			good = append(good, found{e.head, e.chunk})
		}
	}
	sum.guess = l.blind
	return sum, good
}

// leftover is what the journal has and no segment.
type leftover struct {
	s      *segment // in the chain, without a file
	good   []found
	broken bool
	number uint64
}

// takeJournal puts what the journal has and no segment has at the end of the
// chain, as a segment that has no file yet.
func (b *Buffer) takeJournal() (l leftover, err error) {
	j, err := readJournal(b.path(journalName))
	if err != nil {
		return l, err
	}
	b.journalBytes, l.number, l.broken = j.size, j.number, j.broken
	end := uint64(0)
	for _, s := range b.segs {
		if s.sum.rows > 0 {
			end = max(end, s.sum.last+1)
		}
	}
	l.s = &segment{id: max(b.nextID, 2)} // not the first one: it may be missing
	l.s.path = b.path(segmentName(l.s.id))
	l.s.sum, l.good = j.rest(end, &b.gone, b.unknown)
	b.session, b.next = max(b.session, l.s.sum.session), max(b.next, l.s.sum.next)
	if j.bad > 0 {
		b.log.Error("buffer: the journal is damaged", "file", b.path(journalName), "pages", j.bad)
	}
	if l.s.sum.rows > 0 {
		b.segs = append(b.segs, l.s)
	}
	return l, nil
}

// keepJournal stores what takeJournal has found in the newest segment. Power
// may fail at any point: until the journal is written to again it has all of
// it, and what is in a segment is not taken from it twice.
func (b *Buffer) keepJournal(l leftover) error {
	some := slices.Contains(b.segs, l.s)
	if some && l.broken {
		b.account(l.s, l.good)
		if err := b.storeState(); err != nil {
			return err
		}
	}
	b.segs = slices.DeleteFunc(b.segs, func(s *segment) bool { return s == l.s })
	b.resume()
	if !some || len(l.good) == 0 {
		return nil
	}
	b.out, b.heads = b.out[:0], b.heads[:0]
	for _, c := range l.good {
		b.out = append(b.out, c.bytes...)
		b.heads = append(b.heads, c.head)
	}
	err := b.store()
	if errors.Is(err, errFull) { // the limit is lower than it was: this was promised
		limit := b.limit
		b.limit = noLimit
		err = b.store()
		b.limit = limit
	}
	if err != nil {
		b.spare(err)
		return err
	}
	return nil
}

// resume takes the newest segment up again when it is small and sound, so
// that many short sessions do not make many small files.
func (b *Buffer) resume() {
	if len(b.segs) == 0 {
		return
	}
	s := b.segs[len(b.segs)-1]
	if !s.checked {
		return
	}
	if s.data >= b.segmentSize/2 {
		if err := truncate(s.path, s.data); err != nil {
			b.log.Warn("buffer: a segment stays longer than it need be", "file", s.path, "error", err)
		}
		b.measure(s)
		return
	}
	err := s.openForAppend(b.mapped(), b.step)
	if err != nil {
		b.log.Warn("buffer: a segment is not taken up again", "file", s.path, "error", err)
		_ = s.close()
		return
	}
	s.opened = b.now()
	b.active = s
}
