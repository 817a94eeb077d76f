package buffer

import "fmt"

// smallCommit is a commit whose new pages cost less than what the file system
// writes to its journal when a file gets more blocks: about 22 KiB with ext4.
const smallCommit = 20 << 10

var zeros [64 << 10]byte

// writeAhead gives the active segment blocks that have been written, as many
// as it grows by, when what comes would otherwise have the file system find
// new ones in each of many small commits. Blocks that are only reserved would
// not do: to note that they have been written takes the journal too.
func (b *Buffer) writeAhead(s *segment) error {
	grows := int64(len(b.out)) + 2*pageSize*int64(len(b.heads))
	if grows > smallCommit {
		return nil
	}
	used, err := s.used()
	if err != nil {
		return err
	}
	s.written = max(s.written, used)
	if used+grows+chunkOverhead <= s.written {
		return nil
	}
	for end := used + grows + chunkOverhead + int64(b.step); s.written < end; {
		n, err := s.db.file.WriteAt(zeros[:min(int64(len(zeros)), end-s.written)], s.written)
		s.written += int64(n)
		if err != nil {
			return fmt.Errorf("writing ahead: %w", err)
		}
	}
	// One sync with the size, so that those of the commits need not tell it.
	return s.db.file.Sync()
}
