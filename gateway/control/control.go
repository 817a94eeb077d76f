// Package control is the daemon's way to be asked by a person on the same
// machine: a Unix socket.
//
// # Nouns
//
// A [Request] asks for the gateway's state, for a one-shot read of a Modbus line,
// for a command, or about the configuration; a [Reply] is what came of it. A connection carries one of
// each, a JSON object on a line. A [Door] is what can be asked.
//
// # Caveats
//
// Whoever can open the socket may ask for the state and for the configuration
// without secrets: its mode is 0660, and the
// directory of the packaged service lets in its group. Everything else is for
// root and the daemon's own user, as the kernel names them (SO_PEERCRED). Commands
// are those of the configuration, with its limits.
package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"fieldferry/gateway/command"
	"fieldferry/gateway/live"
	"fieldferry/gateway/passwd"
	"fieldferry/gateway/socket"

	"golang.org/x/sys/unix"
)

// Request asks for the state, or a unit of a line once, or for a command.
type Request struct {
	Verb    string          `json:"verb,omitempty"`    // one of the verbs; empty: read
	Command json.RawMessage `json:"command,omitempty"` // a request as of package command
	Config  *ConfigRequest  `json:"config,omitempty"`  // of the verbs about the configuration

	Line    string `json:"line"` // source name
	Unit    uint8  `json:"unit"`
	Table   string `json:"register"` // holding, input, coil or discrete
	Address uint16 `json:"address"`  // 0-based, as on the wire
	Count   int    `json:"count"`    // registers or bits
}

// Reply holds the state, or the words, each bit as 0 or 1, or the error.
type Reply struct {
	Status    *live.Snapshot      `json:"status,omitempty"`
	Command   *command.Reply      `json:"command,omitempty"`
	Config    *live.ConfigState   `json:"config,omitempty"`
	Attempt   *live.ConfigAttempt `json:"attempt,omitempty"`
	Words     []uint16            `json:"words,omitempty"`
	Error     string              `json:"error,omitempty"`
	Exception *uint8              `json:"exception,omitempty"` // code of a unit's refusal
}

// What a peer may cost.
const (
	maxRequest = command.MaxRequest + 1<<10 // bytes
	maxOwner   = 2 << 20                    // likewise, of root and the daemon's user: a configuration, as base64
	maxReply   = 8 << 20                    // bytes
	maxPeers   = 8                          // at once; others wait to be accepted
	peerTime   = 5 * time.Second
	answerTime = 30 * time.Second // for the line; a command has its own time
)

const socketName = "control"

// The verbs: the state of the gateway, a command, and all commands' pause.
const (
	Status  = "status"
	Command = "command"
	Pause   = "pause"
	Resume  = "resume"
)

// Door is what can be asked.
type Door struct {
	Lines    map[string]Line       // that can be read, by name
	Snapshot func() *live.Snapshot // the state; nil before the first
	Commands Commander
	Configs  Configs // nil: there is no configuration to be seen
}

// Commander takes commands.
type Commander interface {
	// Command returns what became of a request, or an error when it is not
	// known when ctx ends.
	Command(ctx context.Context, a command.Actor, text []byte) (command.Reply, error)
	PauseCommands(a command.Actor, pause bool) error
}

// Line is a Modbus line as this package needs it. An error that has a method
// ExceptionCode() uint8 is a unit's refusal.
type Line interface {
	ReadNamed(ctx context.Context, unit uint8, table string, address uint16, count int) ([]uint16, error)
}

// Path returns the socket's path in a state directory. It fails if the kernel
// takes no path that long.
func Path(dir string) (string, error) {
	path := filepath.Join(dir, socketName)
	if len(path) > socket.MaxPath {
		return "", fmt.Errorf("control socket %s: its path has %d bytes, and at most %d are possible; use a shorter directory", path, len(path), socket.MaxPath)
	}
	return path, nil
}

