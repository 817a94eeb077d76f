package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"

	"github.com/spf13/cobra"
)

type canDumpOptions struct {
	filters     []string
	dbc         []string
	match       string
	log, asJSON bool
	logged      bool
	stamp       string
	count       uint64
	duration    time.Duration
}

func (a *app) newCANDumpCommand() *cobra.Command {
	var o canDumpOptions
	c := &cobra.Command{
		Use:   "dump INTERFACE[,FILTER]...",
		Short: "Print the frames of CAN buses as candump does",
		Long: `dump prints what is on one or several buses, in candump's form, until Ctrl-C.
An INTERFACE is a SocketCAN device, "any" for all of them that there are now,
replay:FILE (a log as decode reads them; ?bus=NAME selects one of its interfaces)
or a simulation such as sim:engine. Filters are candump's, too:

  ID:MASK  passes what matches, ID~MASK what does not; an id of 8 digits is extended
  #MASK    prints error frames of these classes; #1FFFFFFF prints all
  j        a frame passes only when all filters pass it

Long J1939 messages that --dbc describes are joined from their packets (PGN EC00 and
EB00, which the filters have to pass): a line behind a tab, or with --json one
with "packets":true, follows that of the last packet.

Frames that were dropped because this program was too slow are counted on stderr.`,
		Example: `  fieldferry can dump can0
  fieldferry can dump can0,100:7F0,#1FFFFFFF can1 --log > drive.log
  fieldferry can dump can0 --dbc engine.dbc`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.canDump(c.Context(), args, o) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.filters, "filter", nil, "`FILTER` for all interfaces; may be repeated")
	f.StringArrayVar(&o.dbc, "dbc", nil, "DBC `FILE` to decode signals by; may be repeated")
	f.StringVar(&o.match, "match", "auto", "`HOW` extended ids find their message: auto, pgn or id")
	f.BoolVarP(&o.log, "log", "L", false, "print the form of a log (candump -L), which can be replayed; to a file with > FILE")
	f.BoolVarP(&o.logged, "logfile", "l", false, "as candump -l: say how a log is written")
	_ = f.MarkHidden("logfile")
	f.BoolVar(&o.asJSON, "json", false, "print one JSON object a frame")
	f.StringVarP(&o.stamp, "time", "t", "n", "print times, `FORM` a: absolute, d: since the frame before, z: since the first, n: none")
	addCount(f, &o.count, "frames")
	addFor(f, &o.duration)
	return c
}

func (a *app) canDump(ctx context.Context, args []string, o canDumpOptions) error {
	switch {
	case o.logged:
		return usageError("-l: write a log with --log > FILE, as in fieldferry can dump can0 --log > drive.log")
	case o.log && o.asJSON:
		return usageError("--log and --json: choose one")
	case o.log && len(o.dbc) > 0:
		return usageError("--log and --dbc: a log holds no signals; choose one")
	case !strings.Contains("adzn", o.stamp) || len(o.stamp) != 1:
		return usageError("--time %s: use a, d, z or n", o.stamp)
	}
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &dumper{out: bufio.NewWriter(a.stdout), err: a.stderr, opts: o, done: cancel}
	if len(o.dbc) > 0 {
		match, err := parseMatch(o.match)
		if err != nil {
			return err
		}
		if d.db, err = a.loadDBC(o.dbc, match, false); err != nil {
			return err
		}
	}
	args, err := expandAny(args, canInterfaces)
	if err != nil {
		return err
	}
	var jobs []canJob
	for _, arg := range args {
		h, cfg, err := d.bus(arg, o.filters)
		if err != nil {
			return usageError("%w", err)
		}
		b, err := a.newBus(cfg)
		if err != nil {
			return err
		}
		jobs = append(jobs, canJob{b, h})
	}
	err = runBuses(ctx, cancel, jobs)
	for _, j := range jobs {
		j.h.(*dumpedBus).news.end()
	}
	return errors.Join(err, d.flush())
}

// canJob is a bus that is read, and who takes what comes of it.
type canJob struct {
	bus *can.Bus
	h   can.Handler
}

func (a *app) newBus(cfg can.Config) (*can.Bus, error) {
	b, err := can.New(cfg, slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return nil, usageError("%w", err)
	}
	return b, nil
}

