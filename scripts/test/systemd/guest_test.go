package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
)

const image = "../../../.cache/systemd" // made by scripts/test/systemd/image

// patience is how long anything in the guest may take: what never comes is a
// fault, what comes late is a loaded machine.
const patience = 8 * time.Minute

// guest is a machine with Debian. Its disk outlives its boots.
type guest struct {
	all  *testing.T // outlives the steps
	dir  string     // the disk, and sockets with names that are short enough
	cmd  *exec.Cmd
	done chan struct{} // cmd has ended
	port string        // of this machine, where its ssh answers
	peer []*rig.Process
	line bool // a slave is at its second serial port
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	for program, pkg := range map[string]string{"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "ssh": "openssh-client", "socat": "socat"} {
		rig.Need(t, program, pkg)
	}
	base, err := filepath.Abs(filepath.Join(image, "disk.raw"))
	if err == nil {
		_, err = os.Stat(base)
	}
	if err != nil {
		t.Fatalf("%v: run scripts/test/systemd/image", err)
	}
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{all: t, dir: dir}
	t.Cleanup(func() {
		g.cut()
		os.RemoveAll(dir)
	})
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", g.file("disk")).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v\n%s", err, out)
	}
	return g
}

func (g *guest) file(name string) string { return filepath.Join(g.dir, name) }

