package buffer

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"

	"fieldferry/buffer/beneath"
)

// bbolt follows what it reads: a page that says it goes on for millions of
// pages, or has an ancestor for a child, keeps it busy for ever. So the pages
// of a segment are looked at before bbolt does. This is its layout, in the byte
// order of the machine (internal/common of go.etcd.io/bbolt):
//
//	page     id 8, flags 2, elements 2, further pages 4
//	meta     magic 4, version 4, page size 4, flags 4, root 8, sequence 8,
//	         free list 8, end 8, transaction 8, FNV-1a of it 8
//	element  of a branch: position 4, key 4, page 8
//	         of a leaf: flags 4, position 4, key 4, value 4
//	bucket   root 8, 0: a page follows; sequence 8
const (
	pageHeader  = 16
	metaLength  = 64
	metaMagic   = 0xED0CDAED
	branchFlag  = 1
	leafFlag    = 2
	freeFlag    = 16
	bucketFlag  = 1 // of an element
	manyFree    = 0xffff
	elementSize = 16
	bucketSize  = 16
)

var order = binary.NativeEndian

// meta is what a meta page says.
type meta struct{ root, free, end, tx uint64 }

// readMeta reads meta page i; ok is false when its checksum is wrong.
func readMeta(f io.ReaderAt, i int64) (m meta, ok bool) {
	var page [pageHeader + metaLength]byte
	if _, err := f.ReadAt(page[:], i*pageSize); err != nil {
		return m, false
	}
	b := page[pageHeader:]
	h := fnv.New64a()
	h.Write(b[:metaLength-8])
	if order.Uint32(b) != metaMagic || order.Uint64(b[metaLength-8:]) != h.Sum64() {
		return m, false
	}
	return meta{order.Uint64(b[16:]), order.Uint64(b[32:]), order.Uint64(b[40:]), order.Uint64(b[48:])}, true
}

// metaLost says whether one of the two meta pages that bbolt writes in turn
// cannot be read, so that the newest commit may have been its. With both there
// nothing is lost: what lies behind them is a commit that never ended.
func metaLost(path string) bool {
	f, err := beneath.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	_, a := readMeta(f, 0)
	_, b := readMeta(f, 1)
	return !a || !b
}

// pageWalk looks at the pages of a file.
type pageWalk struct {
	f    io.ReaderAt
	end  uint64 // pages
	last bool   // only the way to the last key
	seen spans
}

// checkPages sees to it that bbolt can follow the pages of a segment: each is
// reached once, or free. With last only the way to the summary is looked at.
func checkPages(path string, last bool) error {
	f, err := beneath.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m, ok := readMeta(f, 0)
	if b, ok2 := readMeta(f, 1); ok2 && (!ok || b.tx > m.tx) {
		m, ok = b, true
	}
	if !ok {
		return badPages("both meta pages are damaged")
	}
	if m.end > uint64(info.Size())/pageSize {
		return badPages("it has %d bytes where %d pages were written", info.Size(), m.end)
	}
	w := pageWalk{f: f, end: m.end, last: last}
	w.seen.add(0, 2)
	if err := w.node(m.root); err != nil || last {
		return err
	}
	return w.free(m.free)
}

func badPages(format string, a ...any) error {
	return fmt.Errorf("its pages cannot be followed: "+format+": %w", append(a, errDamaged)...)
}

// open reads the head of a page and takes note of it.
func (w *pageWalk) open(id uint64) (flags, count uint16, size uint64, err error) {
	if id >= w.end {
		return 0, 0, 0, badPages("page %d of %d", id, w.end)
	}
	var h [pageHeader]byte
	if err := w.read(h[:], id, 0); err != nil {
		return 0, 0, 0, err
	}
	pages := 1 + uint64(order.Uint32(h[12:]))
	if order.Uint64(h[:]) != id || pages > w.end-id {
		return 0, 0, 0, badPages("page %d is not one", id)
	}
	if w.seen.add(id, id+pages) != pages {
		return 0, 0, 0, badPages("page %d is there twice", id)
	}
	return order.Uint16(h[8:]), order.Uint16(h[10:]), pages * pageSize, nil
}

