// Command vmrun boots a guest of scripts/test/vm, runs tests or a program in it,
// and ends with their status.
//
//	vmrun [flags] -test PACKAGE [-test PACKAGE]... [-- TEST-BINARY-FLAG...]
//	vmrun [flags] PROGRAM [ARGUMENT...]
//
// The guest has the virtual CAN interfaces vcan0 and vcan1. PROGRAM is a
// static binary on the host; -file copies more.
//
// Exit status: that of the program, 1 when tests failed or skipped, 124 at
// the time limit, 125 when there was no guest to run anything in, 126 when
// the guest crashed, 127 when the program could not be started.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"fieldferry/scripts/test/vm"
)

// The exit statuses that are not the program's own.
const (
	statusFailed  = 1
	statusLimit   = 124
	statusNoGuest = 125
	statusCrash   = 126
)

type stringList []string

func (l *stringList) String() string     { return strings.Join(*l, ",") }
func (l *stringList) Set(s string) error { *l = append(*l, s); return nil }

type options struct {
	kind     string
	tests    stringList
	files    stringList
	modules  stringList
	network  bool
	console  bool
	verbose  bool
	panicNow bool
	limit    time.Duration
	args     []string
}

func main() {
	var o options
	flag.StringVar(&o.kind, "kind", string(vm.UML), "kind of guest: uml, arm or arm64")
	flag.Var(&o.tests, "test", "run the tests of this `package` (repeatable)")
	flag.Var(&o.files, "file", "copy `SRC:DST` into the guest (repeatable)")
	flag.Var(&o.modules, "module", "load this kernel `module` too (repeatable)")
	flag.BoolVar(&o.network, "net", false, "network, with the host's loopback at "+vm.HostAddr)
	flag.BoolVar(&o.console, "console", false, "show the kernel's console at the end")
	flag.BoolVar(&o.verbose, "v", false, "show what tests say even when they pass")
	flag.BoolVar(&o.panicNow, "panic", false, "panic the guest's kernel instead of running anything")
	flag.DurationVar(&o.limit, "timeout", 10*time.Minute, "time limit")
	flag.Parse()
	o.args = flag.Args()
	if len(o.tests) == 0 && len(o.args) == 0 && !o.panicNow {
		flag.Usage()
		os.Exit(statusNoGuest)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	status, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmrun:", err)
		status = statusOf(ctx, status, err)
	}
	os.Exit(status)
}

// statusOf gives an error its exit status; status is what run had to say.
func statusOf(ctx context.Context, status int, err error) int {
	var crash *vm.Crash
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return statusLimit
	case errors.As(err, &crash):
		return statusCrash
	case status != 0:
		return status
	}
	return statusNoGuest
}

func run(ctx context.Context, o options) (int, error) {
	kind := vm.Kind(o.kind)
	config := vm.Config{Kind: kind, Files: map[string]string{}, Modules: o.modules, Network: o.network}
	if o.console {
		config.Console = os.Stderr
	}
	for _, f := range o.files {
		src, dst, ok := strings.Cut(f, ":")
		if !ok {
			return 0, fmt.Errorf("-file %s: want SRC:DST", f)
		}
		config.Files[dst] = src
	}
	tmp, err := os.MkdirTemp("", "fieldferry-vmrun-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	var suites []*vm.Suite
	for _, pkg := range o.tests {
		s, err := kind.BuildSuite(ctx, pkg, tmp)
		if err != nil {
			return statusFailed, err
		}
		suites = append(suites, s)
		maps.Copy(config.Files, s.Files)
	}
	if len(suites) == 0 && !o.panicNow {
		inside := "/bin/" + filepath.Base(o.args[0])
		config.Files[inside] = o.args[0]
		o.args = append([]string{inside}, o.args[1:]...)
	}
	g, err := boot(ctx, config)
	if err != nil {
		return 0, err
	}
	defer g.Close()
	if o.panicNow {
		return 0, g.Panic(ctx)
	}
	if len(suites) == 0 {
		status, err := g.Run(ctx, vm.Command{Argv: o.args, Output: os.Stdout})
		if err != nil {
			status = vm.StatusNotExecutable
		}
		return status, err
	}
	return runSuites(ctx, g, suites, o)
}

// boot boots a guest with two virtual CAN interfaces.
func boot(ctx context.Context, c vm.Config) (*vm.Guest, error) {
	begin := time.Now()
	g, err := vm.Boot(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"vcan0", "vcan1"} {
		if err := g.AddVCAN(ctx, name); err != nil {
			g.Close()
			return nil, err
		}
	}
	fmt.Fprintf(os.Stderr, "vmrun: %s guest is up after %.1fs\n", c.Kind, time.Since(begin).Seconds())
	return g, nil
}

func runSuites(ctx context.Context, g *vm.Guest, suites []*vm.Suite, o options) (int, error) {
	var errs []error
	for _, s := range suites {
		begin := time.Now()
		var said bytes.Buffer
		var out io.Writer = &said
		if o.verbose {
			out = os.Stdout
		}
		if err := g.RunSuite(ctx, s, out, o.args...); err != nil {
			os.Stdout.Write(said.Bytes())
			errs = append(errs, err)
			continue
		}
		fmt.Printf("ok  \t%s\t%.3fs\t[in the %s guest]\n", s.Package, time.Since(begin).Seconds(), o.kind)
	}
	if err := errors.Join(errs...); err != nil {
		return statusFailed, err
	}
	return 0, nil
}
