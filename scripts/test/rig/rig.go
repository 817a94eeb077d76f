// Package rig starts what tests and measurements run: fieldferry as it ships,
// the mosquitto broker, and other programs.
//
// # Nouns
//
// A [Process] is a program that runs until the test ends or ends it. A
// [Mosquitto] is a broker that can be killed and comes back at its address.
// [Binary] is fieldferry built by the recipe of a release.
//
// # Caveats
//
// Nothing of the product is imported, so that the tests of every room can use
// it. Programs die with the test that started them. What is missing fails a
// test under CI=true, and skips it elsewhere.
package rig

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a program may take to do what a test waits for.
const patience = 40 * time.Second

// Need returns the path of a program of the Debian package pkg, or ends the
// test with the reason.
func Need(tb testing.TB, program, pkg string) string {
	tb.Helper()
	path, err := find(program)
	if err == nil {
		return path
	}
	reason := fmt.Sprintf("%v; install the Debian package %s", err, pkg)
	if os.Getenv("CI") == "true" {
		tb.Fatal(reason)
	}
	tb.Skip(reason)
	return ""
}

// find looks for a program where it may be without being in everybody's PATH.
func find(program string) (string, error) {
	for _, dir := range []string{"", "/usr/sbin/", "/usr/bin/"} {
		if path, err := exec.LookPath(dir + program); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing", program)
}

// Log takes the output of a process while a test reads it.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write takes a piece of output.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all of the output so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Process is a program that runs until it ends or the test does.
type Process struct {
	Log  *Log // standard output and error
	tb   testing.TB
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a program, with env besides the test's own environment. The log
// of one that was still there at the end of a failed test is printed.
func Start(tb testing.TB, env []string, program string, args ...string) *Process {
	tb.Helper()
	p := &Process{Log: &Log{}, tb: tb, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.Log, p.Log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("log of %s:\n%s", p.name(), p.Log)
		}
	})
	return p
}

// StartDaemon starts `fieldferry run` with a configuration and waits for
// nothing.
func StartDaemon(tb testing.TB, env []string, config string, args ...string) *Process {
	tb.Helper()
	return Start(tb, env, Fieldferry(tb), append([]string{"run", "-c", config}, args...)...)
}

func (p *Process) name() string { return filepath.Base(p.cmd.Path) }

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode waits for the end, and says with which code it came; -1: by a signal.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Until waits until something is so, which fails the test if it does not come
// or the process ends before.
func (p *Process) Until(what string, so func() bool) {
	p.tb.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.done:
			if !so() {
				p.tb.Fatalf("%s has ended before this: %s", p.name(), what)
			}
			return
		default:
		}
		if time.Now().After(deadline) {
			p.tb.Fatalf("%s: this never came: %s", p.name(), what)
		}
	}
}

// Says waits for a text in the log.
func (p *Process) Says(text string) {
	p.tb.Helper()
	p.Until(text, func() bool { return strings.Contains(p.Log.String(), text) })
}

// Finds waits for a match in a whole line of the log, and returns it with its
// groups.
func (p *Process) Finds(re *regexp.Regexp) (found []string) {
	p.tb.Helper()
	p.Until(re.String(), func() bool {
		for line := range strings.Lines(p.Log.String()) {
			if m := re.FindStringSubmatch(line); m != nil && strings.HasSuffix(line, "\n") {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// Signal sends signals to the process, which must still be there.
func (p *Process) Signal(signals ...syscall.Signal) {
	p.tb.Helper()
	for _, s := range signals {
		if err := p.cmd.Process.Signal(s); err != nil {
			p.tb.Fatal(err)
		}
	}
}

// Kill ends the process as a crash would, and returns when it was still alive.
func (p *Process) Kill() time.Time {
	at := time.Now()
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
	return at
}

// Stop asks the process to end, which it must do with code 0, and returns how
// long it took.
func (p *Process) Stop() time.Duration {
	p.tb.Helper()
	began := time.Now()
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.tb.Fatalf("%s does not stop", p.name())
	}
	if code := p.ExitCode(); code != 0 {
		p.tb.Errorf("%s ended with code %d", p.name(), code)
	}
	return time.Since(began)
}
