package main

import (
	"fmt"
	"text/tabwriter"

	"fieldferry/gateway/config"

	"github.com/spf13/cobra"
)

func (a *app) newModbusTemplatesCommand() *cobra.Command {
	var (
		dir    string
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "templates [NAME]",
		Short: "List the device templates, or show one",
		Long: `A device in the configuration may name a template in place of its registers:

  devices:
    - {name: meter, unit_id: 1, template: eastron-sdm120}

Templates are YAML files with the keys of a device. Those of a site stand in the
directory that templates: names in the configuration, and replace others of the
same name. To make one, begin with one that is shown here.`,
		Example: `  fieldferry modbus templates
  fieldferry modbus templates eastron-sdm120 > my-meter.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.modbusTemplates(dir, asJSON, args) },
	}
	c.Flags().StringVar(&dir, "dir", "", "`DIRECTORY` with the site's own templates")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a template")
	return c
}

// templateJSON is a template for machines.
type templateJSON struct {
	_ [0]func() // nobody compares them: saves the code for it

	Name        string `json:"name"`
	Description string `json:"description"`
	Source      string `json:"source"`
	Registers   int    `json:"registers"`
	File        string `json:"file,omitempty"`
}

func (a *app) modbusTemplates(dir string, asJSON bool, args []string) error {
	list, problems := config.Templates(dir)
	for _, p := range problems {
		a.warn("%s", p)
	}
	if len(args) > 0 {
		for _, t := range list {
			if t.Name == args[0] {
				out := a.stdout
				if !isTerminal(out) {
					out = exact(out) // a file of one's own begins as a copy
				}
				_, err := fmt.Fprint(out, t.Text)
				return err
			}
		}
		return usageError("there is no template %q; fieldferry modbus templates lists them", args[0])
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(w, "template\tregisters\tdevice")
	}
	for _, t := range list {
		if asJSON {
			if err := a.printJSON(templateJSON{Name: t.Name, Description: t.Description, Source: t.Source, Registers: t.Registers, File: t.File}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%s\n", t.Name, t.Registers, printable(t.Description))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if config.HasErrors(problems) {
		return &exitError{code: exitUsage}
	}
	return nil
}
