package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/commission"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/gateway/control"
)

// itemSource is where items are read: a port of our own, a
// *[commission.Session], or a line of the daemon.
type itemSource interface {
	Read(ctx context.Context, item commission.Item) commission.Result
	Pause(ctx context.Context, d time.Duration) error
}

// daemonLine reads through the daemon, which has the port.
type daemonLine struct {
	_ [0]func() // nobody compares them: saves the code for it

	path string // of the control socket
	name string
}

// findLine returns the line of a configuration that a person means.
func (a *app) findLine(o configOptions, name string) (d daemonLine, line *modbus.LineConfig, err error) {
	cfg, err := a.load(o)
	if err != nil {
		return d, nil, err
	}
	names := make([]string, len(cfg.Modbus))
	for i := range cfg.Modbus {
		names[i] = cfg.Modbus[i].Name
	}
	i := slices.Index(names, name)
	switch {
	case len(names) == 0:
		return d, nil, usageError("%s has no Modbus line", o.path)
	case name == "" && len(names) == 1:
		i = 0
	case name == "":
		return d, nil, usageError("--line is missing; the lines are %s", strings.Join(names, ", "))
	case i < 0:
		return d, nil, usageError("%s has no line %q; the lines are %s", o.path, name, strings.Join(names, ", "))
	}
	path, err := a.controlSocket(cfg.Buffer.Dir)
	return daemonLine{path: path, name: names[i]}, &cfg.Modbus[i], err
}

// Read asks the daemon. An error without a reply is a [noDaemonError].
func (d daemonLine) Read(ctx context.Context, item commission.Item) commission.Result {
	start := time.Now()
	reply, err := control.Ask(ctx, d.path, control.Request{
		Line: d.name, Unit: item.Unit, Table: item.Table.String(), Address: item.Address, Count: item.Count,
	})
	r := commission.Result{Item: item, Took: time.Since(start)}
	switch {
	case err != nil:
		r.Err = noDaemonError{err}
	case reply.Exception != nil:
		r.Err = &rtu.ExceptionError{Unit: item.Unit, Function: item.Table.Function(), Code: *reply.Exception}
	case reply.Error != "":
		r.Err = errors.New(reply.Error)
	case len(reply.Words) != item.Count:
		r.Err = noDaemonError{fmt.Errorf("the daemon at %s answered with %d values instead of %d; is it of this version?", d.path, len(reply.Words), item.Count)}
	case item.Table.Bits():
		for _, w := range reply.Words {
			r.Bits = append(r.Bits, w != 0)
		}
	default:
		r.Words = reply.Words
	}
	return r
}

// Pause lets time pass.
func (d daemonLine) Pause(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// noDaemonError says that the daemon cannot be asked, so that the other items
// need not be tried.
type noDaemonError struct{ err error }

func (e noDaemonError) Unwrap() error { return e.err }

func (e noDaemonError) Error() string {
	switch {
	case errors.Is(e.err, fs.ErrNotExist), errors.Is(e.err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no daemon runs with this configuration (%v); start it, or read with --port", e.err)
	case errors.Is(e.err, fs.ErrPermission):
		return fmt.Sprintf("the daemon cannot be asked (%v); be root or the daemon's user", e.err)
	}
	return e.err.Error()
}
