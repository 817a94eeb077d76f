package buffer

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
)

// encoder turns records into chunks. One is reused for all of them.
type encoder struct {
	z       *zstd.Encoder
	session uint64

	first, last uint64
	rows        uint64
	tables      []table
	index       []int32 // per source: its table, or -1
	used        []uint32
	next        []uint64 // per table: the next sequence number

	skips, srcs, times, sizes, losses, seqs, data []byte

	contiguous bool
	src        uint32 // of the running run
	srcRun     uint64
	size       uint32
	sizeRun    uint64
	lossAt     uint64
	t          int64
	raw        []byte
	meta       []byte
}

func newEncoder(session uint64) (*encoder, error) {
	// One goroutine's worth of state and a window as large as a chunk: on a
	// board with 256 MB the default window costs more than it brings.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(maxChunkBody), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	e := &encoder{z: z, session: session}
	e.reset()
	return e, nil
}

func (e *encoder) reset() {
	for _, s := range e.used {
		e.index[s] = -1
	}
	e.used, e.tables, e.next = e.used[:0], e.tables[:0], e.next[:0]
	e.rows, e.contiguous, e.srcRun, e.sizeRun, e.lossAt, e.t = 0, true, 0, 0, 0, 0
	for _, c := range []*[]byte{&e.skips, &e.srcs, &e.times, &e.sizes, &e.losses, &e.seqs, &e.data} {
		*c = (*c)[:0]
	}
}

// full says whether a record with size bytes should go to the next chunk.
func (e *encoder) full(size, limit int) bool {
	return e.rows >= maxChunkRows || e.rows > 0 && len(e.data)+size > min(limit, maxChunkBody)
}

// table returns the index of the table of a source.
func (e *encoder) table(src uint32, name string, w *row) uint32 {
	for int(src) >= len(e.index) {
		e.index = append(e.index, -1)
	}
	if e.index[src] < 0 {
		e.index[src] = int32(len(e.tables))
		e.used = append(e.used, src)
		e.tables = append(e.tables, table{session: e.session, name: name, first: w.seq})
		e.next = append(e.next, w.seq)
	}
	return uint32(e.index[src])
}

// add puts one record into the chunk. Offsets must grow.
func (e *encoder) add(offset uint64, w *row, name string, data []byte) {
	i := e.table(w.src, name, w)
	if e.rows == 0 {
		e.first = offset
		e.src, e.size = i, w.size
	} else {
		e.skips = binary.AppendUvarint(e.skips, offset-e.last-1)
		e.contiguous = e.contiguous && offset == e.last+1
	}
	e.last = offset
	if e.src != i {
		e.endSource(i)
	}
	e.srcRun++
	if e.size != w.size {
		e.endSize(w.size)
	}
	e.sizeRun++
	e.times = binary.AppendVarint(e.times, w.t-e.t)
	e.t = w.t
	if w.lost > 0 {
		e.losses = binary.AppendUvarint(e.losses, e.rows-e.lossAt)
		e.losses = binary.AppendUvarint(e.losses, w.lost)
		e.losses = binary.AppendUvarint(e.losses, uint64(w.reason))
		e.lossAt = e.rows + 1
		e.tables[i].losses++
	}
	if w.seq != e.next[i] {
		e.seqs = binary.AppendUvarint(e.seqs, e.rows)
		e.seqs = binary.AppendUvarint(e.seqs, w.seq-e.next[i])
	}
	e.next[i] = w.next()
	t := &e.tables[i]
	t.last, t.offset, t.t = w.next()-1, offset, w.t
	t.rows++
	t.seqs += max(w.lost, 1)
	e.data = append(e.data, data...)
	e.rows++
}

func (e *encoder) endSource(next uint32) {
	e.srcs = binary.AppendUvarint(e.srcs, uint64(e.src))
	e.srcs = binary.AppendUvarint(e.srcs, e.srcRun)
	e.src, e.srcRun = next, 0
}

func (e *encoder) endSize(next uint32) {
	e.sizes = binary.AppendUvarint(e.sizes, uint64(e.size))
	e.sizes = binary.AppendUvarint(e.sizes, e.sizeRun)
	e.size, e.sizeRun = next, 0
}

// finish appends the chunk to dst, describes it in h and begins the next.
func (e *encoder) finish(dst []byte, h *head) []byte {
	e.endSource(0)
	e.endSize(0)
	if e.contiguous {
		e.skips = e.skips[:0]
	}
	e.raw = e.raw[:0]
	for _, c := range [][]byte{e.skips, e.srcs, e.times, e.sizes, e.losses, e.seqs} {
		e.raw = binary.AppendUvarint(e.raw, uint64(len(c)))
		e.raw = append(e.raw, c...)
	}
	e.raw = append(e.raw, e.data...)

	e.meta = appendMeta(e.meta[:0], e)
	start := len(dst)
	dst = append(dst, make([]byte, chunkFixed)...)
	dst = append(dst, e.meta...)
	bodyAt := len(dst)
	dst = e.z.EncodeAll(e.raw, dst)
	flags := flagZstd
	if len(dst)-bodyAt >= len(e.raw) {
		dst = append(dst[:bodyAt], e.raw...)
		flags = 0
	}
	f, body := dst[start:], dst[bodyAt:]
	copy(f, chunkMagic)
	f[3], f[4] = chunkVersion, flags
	binary.LittleEndian.PutUint32(f[8:], uint32(len(e.meta)))
	binary.LittleEndian.PutUint32(f[12:], uint32(len(body)))
	binary.LittleEndian.PutUint32(f[16:], uint32(len(e.raw)))
	binary.LittleEndian.PutUint32(f[20:], crc32.Checksum(body, castagnoli))
	sum := crc32.Update(crc32.Checksum(f[:24], castagnoli), castagnoli, e.meta)
	binary.LittleEndian.PutUint32(f[24:], sum)

	*h = head{session: e.session, first: e.first, last: e.last, rows: e.rows,
		tables: append(h.tables[:0], e.tables...), zstd: flags != 0, raw: len(e.raw), size: len(f)}
	e.reset()
	return dst
}

func appendMeta(b []byte, e *encoder) []byte {
	for _, v := range []uint64{e.session, e.first, e.last - e.first, e.rows, uint64(len(e.tables))} {
		b = binary.AppendUvarint(b, v)
	}
	for _, t := range e.tables {
		b = binary.AppendUvarint(b, uint64(len(t.name)))
		b = append(b, t.name...)
		for _, v := range []uint64{t.first, t.last - t.first, t.rows, t.seqs, t.losses, t.offset - e.first} {
			b = binary.AppendUvarint(b, v)
		}
		b = binary.AppendVarint(b, t.t)
	}
	return b
}
