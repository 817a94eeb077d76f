package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/commission"

	"github.com/spf13/cobra"
)

type writeOptions struct {
	_ [0]func() // nobody compares them: saves the code for it

	lineOptions
	unit       int
	typ, order string
	function   string
	yes        bool
	asJSON     bool
}

// takesNegative marks a verb among whose arguments -5 is a number and no flag.
const takesNegative = "takes negative numbers"

func (a *app) newModbusWriteCommand() *cobra.Command {
	var o writeOptions
	c := &cobra.Command{
		Use:         "write --port PORT --unit UNIT TABLE:ADDRESS VALUE...",
		Short:       "Write holding registers or coils of one device, after asking",
		Annotations: map[string]string{takesNegative: ""},
		Long: `write changes a device. It reads what is there first, shows both, and asks; on
anything but a terminal it needs --yes.

One register is written by function 6, one coil by 5, several by 16 and 15. A
device that does not know the first (exception 1) is asked by the second;
--function 16 or 15 does so at once. A write whose outcome is not known is not
tried again, because it may have happened: read it back. A value below zero is
int16, unless --type says otherwise.`,
		Example: `  fieldferry modbus write --port /dev/ttyUSB0 --unit 17 holding:40 5
  fieldferry modbus write -p /dev/ttyUSB0 --unit 17 --type float32 --byte-order CDAB holding:100 21.5 --yes
  fieldferry modbus write -p /dev/ttyUSB0 --unit 17 holding:257 -5 --yes
  fieldferry modbus write -p /dev/ttyUSB0 --unit 17 --function 16 40041 5 --yes
  fieldferry modbus write -p /dev/ttyUSB0 --unit 17 coil:3 1 --yes`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.modbusWrite(c.Context(), o, args, c.InOrStdin())
		},
	}
	f := c.Flags()
	o.addFlags(f)
	addUnit(f, &o.unit)
	f.StringVarP(&o.typ, "type", "t", "", "`TYPE` of the values: bool int16 uint16 int32 uint32 int64 uint64 float32 float64; default uint16, coils bool")
	f.StringVar(&o.order, "byte-order", "ABCD", "`ORDER` of the bytes: ABCD, CDAB, BADC or DCBA")
	f.StringVar(&o.function, "function", "auto", "`FUNCTION` code: 6 or 5 for one, 16 or 15 for several, or auto")
	f.BoolVarP(&o.yes, "yes", "y", false, "write without asking")
	f.BoolVar(&o.asJSON, "json", false, "print the outcome as JSON")
	return c
}

// words are the values given, as they go on the wire.
func (o *writeOptions) words(item commission.Item, values []string) (words []uint16, err error) {
	name := o.typ
	if name == "" {
		name = "uint16"
		if slices.ContainsFunc(values, func(v string) bool { return strings.HasPrefix(v, "-") }) {
			name = "int16"
		}
		if item.Table.Bits() {
			name = "bool"
		}
	}
	typ, err := modbus.ParseType(name)
	if err != nil {
		return nil, usageError("--type: %w", err)
	}
	order, err := modbus.ParseByteOrder(strings.ToUpper(o.order))
	if err != nil {
		return nil, usageError("--byte-order: %w", err)
	}
	if item.Table.Bits() != (typ == modbus.Bool) {
		return nil, usageError("a %v cannot be written as %v", item.Table, typ)
	}
	for _, v := range values {
		w, err := commission.Encode(v, typ, order)
		if err != nil {
			return nil, usageError("%w", err)
		}
		words = append(words, w...)
	}
	return words, nil
}

// by is the function that is asked for.
func (o *writeOptions) by(item commission.Item) (commission.Function, error) {
	one, several := "6", "16"
	if item.Table.Bits() {
		one, several = "5", "15"
	}
	switch o.function {
	case "auto":
		return commission.AutoFunction, nil
	case one:
		return commission.OneFunction, nil
	case several:
		return commission.SeveralFunction, nil
	}
	return 0, usageError("--function %s: a %v is written by %s or %s, or auto", o.function, item.Table, one, several)
}

func (a *app) modbusWrite(ctx context.Context, o writeOptions, args []string, in io.Reader) error {
	cfg, err := o.session()
	if err != nil {
		return err
	}
	cfg.Writes = true
	item, err := commission.ParseItem(args[0], byte(max(o.unit, 0)))
	if err != nil {
		return usageError("%w", err)
	}
	if o.unit < 0 && !strings.Contains(args[0], "/") {
		return usageError("--unit is missing; give the device's unit id, as in --unit 17")
	}
	if item.Unit == 0 {
		return usageError("unit 0 would write to every device on the line; name one")
	}
	if item.Table != modbus.Holding && item.Table != modbus.Coil {
		return usageError("%v registers cannot be written; only holding registers and coils can", item.Table)
	}
	words, err := o.words(item, args[1:])
	if err != nil {
		return err
	}
	if item.Count != 0 && item.Count != len(words) {
		return usageError("%s names %d, but there are values for %d", args[0], item.Count, len(words))
	}
	item.Count = len(words)
	by, err := o.by(item)
	if err != nil {
		return err
	}
	if by == commission.OneFunction && len(words) > 1 {
		return usageError("--function %s writes one value; there are %d", o.function, len(words))
	}
	if !o.yes && !isTerminalInput(in) {
		return usageError("nobody is there to confirm the write; add --yes to write without asking")
	}
	s, err := commission.Open(ctx, cfg)
	if err != nil {
		return advisePort(o.port, "stop it, or write a point by fieldferry command", err)
	}
	defer s.Close()
	was := before(s.Read(ctx, item))
	if !o.yes && !a.confirm(in, o.port, item, words, was) {
		return fmt.Errorf("not written")
	}
	err = adviseManual(item, s.Write(ctx, item, words, by))
	if o.asJSON {
		return a.writeJSON(item, words, err)
	}
	switch {
	case commission.Refused(err):
		return fmt.Errorf("write %v %d of unit %d: %w; the device refused it, nothing was written", item.Table, item.Address, item.Unit, err)
	case err != nil:
		return fmt.Errorf("write %v %d of unit %d: %w; it may have happened or not: read it back", item.Table, item.Address, item.Unit, err)
	}
	_, err = fmt.Fprintf(a.stdout, "unit %d %v %d: written %v, before %s\n", item.Unit, item.Table, item.Address, words, was)
	return err
}

func before(r commission.Result) string {
	switch {
	case r.Err != nil:
		return "unknown (" + r.Err.Error() + ")"
	case r.Bits != nil:
		return fmt.Sprint(r.Bits)
	}
	return fmt.Sprint(r.Words)
}

func (a *app) confirm(in io.Reader, port string, item commission.Item, words []uint16, was string) bool {
	fmt.Fprintf(a.stderr, "Write %v to %v %d of unit %d on %s? It holds %s. [y/N] ", words, item.Table, item.Address, item.Unit, port, was)
	line, _ := bufio.NewReader(in).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

func (a *app) writeJSON(item commission.Item, words []uint16, err error) error {
	j := itemJSON{Unit: item.Unit, Register: item.Table.String(), Address: item.Address, Count: item.Count, Words: words}
	if err != nil {
		j.Words, j.Error = nil, err.Error()
		r := commission.Result{Err: err}
		if code, ok := r.Exception(); ok {
			j.Exception = &code
		}
	}
	if perr := a.printJSON(j); perr != nil {
		return perr
	}
	if err != nil {
		return &exitError{code: exitFailed}
	}
	return nil
}

func isTerminalInput(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && isTerminal(f)
}