func (w *pageWalk) read(b []byte, id, at uint64) error {
	_, err := w.f.ReadAt(b, int64(id*pageSize+at))
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return badPages("page %d is cut", id)
	}
	return err
}

// node looks at a page of a tree and what hangs on it.
func (w *pageWalk) node(id uint64) error {
	flags, count, size, err := w.open(id)
	if err != nil {
		return err
	}
	table := make([]byte, elementSize*int(count))
	if uint64(pageHeader+len(table)) > size || flags != leafFlag && (flags != branchFlag || count == 0) {
		return badPages("page %d has %d elements of kind %d", id, count, flags)
	}
	if err := w.read(table, id, pageHeader); err != nil {
		return err
	}
	from := 0
	if w.last && count > 0 {
		from = int(count) - 1
	}
	for i := from; i < int(count); i++ {
		e := table[i*elementSize:]
		if flags == branchFlag {
			err = w.child(id, uint64(i), size, order.Uint32(e), order.Uint32(e[4:]), order.Uint64(e[8:]))
		} else {
			err = w.leaf(id, uint64(i), size, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *pageWalk) child(id, i, size uint64, pos, key uint32, page uint64) error {
	if pageHeader+i*elementSize+uint64(pos)+uint64(key) > size {
		return badPages("element %d of page %d", i, id)
	}
	return w.node(page)
}

func (w *pageWalk) leaf(id, i, size uint64, e []byte) error {
	at := pageHeader + i*elementSize + uint64(order.Uint32(e[4:])) + uint64(order.Uint32(e[8:])) // of the value
	length := uint64(order.Uint32(e[12:]))
	if at+length > size {
		return badPages("element %d of page %d", i, id)
	}
	if order.Uint32(e)&bucketFlag == 0 {
		return nil
	}
	var b [bucketSize + pageHeader]byte
	if length < bucketSize {
		return badPages("bucket %d of page %d", i, id)
	}
	if err := w.read(b[:min(length, uint64(len(b)))], id, at); err != nil {
		return err
	}
	if root := order.Uint64(b[:]); root != 0 {
		return w.node(root)
	}
	return w.inline(id, at+bucketSize, length-bucketSize, b[bucketSize:])
}

// inline looks at a bucket that lies in the page of its parent.
func (w *pageWalk) inline(id, at, length uint64, h []byte) error {
	count := uint64(order.Uint16(h[10:]))
	if length < pageHeader || order.Uint16(h[8:]) != leafFlag || pageHeader+count*elementSize > length {
		return badPages("a bucket of page %d", id)
	}
	table := make([]byte, count*elementSize)
	if err := w.read(table, id, at+pageHeader); err != nil {
		return err
	}
	for i := range count {
		e := table[i*elementSize:]
		if order.Uint32(e) != 0 ||
			pageHeader+i*elementSize+uint64(order.Uint32(e[4:]))+uint64(order.Uint32(e[8:]))+uint64(order.Uint32(e[12:])) > length {
			return badPages("element %d of a bucket of page %d", i, id)
		}
	}
	return nil
}

// free looks at the list of free pages, which must not be in use.
func (w *pageWalk) free(id uint64) error {
	flags, count, size, err := w.open(id)
	if err != nil {
		return err
	}
	at, n := uint64(pageHeader), uint64(count)
	if count == manyFree {
		var b [8]byte
		if err := w.read(b[:], id, at); err != nil {
			return err
		}
		at, n = at+8, order.Uint64(b[:])
	}
	if flags != freeFlag || n > (size-at)/8 {
		return badPages("the list of free pages has %d", n)
	}
	list := make([]byte, n*8)
	if err := w.read(list, id, at); err != nil {
		return err
	}
	for ; len(list) > 0; list = list[8:] {
		if p := order.Uint64(list); p >= w.end || w.seen.add(p, p+1) == 0 {
			return badPages("page %d is free and in use", p)
		}
	}
	return nil
}
