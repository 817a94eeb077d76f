package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"fieldferry/buffer"

	"github.com/spf13/cobra"
)

func (a *app) newBufferCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "buffer",
		Short: "Look into a buffer on disk",
	}
	c.AddCommand(a.newBufferInfoCommand(), a.newBufferVerifyCommand(), a.newBufferDumpCommand(), a.newBufferCompactCommand())
	return group(c)
}

func (a *app) newBufferInfoCommand() *cobra.Command {
	var asJSON bool
	var o configOptions
	c := &cobra.Command{
		Use:   "info [PATH]",
		Short: "Say what a buffer holds and whether it is sound",
		Long: `info looks into the buffer in a directory (buffer.path of the configuration),
or into one of its segment files, and changes nothing. It may be used while the
daemon runs: then it does not see what is only in the daemon's memory. The exit
code is 1 when there is damage. Without PATH it is the buffer of the configuration.`,
		Example: `  sudo fieldferry buffer info
  fieldferry buffer info /var/lib/fieldferry --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.onBuffer(&o, func(path string) error { return a.bufferInfo(path, asJSON) }),
	}
	o.addFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) newBufferVerifyCommand() *cobra.Command {
	var asJSON bool
	var o configOptions
	c := &cobra.Command{
		Use:   "verify [PATH]",
		Short: "Read all of a buffer and check that nothing is damaged or missing",
		Long: `verify reads every page and every record of the buffer in a directory, or of
one of its segment files, and changes nothing. It checks checksums, structure
and that the sequence numbers of every source add up: what is neither there,
nor acknowledged, nor accounted for by a loss record is missing. While the
daemon runs it does not judge what lies between two files. The exit code is 1
when something is damaged or missing; the daemon repairs that when it starts,
and accounts for what is lost. Without PATH it is the buffer of the configuration.`,
		Example: `  sudo fieldferry buffer verify
  fieldferry buffer verify /var/lib/fieldferry --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.onBuffer(&o, func(path string) error { return a.bufferVerify(path, asJSON) }),
	}
	o.addFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// onBuffer runs a verb on the buffer at the path that was given, or else on that
// of the configuration.
func (a *app) onBuffer(o *configOptions, run func(path string) error) func(*cobra.Command, []string) error {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return run(args[0])
		}
		cfg, err := a.load(*o)
		if err != nil {
			return err
		}
		return run(cfg.Buffer.Dir)
	}
}

// bufferJSON is a report for machines.
type bufferJSON struct {
	Directory string        `json:"directory"`
	InUse     bool          `json:"in_use"`
	PID       int           `json:"pid,omitempty"`
	Session   uint64        `json:"session"`
	Bytes     int64         `json:"bytes"`
	Records   uint64        `json:"records"`
	Pending   uint64        `json:"pending"`
	FirstTime string        `json:"first_time,omitempty"`
	LastTime  string        `json:"last_time,omitempty"`
	Segments  []segmentJSON `json:"segments"`
	Sources   []pendingJSON `json:"sources"`
	Losses    []lossJSON    `json:"losses"`
	Damage    []string      `json:"damage"`
	Foreign   []string      `json:"foreign,omitempty"`
	OK        bool          `json:"ok"`
}

type segmentJSON struct {
	_ [0]func() // nobody compares them: saves the code for it

	File    string `json:"file"`
	Bytes   int64  `json:"bytes"`
	Records uint64 `json:"records"`
	Pending uint64 `json:"pending"`
	Damage  string `json:"damage,omitempty"`
}

// pendingJSON is what waits of one source and session.
type pendingJSON struct {
	_ [0]func() // nobody compares them: saves the code for it

	Session uint64 `json:"session"`
	Source  string `json:"source"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Records uint64 `json:"records"`
	Lost    uint64 `json:"lost,omitempty"`
}

type lossJSON struct {
	_ [0]func() // nobody compares them: saves the code for it

	Session uint64 `json:"session"`
	Source  string `json:"source"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Count   uint64 `json:"count"`
	Reason  string `json:"reason"`
}

