package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func (a *app) newModbusDecodeCommand() *cobra.Command {
	var (
		o      valueOptions
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "decode --type TYPE WORD...",
		Short: "Show what register words mean, in every byte order when none is given",
		Long: `decode takes words as they are on the wire, in decimal or in hex with 0x, and
prints the value they stand for. Without --byte-order it prints one line for
each order, to compare with the device's display. More words than the type
takes are further values.`,
		Example: `  fieldferry modbus decode --type float32 0x4366 0x199A
  fieldferry modbus decode --type uint32 --byte-order CDAB --scale 0.01 54919 18`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.modbusDecode(o, asJSON, args) },
	}
	o.addFlags(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a value and byte order")
	return c
}

// decodedJSON is a decoded value for machines.
type decodedJSON struct {
	Type      string          `json:"type"`
	ByteOrder string          `json:"byte_order"`
	Value     json.RawMessage `json:"value"`
	Error     string          `json:"error,omitempty"`
}

func (a *app) modbusDecode(o valueOptions, asJSON bool, args []string) error {
	if o.typ == "" {
		return usageError("--type is missing; give the type, as in --type float32")
	}
	words, err := parseWords(args)
	if err != nil {
		return err
	}
	r, orders, err := o.register(len(words))
	if err != nil {
		return err
	}
	if len(words)%r.Width() != 0 {
		return usageError("a %v takes %d words; %d are given", r.Type, r.Width(), len(words))
	}
	all := decodeAll(r, orders, words)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	failed := true
	for i, d := range all {
		failed = failed && d.err != nil
		switch {
		case asJSON:
			j := decodedJSON{Type: r.Type.String(), ByteOrder: d.order.String(), Value: d.json()}
			if d.err != nil {
				j.Error = d.err.Error()
			}
			if err := a.printJSON(j); err != nil {
				return err
			}
		case len(orders) == 1:
			fmt.Fprintln(w, d.text())
		default:
			if i == 0 {
				fmt.Fprintf(w, "byte order\t%v\n", r.Type)
			}
			fmt.Fprintf(w, "%v\t%s\n", d.order, d.text())
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if failed {
		return &exitError{code: exitFailed}
	}
	return nil
}

func parseWords(args []string) ([]uint16, error) {
	words := make([]uint16, len(args))
	for i, arg := range args {
		n, err := strconv.ParseUint(arg, 0, 16)
		if err != nil {
			return nil, usageError("%q is not a word: write 0 to 65535, or 0x0000 to 0xFFFF", arg)
		}
		words[i] = uint16(n)
	}
	return words, nil
}
