package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

const sector = 512

// disk is what a disk with a volatile cache holds of one directory, as far as
// POSIX promises it: a file lasts as it was when it was last synced, a name as
// it was when its directory was. Of what came later every sector, every length
// and every name survives a power cut or not, each for itself.
type disk struct {
	dir     string
	names   map[string]*file // as programs see them
	lasting map[string]*file // as of the last sync of the directory
	changes []change         // of names since then
	fds     map[int]*file    // of the program that runs
	self    *file            // stands for the directory
	parent  *file
	made    bool // the directory is there
	kept    bool // for ever
}

// file is one file, whatever its names are.
type file struct {
	lasting []byte
	changes []change
}

// change is one that may be lost: of a name, or, in a file, of some bytes or
// of the length.
type change struct {
	at   int // the call
	drop string
	add  string
	file *file
	from int64
	data []byte // nil: the file has the length from
}

func newDisk(dir string) *disk {
	return &disk{dir: dir, names: map[string]*file{}, lasting: map[string]*file{}, self: &file{}, parent: &file{}}
}

// load takes what lies in the directory as written for good.
func (d *disk) load() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	d.made, d.kept = true, true
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(d.dir, e.Name()))
		if err != nil {
			return err
		}
		f := &file{lasting: b}
		d.names[e.Name()], d.lasting[e.Name()] = f, f
	}
	return nil
}

// name returns the name of a path in the directory.
func (d *disk) name(path string) (string, bool) {
	name, ok := strings.CutPrefix(path, d.dir+"/")
	return name, ok && !strings.Contains(name, "/")
}

// apply takes over call number at.
func (d *disk) apply(at int, e *event) {
	switch e.name {
	case "open", "openat":
		d.open(at, e)
	case "close":
		delete(d.fds, e.fd)
	case "mkdir", "mkdirat":
		d.made = d.made || e.path == d.dir
	case "write", "pwrite64":
		f := d.fds[e.fd]
		if f == nil {
			return
		}
		from := e.b
		if e.name == "write" {
			from = f.length()
		}
		f.changes = append(f.changes, change{at: at, from: from, data: e.data[:e.result]})
	case "ftruncate":
		if f := d.fds[e.fd]; f != nil {
			f.changes = append(f.changes, change{at: at, from: e.b})
		}
	case "fsync", "fdatasync":
		d.sync(e)
	case "rename", "renameat", "renameat2", "link", "linkat":
		from, ok := d.name(e.path)
		to, _ := d.name(e.path2)
		if !ok {
			return
		}
		c := change{at: at, add: to, file: d.names[from]}
		if strings.HasPrefix(e.name, "rename") {
			c.drop = from
		}
		d.rename(c)
	case "unlink", "unlinkat":
		if name, ok := d.name(e.path); ok {
			d.rename(change{at: at, drop: name})
		}
	}
}

func (d *disk) open(at int, e *event) {
	if d.fds == nil {
		d.fds = map[int]*file{}
	}
	delete(d.fds, int(e.result))
	switch name, ok := d.name(e.path); {
	case e.path == d.dir:
		d.fds[int(e.result)] = d.self
	case e.path == filepath.Dir(d.dir):
		d.fds[int(e.result)] = d.parent
	case ok:
		f := d.names[name]
		if f == nil {
			f = &file{}
			d.rename(change{at: at, add: name, file: f})
		}
		if strings.Contains(e.flags, "O_TRUNC") {
			f.changes = append(f.changes, change{at: at})
		}
		d.fds[int(e.result)] = f
	}
}

func (d *disk) rename(c change) {
	c.apply(d.names)
	d.changes = append(d.changes, c)
}

func (c *change) apply(names map[string]*file) {
	if c.drop != "" {
		delete(names, c.drop)
	}
	if c.add != "" {
		names[c.add] = c.file
	}
}

// sync makes last what was there when the call began.
func (d *disk) sync(e *event) {
	f := d.fds[e.fd]
	switch f {
	case nil:
	case d.parent:
		d.kept = d.kept || d.made
	case d.self:
		n := 0
		for n < len(d.changes) && d.changes[n].at < e.began {
			d.changes[n].apply(d.lasting)
			n++
		}
		d.changes = d.changes[n:]
	default:
		n := 0
		for n < len(f.changes) && f.changes[n].at < e.began {
			f.lasting = f.changes[n].write(f.lasting)
			n++
		}
		f.changes = f.changes[n:]
	}
}

// write makes the change in the bytes of a file.
func (c *change) write(b []byte) []byte {
	if c.data == nil {
		return resize(b, c.from)
	}
	return c.writePart(b, 0, int64(len(c.data)))
}

func (c *change) writePart(b []byte, from, to int64) []byte {
	if end := c.from + to; end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[c.from+from:], c.data[from:to])
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b[:len(b):len(b)], make([]byte, size-int64(len(b)))...)
}

func (f *file) length() int64 {
	n := int64(len(f.lasting))
	for _, c := range f.changes {
		if c.data == nil {
			n = c.from
		}
		n = max(n, c.from+int64(len(c.data)))
	}
	return n
}

// cut writes to dir what a power cut leaves, when each of what may be lost
// survives with probability keep.
func (d *disk) cut(dir string, keep float64, rng *rand.Rand) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if !d.kept && (!d.made || rng.Float64() >= keep) {
		return nil // not even the directory
	}
	names := map[string]*file{}
	for name, f := range d.lasting {
		names[name] = f
	}
	for i := range d.changes {
		if rng.Float64() < keep {
			d.changes[i].apply(names)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, f := range names {
		if err := os.WriteFile(filepath.Join(dir, name), f.cut(keep, rng), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) cut(keep float64, rng *rand.Rand) []byte {
	b := append([]byte(nil), f.lasting...)
	for _, c := range f.changes {
		if c.data == nil {
			if rng.Float64() < keep {
				b = resize(b, c.from)
			}
			continue
		}
		for at := int64(0); at < int64(len(c.data)); {
			end := min(at+sector-(c.from+at)%sector, int64(len(c.data)))
			if rng.Float64() < keep {
				b = c.writePart(b, at, end)
			}
			at = end
		}
	}
	return b
}
