// Package control is the daemon's way to be asked by a person on the same
// machine: a Unix socket.
//
// # Nouns
//
// A [Request] asks for the gateway's state or for a one-shot read of a Modbus
// line, a [Reply] is what came of it. A connection carries one of each, a JSON
// object on a line. A [Door] is what can be asked.
//
// # Caveats
//
// Whoever can open the socket may ask for the state: its mode is 0660, and the
// directory of the packaged service lets in its group. Everything else is for
// root and the daemon's own user, as the kernel names them (SO_PEERCRED). Nothing
// can be written or changed.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"fieldferry/gateway/live"

	"golang.org/x/sys/unix"
)

// Request asks for the state, or a unit of a line once.
type Request struct {
	Verb    string `json:"verb,omitempty"` // "status"; empty: read
	Line    string `json:"line"`           // source name
	Unit    uint8  `json:"unit"`
	Table   string `json:"register"` // holding, input, coil or discrete
	Address uint16 `json:"address"`  // 0-based, as on the wire
	Count   int    `json:"count"`    // registers or bits
}

// Reply holds the state, or the words, each bit as 0 or 1, or the error.
type Reply struct {
	Status    *live.Snapshot `json:"status,omitempty"`
	Words     []uint16       `json:"words,omitempty"`
	Error     string         `json:"error,omitempty"`
	Exception *uint8         `json:"exception,omitempty"` // code of a unit's refusal
}

// What a peer may cost.
const (
	maxRequest = 1 << 10 // bytes
	maxReply   = 1 << 20 // bytes
	maxPeers   = 4       // at once; others wait to be accepted
	peerTime   = 5 * time.Second
	answerTime = 30 * time.Second // for the line
)

const socketName = "control"

// Status is the verb that asks for the state of the gateway.
const Status = "status"

// Door is what can be asked.
type Door struct {
	Lines    map[string]Line       // that can be read, by name
	Snapshot func() *live.Snapshot // the state; nil before the first
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
	if most := len(unix.RawSockaddrUnix{}.Path) - 1; len(path) > most {
		return "", fmt.Errorf("control socket %s: its path has %d bytes, and at most %d are possible; use a shorter directory", path, len(path), most)
	}
	return path, nil
}

// Serve answers requests at path until ctx ends, then returns nil; the socket
// is removed. One that a killed daemon has left there is replaced.
func Serve(ctx context.Context, path string, door Door) error {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(path) // if it stays, listening says why
	}
	// Until its mode is set nobody else can open it: the mode of the socket
	// before it is bound becomes that of its path.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, failed)
	}}
	listener, err := private.Listen(ctx, "unix", path)
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
	text, err := bufio.NewReaderSize(peer, maxRequest).ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return // nobody waits for an answer
	}
	reply, _ := json.Marshal(d.answer(ctx, text, owner(peer)))
	_ = peer.SetWriteDeadline(time.Now().Add(peerTime))
	_, _ = peer.Write(append(reply, '\n'))
}

// owner reports whether a peer may ask for more than the state: it is root or
// has the daemon's own user id.
func owner(peer net.Conn) bool {
	c, ok := peer.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	failed := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return failed == nil && err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}

// answer does what a request, whatever it is, asks for.
func (d *Door) answer(ctx context.Context, text []byte, owner bool) Reply {
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
	case r.Verb != "":
		return Reply{Error: fmt.Sprintf("the daemon does not know %q; is it of another version?", r.Verb)}
	case !owner:
		return Reply{Error: "only root and the daemon's user may read devices; use sudo"}
	}
	return d.read(ctx, r)
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
	ctx, cancel := context.WithTimeout(ctx, answerTime+2*peerTime)
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
