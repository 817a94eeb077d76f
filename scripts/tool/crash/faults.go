package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"
)

const (
	faultSteps = 22               // enough to begin, evict and remove segments
	faultLimit = 30 * time.Second // for one run; a fault that is over must not keep it
	fileNames  = 40               // segments that the workload makes at most
)

// calls are the system calls by which a buffer meets the disk. strace ignores
// with ? those this machine does not have.
var calls = []string{"openat", "mkdirat", "pwrite64", "pread64", "fdatasync", "fsync", "ftruncate", "fallocate",
	"renameat", "linkat", "unlinkat", "fstat", "newfstatat", "flock", "mmap", "getdents64"}

// faults runs the workload once for each system call it makes on the buffer's
// files, from opening to closing, and has that call fail: with EIO, and the
// next one with ENOSPC, and so on. The fault is over when it has been told, so
// that nothing promised may be missing, and the workload has to end in order.
func faults(dir string, every int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	n, err := countCalls(self, filepath.Join(dir, "count"))
	if err != nil {
		return err
	}
	var names []string
	for name := range n {
		names = append(names, name)
	}
	sort.Strings(names)
	runs, lost := 0, uint64(0)
	for _, name := range names {
		for k := 1; k <= n[name]; k += every {
			// Both errors in turn, and both for the first, which is the
			// only one of some.
			errnos := []string{[]string{"EIO", "ENOSPC"}[(k/every)%2]}
			if k == 1 {
				errnos = []string{"EIO", "ENOSPC"}
			}
			for _, errno := range errnos {
				p, err := oneFault(self, filepath.Join(dir, "run"), name, errno, k)
				if err != nil {
					return fmt.Errorf("call %d of %s fails with %s: %w", k, name, errno, err)
				}
				runs++
				lost += p.lost
			}
		}
		fmt.Printf("%s: %d calls\n", name, n[name])
	}
	fmt.Printf("%d runs with a fault each: all promises kept, %d records accounted for as evicted\n", runs, lost)
	return nil
}

func trace(ctx context.Context, self, dir string, options ...string) *exec.Cmd {
	args := append([]string{"-f", "-qq", "-P", dir}, options...)
	for _, name := range append([]string{"state", "state.tmp", "journal", "journal.tmp", "lock"}, segmentNames()...) {
		args = append(args, "-P", filepath.Join(dir, name))
	}
	return exec.CommandContext(ctx, "strace", append(args, self, "work", "-steps", fmt.Sprint(faultSteps), "-sync", "1ms", dir)...)
}

func segmentNames() (names []string) {
	for i := 1; i <= fileNames; i++ {
		name := fmt.Sprintf("%08d.db", i)
		names = append(names, name, name+".tmp", name+".repair.tmp", name+".bad")
	}
	return names
}

var callLine = regexp.MustCompile(`(?m)^(?:\d+ +)?([a-z0-9_]+)\(`)

// countCalls counts the calls of an undisturbed run.
func countCalls(self, dir string) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), faultLimit)
	defer cancel()
	log := dir + ".strace"
	cmd := trace(ctx, self, dir, "-o", log, "-e", "trace=?"+strings.Join(calls, ",?"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("an undisturbed run under strace: %w\n%s", err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return nil, err
	}
	n := map[string]int{}
	for _, m := range callLine.FindAllSubmatch(text, -1) {
		n[string(m[1])]++
	}
	if len(n) < 8 {
		return nil, fmt.Errorf("strace saw only %v", n)
	}
	return n, nil
}

func oneFault(self, dir, call, errno string, k int) (*promises, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), faultLimit)
	defer cancel()
	cmd := trace(ctx, self, dir, "-o", os.DevNull, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d", call, errno, k))
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not end within %v", faultLimit)
	}
	if err != nil {
		return nil, fmt.Errorf("the workload: %w\n%s", err, msg.Bytes())
	}
	p := newPromises()
	p.aside = true
	if err := p.read(out.String()); err != nil {
		return nil, err
	}
	if p.lines < 3 {
		return nil, fmt.Errorf("the workload promised nothing")
	}
	return p, p.check(dir)
}