// Serve answers requests at path until ctx ends, then returns nil; the socket
// is removed. One that a killed daemon has left there is replaced.
func Serve(ctx context.Context, path string, door Door) error {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(path) // if it stays, listening says why
	}
	listener, err := socket.Listen(ctx, path) // until its mode is set nobody else can open it
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	defer listener.Close()
	if err := os.Chmod(path, 0o660); err != nil { // whatever the umask is
		return fmt.Errorf("control socket: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	slots := make(chan struct{}, maxPeers)
	for {
		slots <- struct{}{} // given back within peerTime and answerTime
		peer, err := listener.Accept()
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		group.Go(func() {
			door.serve(ctx, peer)
			<-slots
		})
	}
}

// serve answers one request.
func (d *Door) serve(ctx context.Context, peer net.Conn) {
	defer peer.Close()
	stop := context.AfterFunc(ctx, func() { peer.Close() })
	defer stop()
	_ = peer.SetReadDeadline(time.Now().Add(peerTime))
	name, owner := peerOf(peer)
	text, err := request(peer, owner)
	if err != nil || !stop() {
		return // nobody waits for an answer
	}
	// The request may be what ends this daemon: it is answered all the same.
	reply, _ := json.Marshal(d.answer(ctx, text, name, owner))
	_ = peer.SetWriteDeadline(time.Now().Add(peerTime))
	_, _ = peer.Write(append(reply, '\n'))
}

// request reads a request. What is too long is cut, and is not one then.
func request(peer io.Reader, owner bool) ([]byte, error) {
	r := bufio.NewReaderSize(peer, maxRequest)
	text, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) || !owner {
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		return text, err
	}
	all := bytes.Clone(text)
	for len(all) < maxOwner && errors.Is(err, bufio.ErrBufferFull) {
		text, err = r.ReadSlice('\n')
		all = append(all, text...)
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	return all, err
}

// peerOf says who a peer is, as the kernel names it, and whether it may ask for
// more than the state: it is root or has the daemon's own user id. One that
// cannot be named is local.
func peerOf(peer net.Conn) (name string, owner bool) {
	const unnamed = "local"
	c, ok := peer.(*net.UnixConn)
	if !ok {
		return unnamed, false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return unnamed, false
	}
	var cred *unix.Ucred
	failed := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if failed != nil || err != nil {
		return unnamed, false
	}
	owner = cred.Uid == 0 || int(cred.Uid) == os.Geteuid()
	if u, err := passwd.UserOf(cred.Uid); err == nil {
		return u.Name, owner
	}
	return unnamed, owner
}

// answer does what a request, whatever it is, asks for.
func (d *Door) answer(ctx context.Context, text []byte, name string, owner bool) Reply {
	var r Request
	if err := json.Unmarshal(text, &r); err != nil {
		return Reply{Error: "not a request: " + err.Error()}
	}
	switch {
	case r.Verb == Status:
		if s := d.Snapshot(); s != nil {
			return Reply{Status: s}
		}
		return Reply{Error: "the gateway is starting"}
	case slices.Contains(configVerbs, r.Verb):
		return d.config(ctx, &r, name, owner)
	case !owner && slices.Contains([]string{Command, Pause, Resume}, r.Verb):
		return Reply{Error: "only root and the daemon's user may command devices; use sudo"}
	case r.Verb == Command:
		return d.command(ctx, name, r.Command)
	case r.Verb == Pause || r.Verb == Resume:
		if err := d.Commands.PauseCommands(command.Actor{Who: name, By: command.ByCLI}, r.Verb == Pause); err != nil {
			return Reply{Error: err.Error()}
		}
		return Reply{}
	case r.Verb != "":
		return Reply{Error: fmt.Sprintf("the daemon does not know %q; is it of another version?", r.Verb)}
	case !owner:
		return Reply{Error: "only root and the daemon's user may read devices; use sudo"}
	}
	return d.read(ctx, r)
}

// commandTime is the longest time of a command, with its reading back.
const commandTime = command.MaxTTL + time.Minute

// command carries out a command, and waits for its end.
func (d *Door) command(ctx context.Context, name string, text []byte) Reply {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	r, err := d.Commands.Command(ctx, command.Actor{Who: name, By: command.ByCLI}, text)
	if err != nil {
		return Reply{Error: err.Error()}
	}
	return Reply{Command: &r}
}

// read asks a unit of a line once.
func (d *Door) read(ctx context.Context, r Request) Reply {
	line := d.Lines[r.Line]
	if line == nil {
		return Reply{Error: fmt.Sprintf("there is no Modbus line %q", r.Line)}
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	words, err := line.ReadNamed(ctx, r.Unit, r.Table, r.Address, r.Count)
	reply := Reply{Words: words}
	if err != nil {
		reply.Error = err.Error()
	}
	var refusal interface {
		error
		ExceptionCode() uint8
	}
	if errors.As(err, &refusal) {
		code := refusal.ExceptionCode()
		reply.Exception = &code
	}
	return reply
}

// Ask sends a request to the daemon at path and returns its reply. An error
// means that there is none: fs.ErrNotExist and syscall.ECONNREFUSED that no
// daemon runs, fs.ErrPermission that the caller may not ask it.
func Ask(ctx context.Context, path string, r Request) (Reply, error) {
	var reply Reply
	text, err := json.Marshal(r)
	if err != nil {
		return reply, err
	}
	limit := answerTime + 2*peerTime
	if r.Verb == Command {
		limit += commandTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	peer, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return reply, err
	}
	defer peer.Close()
	stop := context.AfterFunc(ctx, func() { peer.Close() })
	defer stop()
	if _, err = peer.Write(append(text, '\n')); err == nil {
		text, err = io.ReadAll(io.LimitReader(peer, maxReply))
	}
	if err == nil {
		err = json.Unmarshal(text, &reply)
	}
	if err != nil {
		err = fmt.Errorf("asking the daemon at %s: %w", path, errors.Join(err, ctx.Err()))
	}
	return reply, err
}
