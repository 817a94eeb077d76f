// Package control is the daemon's way to be asked by a person on the same
// machine: a Unix socket in its state directory.
//
// # Nouns
//
// A [Request] is a one-shot read of a Modbus line, a [Reply] what came of it.
// A connection carries one of each, a JSON object on a line.
//
// # Caveats
//
// Whoever may open the socket may read every device; its mode is 0600. Nothing
// can be written or changed by it.
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

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/rtu"

	"golang.org/x/sys/unix"
)

// Request asks a unit of a line once.
type Request struct {
	Line    string `json:"line"` // source name
	Unit    uint8  `json:"unit"`
	Table   string `json:"register"` // holding, input, coil or discrete
	Address uint16 `json:"address"`  // 0-based, as on the wire
	Count   int    `json:"count"`    // registers or bits
}

// Reply holds the words, each bit as 0 or 1, or the error.
type Reply struct {
	Words     []uint16 `json:"words,omitempty"`
	Error     string   `json:"error,omitempty"`
	Exception *uint8   `json:"exception,omitempty"` // code of a unit's refusal
}

// What a peer may cost.
const (
	maxRequest = 1 << 10  // bytes
	maxReply   = 64 << 10 // bytes
	maxPeers   = 4        // at once; others wait to be accepted
	peerTime   = 5 * time.Second
	answerTime = 30 * time.Second // for the line
)

const socketName = "control"

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
// is removed. One that a killed daemon has left there is replaced. lines are
// the lines that can be read, by name.
func Serve(ctx context.Context, path string, lines map[string]*modbus.Line) error {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(path) // if it stays, listening says why
	}
	// The mode of the socket before it is bound becomes that of its path.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, failed)
	}}
	listener, err := private.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	defer listener.Close()
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
			serve(ctx, peer, lines)
			<-slots
		})
	}
}

// serve answers one request.
func serve(ctx context.Context, peer net.Conn, lines map[string]*modbus.Line) {
	defer peer.Close()
	stop := context.AfterFunc(ctx, func() { peer.Close() })
	defer stop()
	_ = peer.SetReadDeadline(time.Now().Add(peerTime))
	text, err := bufio.NewReaderSize(peer, maxRequest).ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return // nobody waits for an answer
	}
	reply, _ := json.Marshal(answer(ctx, text, lines))
	_ = peer.SetWriteDeadline(time.Now().Add(peerTime))
	_, _ = peer.Write(append(reply, '\n'))
}

// answer does what a request, whatever it is, asks for.
func answer(ctx context.Context, text []byte, lines map[string]*modbus.Line) Reply {
	var r Request
	if err := json.Unmarshal(text, &r); err != nil {
		return Reply{Error: "not a request: " + err.Error()}
	}
	line := lines[r.Line]
	if line == nil {
		return Reply{Error: fmt.Sprintf("there is no Modbus line %q", r.Line)}
	}
	table, err := modbus.ParseTable(r.Table)
	if err != nil {
		return Reply{Error: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	words, err := line.Read(ctx, modbus.Query{Unit: r.Unit, Table: table, Address: r.Address, Count: r.Count})
	reply := Reply{Words: words}
	if err != nil {
		reply.Error = err.Error()
	}
	var exception *rtu.ExceptionError
	if errors.As(err, &exception) {
		reply.Exception = &exception.Code
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
