package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/commission"

	"github.com/spf13/cobra"
)

func (a *app) newModbusDecodeCommand() *cobra.Command {
	var (
		o      valueOptions
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "decode WORD...",
		Short: "Show what register words mean, in every type and byte order that is not given",
		Long: `decode takes words as they are on the wire, in decimal or in hex with 0x, and
prints the value they stand for. Without --byte-order it prints one line for
each order, to compare with the device's display. Without --type it prints one
line for each type that takes exactly these words, with a column for each order.
With --type, more words than the type takes are further values.`,
		Example: `  fieldferry modbus decode 0x4366 0x199A
  fieldferry modbus decode --type float32 0x4366 0x199A
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
	words, err := parseWords(args)
	if err != nil {
		return err
	}
	if o.typ == "" {
		return a.modbusDecodeTypes(o, asJSON, words)
	}
	r, orders, err := o.register(len(words))
	if err != nil {
		return err
	}
	if len(words)%r.Width() != 0 {
		return usageError("a %v takes %d words; %d are given", r.Type, r.Width(), len(words))
	}
	return a.printDecoded(r, orders, words, asJSON)
}

// printDecoded prints words in one type, a line for each order.
func (a *app) printDecoded(r modbus.Register, orders []modbus.ByteOrder, words []uint16, asJSON bool) error {
	all := decodeAll(r, orders, words)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	failed := true
	for i, d := range all {
		failed = failed && d.err != nil
		switch {
		case asJSON:
			if err := a.printJSON(d.forMachines(r.Type)); err != nil {
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

// modbusDecodeTypes prints words in every type that takes exactly so many: a
// line for each type, a column for each order.
func (a *app) modbusDecodeTypes(o valueOptions, asJSON bool, words []uint16) error {
	if o.byteOf != "" || o.highByte || o.bit != 0 {
		return usageError("--bit and --byte are of one type; give it, as in --type bit")
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	types := 0
	for _, o.typ = range modbus.Types() {
		r, orders, err := o.register(len(words))
		if err != nil || r.Width() != len(words) {
			continue
		}
		if types++; types == 1 && !asJSON {
			fmt.Fprintf(w, "type\t%s\n", orderNames(orders))
		}
		cells, fits := []string{o.typ}, false
		for _, d := range decodeAll(r, orders, words) {
			fits = fits || d.err == nil
			if asJSON {
				if err := a.printJSON(d.forMachines(r.Type)); err != nil {
					return err
				}
			}
			cells = append(cells, d.cell())
		}
		if fits && !asJSON {
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
	}
	if types == 0 {
		return usageError("no type takes %d words; give one of which they are several values, as in --type float32", len(words))
	}
	return w.Flush()
}

func orderNames(orders []modbus.ByteOrder) string {
	names := make([]string, len(orders))
	for i, o := range orders {
		names[i] = o.String()
	}
	return strings.Join(names, "\t")
}

// cell is the value in a table of types, many of which do not fit the words.
func (d *decoded) cell() string {
	if d.err != nil {
		return "-"
	}
	return d.text()
}

func (d *decoded) forMachines(t modbus.Type) decodedJSON {
	j := decodedJSON{Type: t.String(), ByteOrder: d.order.String(), Value: d.json()}
	if d.err != nil {
		j.Error = d.err.Error()
	}
	return j
}

func parseWords(args []string) ([]uint16, error) {
	words := make([]uint16, len(args))
	for i, arg := range args {
		n, err := commission.ParseUint(arg, 16)
		if errors.Is(err, commission.ErrOctal) {
			return nil, usageError("%w", err)
		}
		if err != nil {
			return nil, usageError("%q is not a word: write 0 to 65535, or 0x0000 to 0xFFFF", arg)
		}
		words[i] = uint16(n)
	}
	return words, nil
}
