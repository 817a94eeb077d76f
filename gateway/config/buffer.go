package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fieldferry/buffer"

	"golang.org/x/sys/unix"
)

const (
	defaultBufferPath   = "/var/lib/fieldferry"
	defaultSyncInterval = time.Second // 0 means something else to the buffer
	maxSize             = 1 << 40
	minQuota            = 64 << 10
)

func (l *loader) buffer(v value) buffer.Config {
	f := v.fields("path", "sync_interval", "max_size", "max_age", "overflow", "quota", "max_memory", "mount_point")
	c := buffer.Config{
		Dir: f.at("path").file(defaultBufferPath),
		SyncInterval: f.at("sync_interval").duration(span{
			low: time.Millisecond, high: 10 * time.Minute, zero: true, example: "1s",
		}, defaultSyncInterval),
		MaxSize:   f.at("max_size").size(buffer.MinMaxSize, maxSize, buffer.DefaultMaxSize),
		MaxAge:    f.at("max_age").duration(span{low: time.Second, high: 100 * 365 * 24 * time.Hour, zero: true, example: "72h"}, 0),
		MaxMemory: f.at("max_memory").size(buffer.MinMaxMemory, 1<<30, buffer.DefaultMaxMemory),
	}
	if f.at("overflow").choice("drop_oldest", "drop_newest") == "drop_newest" {
		c.Overflow = buffer.DropNewest
	}
	c.Quota = f.at("quota").quota(c)
	c.MountPoint = f.at("mount_point").mountPoint(c.Dir)
	l.bufferDir(f, c)
	return c
}

// quota is a size, "none", or 0 for what the buffer shares out by itself.
func (v value) quota(c buffer.Config) int64 {
	v.boundedSize(minQuota, maxSize/2, "")
	if !v.is(scalar) {
		return 0
	}
	if v.n.text == "none" {
		return -1
	}
	n := v.bytes(minQuota, maxSize/2, 16<<20)
	if n > c.MaxSize/2 && c.MaxSize > 0 {
		v.fail(fmt.Sprintf("%s is more than half of max_size", v.n.text), "write a size up to "+bytesText(c.MaxSize/2)+", or none")
		return 0
	}
	if c.Overflow == buffer.DropNewest {
		v.fail("with overflow: drop_newest nobody is driven out, and who comes when the buffer is full is refused", "remove the key, or write overflow: drop_oldest")
		return 0
	}
	return n
}

// mountPoint is a directory that has dir in it.
func (v value) mountPoint(dir string) string {
	if !v.is(scalar) {
		return ""
	}
	point := v.file("")
	if rel, err := filepath.Rel(point, dir); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		v.fail(fmt.Sprintf("path (%s) does not lie in %s", dir, point), "name the mount point of the disk that path is on")
		return ""
	}
	return point
}

// bufferDir checks what can be known of the directory before it is opened. A
// missing one is created later, and a file system that does not answer is a
// matter of run time.
func (l *loader) bufferDir(f fields, c buffer.Config) {
	if info, err := os.Stat(c.Dir); err == nil && !info.IsDir() {
		f.at("path").fail(fmt.Sprintf("%s is not a directory", c.Dir), "name a directory, which need not exist yet")
		return
	}
	if buffer.Mounted(c.MountPoint) != nil {
		return // what is there now is not the disk
	}
	if what, advice := buffer.Exposed(c.Dir); what != "" && os.Geteuid() != 0 {
		f.at("path").warn("others may change what is stored: "+what, advice)
	}
	// A warning only: what fits is kept, and a refusal at boot nobody sees.
	if size, err := l.opts.DiskSize(c.Dir); err == nil && c.MaxSize > size {
		v := f.at("max_size")
		what := fmt.Sprintf("%s is more than the file system of %s holds (%s)", bytesText(c.MaxSize), c.Dir, roughly(size))
		v.warn(what, fmt.Sprintf("write max_size: %s or less; until then what fits is kept", roughly(size/2)))
	}
}

// roughly is n in MiB, rounded down.
func roughly(n int64) string { return fmt.Sprintf("%dMiB", n>>20) }

// diskSize asks the kernel for the size of the file system that holds the
// nearest existing parent of path.
func diskSize(path string) (int64, error) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		if err == nil {
			return int64(st.Blocks) * int64(st.Bsize), nil
		}
		parent := filepath.Dir(path)
		if parent == path {
			return 0, err
		}
		path = parent
	}
}

// regularTrouble says why the file at path cannot be read, or returns "".
func regularTrouble(what, path string) (wrong, fix string) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return fileTrouble(what+" "+path, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errKind{info.Mode()}
	}
	if err != nil {
		return fileTrouble(what+" "+path, err)
	}
	return "", ""
}
