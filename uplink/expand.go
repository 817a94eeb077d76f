package uplink

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxExpanded bounds what a payload may expand to: a message is at most 16
// MiB before it is compressed.
const maxExpanded = 16 << 20

var errExpanded = errors.New("the payload expands to more than 16 MiB")

// Expand undoes what [Config].Compress does to a payload, and returns others
// as they are. It goes by the payload's first bytes, so that it does not
// depend on a mark that may have been lost on the way; JSON begins otherwise.
func Expand(payload []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(payload, []byte{0x1f, 0x8b}): // RFC 1952, 2.3.1
		r, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil, err
		}
		return readExpanded(r)
	case bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878, 3.1.1
		r, err := zstd.NewReader(bytes.NewReader(payload), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(maxExpanded), zstd.WithDecoderMaxWindow(maxExpanded))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readExpanded(r)
	}
	return payload, nil
}

func readExpanded(r io.Reader) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(r, maxExpanded+1))
	if err == nil && len(out) > maxExpanded {
		err = errExpanded
	}
	return out, err
}
