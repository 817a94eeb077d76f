package buffer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These tests have real file systems fail. They need root and a kernel that
// lets them mount; elsewhere they skip.

// ext4 makes a file system in a file and mounts it; again mounts it anew.
func ext4(t *testing.T, options ...string) (dir, device string, again func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 24<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/sbin/mkfs.ext4", append([]string{"-q", "-m", "0", image}, options...)...).CombinedOutput(); err != nil {
		if errors.Is(err, os.ErrNotExist) && os.Getenv("CI") != "true" {
			t.Skip("mkfs.ext4 is missing (scripts/deps test)")
		}
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("a loop device cannot be had here: %v: %s", err, out)
	}
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach: %v\n%s", err, out)
		}
	})
	dir = t.TempDir()
	again = func() {
		t.Helper()
		if err := unix.Mount(device, dir, "ext4", 0, "errors=remount-ro"); err != nil {
			t.Skipf("ext4 cannot be mounted here: %v", err)
		}
	}
	again()
	t.Cleanup(func() { unmount(t, dir) })
	return dir, device, again
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // nothing is mounted
		t.Error(err)
	}
}

// until waits for the committer, which may be in a pause after a fault.
func until(t *testing.T, b *Buffer, what string, is func(Stats) bool) {
	t.Helper()
	for begin := time.Now(); !is(b.Stats()); {
		if time.Since(begin) > time.Minute {
			t.Fatalf("%s: %+v", what, b.Stats())
		}
		b.kick()
		time.Sleep(time.Millisecond)
	}
}

func stored(s Stats) bool { return s.Unsynced == 0 && s.Fault == "" }
func faulty(s Stats) bool { return s.Fault != "" }

// addRecords appends n records that do not compress.
func addRecords(b *Buffer, n int) {
	s := b.Source("engine")
	rng := rand.New(rand.NewPCG(s.Last(), 1))
	data := make([]byte, 100)
	for range n {
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		s.Append(1, data)
	}
}

func TestReadOnlyFromTheStart(t *testing.T) {
	dir, _, _ := ext4(t)
	cfg := Config{Dir: filepath.Join(dir, "b"), SyncInterval: time.Millisecond}
	b := mustOpen(t, cfg)
	addRecords(b, 10)
	mustClose(t, b)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, cfg)
	addRecords(b, 10)
	if f := b.Stats().Fault; !strings.Contains(f, syscall.EROFS.Error()) || !strings.Contains(f, cfg.Dir) {
		t.Errorf("the fault is %q", f)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	until(t, b, "healed", stored)
	c := count(t, b)
	c.adds(t, 1, "engine", 10)
	c.adds(t, 2, "engine", 10)
	mustClose(t, b)
}

