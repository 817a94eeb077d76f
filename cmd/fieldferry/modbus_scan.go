package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/commission"
	"fieldferry/bus/modbus/rtu"

	"github.com/spf13/cobra"
)

type scanOptions struct {
	lineOptions
	bauds    []int
	parities []string
	stops    []int
	units    string
	probes   []string
	sweep    bool
	asJSON   bool
}

// What a sweep tries: what devices leave the factory with.
var (
	sweepBauds    = []int{9600, 19200, 38400, 57600, 115200, 4800, 2400, 1200}
	sweepParities = []string{"N", "E", "O"}
)

func (a *app) newModbusScanCommand() *cobra.Command {
	var o scanOptions
	c := &cobra.Command{
		Use:   "scan --port PORT",
		Short: "Find the unit ids that answer, and with which settings",
		Long: `scan asks every unit id for one register. Any answer counts, a refusal too; the
answer of a gateway that the unit is not there is none. Some devices say nothing
when asked for what they do not have: with several --probe each unit is asked for
one after the other until it gives a value, which takes longer.

--sweep tries the usual baud rates and parities, --baud and --parity take
lists. Ctrl-C ends it and keeps what was found. The exit code is 1 when nobody
answered.`,
		Example: `  fieldferry modbus scan --port /dev/ttyUSB0
  fieldferry modbus scan --port /dev/ttyUSB0 --baud 9600,19200 --parity N,E --units 1-20
  fieldferry modbus scan -p tcp://192.168.1.20 --units 5,8,21-24 --probe holding:0 --probe input:0
  fieldferry modbus scan --port /dev/ttyUSB0 --sweep --units 1-32 --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.modbusScan(c.Context(), o) },
	}
	f := c.Flags()
	o.addPortFlags(f)
	f.IntSliceVar(&o.bauds, "baud", []int{modbus.DefaultBaudRate}, "baud `RATES` to try, with commas")
	f.StringSliceVar(&o.parities, "parity", []string{"E"}, "`PARITIES` to try: N, E, O")
	f.IntSliceVar(&o.stops, "stop-bits", []int{1}, "stop `BITS` to try: 1, 2")
	f.BoolVar(&o.sweep, "sweep", false, "try the usual baud rates and parities")
	f.StringVar(&o.units, "units", "1-247", "`UNITS` to ask, as 1-32 or 5,8,21-24")
	alias(f, "units", "unit")
	f.StringArrayVar(&o.probes, "probe", []string{"holding:0"}, "what each unit is asked for, `TABLE:ADDRESS`; may be repeated")
	o.addTimeout(f, "`TIME` for the answer of one unit")
	f.IntVar(&o.retries, "retries", 0, "further `TRIES` of a unit that does not answer")
	f.BoolVar(&o.asJSON, "json", false, "print one JSON object a unit")
	return c
}

func (o *scanOptions) config() (commission.ScanConfig, error) {
	o.baud, o.parity, o.stopBits = modbus.DefaultBaudRate, "N", 1
	_, err := o.session()
	if len(o.probes) == 0 {
		return commission.ScanConfig{}, usageError("--probe is empty; write TABLE:ADDRESS, such as holding:0")
	}
	cfg := commission.ScanConfig{Port: o.port, Timeout: o.timeout, Retries: o.retries, RS485: rtu.RS485{Enabled: o.rs485, RTSHighDuringSend: true}}
	if err != nil {
		return cfg, err
	}
	bauds, parities := o.bauds, o.parities
	if o.sweep {
		bauds, parities = sweepBauds, sweepParities
	}
	var letters []byte
	for _, s := range parities {
		p, err := parseParity(s)
		if err != nil {
			return cfg, err
		}
		letters = append(letters, p)
	}
	if slices.Min(bauds) < modbus.MinBaudRate || slices.Max(bauds) > modbus.MaxBaudRate || slices.Min(o.stops) < 1 || slices.Max(o.stops) > 2 {
		return cfg, usageError("--baud or --stop-bits is out of range")
	}
	cfg.Modes = commission.Modes(bauds, letters, o.stops)
	if strings.Contains(o.port, "://") {
		cfg.Modes = cfg.Modes[:1]
	}
	for _, text := range o.probes {
		item, err := commission.ParseItem(text, 1)
		if err != nil {
			return cfg, usageError("--probe: %w", err)
		}
		cfg.Probes = append(cfg.Probes, item)
	}
	cfg.Units, err = o.unitList()
	return cfg, err
}

// unitList reads 5,8,21-24.
func (o *scanOptions) unitList() (units []byte, err error) {
	lowest := uint64(1)
	if strings.HasPrefix(o.port, "tcp://") {
		lowest = 0 // the far end itself, in some
	}
	for part := range strings.SplitSeq(o.units, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			last = first
		}
		low, err1 := strconv.ParseUint(first, 10, 8)
		high, err2 := strconv.ParseUint(last, 10, 8)
		if err1 != nil || err2 != nil || low > high || low < lowest {
			return nil, usageError("--units %q: write unit ids and ranges, such as 5,8,21-24, within 1-247", o.units)
		}
		for u := low; u <= high; u++ {
			if !slices.Contains(units, byte(u)) {
				units = append(units, byte(u))
			}
		}
	}
	return units, nil
}

// foundJSON is a unit that answered, for machines.
type foundJSON struct {
	_ [0]func() // nobody compares them: saves the code for it

	Unit      byte    `json:"unit"`
	Baud      int     `json:"baud,omitempty"`
	Parity    string  `json:"parity,omitempty"`
	StopBits  int     `json:"stop_bits,omitempty"`
	Answer    string  `json:"answer"`
	Exception *int    `json:"exception,omitempty"`
	Ms        float64 `json:"ms"`
	Late      bool    `json:"late,omitempty"`
}

func (a *app) modbusScan(ctx context.Context, o scanOptions) error {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	serial := !strings.Contains(o.port, "://")
	bar := a.newBar("scan", func(n int64) string { return fmt.Sprintf("%d unit ids", n) })
	var found []commission.Found
	summary, err := commission.Scan(ctx, cfg, func(f commission.Found) {
		found = append(found, f)
		bar.clear()
		if o.asJSON {
			_ = a.printJSON(scanned(f, serial))
		} else if isTerminal(a.stderr) {
			fmt.Fprintln(a.stderr, "found", describeFound(f, serial))
		}
	}, func(done, all int) {
		bar.note = fmt.Sprintf(", %d found", len(found))
		bar.show(int64(done), int64(all))
	})
	bar.clear()
	if !o.asJSON {
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		for _, f := range found {
			fmt.Fprintln(w, describeFound(f, serial))
		}
		w.Flush()
	}
	for _, mode := range cfg.Modes {
		if n := summary.Damaged[mode]; n > 0 {
			a.warn("%d damaged or wrong replies at %s: somebody may be there with other settings, or two have the same unit id", n, modeText(mode))
		}
	}
	for _, probe := range cfg.Probes {
		if advice := probe.Manual(); advice != "" && slices.ContainsFunc(found, func(f commission.Found) bool { return f.Exception == 2 }) {
			a.warn("%s", advice)
		}
	}
	ended := ""
	if ctx.Err() != nil {
		ended = ", interrupted"
	}
	if err == nil || summary.Asked > 0 {
		a.warn("asked %d, found %d%s", summary.Asked, len(found), ended)
	}
	if err != nil {
		return advisePort(o.port, "stop it, or scan on the page under Commissioning", err)
	}
	if len(found) == 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

func modeText(m rtu.Mode) string {
	return fmt.Sprintf("%d %d%c%d", m.BaudRate, m.DataBits, m.Parity, m.StopBits)
}

func describeFound(f commission.Found, serial bool) string {
	settings := ""
	if serial {
		settings = "\t" + modeText(f.Mode)
	}
	return fmt.Sprintf("unit %d%s\t%.0f ms\t%s", f.Unit, settings, ms(f.Took), f.Answer)
}

func scanned(f commission.Found, serial bool) foundJSON {
	j := foundJSON{Unit: f.Unit, Answer: f.Answer, Ms: ms(f.Took), Late: f.Late}
	if serial {
		j.Baud, j.Parity, j.StopBits = f.Mode.BaudRate, string(f.Mode.Parity), f.Mode.StopBits
	}
	if f.Exception >= 0 {
		j.Exception = &f.Exception
	}
	return j
}
