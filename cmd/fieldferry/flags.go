package main

import (
	"os"
	"time"

	"github.com/spf13/pflag"
)

// addFor adds the flag that ends a verb after a time.
func addFor(f *pflag.FlagSet, d *time.Duration) {
	f.DurationVar(d, "for", 0, "end after this `TIME`, as 30s; default: until Ctrl-C")
}

// addCount adds the flag that ends a verb after so many of what it counts. An
// earlier name of it goes on working.
func addCount(f *pflag.FlagSet, n *uint64, what string, earlier ...string) {
	f.Uint64VarP(n, "count", "n", 0, "end after this `NUMBER` of "+what)
	alias(f, "count", earlier...)
}

// alias makes flags known by other names too, which help does not show.
func alias(f *pflag.FlagSet, name string, others ...string) {
	if len(others) == 0 {
		return
	}
	before := f.GetNormalizeFunc()
	f.SetNormalizeFunc(func(f *pflag.FlagSet, s string) pflag.NormalizedName {
		for _, other := range others {
			if s == other {
				s = name
			}
		}
		return before(f, s)
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
