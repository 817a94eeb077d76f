package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A chunk is what one value in a segment holds: consecutive records, stored
// by columns, compressed. It says of itself which records it has, so that it
// can be found again in the raw pages of a file whose structure is lost.
//
//	0   magic "FFc"              8   length of the head
//	3   version                  12  length of the body as stored
//	4   1: the body is zstd      16  length of the body when decompressed
//	5   zero                     20  CRC32C of the body as stored
//	                             24  CRC32C of bytes 0..23 and the head
//	28  head, body
//
// docs/decisions/buffer-layout.md says why it is so and what was measured.
const (
	chunkMagic   = "FFc"
	chunkVersion = 1
	chunkFixed   = 28

	maxChunkRows = 1 << 14
	maxChunkBody = 512 << 10       // beyond it no further record is added
	maxRawBody   = 4 << 20         // what a reader accepts
	maxChunkHead = 1 << 20         // likewise
	maxName      = 255             // bytes of a source's name
	maxTables    = maxChunkRows    // sources in a chunk
	maxLost      = uint64(1) << 62 // records in one loss
	flagZstd     = byte(1)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errChunk = errors.New("not a valid chunk")

// row is one record without its data and offset.
type row struct {
	_ [0]func() // nobody compares them: saves the code for it

	t         int64
	seq       uint64
	lost      uint64 // not 0: a loss of so many records, without data
	pos, size uint32 // of the data
	src       uint32 // index of the source
	at        uint32 // milliseconds since Open when it was appended; memory only
	reason    Reason
}

// next is the sequence number that follows the row.
func (r *row) next() uint64 { return r.seq + max(r.lost, 1) }

// table is what a chunk's head says about one source.
type table struct {
	_ [0]func() // nobody compares them: saves the code for it

	session     uint64
	name        string
	first, last uint64 // sequence numbers
	rows        uint64
	seqs        uint64 // sequence numbers that the rows stand for
	losses      uint64 // rows that are losses
	offset      uint64 // of the last row
	t           int64  // of the last row
}

// head is what a chunk says about itself.
type head struct {
	session     uint64
	first, last uint64 // offsets
	rows        uint64
	tables      []table
	zstd        bool
	body        []byte // as stored
	raw         int
	size        int // of the whole chunk
}

// reader reads varints from untrusted bytes; bad stays set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// upto reads a number that must not exceed limit.
func (r *reader) upto(limit uint64) uint64 {
	v := r.uvarint()
	if v > limit {
		r.bad, r.b = true, nil
		return 0
	}
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// parseHead reads the head of the chunk b begins with and checks every
// checksum. intern keeps the names of sources.
func parseHead(b []byte, intern *interner, h *head) error {
	bodyLen, err := parseHeadOnly(b, intern, h)
	if err != nil {
		return err
	}
	if bodyLen > len(b)-h.size {
		return errChunk
	}
	h.body = b[h.size : h.size+bodyLen]
	if crc32.Checksum(h.body, castagnoli) != binary.LittleEndian.Uint32(b[20:]) {
		return fmt.Errorf("checksum of a chunk's records is wrong: %w", errChunk)
	}
	h.size += bodyLen
	return nil
}

// parseHeadOnly reads the head of a chunk whose body need not be there, and
// returns how long that is.
func parseHeadOnly(b []byte, intern *interner, h *head) (bodyLen int, err error) {
	tables := h.tables[:0]
	*h = head{}
	if len(b) < chunkFixed || string(b[:3]) != chunkMagic {
		return 0, errChunk
	}
	if b[3] != chunkVersion {
		return 0, fmt.Errorf("chunk version %d is not known: %w", b[3], errChunk)
	}
	headLen := binary.LittleEndian.Uint32(b[8:])
	body := binary.LittleEndian.Uint32(b[12:])
	raw := binary.LittleEndian.Uint32(b[16:])
	if headLen > maxChunkHead || body > maxRawBody || raw > maxRawBody || uint64(len(b)) < chunkFixed+uint64(headLen) {
		return 0, errChunk
	}
	meta := b[chunkFixed : chunkFixed+headLen]
	sum := crc32.Update(crc32.Checksum(b[:24], castagnoli), castagnoli, meta)
	if sum != binary.LittleEndian.Uint32(b[24:]) {
		return 0, fmt.Errorf("checksum of a chunk's head is wrong: %w", errChunk)
	}
	h.zstd, h.raw, h.size = b[4]&flagZstd != 0, int(raw), chunkFixed+len(meta)
	return int(body), parseMeta(meta, intern, tables, h)
}

func parseMeta(meta []byte, intern *interner, tables []table, h *head) error {
	r := reader{b: meta}
	h.session = r.uvarint()
	h.first = r.uvarint()
	h.last = h.first + r.uvarint()
	h.rows = r.upto(maxChunkRows)
	n := r.upto(maxTables)
	for range n {
		if r.bad {
			break
		}
		t := table{session: h.session, name: intern.get(r.bytes(r.upto(maxName)))}
		t.first = r.uvarint()
		t.last = t.first + r.uvarint()
		t.rows = r.upto(maxChunkRows)
		t.seqs = r.uvarint()
		t.losses = r.upto(t.rows)
		t.offset = h.first + r.uvarint()
		t.t = r.varint()
		if t.last < t.first || t.offset > h.last || t.seqs < t.rows || t.seqs-1 > t.last-t.first {
			r.bad = true
		}
		tables = append(tables, t)
	}
	h.tables = tables
	if r.bad || h.rows == 0 || h.last < h.first || h.last == ^uint64(0) || h.last-h.first < h.rows-1 {
		return fmt.Errorf("a chunk's head contradicts itself: %w", errChunk)
	}
	return nil
}

// rows are the records of one chunk, decoded.
type rows struct {
	head head
	off  []uint64
	row  []row // src is the index into head.tables
	data []byte
	tmp  []uint64 // next sequence number per source
}

// decode reads the records of h into d; d.data aliases raw.
func (d *rows) decode(h head, raw []byte) error {
	d.head = h
	d.off, d.row, d.tmp = d.off[:0], d.row[:0], d.tmp[:0]
	for _, t := range h.tables {
		d.tmp = append(d.tmp, t.first)
	}
	r := reader{b: raw}
	d.offsets(&r)
	d.sources(&r)
	d.times(&r)
	d.sizes(&r)
	d.losses(&r)
	d.seqs(&r)
	d.data = r.b
	if r.bad {
		return fmt.Errorf("the records of a chunk cannot be read: %w", errChunk)
	}
	return d.check()
}

// column returns a reader of the next column.
func (r *reader) column() reader {
	b := r.bytes(r.uvarint())
	return reader{b: b, bad: r.bad}
}

func (d *rows) offsets(r *reader) {
	c := r.column()
	skips := len(c.b) > 0
	off := d.head.first
	for i := range d.head.rows {
		if skips && i > 0 {
			off += c.uvarint()
		}
		d.off = append(d.off, off)
		off++
	}
	r.bad = r.bad || c.bad || off-1 != d.head.last
}

func (d *rows) sources(r *reader) {
	c := r.column()
	for uint64(len(d.row)) < d.head.rows && !c.bad {
		src := c.upto(uint64(len(d.head.tables)))
		run := c.upto(d.head.rows - uint64(len(d.row)))
		if src == uint64(len(d.head.tables)) || run == 0 {
			c.bad = true
			break
		}
		for range run {
			d.row = append(d.row, row{src: uint32(src)})
		}
	}
	r.bad = r.bad || c.bad || uint64(len(d.row)) != d.head.rows
}

func (d *rows) times(r *reader) {
	c := r.column()
	t := int64(0)
	for i := range d.row {
		t += c.varint()
		d.row[i].t = t
	}
	r.bad = r.bad || c.bad
}

func (d *rows) sizes(r *reader) {
	c := r.column()
	pos := uint64(0)
	for i := 0; i < len(d.row) && !c.bad; {
		size := c.upto(maxRawBody)
		run := c.upto(uint64(len(d.row) - i))
		if run == 0 {
			c.bad = true
		}
		for range run {
			d.row[i].pos, d.row[i].size = uint32(pos), uint32(size)
			if pos += size; pos > maxRawBody {
				c.bad = true
				break
			}
			i++
		}
	}
	r.bad = r.bad || c.bad
}

func (d *rows) losses(r *reader) {
	c := r.column()
	for i := uint64(0); len(c.b) > 0 && !c.bad; i++ {
		i += c.upto(maxChunkRows)
		if i >= uint64(len(d.row)) {
			c.bad = true
			break
		}
		d.row[i].lost = c.upto(maxLost)
		d.row[i].reason = Reason(c.upto(uint64(Memory)))
		c.bad = c.bad || d.row[i].lost == 0 || d.row[i].size != 0
	}
	r.bad = r.bad || c.bad
}

func (d *rows) seqs(r *reader) {
	c := r.column()
	at, jump := ^uint64(0), uint64(0)
	more := func() {
		at = ^uint64(0)
		if len(c.b) > 0 {
			at, jump = c.uvarint(), c.uvarint()
		}
	}
	more()
	for i := range d.row {
		w := &d.row[i]
		w.seq = d.tmp[w.src]
		if uint64(i) == at {
			w.seq += jump
			more()
		}
		d.tmp[w.src] = w.next()
	}
	r.bad = r.bad || c.bad || at != ^uint64(0)
}

// check compares the records with what the head says about them.
func (d *rows) check() error {
	size := uint64(0)
	for i := range d.row {
		size = uint64(d.row[i].pos) + uint64(d.row[i].size)
		if i > 0 && d.off[i] <= d.off[i-1] || d.row[i].next() < d.row[i].seq {
			return fmt.Errorf("the records of a chunk are out of order: %w", errChunk)
		}
	}
	for i, t := range d.head.tables {
		if d.tmp[i]-1 != t.last {
			return fmt.Errorf("the records of a chunk end at another number than its head says: %w", errChunk)
		}
	}
	if size != uint64(len(d.data)) {
		return fmt.Errorf("the data of a chunk is longer or shorter than its records: %w", errChunk)
	}
	return nil
}

// interner keeps one string per source name, so that reading a chunk does not
// allocate names again. The zero value does not keep them.
type interner struct{ m map[string]string }

func (n *interner) get(b []byte) string {
	if n == nil {
		return string(b)
	}
	if s, ok := n.m[string(b)]; ok {
		return s
	}
	if n.m == nil || len(n.m) > 1024 {
		n.m = make(map[string]string)
	}
	s := string(b)
	n.m[s] = s
	return s
}
