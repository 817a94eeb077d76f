// Package vm boots small Linux guests with real kernels of their own and runs
// programs in them, so that tests have SocketCAN (and later disks and serial
// ports) on machines whose kernel has none. It needs no root.
//
// # Nouns
//
// A [Kind] is what is booted: Debian's user-mode-linux kernel or its ARMv7 or
// ARMv8 kernel under QEMU. A [Guest] is one booted kernel with nothing in it but
// the files of its [Config] and the program of scripts/test/vm/vminit as its first
// process. A [Process] is one program running in it, started over a channel
// that is independent of the guest's network.
//
// # Caveats
//
// In the guest the environment variable FIELDFERRY_VM is 1: what a test needs
// is there, so that a test that skips has failed to look at what it is for.
// The kernels come from scripts/test/vm/fetch. System calls under user-mode-linux
// take about 70 µs, and everything on ARM is emulated: nothing here measures
// speed. [Config.Counted] measures work.
package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"fieldferry/scripts/test/vm/wire"
)

// HostAddr is the address under which a guest with a network reaches
// 127.0.0.1 of the host.
const HostAddr = wire.Host

// Config says what to boot.
type Config struct {
	Kind    Kind
	Files   map[string]string // copied in before the boot: path in the guest -> path on the host
	Modules []string          // kernel modules besides those of CAN (can-raw, vcan)
	Network bool              // eth0, with the host's loopback at HostAddr
	Disk    string            // ARM: socket of a disk with an ext4 file system (scripts/test/vm/nbd), mounted at /disk
	Memory  int               // MiB; 0 means 192
	// Counted makes the guest's clock advance a nanosecond an instruction, and
	// jump to the next timer when there is nothing to do (ARM): CPU time is then
	// a number of instructions, whatever the host does beside it.
	Counted bool
	Console io.Writer // where the kernel's console goes after the end; nil: nowhere
}

// Guest is one running guest. Its methods may be called at the same time.
type Guest struct {
	config Config
	cmd    *exec.Cmd
	dir    string // console, initramfs, sockets
	conn   net.Conn
	ended  chan struct{} // closed when the guest has ended and err is set
	stop   func() bool   // ends the watch over Boot's context
	ctx    context.Context

	mu      sync.Mutex
	enc     *json.Encoder
	id      int
	waiting map[int]*Process
	closing bool
	err     error
}

// Crash is the error of everything that waits for a guest that has ended
// without being asked to.
type Crash struct {
	Panic   bool   // the kernel panicked, rather than ended in another way
	Console string // the end of what the kernel said
}

// Error returns what happened, with the end of the console.
func (c *Crash) Error() string {
	what := "the guest ended unexpectedly"
	if c.Panic {
		what = "the guest's kernel panicked"
	}
	return what + "; the end of its console:\n" + c.Console
}

// Boot starts a guest and waits until it takes orders. The guest is killed
// when ctx ends; end it with [Guest.Close].
func Boot(ctx context.Context, c Config) (_ *Guest, err error) {
	kernel, err := findKernel(c.Kind)
	if err != nil {
		return nil, err
	}
	if c.Memory == 0 {
		c.Memory = 192
	}
	dir, err := os.MkdirTemp("", "fieldferry-vm-")
	if err != nil {
		return nil, err
	}
	g := &Guest{config: c, dir: dir, ctx: ctx, ended: make(chan struct{}), waiting: map[int]*Process{}}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	if err := g.pack(ctx, kernel); err != nil {
		return nil, fmt.Errorf("packing the guest: %w", err)
	}
	if err := g.start(kernel); err != nil {
		return nil, err
	}
	g.stop = context.AfterFunc(ctx, g.kill)
	ready := g.expect(0, nil)
	go g.receive()
	if _, err := ready.Wait(ctx); err != nil {
		g.Close()
		return nil, fmt.Errorf("booting the %s guest: %w", c.Kind, err)
	}
	return g, nil
}

// start launches the kernel with one end of a socket pair as its channel.
func (g *Guest) start(k kernel) error {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("channel to the guest: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "channel"), os.NewFile(uintptr(pair[1]), "channel")
	defer ours.Close()
	defer theirs.Close()
	if g.conn, err = net.FileConn(ours); err != nil {
		return fmt.Errorf("channel to the guest: %w", err)
	}
	g.enc = json.NewEncoder(g.conn)
	console, err := os.Create(g.consolePath())
	if err != nil {
		return err
	}
	defer console.Close()
	argv := g.commandLine(k)
	g.cmd = exec.Command(argv[0], argv[1:]...)
	g.cmd.ExtraFiles = []*os.File{theirs} // channelFD in the child
	g.cmd.Stdout, g.cmd.Stderr = console, console
	g.cmd.Env = append(os.Environ(), "TMPDIR="+g.dir) // user-mode-linux keeps its memory there
	// A group of its own: user-mode-linux is many processes.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := g.cmd.Start(); err != nil {
		g.conn.Close()
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: %w: run scripts/deps vm (%v)", argv[0], ErrMissing, err)
		}
		return fmt.Errorf("starting %s: %w", argv[0], err)
	}
	return nil
}

// receive hands the guest's replies to those who wait for them, until the
// guest ends.
func (g *Guest) receive() {
	dec := json.NewDecoder(bufio.NewReaderSize(g.conn, 64<<10))
	for {
		var r wire.Reply
		if err := dec.Decode(&r); err != nil {
			break
		}
		g.mu.Lock()
		p := g.waiting[r.ID]
		if r.Done {
			delete(g.waiting, r.ID)
		}
		g.mu.Unlock()
		if p != nil {
			p.take(r)
		}
	}
	g.finish()
}

// finish reaps the guest after its channel has closed and tells everybody who
// still waits why there will be no answer.
func (g *Guest) finish() {
	// A guest that lost its channel has nothing left to do.
	timer := time.AfterFunc(10*time.Second, g.kill)
	g.cmd.Wait()
	timer.Stop()
	g.kill() // what is left of the group
	console, _ := os.ReadFile(g.consolePath())
	if g.config.Console != nil {
		g.config.Console.Write(console)
	}
	g.mu.Lock()
	switch {
	case g.ctx.Err() != nil:
		g.err = fmt.Errorf("the guest was killed: %w", context.Cause(g.ctx))
	case g.closing:
		g.err = errors.New("the guest was closed")
	default:
		text := strings.ReplaceAll(string(console), "\r", "")
		g.err = &Crash{Panic: strings.Contains(text, "Kernel panic"), Console: text[max(0, len(text)-4000):]}
	}
	waiting := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	for _, p := range waiting {
		p.fail(g.err)
	}
	g.conn.Close()
	os.RemoveAll(g.dir)
	close(g.ended)
}

// Close switches the guest off and waits for its end; a guest that does not
// react within ten seconds is killed.
func (g *Guest) Close() {
	g.mu.Lock()
	g.closing = true
	g.mu.Unlock()
	defer g.stop()
	if g.send(wire.Request{Op: wire.PowerOff}) == nil {
		select {
		case <-g.ended:
			return
		case <-time.After(10 * time.Second):
		}
	}
	g.kill()
	<-g.ended
}

// PowerCut kills the guest as a power cut would: nothing that it has not
// written to its disks survives.
func (g *Guest) PowerCut() {
	g.mu.Lock()
	g.closing = true
	g.mu.Unlock()
	defer g.stop()
	g.kill()
	<-g.ended
}

func (g *Guest) kill() { syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL) }

func (g *Guest) consolePath() string { return filepath.Join(g.dir, "console.log") }

func (g *Guest) send(r wire.Request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.enc.Encode(r)
}
