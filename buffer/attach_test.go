package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A disk that comes late: acquisition goes on in memory, nothing is given out
// without a session, and in the end everything is in one buffer.
func TestDiskThatComesLate(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Second} {
		t.Run(fmt.Sprint(interval), func(t *testing.T) {
			cfg := testConfig(t)
			cfg.SyncInterval = interval
			synctest.Test(t, func(t *testing.T) {
				b := mustOpen(t, cfg)
				before := b.Stats().Session
				for i := range 500 {
					b.Source("engine").Append(int64(i), []byte("before"))
				}
				mustClose(t, b)

				var gone atomic.Bool
				gone.Store(true)
				b, err := open(cfg, nil, func(at string) error {
					if gone.Load() && at == "attach" {
						return syscall.EROFS
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				first, waited := b.First(), make(chan error, 1)
				go func() { waited <- b.Wait(t.Context(), first) }()
				for i := range 1000 {
					if seq := b.Source("engine").Append(int64(i), []byte("after")); seq != uint64(i+1) {
						t.Fatalf("number %d, want %d", seq, i+1)
					}
				}
				b.Ack(0, ^uint64(0)) // nothing was given out
				if end, known := b.End(); known {
					t.Errorf("the end is said to be %d without a disk", end)
				}
				time.Sleep(20 * time.Second)
				if all, _ := readAll(t, b, first); len(all) != 0 {
					t.Errorf("%d records are given out without a session", len(all))
				}
				if st := b.Stats(); st.Fault == "" || st.Session != 0 || st.Pending != 1000 || len(waited) != 0 {
					t.Errorf("without a disk: %+v", st)
				}
				gone.Store(false)
				time.Sleep(20 * time.Second)
				st := b.Stats()
				if err := <-waited; err != nil || st.Fault != "" || st.Session != before+1 || st.Pending != 1500 || st.Unsynced != 0 {
					t.Errorf("with a disk: %v, %+v", err, st)
				}
				if end, known := b.End(); !known || end != b.First()+1500 {
					t.Errorf("the end is %d (%v), the first %d, and there are 1500", end, known, b.First())
				}
				c := count(t, b)
				c.adds(t, before, "engine", 500)
				c.adds(t, st.Session, "engine", 1000)
				b.Source("engine").Append(1, []byte("later"))
				mustClose(t, b)
				b = mustOpen(t, cfg)
				c = count(t, b)
				c.adds(t, before, "engine", 500)
				c.adds(t, st.Session, "engine", 1001)
				mustClose(t, b)
			})
		})
	}
}

func TestMemoryIsBoundedWithoutADisk(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxMemory = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		gone.Store(true)
		b, err := open(cfg, nil, func(at string) error {
			if gone.Load() && at == "attach" {
				return syscall.ENOSPC
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		const n = 60_000
		for i := range n {
			b.Source("engine").Append(int64(i), make([]byte, 24))
		}
		st := b.Stats()
		if st.LostBy[Memory] == 0 || st.MemoryBytes > cfg.MaxMemory+cfg.MaxMemory/16 {
			t.Errorf("%+v", st)
		}
		gone.Store(false)
		time.Sleep(10 * time.Second)
		count(t, b).adds(t, b.Stats().Session, "engine", n)
		mustClose(t, b)
	})
}

// What Open used to fail with it now waits for: each is taken away again.
func TestFaultyDirectoriesHeal(t *testing.T) {
	other := func(t *testing.T, path string) {
		t.Helper()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, path := range map[string]func(dir string) string{
		"a file is where the directory should be": func(dir string) string { return dir },
		"a file is where its parent should be":    func(dir string) string { return filepath.Dir(dir) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.Dir = filepath.Join(t.TempDir(), "a", "b")
			blocked := path(cfg.Dir)
			if err := os.MkdirAll(filepath.Dir(blocked), 0o700); err != nil {
				t.Fatal(err)
			}
			other(t, blocked)
			b := mustOpen(t, cfg)
			b.Source("engine").Append(1, []byte("x"))
			if b.Stats().Fault == "" {
				t.Error("no fault is told")
			}
			if err := os.Remove(blocked); err != nil {
				t.Fatal(err)
			}
			if err := b.Wait(t.Context(), 0); err != nil { // until it has tried again
				t.Fatal(err)
			}
			count(t, b).adds(t, 1, "engine", 1)
			mustClose(t, b)
		})
	}
}

func TestNothingIsWrittenUnderAMissingMount(t *testing.T) {
	cfg := testConfig(t)
	cfg.MountPoint = t.TempDir()
	cfg.Dir = filepath.Join(cfg.MountPoint, "spool")
	b := mustOpen(t, cfg)
	b.Source("engine").Append(1, []byte("x"))
	if f := b.Stats().Fault; !strings.Contains(f, "nothing is mounted at "+cfg.MountPoint) {
		t.Errorf("the fault is %q", f)
	}
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "1 records that are not on disk") {
		t.Errorf("closing: %v", err)
	}
	if _, err := os.Stat(cfg.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
	if err := mounted("/proc"); err != nil {
		t.Error(err)
	}
}

func TestDiskThatHangs(t *testing.T) {
	for _, stage := range []string{"attach", "commit"} {
		t.Run(stage, func(t *testing.T) {
			cfg := testConfig(t)
			synctest.Test(t, func(t *testing.T) {
				hang := make(chan struct{})
				begun := time.Now()
				b, err := open(cfg, nil, func(at string) error {
					if at == stage {
						<-hang
					}
					return nil
				})
				if err != nil || time.Since(begun) > openWait {
					t.Fatalf("opening took %v: %v", time.Since(begun), err)
				}
				b.Source("engine").Append(1, []byte("x"))
				time.Sleep(5 * time.Second)
				if f := b.Stats().Fault; !strings.Contains(f, "not answered") {
					t.Errorf("the fault is %q", f)
				}
				begun = time.Now()
				if err := b.Close(); err == nil || time.Since(begun) > closeWait {
					t.Errorf("closing took %v: %v", time.Since(begun), err)
				}
				close(hang) // what was begun ends behind Close
				synctest.Wait()
			})
		})
	}
}

// A newer version's files are refused and left as they are; a bit that makes
// them look so is damage.
func TestNewerVersionIsRefused(t *testing.T) {
	const n = 2000
	master := damageConfig(t)
	session, _ := filled(t, master, n)
	slot := func(t *testing.T, dir string, i int64, whole bool) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, stateName))
		if err != nil {
			t.Fatal(err)
		}
		s := b[i*stateSlot:]
		binary.LittleEndian.PutUint32(s[4:], stateVersion+1)
		if !whole {
			s[20] ^= 1
		} else {
			end := stateFixed + binary.LittleEndian.Uint32(s[8:])
			binary.LittleEndian.PutUint32(s[12:], crc32.Checksum(s[16:end], castagnoli))
		}
		overwrite(t, filepath.Join(dir, stateName), i*stateSlot, s[:stateFixed])
	}
	cfg := damageConfig(t)
	copyDir(t, master.Dir, cfg.Dir)
	slot(t, cfg.Dir, 0, true)
	slot(t, cfg.Dir, 1, true)
	before := contents(t, cfg.Dir)
	if _, err := Open(cfg, nil); !errors.Is(err, ErrNewer) {
		t.Errorf("got %v", err)
	}
	if contents(t, cfg.Dir) != before {
		t.Error("files were changed")
	}
	cfg = damageConfig(t)
	copyDir(t, master.Dir, cfg.Dir)
	slot(t, cfg.Dir, 0, false)
	slot(t, cfg.Dir, 1, false)
	b := mustOpen(t, cfg)
	count(t, b).adds(t, session, "engine", n)
	mustClose(t, b)

	var s summary
	e := (&summary{session: 1, first: 1, last: 1, next: 2}).encode(nil)
	e[4] = summaryVersion + 1
	binary.LittleEndian.PutUint32(e, crc32.Checksum(e[4:], castagnoli))
	if err := s.decode(e); !errors.Is(err, ErrNewer) || damage(err) {
		t.Errorf("a newer segment: %v", err)
	}
}

// contents is what all files but the lock hold.
func contents(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != lockName {
			fmt.Fprintf(&all, "%s %x\n", e.Name(), crc32.Checksum(b, castagnoli))
		}
	}
	return all.String()
}
