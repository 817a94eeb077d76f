package buffer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// What was in the directory is told as lost, what was in memory too is stored
// again, and the session is kept. Not a record is neither.
func TestDirectoryRemovedWhileRunning(t *testing.T) {
	for _, interval := range []time.Duration{0, 100 * time.Millisecond} {
		for _, few := range []bool{true, false} {
			t.Run(fmt.Sprintf("interval %s, few %v", interval, few), func(t *testing.T) {
				cfg := testConfig(t)
				cfg.SegmentSize, cfg.SyncInterval = 64<<10, interval
				cfg.Dir = filepath.Join(cfg.Dir, "b")
				synctest.Test(t, func(t *testing.T) { removeWhileRunning(t, cfg, few) })
			})
		}
	}
}

func removeWhileRunning(t *testing.T, cfg Config, few bool) {
	b := mustOpen(t, cfg)
	session := b.Stats().Session
	n := 0
	add := func(some int) {
		n += some
		addRecords(b, some)
		time.Sleep(time.Second)
	}
	if add(1000); !few {
		for range 30 {
			add(1000) // more than memory keeps of what is stored
		}
	}
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	add(100)
	if f := b.Stats().Fault; !strings.Contains(f, cfg.Dir) {
		t.Errorf("the fault is %q", f)
	}
	time.Sleep(maxBackoff + time.Second)
	st := b.Stats()
	if st.Fault != "" || st.Unsynced != 0 || st.Session != session {
		t.Errorf("after the retry: %+v", st)
	}
	if some := st.LostBy[Corrupt] > 0; some == few || st.LostBy[Corrupt] > uint64(n)/2+20_000 {
		t.Errorf("%d of %d are lost", st.LostBy[Corrupt], n)
	}
	add(100)
	count(t, b).adds(t, session, "engine", uint64(n))
	mustClose(t, b)
	b = mustOpen(t, cfg)
	count(t, b).adds(t, session, "engine", uint64(n))
	if e := b.Endings(); b.Stats().Session != session+1 || len(e) != 1 || !e[0].Clean {
		t.Errorf("after it: session %d, %+v", b.Stats().Session, e)
	}
	mustClose(t, b)
	if r, err := Verify(cfg.Dir, nil); err != nil || len(r.Damage) > 0 {
		t.Errorf("%v, %v", err, r.Damage)
	}
}

// Each file alone, and what was acknowledged is not told as lost.
func TestFilesRemovedWhileRunning(t *testing.T) {
	for _, file := range []string{lockName, stateName, journalName, "00000001.db", "0*.db"} {
		t.Run(file, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.SegmentSize, cfg.SyncInterval = 64<<10, 100*time.Millisecond
			synctest.Test(t, func(t *testing.T) {
				b := mustOpen(t, cfg)
				for range 5 {
					addRecords(b, 1000)
					time.Sleep(time.Second)
				}
				list, err := filepath.Glob(filepath.Join(cfg.Dir, file))
				if err != nil || len(list) == 0 {
					t.Fatal(list, err)
				}
				for _, path := range list {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				}
				for range 3 {
					addRecords(b, 1000)
					time.Sleep(20 * time.Second)
				}
				if st := b.Stats(); st.Fault != "" || st.Unsynced != 0 {
					t.Errorf("%+v", st)
				}
				count(t, b).adds(t, 1, "engine", 8000)
				b.Ack(0, ^uint64(0))
				mustClose(t, b)
			})
		})
	}
}

// What is read while the disk is away is waited for, and what comes behind it is
// delivered in the end.
func TestReadingWhileTheDiskIsAway(t *testing.T) {
	cfg := testConfig(t)
	cfg.SegmentSize, cfg.SyncInterval, cfg.MaxMemory = 64<<10, 100*time.Millisecond, 1<<20
	cfg.Dir = filepath.Join(cfg.Dir, "b")
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		b, err := open(cfg, nil, func(string) error {
			if gone.Load() {
				return syscall.EIO
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			addRecords(b, 1000)
			time.Sleep(time.Second)
		}
		gone.Store(true)
		aside := cfg.Dir + ".aside"
		if err := os.Rename(cfg.Dir, aside); err != nil {
			t.Fatal(err)
		}
		addRecords(b, 100)
		time.Sleep(time.Minute)
		var batch Batch
		if _, err := b.Read(b.First(), &batch, 1000, 1<<20); !errors.Is(err, errAway) || b.Stats().LostBy[Corrupt] > 0 {
			t.Errorf("%v, %+v", err, b.Stats())
		}
		if err := os.Rename(aside, cfg.Dir); err != nil {
			t.Fatal(err)
		}
		gone.Store(false)
		time.Sleep(time.Minute)
		if st := b.Stats(); st.Fault != "" || st.Lost > 0 {
			t.Errorf("%+v", st)
		}
		count(t, b).adds(t, 1, "engine", 10_100)

		gone.Store(true)
		if err := os.RemoveAll(cfg.Dir); err != nil {
			t.Fatal(err)
		}
		addRecords(b, 100)
		time.Sleep(awayPatience + time.Minute)
		count(t, b).adds(t, 1, "engine", 10_200)
		gone.Store(false)
		time.Sleep(time.Minute)
		if st := b.Stats(); st.Fault != "" || st.Unsynced > 0 {
			t.Errorf("%+v", st)
		}
		count(t, b).adds(t, 1, "engine", 10_200)
		mustClose(t, b)
	})
}

