//go:build manual

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// With the tag manual the program writes its own manual into the directory
// that FIELDFERRY_MANUAL names, and does nothing else: man pages, completions
// and the reference of the command line. The released program has none of it.
func init() {
	dir := os.Getenv("FIELDFERRY_MANUAL")
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv, hostname: os.Hostname}
	if err := writeManual(a.newRootCommand(), dir, os.Getenv("FIELDFERRY_VERSION")); err != nil {
		fmt.Fprintln(os.Stderr, "fieldferry manual:", err)
		os.Exit(exitFailed)
	}
	os.Exit(0)
}

func writeManual(root *cobra.Command, dir, version string) error {
	if dir == "" {
		return fmt.Errorf("FIELDFERRY_MANUAL names no directory")
	}
	reference := &strings.Builder{}
	reference.WriteString("# The command line\n\nEvery verb with its flags, written by the program itself: `go test ./scripts/test/documents -run CommandLine -update`.\n")
	for _, c := range verbs(root) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(manPage(c, version)), 0o644); err != nil {
			return err
		}
		if !strings.HasPrefix(c.CommandPath(), root.Name()+" completion") {
			markdown(reference, c)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cli.md"), []byte(reference.String()), 0o644); err != nil {
		return err
	}
	if err := root.GenBashCompletionFileV2(filepath.Join(dir, "fieldferry.bash"), true); err != nil {
		return err
	}
	if err := root.GenZshCompletionFile(filepath.Join(dir, "_fieldferry")); err != nil {
		return err
	}
	return root.GenFishCompletionFile(filepath.Join(dir, "fieldferry.fish"), true)
}

// verbs returns a command and those below it that a person may see.
func verbs(c *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{c}
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() && below.Name() != "help" {
			list = append(list, verbs(below)...)
		}
	}
	return list
}

// manPage is a page for man(1). Help texts are laid out already: they are kept
// as they are.
func manPage(c *cobra.Command, version string) string {
	b := &strings.Builder{}
	title := strings.ToUpper(strings.ReplaceAll(c.CommandPath(), " ", "-"))
	fmt.Fprintf(b, ".TH %s 1 \"\" \"fieldferry %s\" \"fieldferry\"\n", title, version)
	fmt.Fprintf(b, ".SH NAME\n%s \\- %s\n", roff(strings.ReplaceAll(c.CommandPath(), " ", "-")), roff(firstLower(c.Short)))
	fmt.Fprintf(b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	if c.Long != "" {
		fmt.Fprintf(b, ".SH DESCRIPTION\n.nf\n%s\n.fi\n", roff(c.Long))
	}
	if c.Example != "" {
		fmt.Fprintf(b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(c.Example))
	}
	c.InitDefaultHelpFlag()
	if c.Flags().HasAvailableFlags() {
		b.WriteString(".SH OPTIONS\n")
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			name, usage := pflag.UnquoteUsage(f)
			spelt := "--" + f.Name
			if f.Shorthand != "" {
				spelt = "-" + f.Shorthand + ", " + spelt
			}
			if name != "" {
				spelt += " " + name
			}
			if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" && f.DefValue != "0s" {
				usage += " (default " + f.DefValue + ")"
			}
			fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(spelt), roff(usage))
		})
	}
	if below := verbs(c)[1:]; len(below) > 0 || c.HasParent() {
		b.WriteString(".SH SEE ALSO\n")
		see := []string{}
		if c.HasParent() {
			see = append(see, c.Parent().CommandPath())
		}
		for _, v := range below {
			if v.Parent() == c {
				see = append(see, v.CommandPath())
			}
		}
		for i, s := range see {
			end := ","
			if i == len(see)-1 {
				end = ""
			}
			fmt.Fprintf(b, ".BR %s (1)%s\n", roff(strings.ReplaceAll(s, " ", "-")), end)
		}
	}
	return b.String()
}

// roff escapes what man(7) would take for something else.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`, "`", "\\(ga").Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

func firstLower(s string) string {
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

func markdown(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s.\n", c.CommandPath(), c.Short)
	help := c.UsageString()
	if c.Long != "" {
		help = c.Long + "\n\n" + help
	}
	lines := strings.Split(strings.TrimSpace(help), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	fmt.Fprintf(b, "\n```text\n%s\n```\n", strings.Join(lines, "\n"))
}
