package main

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var negativeNumber = regexp.MustCompile(`^-(\.?[0-9]|(?i:inf))`)

// negatives puts the arguments of a verb that takes numbers behind "--", where
// -5 is a number: a person writes it where it belongs.
func negatives(root *cobra.Command, args []string) []string {
	c, rest, err := root.Find(args)
	if err != nil {
		return args
	}
	if _, takes := c.Annotations[takesNegative]; !takes {
		return args
	}
	path := strings.Fields(c.CommandPath())[1:]
	var flags, others []string
	for i := 0; i < len(rest); i++ {
		arg := rest[i]
		switch {
		case arg == "--":
			others = append(others, rest[i+1:]...)
			i = len(rest)
		case arg == "-" || !strings.HasPrefix(arg, "-") || negativeNumber.MatchString(arg):
			others = append(others, arg)
		default:
			flags = append(flags, arg)
			if wantsValue(c.Flags(), arg) && i+1 < len(rest) {
				i++
				flags = append(flags, rest[i])
			}
		}
	}
	return append(append(append(path, flags...), "--"), others...)
}

// wantsValue reports whether the value of a flag is the argument behind it.
func wantsValue(f *pflag.FlagSet, arg string) bool {
	if name, long := strings.CutPrefix(arg, "--"); long {
		flag := f.Lookup(name) // nil with "=" in it, too
		return flag != nil && flag.NoOptDefVal == ""
	}
	for i := 1; i < len(arg); i++ {
		flag := f.ShorthandLookup(arg[i : i+1])
		if flag == nil {
			return false
		}
		if flag.NoOptDefVal == "" {
			return i == len(arg)-1
		}
	}
	return false
}