// A buffer that is not this one is left as it is.
func TestOtherBufferInTheDirectory(t *testing.T) {
	cfg := testConfig(t)
	other := testConfig(t)
	other.Dir = filepath.Join(other.Dir, "b")
	o := mustOpen(t, other)
	mustClose(t, o)
	o = mustOpen(t, other)
	addRecords(o, 1000)
	mustClose(t, o)
	before := contents(t, other.Dir)
	cfg.Dir = filepath.Join(cfg.Dir, "b")
	synctest.Test(t, func(t *testing.T) {
		b := mustOpen(t, cfg)
		addRecords(b, 10)
		time.Sleep(2 * time.Second)
		if err := errors.Join(os.RemoveAll(cfg.Dir), os.Rename(other.Dir, cfg.Dir)); err != nil {
			t.Fatal(err)
		}
		addRecords(b, 10)
		time.Sleep(20 * time.Second)
		if f := b.Stats().Fault; !strings.Contains(f, errOther.Error()) {
			t.Errorf("the fault is %q", f)
		}
		if err := b.Close(); !errors.Is(err, errOther) {
			t.Errorf("closing: %v", err)
		}
	})
	if contents(t, cfg.Dir) != before {
		t.Error("files were changed")
	}
}

// A link to a data disk that comes late is named with what it means, and what it
// means is not made.
func TestDanglingLink(t *testing.T) {
	for _, below := range []string{"", "buffer"} {
		cfg := testConfig(t)
		target := filepath.Join(t.TempDir(), "disk")
		link := filepath.Join(cfg.Dir, "link")
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		cfg.Dir = filepath.Join(link, below)
		b := mustOpen(t, cfg)
		addRecords(b, 10)
		if f := b.Stats().Fault; !strings.Contains(f, link) || !strings.Contains(f, target) {
			t.Errorf("the fault is %q", f)
		}
		if err := os.Mkdir(target, 0o700); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := b.Wait(ctx, 0); err != nil {
			t.Error(err)
		}
		cancel()
		count(t, b).adds(t, 1, "engine", 10)
		mustClose(t, b)
	}
}

// An error of ext4, and what is done about it, without a restart: nothing is
// open, so that it can be unmounted, and after the mount all is there.
func TestMountedAnewAfterAnError(t *testing.T) {
	for _, how := range []string{"error", "read-only"} {
		t.Run(how, func(t *testing.T) {
			dir, device, again := ext4(t)
			cfg := Config{Dir: filepath.Join(dir, "b"), SyncInterval: time.Millisecond, SegmentSize: 64 << 10}
			b := mustOpen(t, cfg)
			defer b.Close() //nolint:errcheck // a second time when all is well
			for range 5 {
				addRecords(b, 1000)
				until(t, b, "stored", stored)
			}
			if how == "error" {
				trigger := filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error")
				if err := os.WriteFile(trigger, []byte("test of the buffer"), 0); err != nil {
					t.Skipf("an error of the file system cannot be brought about here: %v", err)
				}
			} else if err := forceReadOnly(dir); err != nil {
				t.Skipf("a file system in use cannot be made read-only here: %v", err)
			}
			addRecords(b, 1000)
			until(t, b, "the fault is told", faulty)
			if err := unix.Unmount(dir, 0); err != nil {
				t.Fatalf("something keeps the disk busy: %v", err)
			}
			addRecords(b, 1000)
			b.kick()
			if out, err := exec.Command("e2fsck", "-fy", device).CombinedOutput(); err != nil && how != "error" {
				t.Logf("e2fsck: %v\n%s", err, out)
			}
			if _, err := os.Stat(cfg.Dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something was begun under the mount: %v", err)
			}
			again()
			until(t, b, "healed", stored)
			if st := b.Stats(); st.Lost > 0 || st.Session != 1 {
				t.Errorf("%+v", st)
			}
			count(t, b).adds(t, 1, "engine", 7000)
			mustClose(t, b)
			b = mustOpen(t, cfg)
			count(t, b).adds(t, 1, "engine", 7000)
			mustClose(t, b)
		})
	}
}

// forceReadOnly has the kernel do what it does at an error.
func forceReadOnly(dir string) error {
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "abort"); err != nil {
		return err
	}
	return nil
}

// The limit is what the file system can hold, measured when it is there.
func TestLimitIsWhatTheFileSystemHolds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	cfg := testConfig(t)
	cfg.MountPoint = t.TempDir()
	cfg.Dir = filepath.Join(cfg.MountPoint, "b")
	cfg.SyncInterval = time.Millisecond
	b := mustOpen(t, cfg)
	if l := b.Stats().Limit; l != DefaultMaxSize {
		t.Errorf("without a disk the limit is %d", l)
	}
	if err := unix.Mount("tmpfs", cfg.MountPoint, "tmpfs", 0, "size=20m"); err != nil {
		_ = b.Close()
		t.Skipf("tmpfs cannot be mounted here: %v", err)
	}
	defer unmount(t, cfg.MountPoint)
	until(t, b, "attached", func(s Stats) bool { return s.Session > 0 })
	limit := b.Stats().Limit
	if limit > 20<<20 || limit < 18<<20 {
		t.Errorf("the limit is %d", limit)
	}
	n := 0
	for b.Stats().LostBy[Evicted] == 0 {
		addRecords(b, 5000)
		n += 5000
		until(t, b, "stored", func(s Stats) bool { return s.Unsynced == 0 })
		if st := b.Stats(); st.Fault != "" || st.DiskBytes > limit || n > 1_000_000 {
			t.Fatalf("after %d: %+v", n, st)
		}
	}
	if st := b.Stats(); st.DiskBytes < limit/2 || st.LostBy[Memory] > 0 {
		t.Errorf("%+v", st)
	}
	if err := unix.Mount("", cfg.MountPoint, "", unix.MS_REMOUNT, "size=30m"); err != nil {
		t.Fatal(err)
	}
	count(t, b).adds(t, 1, "engine", uint64(n))
	mustClose(t, b)
}
