package main

import (
	"errors"
	"fmt"
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

// addUnit adds the flag of the unit id, -1 if it is not given.
func addUnit(f *pflag.FlagSet, unit *int) {
	f.IntVarP(unit, "unit", "u", -1, "`UNIT` id of the device")
	f.Lookup("unit").DefValue = "0" // so that help shows none
	alias(f, "unit", "unit-id", "slave", "slave-id")
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

// oneFile is a flag that names one file, and refuses to name another.
type oneFile struct {
	path  *string
	given bool
}

// String implements pflag.Value, also of the zero value.
func (f *oneFile) String() string {
	if f.path == nil {
		return ""
	}
	return *f.path
}

// Type implements pflag.Value.
func (f *oneFile) Type() string { return "FILE" }

// Set implements pflag.Value.
func (f *oneFile) Set(path string) error {
	if path == "-" {
		return errors.New("a configuration is a file; standard input is not read")
	}
	if f.given {
		return fmt.Errorf("it was given already (%s); there is one configuration", *f.path)
	}
	*f.path, f.given = path, true
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
