package buffer

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxRawBody), zstd.WithDecoderMaxWindow(maxRawBody))
}

// inflate returns the body of the chunk decompressed into dst, or the body
// itself when it is stored plainly.
func (h *head) inflate(z *zstd.Decoder, dst []byte) ([]byte, error) {
	if !h.zstd {
		return h.body, nil
	}
	if cap(dst) < h.raw {
		dst = make([]byte, 0, h.raw+h.raw/4)
	}
	raw, err := z.DecodeAll(h.body, dst[:0])
	if err != nil {
		return nil, fmt.Errorf("decompressing a chunk: %w: %w", err, errChunk)
	}
	if len(raw) != h.raw {
		return nil, fmt.Errorf("a chunk decompresses to %d bytes instead of %d: %w", len(raw), h.raw, errChunk)
	}
	return raw, nil
}
