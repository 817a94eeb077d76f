package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const strangeConfig = `gateway: {id: gw, clock: trusted}
can: [{interface: "sim:ramp?rate=10", name: bus}]
buffer: {path: buffer}
uplink: {servers: ["mqtt://127.0.0.1:1"]}
`

// Whatever somebody puts in the place of a file of the buffer, no verb hangs,
// none is led out of the directory, and SIGTERM ends each.
func TestStrangeFilesDoNotHoldVerbsUp(t *testing.T) {
	needsChildren(t)
	master := strangeMaster(t)
	things := map[string]func(path, outside string) error{
		"pipe":      func(p, _ string) error { return unix.Mkfifo(p, 0o600) },
		"link":      func(p, outside string) error { return os.Symlink(outside, p) },
		"directory": func(p, _ string) error { return os.Mkdir(p, 0o700) },
		"device":    func(p, _ string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) },
		"foreign": func(p, _ string) error {
			return errors.Join(os.WriteFile(p, []byte("x"), 0o600), os.Chown(p, 65534, 65534))
		},
	}
	for thing, put := range things {
		for _, file := range []string{"state", "lock", "journal", "00000001.db", "gateway/alarms"} {
			for _, verb := range []string{"info", "verify", "dump", "compact", "run"} {
				t.Run(fmt.Sprint(thing, " ", file, " ", verb), func(t *testing.T) {
					t.Parallel()
					if (thing == "device" || thing == "foreign") && os.Geteuid() != 0 {
						t.Skip("needs root")
					}
					dir := t.TempDir()
					if err := os.CopyFS(filepath.Join(dir, "buffer"), os.DirFS(master)); err != nil {
						t.Fatal(err)
					}
					path, outside := filepath.Join(dir, "buffer", file), filepath.Join(dir, "outside")
					err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.RemoveAll(path), os.WriteFile(outside, []byte("keep"), 0o600))
					if err == nil {
						err = put(path, outside)
					}
					if err != nil {
						t.Skip(err)
					}
					text := endsAtTERM(t, dir, verb)
					if strings.Contains(text, "goroutine ") {
						t.Error(text)
					}
					if kept, err := os.ReadFile(outside); err != nil || string(kept) != "keep" {
						t.Errorf("what the link names has %q, %v", kept, err)
					}
				})
			}
		}
	}
}

// strangeMaster makes a buffer with records.
func strangeMaster(t *testing.T) string {
	t.Helper()
	m := manage(t, strangeConfig, nil)
	if log := m.done(); strings.Contains(log, "panic") {
		t.Fatal(log)
	}
	return filepath.Join(m.dir, "buffer")
}

// endsAtTERM starts a verb as a process, sends SIGTERM when it is ready or does
// not end by itself, and returns what it said.
func endsAtTERM(t *testing.T, dir, verb string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "f.yaml"), []byte(strangeConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"buffer", verb, filepath.Join(dir, "buffer")}
	if verb == "run" {
		args = []string{"run", "-c", filepath.Join(dir, "f.yaml")}
	}
	short, err := os.MkdirTemp("", "ferry") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	socket := filepath.Join(short, "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "NOTIFY_SOCKET="+socket)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- cmd.Wait() }()
	go func() { // until the socket is closed
		defer close(ready)
		b := make([]byte, 1000)
		for n, err := conn.Read(b); err == nil && !strings.Contains(string(b[:n]), "READY=1"); n, err = conn.Read(b) {
		}
	}()
	running := true
	select {
	case <-ended:
		running = false
	case <-ready:
	case <-time.After(30 * time.Second):
		t.Errorf("%s neither ends nor is ready", verb)
	}
	if running {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second): // 2 s, on a machine that does other things
			_ = cmd.Process.Kill()
			t.Errorf("%s does not end at SIGTERM:\n%s", verb, out.String())
			<-ended
		}
	}
	_ = conn.Close()
	<-ready
	return out.String()
}
