package main

import (
	"context"
	"fmt"
	"strings"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/can/logfile"

	"github.com/spf13/cobra"
)

type decodeOptions struct {
	files  []string
	match  string
	strict bool
	keep   []string
}

func (a *app) newDecodeCommand() *cobra.Command {
	var o decodeOptions
	c := &cobra.Command{
		Use:   "decode --dbc FILE... [LOG|-]",
		Short: "Turn a log into JSON Lines with decoded signals",
		Long: `decode reads a log from a file or standard input (candump -l, -L or -ta; Vector ASC;
CSV of SavvyCAN and python-can; gzip of all) and prints one JSON object a frame. A
frame that no message of the DBC files describes is printed with its data and
without a name.

In J1939 messages, raw values reserved for "not available" and "error indicator"
that the limits of the signal exclude are null, with the reason in "errors";
--keep-reserved prints their numbers. Other values outside of the limits are
printed, and named in "out_of_range".

Faults in a DBC file are reported and left out; signals that overlap are read as
they are. --strict refuses such a file, and messages that two files describe
differently; what is only odd stays a warning.
The exit code is 1 when the log has lines and none of them is a frame.`,
		Example: `  fieldferry decode --dbc engine.dbc drive.log
  candump -L can0 | fieldferry decode --dbc engine.dbc --dbc body.dbc
  fieldferry decode --dbc e.dbc drive.asc.gz | jq -r 'select(.name=="EEC1")|[.ts,(.signals.EngineSpeed|.value? // .)]|@csv'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			log := "-"
			if len(args) == 1 {
				log = args[0]
			}
			return a.decode(c.Context(), o, log)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.files, "dbc", nil, "DBC `FILE`; may be repeated")
	f.StringVar(&o.match, "match", "auto", "`HOW` extended ids find their message: auto, pgn or id")
	f.StringArrayVar(&o.keep, "keep-reserved", nil, "print the numbers that J1939 reserves, of `MESSAGE` or MESSAGE.SIGNAL; may be repeated")
	f.Bool("json", true, "print JSON Lines, as always")
	f.BoolVar(&o.strict, "strict", false, "refuse a DBC file with a faulty statement")
	return c
}

func (a *app) decode(ctx context.Context, o decodeOptions, log string) error {
	if len(o.files) == 0 {
		return usageError("--dbc is missing; name the file that describes the frames")
	}
	match, err := parseMatch(o.match)
	if err != nil {
		return err
	}
	db, err := a.loadDBC(o.files, match, o.strict)
	if err != nil {
		return err
	}
	for _, name := range o.keep {
		if !keepReserved(db, name) {
			return usageError("--keep-reserved %q is not a message or MESSAGE.SIGNAL of the DBC files", name)
		}
	}
	in := a.input(ctx, log)
	defer in.Close()
	d := dbc.NewDecoder(db)
	var malformed malformedLines
	d.Malformed = malformed.note
	d.Part = func(m *dbc.Message) {
		a.warn(partText, log, m.Name, dbc.PGN(m.ID))
	}
	frames, _, err := logfile.NewReader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", log, err)
	}
	err = d.Decode(frames, a.stdout)
	malformed.report(a.warn, log)
	if err == nil && d.Stats().Frames == 0 && malformed.n > 0 {
		err = fmt.Errorf("%s: no frame in it; a log is recorded with candump -l, or is an ASC file or a CSV file of SavvyCAN or python-can", log)
	}
	if n := d.Stats().Untimed; n > 0 {
		a.warn("%s: the times of the log are missing, all the same or go back: J1939 messages (%d) were joined by the order of their packets alone", log, n)
	}
	return err
}

// keepReserved makes numbers of what J1939 reserves, in MESSAGE or MESSAGE.SIGNAL.
func keepReserved(db *dbc.Database, name string) (found bool) {
	for _, m := range db.Messages() {
		for _, own := range []string{m.Name, m.Symbol} {
			signal, of := strings.CutPrefix(name, own+".")
			switch {
			case name == own:
				m.KeepReserved("")
				found = true
			case of && signal != "":
				found = m.KeepReserved(signal) || found
			}
		}
	}
	return found
}

func parseMatch(s string) (dbc.Match, error) {
	match, ok := dbc.ParseMatch(s)
	if !ok {
		return match, usageError("--match %q is unknown; use auto, pgn or id", s)
	}
	return match, nil
}

// loadDBC reads DBC files and prints what is wrong with them.
func (a *app) loadDBC(paths []string, match dbc.Match, strict bool) (*dbc.Database, error) {
	defer thriftily()()
	var files []*dbc.File
	for _, path := range paths {
		file, diagnostics, err := dbc.ParseFile(path, dbc.Options{})
		if err != nil {
			return nil, usageError("read the DBC file: %w", err)
		}
		for _, d := range diagnostics {
			a.warn("%v", d)
		}
		if dbc.Err(diagnostics, strict) != nil {
			return nil, usageError("the DBC file %s is refused for the reasons above", path)
		}
		files = append(files, file)
	}
	db, conflicts := dbc.NewDatabase(match, files...)
	for _, d := range conflicts {
		a.warn("%v", d)
	}
	if dbc.Err(conflicts, strict) != nil {
		return nil, usageError("the DBC files are refused for the reasons above")
	}
	return db, nil
}

// malformedLines remembers the first lines that hold no frame, and how many
// there are.
type malformedLines struct {
	first []string
	n     int
}

func (m *malformedLines) note(e *can.LineError) {
	if m.n++; len(m.first) < 3 {
		m.first = append(m.first, e.Error())
	}
}

func (m *malformedLines) report(warn func(format string, args ...any), log string) {
	for _, e := range m.first {
		warn("%s: %s", log, e)
	}
	if rest := m.n - len(m.first); rest > 0 {
		warn("%s: %d more lines hold no frame", log, rest)
	}
}