// boot starts the machine, and returns when a shell answers.
func (g *guest) boot(t *testing.T) {
	t.Helper()
	began := time.Now()
	console, err := os.OpenFile(g.file("console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	key := filepath.Join(image, "key")
	// A processor without the newest protections, which QEMU would have to
	// interpret: a boot takes a quarter less.
	g.cmd = exec.Command("nice", "-n", "5", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "1", "-m", "768",
		"-M", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(image, "vmlinuz"), "-initrd", filepath.Join(image, "initrd"),
		"-append", "root=/dev/vda rw console=ttyS0 quiet mitigations=off systemd.show_status=0",
		"-drive", "if=none,id=disk,format=qcow2,cache=writeback,file="+g.file("disk"), "-device", "virtio-blk-pci,drive=disk,romfile=",
		"-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22", "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
		"-chardev", "file,id=console,append=on,path="+g.file("console"), "-serial", "chardev:console",
		// ttyS1: the line, whose other end is made by slave.
		"-chardev", "socket,id=line,server=on,wait=off,path="+g.file("line"), "-serial", "chardev:line",
		"-chardev", "socket,id=monitor,server=on,wait=off,path="+g.file("monitor"), "-mon", "chardev=monitor")
	g.cmd.Stdout, g.cmd.Stderr = console, console
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.done = make(chan struct{})
	go func() { _ = g.cmd.Wait(); close(g.done) }()
	g.port = g.forwarded(t)
	if g.line {
		g.slave()
	}
	// ssh takes a key that only its owner reads.
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; {
		if out, err := g.run(nil, "systemctl is-system-running --wait"); err == nil || strings.TrimSpace(out) == "degraded" {
			break
		}
		select {
		case <-g.done:
			t.Fatalf("the guest has ended:\n%s", g.console())
		case <-time.After(500 * time.Millisecond): // sshd is not there yet
		}
		if time.Now().After(end) {
			t.Fatalf("no shell in the guest:\n%s", g.console())
		}
	}
	t.Logf("booted after %.0f s", time.Since(began).Seconds())
}

// forwarded asks QEMU which port it was given for ssh.
func (g *guest) forwarded(t *testing.T) string {
	t.Helper()
	re := regexp.MustCompile(`HOST_FORWARD\S*\s+\d+\s+127\.0\.0\.1\s+(\d+)`)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("unix", g.file("monitor"))
		if err != nil {
			continue // QEMU makes it at its start
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = conn.Write([]byte("info usernet\n"))
		var said []byte
		for b := make([]byte, 4096); ; {
			n, err := conn.Read(b)
			said = append(said, b[:n]...)
			if m := re.FindSubmatch(said); m != nil {
				conn.Close()
				return string(m[1])
			}
			if err != nil {
				break
			}
		}
		conn.Close()
	}
	t.Fatalf("QEMU does not say where it forwards ssh from:\n%s", g.console())
	return ""
}

// console is the end of what the guest's kernel and QEMU have said.
func (g *guest) console() string {
	b, _ := os.ReadFile(g.file("console"))
	return string(b[max(0, len(b)-4000):])
}

// run runs a script as root in the guest.
func (g *guest) run(stdin io.Reader, script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-q", "-i", filepath.Join(image, "key"), "-p", g.port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6",
		// One connection for all of a boot: making one takes the guest a second.
		"-o", "ControlMaster=auto", "-o", "ControlPersist=yes", "-o", "ControlPath="+g.file("ssh"), "root@127.0.0.1", script)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &out
	cmd.WaitDelay = time.Second // the connection that persists has our pipe
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return out.String(), err
}

// sh runs a script that must succeed, and returns what it has printed.
func (g *guest) sh(t *testing.T, script string) string {
	t.Helper()
	out, err := g.run(nil, script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(out)
}

// fails runs a script that must not succeed.
func (g *guest) fails(t *testing.T, script string) string {
	t.Helper()
	out, err := g.run(nil, script)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() == 255 { // 255 is of ssh itself
		t.Fatalf("%s: %v; it should have failed\n%s", script, err, out)
	}
	return strings.TrimSpace(out)
}

// until waits until a script succeeds.
func (g *guest) until(t *testing.T, script string) string {
	t.Helper()
	out, err := g.run(nil, fmt.Sprintf("for i in $(seq %d); do out=$( (%s) 2>&1 ) && { echo \"$out\"; exit 0; }; sleep 1; done; echo \"$out\"; exit 1", int(patience.Seconds())-30, script))
	if err != nil {
		t.Fatalf("never: %s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(out)
}

// put writes a file of the guest.
func (g *guest) put(t *testing.T, path string, content io.Reader) {
	t.Helper()
	if out, err := g.run(content, "cat > "+path); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, out)
	}
}

func (g *guest) write(t *testing.T, path, content string) {
	t.Helper()
	g.put(t, path, strings.NewReader(content))
}

func (g *guest) copy(t *testing.T, source, path string) {
	t.Helper()
	f, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g.put(t, path, f)
}

// cut is a power cut.
func (g *guest) cut() {
	if g.cmd == nil {
		return
	}
	_ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	g.over()
}

// over waits for the end of the machine, and clears up behind it.
func (g *guest) over() {
	<-g.done
	_ = exec.Command("ssh", "-q", "-o", "ControlPath="+g.file("ssh"), "-O", "exit", "root@127.0.0.1").Run() // it may have noticed
	for _, p := range g.peer {
		p.Kill()
	}
	g.cmd, g.peer = nil, nil
	for _, name := range []string{"ssh", "line", "monitor"} {
		os.Remove(g.file(name))
	}
}

// reboot runs a script that ends this life of the machine, and boots the next.
func (g *guest) reboot(t *testing.T, script string) {
	t.Helper()
	_, _ = g.run(nil, script) // the connection ends with the machine
	select {
	case <-g.done:
	case <-time.After(patience):
		t.Fatalf("the guest does not end:\n%s", g.console())
	}
	g.over()
	g.boot(t)
}

// slave attaches a Modbus slave to the guest's second serial port, in this boot
// and in all that follow.
func (g *guest) slave() {
	t := g.all
	g.line = true
	pty := g.file("pty")
	os.Remove(pty)
	line := rig.Start(t, nil, "socat", "PTY,raw,echo=0,link="+pty, "UNIX-CONNECT:"+g.file("line"))
	line.Until("a pseudo-terminal", func() bool { _, err := os.Stat(pty); return err == nil })
	units := g.file("units.yaml")
	if err := os.WriteFile(units, []byte("units:\n  - unit_id: 1\n    registers: [{register: input, address: 0, type: uint32, moves: counter, rate: 1}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sim := rig.Start(t, nil, rig.Fieldferry(t), "modbus", "simulate", units, "--port", pty)
	g.peer = append(g.peer, sim, line)
}
