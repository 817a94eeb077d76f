package vm

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// File modes of the archive, as in stat(2).
const (
	modeDir  = 0o040000
	modeChar = 0o020000
	modeFile = 0o100000
)

// archive writes a cpio archive in the "newc" form the kernel unpacks as its
// first root file system (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).
// The first error sticks and is returned by close.
type archive struct {
	w    *bufio.Writer
	n    int64 // bytes written, for the alignment to 4
	ino  int
	dirs map[string]bool
	err  error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{".": true, "/": true}}
}

func (a *archive) write(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
		a.n += int64(len(b))
	}
}

func (a *archive) align() {
	for a.n%4 != 0 {
		a.write([]byte{0})
	}
}

// entry begins an entry whose size bytes of content the caller writes next.
func (a *archive) entry(name string, mode uint32, size int64, major, minor int) {
	if size > 1<<32-1 && a.err == nil {
		a.err = fmt.Errorf("%s: %d bytes do not fit into a cpio entry", name, size)
	}
	a.ino++
	// magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
	a.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.ino, mode, 0, 0, 1, 0, size, 0, 0, major, minor, len(name)+1, 0))
	a.write(append([]byte(name), 0))
	a.align()
}

// parents makes sure that the directories name lies in exist.
func (a *archive) parents(name string) {
	dir := path.Dir(name)
	if a.dirs[dir] {
		return
	}
	a.parents(dir)
	a.dirs[dir] = true
	a.entry(dir, modeDir|0o755, 0, 0, 0)
}

func (a *archive) device(name string, mode uint32, major, minor int) {
	a.parents(name)
	a.entry(name, modeChar|mode, 0, major, minor)
}

func (a *archive) bytes(name string, mode uint32, content []byte) {
	name = strings.TrimPrefix(name, "/")
	a.parents(name)
	a.entry(name, modeFile|mode, int64(len(content)), 0, 0)
	a.write(content)
	a.align()
}

// copy adds the file src under name, with the permissions it has.
func (a *archive) copy(name, src string) {
	b, err := os.ReadFile(src)
	if err != nil {
		a.fail(err)
		return
	}
	st, err := os.Stat(src)
	if err != nil {
		a.fail(err)
		return
	}
	a.bytes(name, uint32(st.Mode().Perm()), b)
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, 0, 0)
	if a.err == nil {
		a.err = a.w.Flush()
	}
	return a.err
}
