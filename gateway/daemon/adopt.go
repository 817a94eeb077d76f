package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"fieldferry/gateway/config"
)

// Why there is nothing to adopt.
var (
	ErrNothingKept = errors.New("no configuration is kept there")
	ErrOnTrial     = errors.New("a configuration is being put in place or tried; wait until it is confirmed")
	ErrInFile      = errors.New("what runs is the site's file: nothing is to be done")
	ErrFileChanged = errors.New("the file was changed since the configuration was put in its place, and counts from the next start on; move it away to adopt the other one")
)

// Adopt writes the confirmed configuration into the site's file, with those of
// its parts that are not there or are others. It returns the files that it has
// written. A person calls it, never the daemon: what is in /etc belongs to the
// site.
func (s Store) Adopt(path string) (written []string, err error) {
	st := s.State()
	file, _ := config.ReadFile(path)
	switch {
	case st.Confirmed == "":
		return nil, ErrNothingKept
	case st.Pending != "":
		return nil, ErrOnTrial
	case st.Site == "":
		return nil, ErrInFile
	case file != nil && sum(file) != st.Site:
		return nil, ErrFileChanged
	}
	k, err := s.Get(st.Confirmed)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(k.parts)) {
		data, err := os.ReadFile(k.parts[name])
		if err != nil {
			return written, err
		}
		if there, err := os.ReadFile(name); err == nil && sum(there) == sum(data) {
			continue
		}
		if err := replaceFile(name, data, path); err != nil {
			return written, err
		}
		written = append(written, name)
	}
	// The parts first: a file that names others than there are does not start.
	if err := replaceFile(path, k.text, path); err != nil {
		return written, err
	}
	return append(written, path), nil
}

// replaceFile puts data in the place of a file, whole or not at all. It belongs to
// whom the old one did; a new one is as the one that it is like.
func replaceFile(path string, data []byte, like string) (err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Stat(like)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if info != nil {
		err = errors.Join(err, belong(f, info))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func belong(f *os.File, like fs.FileInfo) error {
	err := f.Chmod(like.Mode().Perm())
	if st, ok := like.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		err = errors.Join(f.Chown(int(st.Uid), int(st.Gid)), err)
	}
	return err
}
