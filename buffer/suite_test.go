package buffer_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/buffer/buffertest"
)

func opener(t *testing.T, cfg buffer.Config) func() buffertest.Store {
	cfg.Dir = t.TempDir()
	return func() buffertest.Store {
		b, err := buffer.Open(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		return buffertest.Of(b)
	}
}

func TestSuite(t *testing.T) {
	// A short interval has the committer at work while the suite runs; an
	// hour keeps everything in memory until Close.
	for _, interval := range []time.Duration{time.Millisecond, time.Hour} {
		t.Run("sync_interval="+interval.String(), func(t *testing.T) {
			buffertest.Suite(t, func(t *testing.T) func() buffertest.Store {
				return opener(t, buffer.Config{SyncInterval: interval, SegmentSize: 128 << 10})
			})
		})
	}
	t.Run("memory", func(t *testing.T) {
		buffertest.Suite(t, func(*testing.T) func() buffertest.Store { return new(buffertest.Disk).Open })
	})
}

func TestEvictionAccountsForEveryRecord(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		cfg := buffer.Config{Dir: t.TempDir(), SyncInterval: time.Millisecond, MaxSize: 1 << 20, SegmentSize: 64 << 10}
		var b *buffer.Buffer
		evicted := uint64(0) // before b
		open := func() buffertest.Store {
			if b != nil {
				evicted += b.Stats().LostBy[buffer.Evicted]
			}
			var err error
			if b, err = buffer.Open(cfg, nil); err != nil {
				t.Fatal(err)
			}
			return buffertest.Of(b)
		}
		buffertest.Evicting(t, open, seed, func(buffertest.Store) {
			if size := dirSize(t, cfg.Dir); size > cfg.MaxSize {
				t.Fatalf("%d bytes on disk, the limit is %d", size, cfg.MaxSize)
			}
		})
		if evicted+b.Stats().LostBy[buffer.Evicted] == 0 {
			t.Error("nothing was evicted")
		}
	}
}

// dirSize returns what all files in dir take, by length.
func dirSize(t testing.TB, dir string) (n int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil {
			n += info.Size()
		}
	}
	return n
}
