package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// folder is an open directory of the store. Nothing is followed out of it, and
// nothing but regular files is read: what lies there may be somebody's trap.
type folder struct {
	root *os.Root
	step func(string)
}

func openFolder(dir string) (*folder, error) {
	if dir == "" {
		return nil, fs.ErrNotExist
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &folder{root, nil}, nil
}

// makeFolder opens a directory; its parent must be there.
func makeFolder(dir string, step func(string)) (*folder, error) {
	if step == nil {
		step = func(string) {}
	}
	step("mkdir")
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	d, err := openFolder(dir)
	if err == nil {
		d.step = step
	}
	return d, err
}

func (d *folder) close() { _ = d.root.Close() } // only read, or synced

// open opens a folder below.
func (d *folder) open(name string) (*folder, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", name)
	}
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &folder{root, d.step}, nil
}

func (d *folder) has(name string) bool {
	_, err := d.root.Lstat(name)
	return err == nil
}

// read returns a regular file of at most limit bytes; it waits for no pipe.
func (d *folder) read(name string, limit int64) ([]byte, error) {
	named, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || !os.SameFile(named, info) { // Root follows links that stay inside
		return nil, fmt.Errorf("%s is not a regular file; remove it", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return data, err
}

// create writes a new file and puts it on disk. Root leaves it to whom the
// directory belongs to.
func (d *folder) create(name string, data []byte) error {
	d.step("create " + name)
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	d.step("write " + name)
	_, err = f.Write(data)
	d.step("sync " + name)
	return errors.Join(err, d.leave(name), f.Sync(), f.Close())
}

// replace puts a file in the place of another, whole or not at all.
func (d *folder) replace(name string, data []byte) error {
	temp := "." + name + ".new"
	if err := d.root.RemoveAll(temp); err != nil {
		return err
	}
	if err := d.create(temp, data); err != nil {
		_ = d.root.Remove(temp)
		return err
	}
	d.step("rename " + name)
	if err := d.root.Rename(temp, name); err != nil {
		_ = d.root.Remove(temp)
		return err
	}
	d.step("sync directory")
	return d.sync()
}

// putFolder makes a folder of a name, whole or not at all; what has the name
// already is replaced.
func (d *folder) putFolder(name string, fill func(*folder) error) error {
	temp := "." + name + ".new"
	if err := d.root.RemoveAll(temp); err != nil {
		return err
	}
	err := d.fillFolder(temp, fill)
	if err == nil {
		d.step("remove " + name)
		err = d.root.RemoveAll(name)
	}
	if err == nil {
		d.step("rename " + name)
		err = d.root.Rename(temp, name)
	}
	if err != nil {
		_ = d.root.RemoveAll(temp)
		return err
	}
	d.step("sync directory")
	return d.sync()
}

func (d *folder) fillFolder(name string, fill func(*folder) error) error {
	d.step("mkdir " + name)
	if err := d.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	in, err := d.open(name)
	if err != nil {
		return err
	}
	defer in.close()
	return errors.Join(fill(in), d.leave(name), in.sync())
}

func (d *folder) sync() error {
	dir, err := d.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// leave gives what root has made to the owner of the directory.
func (d *folder) leave(name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return d.root.Lchown(name, int(st.Uid), int(st.Gid))
}

// sweep removes configurations that nothing names, and what was not finished.
// What cannot be removed is left for the next time.
func (d *folder) sweep(named func(id string) bool) {
	dir, err := d.root.Open(".")
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(-1)
	_ = dir.Close()
	for _, name := range names {
		id := strings.TrimSuffix(strings.TrimPrefix(name, "."), ".new")
		if isID(id) && (id != name || !named(id)) {
			d.step("sweep")
			_ = d.root.RemoveAll(name)
		}
	}
}
