package buffer

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzSegment has a segment file in which somebody has written: whatever it
// is, looking into it and opening the buffer must end, and not in a panic.
func FuzzSegment(f *testing.F) {
	cfg := Config{Dir: f.TempDir(), SyncInterval: time.Hour, MaxSize: 1 << 20, SegmentSize: 64 << 10}
	b := mustOpen(f, cfg)
	addRecords(b, 200)
	mustClose(f, b)
	whole, err := os.ReadFile(filepath.Join(cfg.Dir, segmentName(1)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{0}, uint32(0), []byte{})
	for page := range uint32(len(whole) / pageSize) {
		f.Add(page*pageSize, whole[:64], page*pageSize+16, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	}
	f.Fuzz(func(t *testing.T, at uint32, part []byte, at2 uint32, part2 []byte) {
		b := append([]byte(nil), whole...)
		copy(b[int(at)%len(b):], part)
		copy(b[int(at2)%len(b):], part2)
		cfg := Config{Dir: t.TempDir(), SyncInterval: time.Hour, MaxSize: 1 << 20, SegmentSize: 64 << 10}
		path := filepath.Join(cfg.Dir, segmentName(1))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(path, nil); err != nil {
			t.Fatal(err)
		}
		buf := mustOpen(t, cfg)
		readAll(t, buf, 0)
		mustClose(t, buf)
	})
}
