package main

import (
	"fieldferry/bus/can/link"

	"github.com/spf13/cobra"
)

func (a *app) newCANCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "can",
		Short: "Look at CAN interfaces and buses, set links up, send",
		Long: `can is for commissioning and for finding faults. Nothing below it needs a
configuration or a running daemon. Only send and replay write to a bus.`,
	}
	c.AddCommand(
		a.newCANListCommand(),
		a.newCANUpCommand(),
		a.newCANDownCommand(),
		a.newCANDumpCommand(),
		a.newCANWatchCommand(),
		a.newCANSendCommand(),
		a.newCANReplayCommand(),
	)
	return group(c)
}

// adviseLink adds what to do to an error of a link.
func adviseLink(err error) error {
	if isPermission(err) {
		return &exitError{exitFailed, adviceError{error: err, advice: "run it as root"}}
	}
	return err
}

// adviceError is an error with what to do about it.
type adviceError struct {
	_ [0]func() // nobody compares them: saves the code for it

	error
	advice string
}

func (e adviceError) Error() string { return e.error.Error() + "; " + e.advice }
func (e adviceError) Unwrap() error { return e.error }

// percent is a sample point of so many per mille.
func percent(perMille uint32) float64 { return float64(perMille) / 10 }

// upWord says whether a link is up.
func upWord(i *link.Info) string {
	if i.Up {
		return "up"
	}
	return "down"
}
