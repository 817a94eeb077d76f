package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"fieldferry/scripts/test/vm/wire"
)

// server carries out requests. Programs run side by side.
type server struct {
	mu       sync.Mutex // guards everything below
	enc      *json.Encoder
	programs map[int]*os.Process
}

// serve says that the guest is ready, or why not, and carries out requests
// until the channel breaks or the guest shall end.
func serve(channel io.ReadWriter, prepared error) error {
	s := &server{enc: json.NewEncoder(channel), programs: map[int]*os.Process{}}
	s.reply(0, 0, prepared)
	dec := json.NewDecoder(channel)
	for {
		var r wire.Request
		if err := dec.Decode(&r); err != nil {
			return err
		}
		switch r.Op {
		case wire.PowerOff:
			return nil
		case wire.Crash:
			os.Exit(1) // the kernel panics when its first process ends
		case wire.Start:
			go s.run(r)
		case wire.Signal:
			s.reply(r.ID, 0, s.signal(r.Target, syscall.Signal(r.Signal)))
		case wire.AddVCAN:
			s.reply(r.ID, 0, addVCAN(r.Link))
		case wire.LinkUp, wire.LinkDown:
			s.reply(r.ID, 0, setLink(r.Link, r.Op == wire.LinkUp))
		case wire.Delete:
			s.reply(r.ID, 0, deleteLink(r.Link))
		default:
			s.reply(r.ID, 0, fmt.Errorf("unknown operation %q", r.Op))
		}
	}
}

func (s *server) send(r wire.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.enc.Encode(r) // a broken channel ends serve
}

// reply sends the last reply to a request.
func (s *server) reply(id, status int, err error) {
	r := wire.Reply{ID: id, Done: true, Status: status}
	if err != nil {
		r.Error = err.Error()
	}
	s.send(r)
}

// output sends what a program writes.
type output struct {
	s  *server
	id int
}

func (o output) Write(b []byte) (int, error) {
	o.s.send(wire.Reply{ID: o.id, Output: b})
	return len(b), nil
}

// run runs a program to its end.
func (s *server) run(r wire.Request) {
	cmd := exec.Command(r.Argv[0], r.Argv[1:]...)
	cmd.Dir = "/tmp"
	if r.Dir != "" {
		cmd.Dir = r.Dir
	}
	cmd.Env = append(os.Environ(), r.Env...)
	cmd.Stdout = output{s, r.ID}
	cmd.Stderr = cmd.Stdout
	s.mu.Lock()
	err := cmd.Start()
	if err == nil {
		s.programs[r.ID] = cmd.Process
	}
	s.mu.Unlock()
	if err != nil {
		s.reply(r.ID, 127, err)
		return
	}
	err = cmd.Wait()
	s.mu.Lock()
	delete(s.programs, r.ID)
	s.mu.Unlock()
	if cmd.ProcessState == nil {
		s.reply(r.ID, 127, err)
		return
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		s.reply(r.ID, 128+int(ws.Signal()), nil)
		return
	}
	s.reply(r.ID, ws.ExitStatus(), nil)
}

func (s *server) signal(id int, sig unix.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.programs[id]
	if p == nil {
		return errors.New("the program does not run (any longer)")
	}
	return p.Signal(sig)
}
