package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/gateway"
	"fieldferry/gateway/clock"
	"fieldferry/gateway/config"
	"fieldferry/gateway/daemon"
	"fieldferry/gateway/packaged"

	"github.com/spf13/cobra"
)

func (a *app) newCheckCommand() *cobra.Command {
	var opts checkOptions
	c := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration, all of it at once, and show the load on each Modbus line",
		Long: `check finds everything that is wrong with a configuration as far as it can be
known without hardware, and prints it as

  FILE:LINE:COLUMN: key.path: what is wrong; what to do

The files NAME.yaml of the folder conf.d beside the file are part of it.

Then it shows how each Modbus line will be polled. The daemon refuses what
check refuses. Root also learns what the packaged service could not read or
write: its user, its groups, and what its unit hides. For a file outside
/etc/fieldferry those are warnings, unless --as-user asks for them. With
--base /etc/fieldferry a file is judged as if it were there already.

--live also opens the ports, connects to the brokers with the configured user
and a client id of its own, and looks for the interfaces. It sends nothing to a
bus and publishes nothing.

The exit code is 2 when there is an error, and 1 when only --live has found
one; warnings do not count. With --config-store it is 0 wherever the daemon
would start, be it with the configuration that last ran.`,
		Example: `  sudo fieldferry check
  sudo fieldferry check --live -c /etc/fieldferry/fieldferry.yaml
  fieldferry check -c /tmp/new.yaml --base /etc/fieldferry   # before it is put there`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.check(c.Context(), opts) },
	}
	opts.addFlags(c)
	opts.details = true
	c.Flags().StringVar(&opts.base, "base", "", "`DIR` where the file will be: relative paths begin there; default: where it is")
	c.Flags().BoolVar(&opts.strict, "strict", false, "refuse DBC files with a faulty statement; what is only odd stays a warning")
	c.Flags().BoolVarP(&opts.quiet, "quiet", "q", false, "print problems only")
	c.Flags().BoolVar(&opts.asJSON, "json", false, "print problems and poll plans as JSON")
	c.Flags().BoolVar(&opts.live, "live", false, "look whether interfaces, ports and brokers are there")
	c.Flags().StringVar(&opts.store, "config-store", "", "look whether a start of the daemon with this `DIR` of configurations would find one that can be used")
	c.Flags().StringVar(&opts.user, "as-user", "", "judge files as the `USER` of the service; default: the packaged service's, when root checks")
	c.MarkFlagsMutuallyExclusive("quiet", "json")
	return c
}

type checkOptions struct {
	configOptions
	asJSON, quiet, live bool
	user, store         string
}

// findings are everything that check has found.
type findings struct {
	cfg      *config.Config // nil: it cannot be used
	problems []config.Problem
	live     []config.Problem
	starts   bool // the daemon would start all the same
}

// err is the exit code.
func (f *findings) err() error {
	switch {
	case config.HasErrors(f.problems) && !f.starts:
		return &exitError{code: exitUsage}
	case len(f.live) > 0:
		return &exitError{code: exitFailed}
	}
	return nil
}

func (a *app) find(ctx context.Context, o checkOptions) (*findings, error) {
	s, err := service(o.user)
	if err != nil {
		return nil, usageError("--as-user: %w", err)
	}
	f := &findings{}
	var refused *config.Config
	o.now = time.Now()
	o.refused = func(c *config.Config) { refused = c }
	f.cfg, f.problems = a.loadQuietly(o.configOptions)
	if judged := cmp.Or(f.cfg, refused); s != nil && judged != nil {
		f.problems = append(f.problems, serviceProblems(judged, s, packaged.Here, &o)...)
	}
	if f.cfg == nil {
		f.starts = o.store != "" && daemon.In(o.store).Former(o.path, a.configOptions(o.configOptions))
		return f, nil
	}
	f.starts = o.store != ""
	if o.live {
		f.live = a.liveProblems(ctx, f.cfg)
		if s != nil {
			f.live = append(f.live, deviceProblems(f.cfg, s, packaged.Here)...)
		}
	}
	return f, nil
}

// checkReport is what check has found, for machines.
type checkReport struct {
	OK       bool          `json:"ok"`
	Problems []problemJSON `json:"problems"`
	Live     []problemJSON `json:"live,omitempty"` // of --live
	Lines    []lineJSON    `json:"lines"`
	Clock    clock.Reason  `json:"clock,omitempty"` // why this machine's is not trusted
}

type problemJSON struct {
	_ [0]func() // nobody compares them: saves the code for it

	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	What    string `json:"what"`
	Fix     string `json:"fix"`
	Warning bool   `json:"warning,omitempty"`
}

type lineJSON struct {
	Source            string        `json:"source"`
	RequestsPerSecond float64       `json:"requests_per_second"`
	LoadPercent       float64       `json:"load_percent"`
	Warnings          []string      `json:"warnings"`
	Requests          []requestJSON `json:"requests"`
}

type requestJSON struct {
	Device     string   `json:"device"`
	UnitID     uint8    `json:"unit_id"`
	Register   string   `json:"register"`
	Address    uint16   `json:"address"`
	Count      int      `json:"count"`
	Values     []string `json:"values"`
	IntervalMs float64  `json:"interval_ms"`
	Bytes      int      `json:"bytes"`
	WireMs     float64  `json:"wire_ms"`
}

