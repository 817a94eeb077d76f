package buffer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pipe or a link in the place of any file neither holds up a verb nor leads
// it out of the directory.
func TestForeignThingsInTheDirectory(t *testing.T) {
	for _, file := range []string{stateName, lockName, journalName, "00000001.db"} {
		for _, thing := range []string{"pipe", "link"} {
			t.Run(thing+" "+file, func(t *testing.T) {
				t.Parallel()
				cfg := testConfig(t)
				b := mustOpen(t, cfg)
				addRecords(b, 10)
				mustClose(t, b)
				outside := filepath.Join(t.TempDir(), "outside")
				path := filepath.Join(cfg.Dir, file)
				if err := os.WriteFile(outside, []byte("keep"), 0o600); err != nil {
					t.Fatal(err)
				}
				_ = os.Remove(path)
				var err error
				if thing == "pipe" {
					err = unix.Mkfifo(path, 0o600)
				} else {
					err = os.Symlink(outside, path)
				}
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = Inspect(cfg.Dir, nil)
					_, _ = Verify(cfg.Dir, nil)
					_, _ = Dump(cfg.Dir, true, nil, func(Record) error { return nil })
					_, _ = Compact(cfg.Dir, false, nil, nil)
					if b, err := Open(cfg, nil); err == nil {
						addRecords(b, 1)
						_ = b.Close()
					}
				}()
				select {
				case <-done:
				case <-time.After(20 * time.Second):
					t.Fatal("a verb hangs")
				}
				if text, err := os.ReadFile(outside); err != nil || string(text) != "keep" {
					t.Errorf("the file outside has %q, %v", text, err)
				}
			})
		}
	}
}
