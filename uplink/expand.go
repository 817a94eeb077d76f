package uplink

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxExpanded bounds what a payload may expand to: a message is at most 16
// MiB before it is compressed.
const maxExpanded = 16 << 20

// leastWindow is what a frame may ask for, however little it expands to.
const leastWindow = 1 << 20

// ErrExpanded is the error of a payload that expands to more than is taken.
var ErrExpanded = errors.New("the payload expands to more")

// Expand undoes what [Config].Compress does to a payload, and returns others
// as they are. It goes by the payload's first bytes, so that it does not
// depend on a mark that may have been lost on the way; JSON begins otherwise.
func Expand(payload []byte) ([]byte, error) { return ExpandWithin(payload, maxExpanded) }

// ExpandWithin is [Expand] for a reader that takes at most so many bytes.
func ExpandWithin(payload []byte, most int) ([]byte, error) {
	switch {
	case bytes.HasPrefix(payload, []byte{0x1f, 0x8b}): // RFC 1952, 2.3.1
		r, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil, err
		}
		return readExpanded(r, most)
	case bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878, 3.1.1
		window := uint64(max(most, leastWindow)) //nolint:gosec // not negative
		r, err := zstd.NewReader(bytes.NewReader(payload), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(window), zstd.WithDecoderMaxWindow(window))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readExpanded(r, most)
	}
	return payload, nil
}

func readExpanded(r io.Reader, most int) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	if err == nil && len(out) > most {
		err = fmt.Errorf("%w than %d bytes", ErrExpanded, most)
	}
	return out, err
}
