package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// verbGroups are the verbs by what somebody wants to do.
var verbGroups = []struct {
	id, title string
	verbs     []string
}{
	{"gateway", "The gateway:", []string{"run", "check", "status", "command", "commands", "config", "web", "bundle", "buffer"}},
	{"bus", "Buses, by hand:", []string{"can", "modbus"}},
	{"data", "Data:", []string{"watch", "decode", "demo"}},
	{"other", "Others:", []string{"version", "completion", "help"}},
}

const rootExamples = seeItWork + `  sudo fieldferry check                           what is wrong with /etc/fieldferry/fieldferry.yaml
  fieldferry status                               how the running gateway fares
  fieldferry can watch can0 --dbc engine.dbc      what is on a CAN bus, live
  fieldferry modbus scan --port /dev/ttyUSB0      who answers on an RS-485 line
  fieldferry watch --server mqtt://broker:1883    what arrives, and whether anything is missing`

// help prints what a verb does and how it is used, and after that of the root
// what holds for all verbs. A word that is left over before --help is a verb that
// there is not: then it is nobody's help.
func (a *app) help(c *cobra.Command, args []string) {
	if verb, rest, err := c.Root().Find(args); err == nil {
		if word := leftOver(verb, rest); word != "" {
			a.unhelped = unknownVerb(verb, word)
			return
		}
	}
	text := c.Long
	if text == "" {
		text = c.Short
	}
	fmt.Fprintf(a.stdout, "%s\n\n%s", strings.TrimSpace(text), c.UsageString())
	if !c.HasParent() {
		fmt.Fprint(a.stdout, `
Exit codes: 0 ok, 1 failed at run time, 2 wrong usage or configuration.
Documentation: /usr/share/doc/fieldferry where the package is installed, README.md
and docs/ in the source; "fieldferry VERB --help" has examples of each verb.
`)
	}
}

// arrange puts the verbs into their groups, and has each say how it is used when
// it was not.
func (a *app) arrange(root *cobra.Command) {
	for _, g := range verbGroups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range root.Commands() {
			for _, verb := range g.verbs {
				if c.Name() == verb {
					c.GroupID = g.id
				}
			}
		}
	}
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			group(c)
			c.Short = "Make the completion script for a shell"
			for _, shell := range c.Commands() {
				shell.Example = "  fieldferry completion " + shell.Name()
			}
		}
	}
	var each func(c *cobra.Command)
	each = func(c *cobra.Command) {
		c.InitDefaultHelpFlag() // else "--help can" takes can for the value of --help
		for _, sub := range c.Commands() {
			each(sub)
		}
		if check := c.Args; check != nil && !c.HasSubCommands() {
			c.Args = func(c *cobra.Command, args []string) error {
				err := check(c, args)
				var own *exitError
				if err == nil || errors.As(err, &own) { // the verb says better what it wants
					return err
				}
				return usageError("%s; usage: %s", argumentsText(c, check, args), usageLine(c))
			}
		}
	}
	each(root)
}

// leftOver is the first word behind a group of verbs that names none of them.
func leftOver(c *cobra.Command, args []string) string {
	if !c.HasSubCommands() {
		return ""
	}
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--":
			return ""
		case !strings.HasPrefix(arg, "-"):
			return arg
		case wantsValue(c.Flags(), arg):
			i++
		}
	}
	return ""
}

func usageLine(c *cobra.Command) string { return strings.TrimSuffix(c.UseLine(), " [flags]") }

func argumentsText(c *cobra.Command, check cobra.PositionalArgs, args []string) string {
	if check(c, append(slices.Clone(args), "x")) == nil {
		return "an argument is missing"
	}
	for n := len(args) - 1; n >= 0; n-- {
		if check(c, args[:n]) == nil {
			return fmt.Sprintf("%q is one argument too many", args[n])
		}
	}
	return fmt.Sprintf("the arguments %q do not fit", args)
}

var unknownFlag = regexp.MustCompile(`^unknown flag: --(.+)$`)

// flagError says of a flag that there is not which one may be meant.
func flagError(c *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	text := err.Error()
	if m := unknownFlag.FindStringSubmatch(text); m != nil {
		if near := nearestFlag(c.Flags(), m[1]); near != "" {
			return usageError("%w; did you mean --%s?", err, near)
		}
	}
	return usageError("%w; %s --help lists the flags", err, c.CommandPath())
}

func nearestFlag(f *pflag.FlagSet, name string) (near string) {
	best := 3
	f.VisitAll(func(flag *pflag.Flag) {
		if d := distance(name, flag.Name); !flag.Hidden && d < best && d < len(name) {
			near, best = flag.Name, d
		}
	})
	return near
}

// distance is how many letters make one word of the other (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := before
			if a[i] != b[j] {
				d = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
