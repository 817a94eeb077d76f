// Command fieldferry reads field buses, keeps what it reads safe on disk
// while the network is away, and delivers it to an MQTT broker.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, the same for every verb.
const (
	exitFailed = 1 // failed at run time
	exitUsage  = 2 // wrong usage or configuration
)

// app is what a verb may know of the world outside.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) (string, bool)
	hostname       func() (string, error)

	unhelped error // why --help has shown nothing

	flush   func() // writes what waits for stderr; nil: nothing does
	entered bool   // a verb has begun; errors before that are wrong usage
}

// exitError is an error with an exit code of its own. A nil Err has been
// reported already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		<-signals // somebody cannot wait; what is on disk is safe from that
		os.Exit(exitFailed)
	}()
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv, hostname: os.Hostname}
	os.Exit(a.main(ctx, os.Args[1:]))
}

// main runs one command line and returns its exit code.
func (a *app) main(ctx context.Context, args []string) int {
	out, errs := &safeWriter{w: a.stdout}, &safeWriter{w: a.stderr}
	defer out.end()
	defer errs.end()
	a.stdout, a.stderr = out, errs
	root := a.newRootCommand()
	root.SetArgs(append([]string{}, negatives(root, args)...)) // nil would be the arguments of the process
	err := cmp.Or(root.ExecuteContext(ctx), a.unhelped)
	defer func() {
		if a.flush != nil {
			a.flush()
		}
	}()
	if err == nil {
		return 0
	}
	code := exitFailed
	if !a.entered {
		code = exitUsage
	}
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
	}
	fmt.Fprintf(a.stderr, "fieldferry: %s\n", errorText(err))
	return code
}

func (a *app) newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "fieldferry",
		Short: "Field buses to MQTT, without losing a record",
		Long: `fieldferry reads CAN, Modbus RTU and Modbus TCP, buffers on disk what it reads,
and delivers it to an MQTT broker. A record leaves the buffer only when the broker
has acknowledged it.`,
		Example:       rootExamples,
		Version:       readVersion().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.entered = true
		},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.AddCommand(
		a.newRunCommand(),
		a.newCheckCommand(),
		a.newStatusCommand(),
		a.newCommandCommand(),
		a.newCommandsCommand(),
		a.newConfigCommand(),
		a.newWebCommand(),
		a.newBundleCommand(),
		a.newDemoCommand(),
		a.newWatchCommand(),
		a.newCANCommand(),
		a.newDecodeCommand(),
		a.newModbusCommand(),
		a.newBufferCommand(),
		a.newVersionCommand(),
	)
	root.SetHelpCommand(a.newHelpCommand())
	root.Flags().Bool("version", false, "print the version")
	root.SetHelpFunc(a.help) // no template: package text/template is 1.7 MB
	root.SetFlagErrorFunc(flagError)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	a.arrange(root)
	return group(root)
}
