package main

import (
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func eachCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			eachCommand(sub, do)
		}
	}
}

// All help texts as they are printed; go test -update records them, so that a
// change of one is seen.
func TestHelpTexts(t *testing.T) {
	if strings.HasPrefix(runtime.GOARCH, "arm") {
		t.Skip("the demo is another one here")
	}
	var all strings.Builder
	eachCommand((&app{}).newRootCommand(), func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		if len(path) > 1 && path[0] == "completion" {
			return // cobra's own
		}
		args := append(path, "--help")
		if len(path) == 1 && path[0] == "help" {
			args = []string{"help", "help"}
		}
		r := fieldferry(t.Context(), nil, args...)
		if r.code != 0 || r.stderr != "" {
			t.Errorf("%q: code %d, %s", args, r.code, r.stderr)
		}
		fmt.Fprintf(&all, "===== %s\n%s\n", c.CommandPath(), r.stdout)
	})
	golden(t, "help", all.String())
}

var placeholder = regexp.MustCompile(`^[A-Z/:]+(=[A-Z]+|\|[A-Z]+)*$`)

// Each verb has an example and a group, each flag says what kind of value it
// takes, and one letter stands for one flag within buses, and everywhere else.
func TestVerbsAreAlike(t *testing.T) {
	letters := map[string]string{}
	eachCommand((&app{}).newRootCommand(), func(c *cobra.Command) {
		path := c.CommandPath()
		if !c.HasSubCommands() && c.Example == "" {
			t.Errorf("%s has no example", path)
		}
		if c.HasParent() && !c.Parent().HasParent() && c.GroupID == "" {
			t.Errorf("%s is in no group", path)
		}
		if !strings.Contains(path, " completion") {
			for line := range strings.Lines(c.Long + "\n" + c.Example) {
				if len(line) > 125 {
					t.Errorf("%s: too long a line: %s", path, line)
				}
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			if value, _ := pflag.UnquoteUsage(f); value != "" && !placeholder.MatchString(value) {
				t.Errorf("%s --%s: %q is not a placeholder such as FILE", path, f.Name, value)
			}
			if f.Shorthand == "" {
				return
			}
			key := f.Shorthand
			if f.Shorthand == "t" { // candump's time, mbpoll's type
				key += strings.Fields(path)[1]
			}
			if was := letters[key]; was != "" && was != f.Name {
				t.Errorf("%s: -%s is --%s, elsewhere --%s", path, f.Shorthand, f.Name, was)
			}
			letters[key] = f.Name
		})
	})
}

// Help is of the verb that is named, before or behind the flag.
func TestHelpBeforeTheVerb(t *testing.T) {
	for _, c := range [][2]string{{"--help can", "can --help"}, {"-h can", "can -h"}, {"--help can watch", "can watch --help"}, {"can --help watch", "can watch --help"}} {
		got, want := fieldferry(t.Context(), nil, strings.Fields(c[0])...), fieldferry(t.Context(), nil, strings.Fields(c[1])...)
		if got.code != 0 || got.stdout != want.stdout || !strings.Contains(want.stdout, "fieldferry can") {
			t.Errorf("%s: code %d, %.300q%s", c[0], got.code, got.stdout, got.stderr)
		}
	}
	if r := fieldferry(t.Context(), nil, "--help", "cann"); r.code != 2 || r.stdout != "" {
		t.Errorf("a verb that there is not: code %d, %.300q", r.code, r.stdout)
	}
}

// Whatever is wrong with a command line, the answer says what is right.
func TestUsageAnswers(t *testing.T) {
	for args, want := range map[string]string{
		"version --jsn":                     "did you mean --json?",
		"can replay":                        "usage: fieldferry can replay FILE [INTERFACE] [HERE=LOG]...",
		"version now":                       `"now" is one argument too many; usage: fieldferry version`,
		"can send can0":                     "an argument is missing; usage: fieldferry can send",
		"command boiler.setpoint":           "name a point and a value",
		"command --read a b":                "with --read, name one point",
		"can decode --help":                 `can has no verb "decode"`,
		"modbus decode --bit 3 1":           "as in --type bit",
		"modbus read --prt x":               "did you mean --port?",
		"watch --nonsense":                  "fieldferry watch --help lists the flags",
		"check -c -":                        "standard input is not read",
		"check -c a.yaml -c b.yaml":         "there is one configuration",
		"can dump can0 -l":                  "--log > FILE",
		"buffer info a b":                   "usage: fieldferry buffer info [PATH]",
		"modbus read -u 1 holding:0":        "--line NAME",
		"watch --records 3 --server x":      "--server or --topic",
		"can replay x.log can0 --rounds -1": "invalid argument",
	} {
		r := fieldferry(t.Context(), nil, strings.Fields(args)...)
		if r.code != 2 || !strings.Contains(r.stderr, want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: code %d, %q, want %q in it", args, r.code, r.stderr, want)
		}
	}
	if r := fieldferry(t.Context(), nil, "--version"); r.code != 0 || !strings.HasPrefix(r.stdout, "fieldferry ") {
		t.Errorf("--version: code %d, %q%s", r.code, r.stdout, r.stderr)
	}
	if r := fieldferry(t.Context(), nil); r.code != 2 || !strings.Contains(r.stdout, "Exit codes") {
		t.Errorf("no verb: code %d, %q%s", r.code, r.stdout, r.stderr)
	}
}