// What others have put on the disk is not there for the buffer: the limit says
// so, and says when they have gone.
func TestLimitHeedsOthers(t *testing.T) {
	dir, _, _ := ext4(t)
	cfg := Config{Dir: filepath.Join(dir, "b"), MaxSize: 16 << 20, SyncInterval: time.Millisecond}
	b := mustOpen(t, cfg)
	lim := func() int64 {
		t.Helper()
		addRecords(b, 100)
		until(t, b, "stored", stored)
		return b.Stats().Limit
	}
	if n := lim(); n != cfg.MaxSize {
		t.Errorf("of an empty file system %d bytes are the buffer's, want %d", n, cfg.MaxSize)
	}
	const rest = 3 << 20
	foreign := filepath.Join(dir, "video")
	if err := os.WriteFile(foreign, make([]byte, b.vacant-rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := lim(); n < rest/2 || n > rest+2<<20 || b.Stats().Size != cfg.MaxSize {
		t.Errorf("beside a foreign file %d bytes are the buffer's, want about %d", n, rest)
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	if n := lim(); n != cfg.MaxSize {
		t.Errorf("after it has gone %d bytes are the buffer's, want %d", n, cfg.MaxSize)
	}
	mustClose(t, b)
}

// The kernel makes ext4 read-only when it finds an error, until it is mounted
// anew: records go on in memory, and what was promised before is there later.
func TestReadOnlyAllOfASudden(t *testing.T) {
	dir, device, again := ext4(t)
	cfg := Config{Dir: filepath.Join(dir, "b"), SyncInterval: time.Millisecond, SegmentSize: 64 << 10, MaxMemory: MinMaxMemory}
	b := mustOpen(t, cfg)
	addRecords(b, 1000)
	until(t, b, "stored", stored)
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("test of the buffer"), 0); err != nil {
		mustClose(t, b)
		t.Skipf("an error of the file system cannot be brought about here: %v", err)
	}
	addRecords(b, 1000)
	until(t, b, "the fault is told", faulty)
	addRecords(b, 3000)
	seen := count(t, b).seen[runKey{1, "engine"}] // what is on disk can still be read
	for seq := range uint64(1000) {
		if seen[seq+1] != 1 {
			t.Fatalf("number %d is given back %d times", seq+1, seen[seq+1])
		}
	}
	if st := b.Stats(); st.LostBy[Memory] == 0 || st.MemoryBytes > cfg.MaxMemory+cfg.MaxMemory/16 {
		t.Errorf("%+v", st)
	}
	if err := b.Close(); !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EIO) {
		t.Errorf("closing: %v", err)
	}
	unmount(t, dir)
	again()
	b = mustOpen(t, cfg)
	count(t, b).adds(t, 1, "engine", 1000)
	mustClose(t, b)
}

// Without inodes there is room for records and none for another file.
func TestInodesGone(t *testing.T) {
	dir, _, _ := ext4(t, "-N", "32")
	cfg := Config{Dir: filepath.Join(dir, "b"), SyncInterval: time.Millisecond, SegmentSize: 64 << 10}
	b := mustOpen(t, cfg)
	n := 0
	for b.Stats().Segments < 3 {
		addRecords(b, 200)
		n += 200
		until(t, b, "stored", stored)
	}
	var hogs []string
	for {
		hog := filepath.Join(dir, fmt.Sprint("hog", len(hogs)))
		if err := os.WriteFile(hog, nil, 0o600); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
		hogs = append(hogs, hog)
	}
	// The oldest segment goes for the newest, and whatever is lost is told.
	for range 30 {
		addRecords(b, 200)
		n += 200
		until(t, b, "stored", func(s Stats) bool { return s.Unsynced == 0 })
	}
	if b.Stats().LostBy[Evicted] == 0 {
		t.Error("nothing had to go")
	}
	for _, hog := range hogs {
		if err := os.Remove(hog); err != nil {
			t.Fatal(err)
		}
	}
	addRecords(b, 200)
	until(t, b, "healed", stored)
	count(t, b).adds(t, 1, "engine", uint64(n+200))
	mustClose(t, b)
	if r, err := Verify(cfg.Dir, nil); err != nil || len(r.Damage) > 0 {
		t.Errorf("%v, %v", err, r.Damage)
	}
}

// A disk that is mounted late is waited for, and nothing is begun under it.
func TestMountedLate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	cfg := testConfig(t)
	cfg.MountPoint = t.TempDir()
	cfg.Dir = filepath.Join(cfg.MountPoint, "b")
	b := mustOpen(t, cfg)
	addRecords(b, 10)
	if err := unix.Mount("tmpfs", cfg.MountPoint, "tmpfs", 0, "size=4m"); err != nil {
		_ = b.Close()
		t.Skipf("tmpfs cannot be mounted here: %v", err)
	}
	defer unmount(t, cfg.MountPoint)
	if err := b.Wait(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	count(t, b).adds(t, 1, "engine", 10)
	mustClose(t, b)
	unmount(t, cfg.MountPoint)
	if _, err := os.Stat(cfg.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was begun under the mount: %v", err)
	}
}

// With drop_newest a full disk keeps what it has; what finds no room waits in
// memory, and what finds none there is lost as memory.
func TestFullDiskWithDropNewest(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("tmpfs cannot be mounted here: %v", err)
	}
	defer unmount(t, dir)
	// Somebody else's file has the disk full before the limit is reached.
	if err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, 400<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: filepath.Join(dir, "b"), SyncInterval: time.Millisecond, MaxSize: 64 << 20, SegmentSize: 64 << 10,
		MaxMemory: MinMaxMemory, Overflow: DropNewest}
	b := mustOpen(t, cfg)
	n := 0
	until(t, b, "a full disk and full memory", func(st Stats) bool { // a slow disk may fill the memory first
		addRecords(b, 100)
		n += 100
		return st.LostBy[Memory] > 0 && strings.Contains(st.Fault, syscall.ENOSPC.Error())
	})
	if st := b.Stats(); st.LostBy[Evicted] > 0 {
		t.Errorf("%+v", st)
	}
	all, _ := readAll(t, b, 0)
	half := all[len(all)/2]
	b.Ack(0, half.Offset) // and there is room again
	until(t, b, "healed", stored)
	seen := count(t, b).seen[runKey{1, "engine"}]
	for seq := half.Seq; seq <= uint64(n); seq++ {
		if seen[seq] != 1 {
			t.Fatalf("number %d is given back %d times", seq, seen[seq])
		}
	}
	b.Ack(0, ^uint64(0))
	mustClose(t, b)
}

// What a manual run as root has left is no reason to stop: the fault says what
// cannot be opened, and it is tried again.
func TestFilesOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	cfg := Config{Dir: filepath.Join(t.TempDir(), "b"), SyncInterval: time.Millisecond}
	above := filepath.Dir(cfg.Dir)
	if err := errors.Join(os.Chmod(above, 0o755), os.Chmod(filepath.Dir(above), 0o755)); err != nil {
		t.Fatal(err)
	}
	b := mustOpen(t, cfg)
	addRecords(b, 10)
	mustClose(t, b)
	const user = 65534
	for _, file := range []string{"lock", stateName, "00000001.db"} {
		t.Run(file, func(t *testing.T) {
			chown(t, cfg.Dir, user)
			if err := os.Chown(filepath.Join(cfg.Dir, file), 0, 0); err != nil {
				t.Fatal(err)
			}
			as(t, user, func() {
				b := mustOpen(t, cfg)
				defer mustClose(t, b)
				addRecords(b, 10)
				if f := b.Stats().Fault; !strings.Contains(f, filepath.Join(cfg.Dir, file)) || !strings.Contains(f, syscall.EACCES.Error()) {
					t.Errorf("the fault is %q", f)
				}
				as(t, 0, func() { chown(t, cfg.Dir, user) })
				until(t, b, "healed", stored)
			})
		})
	}
	chown(t, cfg.Dir, 0)
	b = mustOpen(t, cfg)
	c := count(t, b)
	for session := range uint64(4) {
		c.adds(t, session+1, "engine", 10)
	}
	mustClose(t, b)
}

func chown(t *testing.T, dir string, user int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, user, user))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// as has the process be another user to the file system while fn runs.
func as(t *testing.T, user int, fn func()) {
	t.Helper()
	before := syscall.Geteuid()
	if err := syscall.Seteuid(user); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Seteuid(before); err != nil {
			t.Fatal(err)
		}
	}()
	fn()
}