func bufferReport(r *buffer.Report) bufferJSON {
	out := bufferJSON{Directory: r.Dir, InUse: r.InUse, PID: r.PID, Session: r.Session, Bytes: r.Bytes, Records: r.Records, Pending: r.Pending,
		FirstTime: stampText(r.FirstTime), LastTime: stampText(r.LastTime),
		Segments: []segmentJSON{}, Sources: []pendingJSON{}, Losses: []lossJSON{}, Damage: append([]string{}, r.Damage...),
		Foreign: r.Foreign, OK: len(r.Damage) == 0}
	for _, s := range r.Segments {
		out.Segments = append(out.Segments, segmentJSON{File: s.File, Bytes: s.Bytes, Records: s.Records, Pending: s.Pending, Damage: s.Damage})
	}
	for _, s := range r.Sources {
		out.Sources = append(out.Sources, pendingJSON{Session: s.Session, Source: s.Source, From: s.First, To: s.Last, Records: s.Records, Lost: s.Lost})
	}
	for _, l := range r.Losses {
		out.Losses = append(out.Losses, lossJSON{Session: l.Session, Source: l.Source, From: l.Seq, To: l.Seq + l.Lost - 1, Count: l.Lost, Reason: l.Reason.String()})
	}
	return out
}

func (a *app) printBuffer(r *buffer.Report) {
	fmt.Fprintf(a.stdout, "%s: session %d, %s in %s, %s pending\n", printable(r.Dir), r.Session, bytesText(r.Bytes),
		counted(uint64(len(r.Segments)), "segment"), counted(r.Pending, "record"))
	if r.InUse {
		fmt.Fprintf(a.stdout, "in use by process %d; what is only in its memory is not shown\n", r.PID)
	}
	if r.FirstTime != 0 {
		fmt.Fprintf(a.stdout, "from %s to %s\n", stampText(r.FirstTime), stampText(r.LastTime))
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if len(r.Sources) > 0 {
		fmt.Fprintln(w, "\nsession\tsource\tfrom\tto\trecords\tlost")
		for _, s := range r.Sources {
			fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%d\n", s.Session, printable(s.Source), s.First, s.Last, s.Records, s.Lost)
		}
	}
	if len(r.Segments) > 0 {
		fmt.Fprintln(w, "\nsegment\tsize\trecords\tpending\t")
		for _, s := range r.Segments {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", printable(s.File), bytesText(s.Bytes), s.Records, s.Pending, printable(s.Damage))
		}
	}
	w.Flush()
	a.printDamage(r)
}

func (a *app) printDamage(r *buffer.Report) {
	for _, d := range r.Damage {
		a.warn("damage: %v", d)
	}
	for _, f := range r.Foreign {
		a.warn("not the buffer's: %s", f)
	}
	if len(r.Damage) > 0 {
		fmt.Fprintln(a.stderr, "the daemon repairs this when it starts, as does fieldferry buffer compact; what cannot be saved is reported by loss records")
	}
}

// counted is n of something.
func counted(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) bufferInfo(path string, asJSON bool) error {
	bar := a.newBar("reading", bytesText)
	r, err := buffer.Inspect(path, bar.show)
	bar.clear()
	if err != nil {
		return err
	}
	if asJSON {
		err = a.printIndented(bufferReport(&r))
	} else {
		a.printBuffer(&r)
	}
	return errors.Join(err, damaged(&r))
}

func (a *app) bufferVerify(path string, asJSON bool) error {
	bar := a.newBar("verifying", bytesText)
	r, err := buffer.Verify(path, bar.show)
	bar.clear()
	if err != nil {
		return err
	}
	if asJSON {
		return errors.Join(a.printIndented(bufferReport(&r)), damaged(&r))
	}
	lost := uint64(0)
	for _, s := range r.Sources {
		lost += s.Lost
	}
	a.printDamage(&r)
	verdict := "ok"
	if n := len(r.Damage); n > 0 {
		verdict = fmt.Sprintf("%d damaged or missing", n)
	}
	fmt.Fprintf(a.stdout, "%s: %s in %s, %s, %d of them pending, %d accounted for as lost: %s\n",
		printable(r.Dir), bytesText(r.Bytes), counted(uint64(len(r.Segments)), "segment"), counted(r.Records, "record"), r.Pending, lost, verdict)
	return damaged(&r)
}

func (a *app) printIndented(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// damaged is the exit code that says that there is damage.
func damaged(r *buffer.Report) error {
	if len(r.Damage) == 0 {
		return nil
	}
	return &exitError{code: exitFailed}
}

func stampText(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}
