// Command vminit is the first process of the bench's guests. It mounts what a
// program expects, loads the kernel modules, sets up the loopback interface
// and the network, and then does what the host asks for (scripts/test/vm/wire).
// When the channel to the host breaks it switches the guest off.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/scripts/test/vm/wire"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "vminit: this is the first process of a guest; it does nothing anywhere else")
		os.Exit(2)
	}
	plan, prepareErr := prepare()
	channel, err := openChannel(plan.Channel)
	if err != nil {
		// Without a channel the console is the only way to say so.
		fmt.Fprintln(os.Stderr, "vminit:", errors.Join(prepareErr, err))
		powerOff()
	}
	if err := serve(channel, prepareErr); err != nil {
		fmt.Fprintln(os.Stderr, "vminit: channel to the host:", err)
	}
	powerOff()
}

func powerOff() {
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

// prepare makes a usable system. What fails is reported and does not keep the
// rest from being tried.
func prepare() (plan wire.Plan, _ error) {
	var errs []error
	try := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	for _, m := range []struct{ fstype, dir, options string }{
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", "ptmxmode=0666,mode=0620"},
		{"tmpfs", "/dev/shm", ""},
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"tmpfs", "/tmp", ""},
		{"tmpfs", "/run", ""},
	} {
		try("mkdir", os.MkdirAll(m.dir, 0o755))
		try("mount "+m.dir, unix.Mount(m.fstype, m.dir, m.fstype, 0, m.options))
	}
	try("environment", errors.Join(
		os.Setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin"),
		os.Setenv("HOME", "/tmp"),
		os.Setenv("FIELDFERRY_VM", "1")))

	b, err := os.ReadFile(wire.PlanFile)
	try("plan", err)
	if err == nil {
		try("plan", json.Unmarshal(b, &plan))
	}
	for _, m := range plan.Modules {
		try("module "+m, loadModule(m))
	}
	try("lo", setLink("lo", true))
	if plan.Network {
		try("eth0", setUpNetwork("eth0"))
	}
	if plan.Disk {
		try("disk", mountDisk("/dev/vda", "/disk"))
	}
	return plan, errors.Join(errs...)
}

// mountDisk mounts an ext4 file system, which is repaired from its journal
// after a power cut. The device may appear a moment after its driver.
func mountDisk(device, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := unix.Mount(device, dir, "ext4", 0, "")
	for n := 0; n < 500 && (err == unix.ENOENT || err == unix.ENXIO); n++ {
		time.Sleep(10 * time.Millisecond)
		err = unix.Mount(device, dir, "ext4", 0, "")
	}
	return err
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != unix.EEXIST {
		return err
	}
	return nil
}

// openChannel opens the device at path, or the virtio port when path is
// empty. Both may appear a moment after the boot.
func openChannel(path string) (*os.File, error) {
	var err error
	for range 1000 {
		device := path
		if device == "" {
			device, err = findPort(wire.PortName)
		}
		if device != "" {
			var f *os.File
			if f, err = os.OpenFile(device, os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
				return f, rawMode(f)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, err
}

func findPort(name string) (string, error) {
	files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.TrimSpace(string(b)) == name {
			return "/dev/" + filepath.Base(filepath.Dir(f)), nil
		}
	}
	return "", fmt.Errorf("no virtio port %q among %d", name, len(files))
}

// rawMode keeps a terminal from interpreting the channel's bytes. A virtio
// port is none.
func rawMode(f *os.File) error {
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err == unix.ENOTTY {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: reading its settings: %w", f.Name(), err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return fmt.Errorf("%s: raw mode: %w", f.Name(), err)
	}
	return nil
}
