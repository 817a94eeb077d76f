package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"fieldferry/gateway/config"
)

// readPassword reads a password from a file, as the daemon does.
func readPassword(path string) (string, error) {
	text, err := config.ReadSecret(path)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return text, nil
}

var errInterrupted = errors.New("interrupted")

// interruptible reads until ctx ends: a pipe, a terminal or a device may have
// nothing to read for ever, and a signal ends the verb all the same.
type interruptible struct {
	ctx  context.Context
	open func() (io.ReadCloser, error) // may wait too, as for the other end of a pipe

	r    io.ReadCloser
	buf  []byte
	left []byte
}

type chunk struct {
	_ [0]func() // nobody compares them: saves the code for it

	r   io.ReadCloser
	n   int
	err error
}

// input is a file that a person has named, opened when it is first read; "-" is
// standard input.
func (a *app) input(ctx context.Context, name string) io.ReadCloser {
	return &interruptible{ctx: ctx, open: func() (io.ReadCloser, error) {
		if name == "-" {
			return io.NopCloser(a.stdin), nil
		}
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		return f, nil
	}}
}

func (i *interruptible) Read(p []byte) (int, error) {
	if len(i.left) == 0 {
		if i.buf == nil {
			i.buf = make([]byte, 64<<10)
		}
		done := make(chan chunk, 1)
		go func(r io.ReadCloser) {
			c := chunk{r: r}
			if c.r == nil {
				c.r, c.err = i.open()
			}
			if c.err == nil {
				c.n, c.err = c.r.Read(i.buf)
			}
			done <- c
		}(i.r)
		select {
		case <-i.ctx.Done():
			i.buf = nil // somebody may still write to it
			return 0, errInterrupted
		case c := <-done:
			i.r, i.left = c.r, i.buf[:c.n]
			if c.n == 0 {
				return 0, c.err
			}
		}
	}
	n := copy(p, i.left)
	i.left = i.left[n:]
	return n, nil
}

// Close closes what was opened. A read that still waits keeps it.
func (i *interruptible) Close() error {
	if i.r == nil || i.ctx.Err() != nil {
		return nil
	}
	return i.r.Close()
}
