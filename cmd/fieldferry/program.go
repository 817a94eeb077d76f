package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// runProgram runs a program of the system, with nothing to read, and returns when
// it has ended, whatever its exit code is. Package os/exec would do it too, with
// 50 kB more in the binary.
func runProgram(ctx context.Context, stdout, stderr io.Writer, name string, args ...string) error {
	path, err := programPath(name)
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	said, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	complaints := null
	if stderr == stdout {
		complaints = out
	}
	p, err := os.StartProcess(path, append([]string{name}, args...), &os.ProcAttr{Files: []*os.File{null, out, complaints}})
	out.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = p.Kill()
		said.Close() // a child of it may hold the other end
	})
	_, err = io.Copy(stdout, said)
	_, waited := p.Wait()
	if !stop() {
		return ctx.Err()
	}
	return errors.Join(err, waited)
}

func programPath(name string) (string, error) {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && filepath.IsAbs(path) && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}
