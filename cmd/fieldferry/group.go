package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// group makes a verb of verbs refuse what is not one of them: a script that
// mistypes a verb must not read success in the exit code.
func group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		version, _ := c.Flags().GetBool("version")
		switch {
		case version:
			_, err := fmt.Fprintln(c.OutOrStdout(), readVersion())
			return err
		case len(args) == 0 && !c.HasParent():
			_ = c.Help()
			return &exitError{code: exitUsage}
		case len(args) == 0:
			return usageError("%s: which verb? one of %s; fieldferry %[1]s --help describes them", c.Name(), strings.Join(verbsOf(c), ", "))
		}
		return unknownVerb(c, args[0])
	}
	return c
}

func verbsOf(c *cobra.Command) (names []string) {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// unknownVerb says that c has no such verb, and which it has.
func unknownVerb(c *cobra.Command, name string) error {
	c.SuggestionsMinimumDistance = 2
	what := fmt.Sprintf("%s has no verb %q", c.Name(), name)
	if near := c.SuggestionsFor(name); len(near) > 0 {
		return usageError("%s; did you mean %s?", what, strings.Join(near, " or "))
	}
	return usageError("%s; use one of %s", what, strings.Join(verbsOf(c), ", "))
}

// newHelpCommand is cobra's, but for what it says of a verb that there is not.
func (a *app) newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [VERB]...",
		Short:   "Show the help of a verb",
		Example: "  fieldferry help modbus read",
		RunE: func(c *cobra.Command, args []string) error {
			verb, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				if len(rest) == 0 {
					return fmt.Errorf("%w", err)
				}
				if verb == nil {
					verb = c.Root()
				}
				return unknownVerb(verb, rest[0])
			}
			verb.InitDefaultHelpFlag()
			return verb.Help()
		},
	}
}