// runBuses reads buses until all have ended; one that fails ends the others.
func runBuses(ctx context.Context, cancel func(), jobs []canJob) error {
	var wait sync.WaitGroup
	errs := make([]error, len(jobs))
	for i, j := range jobs {
		wait.Go(func() {
			if err := j.bus.Run(ctx, j.h); err != nil && !errors.Is(err, can.ErrEnd) {
				errs[i] = err
				cancel()
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// dumper prints the frames of several buses.
type dumper struct {
	opts canDumpOptions
	err  io.Writer
	done func()
	db   *dbc.Database // nil: none

	mu     sync.Mutex
	out    *bufio.Writer
	failed error
	width  int  // of the longest name so far
	indent bool // an extended id has been seen
	first  int64
	printed,
	dropped uint64
	line   []byte
	values []dbc.Value
	parts  map[*dbc.Message]bool // of which something was said
}

// dumpedBus is one of the buses; it takes what is delivered.
type dumpedBus struct {
	*dumper
	name    string
	classes uint32 // of error frames to be printed
	news    busNews

	transport dbc.Transport
}

// bus takes an argument such as can0,123:7FF apart.
func (d *dumper) bus(arg string, filters []string) (*dumpedBus, can.Config, error) {
	name, list, more := strings.Cut(arg, ",")
	all := append([]string{}, filters...)
	if more {
		all = append(all, strings.Split(list, ",")...)
	}
	cfg := can.Config{Interface: name, FD: true}
	set, err := can.ParseFilters(all)
	if err != nil {
		return nil, cfg, err
	}
	set.AddTo(&cfg)
	src, err := can.ParseInterface(name)
	if err != nil {
		return nil, cfg, err
	}
	h := &dumpedBus{dumper: d, name: busName(src)}
	if set.Errors {
		h.classes = set.ErrorClasses
	}
	return h, cfg, nil
}

// busName is what the lines of a bus begin with.
func busName(src can.Source) string {
	switch src.Kind {
	case can.Sim:
		return src.Name
	case can.Replay:
		return cmp.Or(src.Bus, "replay")
	}
	return src.String()
}

// Frames implements can.Handler.
func (h *dumpedBus) Frames(batch []can.Frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range batch {
		h.print(&batch[i])
	}
	h.keep(h.out.Flush())
}

// ErrorFrame implements can.ErrorHandler.
func (h *dumpedBus) ErrorFrame(f *can.Frame) {
	if f.ID&h.classes == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.print(f)
	h.keep(h.out.Flush())
}

// Gap implements can.GapHandler: what is joined from several frames does not
// span it.
func (h *dumpedBus) Gap() { h.transport.Lost() }

// Lost implements can.Handler.
func (h *dumpedBus) Lost(frames uint64) {
	h.Gap()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropped += frames
	fmt.Fprintf(h.err, "DROPCOUNT: dropped %d CAN frames on '%s' socket (total drops %d)\n", frames, h.name, h.dropped)
}

// Event implements can.Handler.
func (h *dumpedBus) Event(e bus.Event) {
	h.news.say(h.err, fmt.Sprintf("%s: %s %s\n", h.name, e.Code, e.State))
}

// keep notes the first error of the output, which ends the dump: whoever read
// it is gone.
func (d *dumper) keep(err error) {
	if err != nil && d.failed == nil {
		d.failed = err
		d.done()
	}
}

func (d *dumper) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keep(d.out.Flush())
	return d.failed
}

func (h *dumpedBus) print(f *can.Frame) {
	if h.opts.count > 0 && h.printed >= h.opts.count {
		return
	}
	h.printed++
	h.width = max(h.width, len(h.name))
	h.indent = h.indent || f.Flags&can.Extended != 0
	switch {
	case h.opts.log:
		h.line = can.AppendLog(h.line[:0], *f, strings.Repeat(" ", h.width-len(h.name))+h.name)
	case h.opts.asJSON:
		h.line = append(h.appendJSON(h.line[:0], f), '}', '\n')
	default:
		h.line = append(h.line[:0], ' ')
		h.line = h.appendStamp(h.line, f.Time/1000)
		h.line = fmt.Appendf(h.line, " %*s  ", h.width, h.name)
		h.line = append(h.appendSignals(can.AppendLong(h.line, f, h.indent), f), '\n')
	}
	if p, m := h.join(&h.transport, f); m != nil {
		h.line = h.appendJoined(h.line, &p, m)
	}
	_, err := h.out.Write(h.line)
	h.keep(err)
	if h.printed == h.opts.count {
		h.done()
	}
}

// appendStamp appends a time as candump -t does. us are microseconds.
func (d *dumper) appendStamp(dst []byte, us int64) []byte {
	switch d.opts.stamp {
	case "a":
		return fmt.Appendf(dst, "(%010d.%06d) ", us/1e6, us%1e6)
	case "d", "z":
		if d.first == 0 {
			d.first = us
		}
		diff := max(us-d.first, 0)
		if d.opts.stamp == "d" {
			d.first = us
		}
		return fmt.Appendf(dst, "(%03d.%06d) ", diff/1e6, diff%1e6)
	}
	return dst
}
