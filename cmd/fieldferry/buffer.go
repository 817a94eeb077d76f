package main

import (
	"encoding/json"
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
	c.AddCommand(a.newBufferInfoCommand())
	return c
}

func (a *app) newBufferInfoCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "info DIRECTORY",
		Short: "Say what a buffer holds and whether it is sound",
		Long: `info looks into the buffer in a directory (buffer.path of the configuration)
and changes nothing. It may be used while the daemon runs: then it does not see
what is only in the daemon's memory. The exit code is 1 when there is damage.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.bufferInfo(args[0], asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// bufferJSON is a report for machines.
type bufferJSON struct {
	Directory string        `json:"directory"`
	InUse     bool          `json:"in_use"`
	PID       int           `json:"pid,omitempty"`
	Session   uint64        `json:"session"`
	Bytes     int64         `json:"bytes"`
	Pending   uint64        `json:"pending"`
	FirstTime string        `json:"first_time,omitempty"`
	LastTime  string        `json:"last_time,omitempty"`
	Segments  []segmentJSON `json:"segments"`
	Sources   []pendingJSON `json:"sources"`
	Losses    []lossJSON    `json:"losses"`
	Damage    []string      `json:"damage"`
}

type segmentJSON struct {
	File    string `json:"file"`
	Bytes   int64  `json:"bytes"`
	Records uint64 `json:"records"`
	Pending uint64 `json:"pending"`
	Damage  string `json:"damage,omitempty"`
}

// pendingJSON is what waits of one source and session.
type pendingJSON struct {
	Session uint64 `json:"session"`
	Source  string `json:"source"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Records uint64 `json:"records"`
	Lost    uint64 `json:"lost,omitempty"`
}

type lossJSON struct {
	Session uint64 `json:"session"`
	Source  string `json:"source"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Count   uint64 `json:"count"`
	Reason  string `json:"reason"`
}

func bufferReport(r *buffer.Report) bufferJSON {
	out := bufferJSON{Directory: r.Dir, InUse: r.InUse, PID: r.PID, Session: r.Session, Bytes: r.Bytes, Pending: r.Pending,
		FirstTime: stampText(r.FirstTime), LastTime: stampText(r.LastTime),
		Segments: []segmentJSON{}, Sources: []pendingJSON{}, Losses: []lossJSON{}, Damage: append([]string{}, r.Damage...)}
	for _, s := range r.Segments {
		out.Segments = append(out.Segments, segmentJSON{s.File, s.Bytes, s.Records, s.Pending, s.Damage})
	}
	for _, s := range r.Sources {
		out.Sources = append(out.Sources, pendingJSON{s.Session, s.Source, s.First, s.Last, s.Records, s.Lost})
	}
	for _, l := range r.Losses {
		out.Losses = append(out.Losses, lossJSON{l.Session, l.Source, l.Seq, l.Seq + l.Lost - 1, l.Lost, l.Reason.String()})
	}
	return out
}

func (a *app) printBuffer(r *buffer.Report) {
	fmt.Fprintf(a.stdout, "%s: session %d, %s in %d segments, %d records pending\n", r.Dir, r.Session, bytesText(r.Bytes), len(r.Segments), r.Pending)
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
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", s.File, bytesText(s.Bytes), s.Records, s.Pending, s.Damage)
		}
	}
	w.Flush()
	for _, d := range r.Damage {
		fmt.Fprintf(a.stderr, "damage: %s\n", d)
	}
}

func (a *app) bufferInfo(dir string, asJSON bool) error {
	r, err := buffer.Inspect(dir)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		err = e.Encode(bufferReport(&r))
	} else {
		a.printBuffer(&r)
	}
	if err == nil && len(r.Damage) > 0 {
		return &exitError{code: exitFailed}
	}
	return err
}

func stampText(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}
