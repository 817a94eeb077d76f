package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// disk is an ext4 file system on a loop device of its own.
type disk struct {
	tmp, dir, device string
}

func newDisk(size int64) (*disk, error) {
	tmp, err := os.MkdirTemp("", "fieldferry-bench-")
	if err != nil {
		return nil, err
	}
	d := &disk{tmp: tmp, dir: filepath.Join(tmp, "disk")}
	image := filepath.Join(tmp, "image")
	err = os.WriteFile(image, nil, 0o600)
	if err == nil {
		err = os.Truncate(image, size)
	}
	if err == nil {
		err = os.Mkdir(d.dir, 0o755)
	}
	if err == nil {
		_, err = output("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
	}
	if err == nil {
		d.device, err = output("losetup", "-f", "--show", image)
	}
	if err == nil {
		_, err = output("mount", d.device, d.dir)
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("a file system on a loop device (as root): %w", err)
	}
	return d, nil
}

func (d *disk) close() {
	_, _ = output("umount", d.dir)
	if d.device != "" {
		_, _ = output("losetup", "-d", d.device)
	}
	os.RemoveAll(d.tmp)
}

// fresh returns an empty directory on the disk.
func (d *disk) fresh(name string) (string, error) {
	dir := filepath.Join(d.dir, name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Mkdir(dir, 0o777)
}

// written returns the bytes written to the device so far.
func (d *disk) written() (int64, error) {
	syscall.Sync()
	text, err := os.ReadFile("/sys/block/" + filepath.Base(d.device) + "/stat")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.Fields(string(text))[6], 10, 64)
	return n * 512, err
}

// cost returns what fn writes to the device.
func (d *disk) cost(fn func() error) (int64, error) {
	before, err := d.written()
	if err == nil {
		err = fn()
	}
	if err != nil {
		return 0, err
	}
	after, err := d.written()
	return after - before, err
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, text)
	}
	return text, nil
}
