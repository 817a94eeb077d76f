package vm

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"

	"fieldferry/scripts/test/vm/wire"
)

// channelFD is the descriptor of the channel in the process of the guest.
const channelFD = "3"

// pack writes the guest's first root file system: its first process, the
// kernel modules, the plan and the caller's files.
func (g *Guest) pack(ctx context.Context, k kernel) error {
	initBinary := filepath.Join(g.dir, "init")
	if err := g.config.Kind.Build(ctx, "fieldferry/scripts/test/vm/vminit", initBinary); err != nil {
		return err
	}
	plan := wire.Plan{Network: g.config.Network, Disk: g.config.Disk != ""}
	names := append([]string{"can-raw", "vcan"}, g.config.Modules...)
	switch g.config.Kind {
	case UML:
		plan.Channel = "/dev/ttyS0"
	case ARM, ARM64:
		names = append([]string{"virtio_pci", "virtio_console"}, names...)
		if g.config.Kind == ARM64 {
			names = append(names, "kvaser_pci")
		}
		if g.config.Network {
			names = append(names, "virtio_net")
		}
		if g.config.Disk != "" {
			names = append(names, "virtio_blk", "crc32c_generic", "ext4")
		}
	}
	modules, err := moduleOrder(k.modules, names)
	if err != nil {
		return err
	}
	f, err := os.Create(g.initramfs())
	if err != nil {
		return err
	}
	defer f.Close()
	a := newArchive(f)
	a.device("dev/console", 0o600, 5, 1) // for messages before devtmpfs is mounted
	a.copy("init", initBinary)
	for _, m := range modules {
		inside := "/lib/modules/" + filepath.Base(m)
		a.copy(inside, m)
		plan.Modules = append(plan.Modules, inside)
	}
	for inside, src := range g.config.Files {
		a.copy(inside, src)
	}
	b, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	a.bytes(wire.PlanFile, 0o644, b)
	return a.close()
}

func (g *Guest) initramfs() string { return filepath.Join(g.dir, "initramfs.cpio") }

// commandLine is how the guest is started. A panic ends it at once (panic=-1
// reboots, and a reboot is an end).
func (g *Guest) commandLine(k kernel) []string {
	memory := strconv.Itoa(g.config.Memory) + "M"
	if g.config.Kind == UML {
		argv := []string{
			k.image, "mem=" + memory, "initrd=" + g.initramfs(), "rdinit=/init", "quiet", "panic=-1",
			"con=null", "con0=null,fd:1", "ssl=null", "ssl0=fd:" + channelFD, "uml_dir=" + g.dir,
		}
		if g.config.Network {
			argv = append(argv, "eth0=slirp,,"+k.slirp)
		}
		return argv
	}
	// highmem=off: the kernel is one without LPAE and sees no PCI otherwise.
	// accel=tcg: a /dev/kvm that is there may still not work for this guest.
	machine := []string{"qemu-system-arm", "-M", "virt,highmem=off", "-cpu", "cortex-a7"}
	if g.config.Kind == ARM64 {
		machine = []string{"qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-object", "can-bus,id=bus0",
			"-device", "kvaser_pci,canbus=bus0", "-device", "kvaser_pci,canbus=bus0"}
	}
	argv := append(machine, "-accel", "tcg", "-m", memory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", k.image, "-initrd", g.initramfs(), "-append", "console=ttyAMA0 quiet panic=-1 rdinit=/init",
		"-device", "virtio-serial-pci,romfile=", "-chardev", "socket,id=channel,fd="+channelFD,
		"-device", "virtserialport,chardev=channel,name="+wire.PortName,
	)
	if g.config.Counted {
		argv = append(argv, "-icount", "shift=0,sleep=off")
	}
	if g.config.Network {
		argv = append(argv, "-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile=")
	}
	if g.config.Disk != "" {
		argv = append(argv, "-drive", "if=none,id=d0,format=raw,cache=writeback,file=nbd+unix:///?socket="+g.config.Disk,
			"-device", "virtio-blk-pci,drive=d0,romfile=")
	}
	return argv
}
