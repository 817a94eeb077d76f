package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"fieldferry/scripts/test/vm/wire"
)

// Command is a program to run in a guest.
type Command struct {
	Argv   []string  // the program and its arguments; a path in the guest
	Env    []string  // KEY=value, besides PATH, HOME and FIELDFERRY_VM=1
	Dir    string    // working directory; empty: /tmp
	Output io.Writer // standard output and error; nil: discarded
}

// Process is a program running in a guest.
type Process struct {
	guest  *Guest
	id     int
	output io.Writer
	done   chan struct{} // closed when status and err are set
	status int
	err    error
}

// StatusNotExecutable is the exit status of what could not be started, as a
// shell reports it.
const StatusNotExecutable = 127

// expect registers a receiver for the replies to request id; the caller holds
// no lock.
func (g *Guest) expect(id int, output io.Writer) *Process {
	p := &Process{guest: g, id: id, output: output, done: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting == nil {
		p.fail(g.err)
	} else {
		g.waiting[id] = p
	}
	return p
}

// request sends r under a fresh id.
func (g *Guest) request(r wire.Request, output io.Writer) *Process {
	g.mu.Lock()
	g.id++
	r.ID = g.id
	g.mu.Unlock()
	p := g.expect(r.ID, output)
	// A failed send means that the guest has ended: receive says why.
	_ = g.send(r)
	return p
}

// take is called by the guest's receiver only.
func (p *Process) take(r wire.Reply) {
	if len(r.Output) > 0 && p.output != nil {
		p.output.Write(r.Output)
	}
	if !r.Done {
		return
	}
	p.status = r.Status
	if r.Error != "" {
		p.err = errors.New(r.Error)
	}
	close(p.done)
}

func (p *Process) fail(err error) {
	p.err = err
	close(p.done)
}

// Start runs a program in the guest, in the background.
func (g *Guest) Start(c Command) *Process {
	return g.request(wire.Request{Op: wire.Start, Argv: c.Argv, Env: c.Env, Dir: c.Dir}, c.Output)
}

// Run runs a program in the guest and returns its exit status, 128 + n when
// signal n ended it. When ctx ends first the program is killed.
func (g *Guest) Run(ctx context.Context, c Command) (int, error) {
	p := g.Start(c)
	status, err := p.Wait(ctx)
	if err != nil && ctx.Err() != nil {
		p.Signal(context.WithoutCancel(ctx), syscall.SIGKILL)
	}
	return status, err
}

// Wait waits for the end of the program and returns its exit status. The
// error says that there is none: the program could not be started, the guest
// crashed (a [*Crash]) or was closed, or ctx ended.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.status, p.err
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for the guest: %w", context.Cause(ctx))
	}
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the program. A program that has ended is an error.
func (p *Process) Signal(ctx context.Context, sig os.Signal) error {
	n, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("%v is not a signal of Linux", sig)
	}
	return p.guest.order(ctx, wire.Request{Op: wire.Signal, Target: p.id, Signal: int(n)})
}

// AddVCAN creates the virtual CAN interface name and sets it up.
func (g *Guest) AddVCAN(ctx context.Context, name string) error {
	return g.order(ctx, wire.Request{Op: wire.AddVCAN, Link: name})
}

// SetLink sets the network interface name up or down.
func (g *Guest) SetLink(ctx context.Context, name string, up bool) error {
	op := wire.LinkDown
	if up {
		op = wire.LinkUp
	}
	return g.order(ctx, wire.Request{Op: op, Link: name})
}

// DeleteLink deletes the network interface name, as pulling an adapter would.
func (g *Guest) DeleteLink(ctx context.Context, name string) error {
	return g.order(ctx, wire.Request{Op: wire.Delete, Link: name})
}

// Panic makes the guest's kernel panic and returns the [*Crash] it ended in.
func (g *Guest) Panic(ctx context.Context) error { return g.order(ctx, wire.Request{Op: wire.Crash}) }

// order sends r and waits until it has been carried out.
func (g *Guest) order(ctx context.Context, r wire.Request) error {
	_, err := g.request(r, nil).Wait(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.TrimSpace(string(r.Op)+" "+r.Link), err)
	}
	return nil
}
