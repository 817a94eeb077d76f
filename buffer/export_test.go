package buffer

import (
	"encoding/binary"
	"hash/crc32"
)

// BenchEncoder gives benchmarks the chunk encoder.
type BenchEncoder struct {
	e *encoder
	h head
}

// NewBenchEncoder returns an encoder.
func NewBenchEncoder() (*BenchEncoder, error) {
	e, err := newEncoder(1)
	return &BenchEncoder{e: e}, err
}

// Add adds a record.
func (b *BenchEncoder) Add(off uint64, t int64, data []byte) {
	w := row{t: t, seq: off + 1, size: uint32(len(data))}
	b.e.add(off, &w, "engine", data)
}

// Finish ends the chunk and returns its size.
func (b *BenchEncoder) Finish(dst []byte) []byte { return b.e.finish(dst, &b.h) }

// sumOf returns the checksum a summary begins with.
func sumOf(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli))
}

// Commit stores now what is in memory.
func Commit(b *Buffer) error {
	b.disk.Lock()
	defer b.disk.Unlock()
	return b.commit(false)
}
