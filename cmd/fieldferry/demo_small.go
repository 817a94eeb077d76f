//go:build arm || arm64

package main

import "github.com/spf13/cobra"

// seeItWork is not to be seen here.
const seeItWork = ""

// newDemoCommand says why there is no demo: its broker would take an eighth of
// the binary, on machines where the binary has to be small.
func (a *app) newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "demo",
		Short:   "Not in the builds for ARM; run it on a PC",
		Example: `  fieldferry demo     # on a PC`,
		RunE: func(*cobra.Command, []string) error {
			return usageError("the builds for ARM have no demo, to stay small; run it on a PC, " +
				"or read the simulation here with interface: sim:engine")
		},
	}
}