func (a *app) check(ctx context.Context, opts checkOptions) error {
	found, err := a.find(ctx, opts)
	if err != nil {
		return err
	}
	if opts.asJSON {
		if err := a.checkJSON(found); err != nil {
			return err
		}
		return found.err()
	}
	for _, p := range append(slices.Clone(found.problems), found.live...) {
		a.warn("%v", p)
	}
	if err := found.err(); err != nil || opts.quiet {
		return err
	}
	cfg, problems := found.cfg, found.problems
	if cfg == nil {
		_, err = fmt.Fprintf(a.stdout, "%s: refused; a start would use the configuration that last ran\n", printable(opts.path))
		return err
	}
	for i := range cfg.Modbus {
		a.printPlan(&cfg.Modbus[i])
	}
	if why := clockTrouble(cfg); why != "" {
		fmt.Fprintf(a.stdout, "clock: not trusted on this machine (%s): records are marked until it is; if it is right without a time service, set gateway.clock: trusted\n", why)
	}
	warnings := ""
	if n := len(problems); n > 0 {
		warnings = fmt.Sprintf(", warnings: %d", n)
	}
	sources := "sources"
	n := len(cfg.CAN) + len(cfg.Modbus)
	if n == 1 {
		sources = "source"
	}
	with := ""
	if n := len(cfg.DropIns()); n > 0 {
		with = fmt.Sprintf(" with %d of %s", n, config.DropInFolder)
	}
	there := ""
	if opts.live {
		there = "; nothing that it needs is missing here"
	}
	_, err = fmt.Fprintf(a.stdout, "%s%s: ok, %d %s%s%s\n", printable(opts.path), with, n, sources, warnings, there)
	return err
}

// clockTrouble says why the gateway would not trust this machine's clock, or
// returns "".
func clockTrouble(cfg *config.Config) clock.Reason {
	return clock.New(gateway.ClockConfig(cfg, gateway.Options{Built: readVersion().built})).Read().Why()
}

// printPlan shows how a line will be polled.
func (a *app) printPlan(line *modbus.LineConfig) {
	plan := modbus.Plan(*line)
	endpoint, _ := modbus.ParseEndpoint(line.Port)
	serial := endpoint.Framing == modbus.Serial
	mode := ""
	if serial {
		mode = fmt.Sprintf(", %d baud, %d%c%d", line.BaudRate, line.DataBits, line.Parity, line.StopBits)
	}
	fmt.Fprintf(a.stdout, "line %s: %s%s\n", printable(line.Name), printable(line.Port), mode)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	wire := func(text string) string { // a column for serial lines
		if serial {
			return text + "\t"
		}
		return ""
	}
	fmt.Fprintf(w, "  device\tunit\tregisters\taddress\tcount\tevery\tbytes\t%svalues\n", wire("on the wire"))
	for _, r := range plan.Requests {
		fmt.Fprintf(w, "  %s\t%d\t%v\t%d\t%d\t%s\t%d\t%s%s\n", printable(r.Device), r.UnitID, r.Table, r.Address, r.Count,
			config.DurationText(r.Interval), r.Bytes, wire(fmt.Sprintf("%.1f ms", ms(r.Wire))), shorten(r.Registers, 4))
	}
	w.Flush()
	fmt.Fprintf(a.stdout, "  at most %.1f requests/s", plan.RequestsPerSecond)
	if serial {
		fmt.Fprintf(a.stdout, ": %.1f %% of the line, and %.1f %% more if devices take 10 ms to answer", plan.Load*100, plan.RequestsPerSecond)
	}
	fmt.Fprintln(a.stdout)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// shorten lists the first names and says how many more there are.
func shorten(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func (a *app) checkJSON(found *findings) error {
	cfg := found.cfg
	report := checkReport{OK: found.err() == nil, Problems: problemsJSON(found.problems), Live: problemsJSON(found.live), Lines: []lineJSON{}}
	if cfg != nil {
		for i := range cfg.Modbus {
			report.Lines = append(report.Lines, planJSON(&cfg.Modbus[i]))
		}
		report.Clock = clockTrouble(cfg)
	}
	return a.printIndented(report)
}

func problemsJSON(problems []config.Problem) []problemJSON {
	list := []problemJSON{}
	for _, p := range problems {
		list = append(list, problemJSON{File: p.File, Line: p.Line, Column: p.Col, Path: p.Path, What: p.What, Fix: p.Fix, Warning: p.Warning})
	}
	return list
}

func planJSON(line *modbus.LineConfig) lineJSON {
	plan := modbus.Plan(*line)
	l := lineJSON{Source: line.Name, RequestsPerSecond: plan.RequestsPerSecond, LoadPercent: plan.Load * 100,
		Warnings: append([]string{}, plan.Warnings...), Requests: []requestJSON{}}
	for _, r := range plan.Requests {
		l.Requests = append(l.Requests, requestJSON{
			Device: r.Device, UnitID: r.UnitID, Register: r.Table.String(), Address: r.Address, Count: r.Count,
			Values: r.Registers, IntervalMs: ms(r.Interval), Bytes: r.Bytes, WireMs: ms(r.Wire),
		})
	}
	return l
}
