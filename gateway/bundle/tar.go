package bundle

import (
	"fmt"
	"io"
	"time"
)

// block is the unit of a tar archive (POSIX.1, ustar). Package archive/tar knows
// all its dialects, and takes 40 kB of the binary.
const block = 512

// put writes a file into a tar archive. Its name has at most 80 bytes.
func put(w io.Writer, name string, text []byte, at time.Time) error {
	var h [block]byte
	if name = "fieldferry-bundle/" + name; len(name) >= 100 {
		return fmt.Errorf("the name %s is too long for an archive", name)
	}
	copy(h[0:], name)
	copy(h[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00", 0o600, 0, 0, len(text), max(at.Unix(), 0)))
	copy(h[148:], "        0") // spaces where the checksum will be; a regular file
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00", sum))
	if _, err := w.Write(h[:]); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	_, err := w.Write(make([]byte, -len(text)&(block-1)))
	return err
}

// end ends an archive.
func end(w io.Writer) error {
	_, err := w.Write(make([]byte, 2*block))
	return err
}
