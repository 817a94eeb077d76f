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
		for _, file := range []string{"state", "lock", "journal", "00000001.db", "gateway/alarms", "gateway/meta", "gateway/accounts.json"} {
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

// Whatever somebody puts in the place of a file that a configuration or a
// command line names, no verb hangs, and SIGTERM ends each.
func TestStrangeFilesThatAreNamedDoNotHoldVerbsUp(t *testing.T) {
	needsChildren(t)
	demo, err := os.ReadFile("demo.dbc")
	if err != nil {
		t.Fatal(err)
	}
	pipe := func(p string) error { return unix.Mkfifo(p, 0o600) }
	things := map[string]func(path string) error{
		"pipe":      pipe,
		"link":      func(p string) error { return errors.Join(pipe(p+".pipe"), os.Symlink(p+".pipe", p)) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"device":    func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) },
		"socket":    func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) },
		"foreign": func(p string) error {
			return errors.Join(os.WriteFile(p, []byte("x"), 0o600), os.Chown(p, 65534, 65534))
		},
	}
	verbs := map[string][]string{
		"check": {"check", "-c", "f.yaml"}, "run": {"run", "-c", "f.yaml"}, "bundle": {"bundle", "-c", "f.yaml", "-o", "bundle.tar.gz"},
		"decode": {"decode", "--dbc", "x.dbc", "x.log"}, "dump": {"can", "dump", "replay:x.log", "--for", "2s"},
		"watch": {"watch", "--server", "mqtt://127.0.0.1:1", "--password-file", "password"}, "templates": {"modbus", "templates", "--templates", "templates"},
	}
	reads := map[string][]string{
		"f.yaml": {"check", "run", "bundle"}, "x.dbc": {"check", "run", "decode"}, "password": {"check", "run", "watch"},
		"ca.pem": {"check", "run"}, "templates": {"check", "run", "templates"}, "templates/own.yaml": {"check", "run", "templates"}, "x.log": {"decode", "dump"},
	}
	for thing, put := range things {
		for file, by := range reads {
			for _, verb := range by {
				t.Run(fmt.Sprint(thing, " ", file, " ", verb), func(t *testing.T) {
					t.Parallel()
					if (thing == "device" || thing == "foreign") && os.Geteuid() != 0 {
						t.Skip("needs root")
					}
					if thing == "directory" && file == "templates" {
						t.Skip("as it should be")
					}
					dir := t.TempDir()
					for name, text := range map[string]string{
						"f.yaml": namedConfig, "x.dbc": string(demo), "password": "x", "ca.pem": "", "templates/own.yaml": "registers: [{name: v, address: 1}]", "x.log": "(1.0) can0 123#01\n",
					} {
						path := filepath.Join(dir, name)
						if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
							t.Fatal(err)
						}
					}
					path := filepath.Join(dir, file)
					if err := errors.Join(os.RemoveAll(path), put(path)); err != nil {
						t.Skip(err)
					}
					if text := programEndsAtTERM(t, dir, verbs[verb]); strings.Contains(text, "goroutine ") {
						t.Error(text)
					}
				})
			}
		}
	}
}

const namedConfig = `gateway: {id: gw, clock: trusted}
can: [{interface: "sim:ramp?rate=10", name: bus, dbc: [x.dbc]}]
templates: templates
modbus:
  - {name: line, port: "tcp://127.0.0.1:1", devices: [{name: meter, unit_id: 1, template: own}]}
buffer: {path: buffer}
uplink: {servers: ["mqtts://127.0.0.1:1"], username: u, password_file: password, tls: {ca: ca.pem}}
`

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
	return programEndsAtTERM(t, dir, args)
}

// programEndsAtTERM is endsAtTERM of any command line, run in dir. A verb that
// does not say when it is ready gets its signal after three seconds.
func programEndsAtTERM(t *testing.T, dir string, args []string) string {
	t.Helper()
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
	cmd.Dir = dir
	patience := 30 * time.Second
	if args[0] != "run" && args[0] != "buffer" { // it may wait for somebody to write to a pipe
		patience = 3 * time.Second
	}
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
	case <-time.After(patience):
		if args[0] == "run" || args[0] == "buffer" {
			t.Errorf("%v neither ends nor is ready", args)
		}
	}
	if running {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second): // 2 s, on a machine that does other things
			_ = cmd.Process.Kill()
			t.Errorf("%v does not end at SIGTERM:\n%s", args, out.String())
			<-ended
		}
	}
	_ = conn.Close()
	<-ready
	return out.String()
}
