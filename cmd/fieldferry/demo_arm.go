package main

import "github.com/spf13/cobra"

// newDemoCommand says why there is no demo: its broker would take an eighth of
// the binary, on machines where the binary has to be small.
func (a *app) newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Not in the build for 32-bit ARM; run it on a PC or on arm64",
		RunE: func(*cobra.Command, []string) error {
			return usageError("the build for 32-bit ARM has no demo, to stay small; run it on a PC or on arm64, " +
				"or read the simulation here with interface: sim:engine")
		},
	}
}
