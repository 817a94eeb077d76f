package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"fieldferry/bus/can/send"

	"github.com/spf13/cobra"
)

type canReplayOptions struct {
	speed  string
	loop   bool
	rounds int
	maps   []string
}

func (a *app) newCANReplayCommand() *cobra.Command {
	var o canReplayOptions
	c := &cobra.Command{
		Use:   "replay FILE [INTERFACE]",
		Short: "Send a recorded log in its own timing",
		Long: `replay sends the frames of a log (candump -l, can dump --log) to an INTERFACE,
as far apart as they were recorded. "-" is standard input. --map says which
interface of the log goes where; the others go to INTERFACE, or nowhere if none
is given. Error frames cannot be sent and are passed over. It refuses interfaces
that are listen-only.`,
		Example: `  fieldferry can replay drive.log vcan0
  fieldferry can replay drive.log --map can0=vcan0 --map can1=vcan1 --speed 10 --loop`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error { return a.canReplay(c.Context(), args, o) },
	}
	f := c.Flags()
	f.StringVar(&o.speed, "speed", "1", "`FACTOR`: 10 is ten times as fast, max as fast as the interface takes it")
	f.BoolVar(&o.loop, "loop", false, "again and again, until Ctrl-C")
	f.IntVar(&o.rounds, "rounds", 1, "how often")
	f.StringArrayVar(&o.maps, "map", nil, "`LOG=HERE`: frames of interface LOG go to interface HERE; may be repeated")
	return c
}

func (a *app) canReplay(ctx context.Context, args []string, o canReplayOptions) error {
	speed, err := parseReplaySpeed(o.speed)
	if err != nil {
		return err
	}
	rounds := o.rounds
	switch {
	case o.loop:
		rounds = 0
	case rounds < 1:
		return usageError("--rounds %d: use 1 or more, or --loop", rounds)
	}
	if args[0] == "-" && rounds != 1 {
		return usageError("standard input can be replayed once only")
	}
	r := routes{open: func(name string) (sender, error) { return send.Open(name) }, to: map[string]sender{}, byHere: map[string]sender{}}
	defer r.close()
	here := ""
	if len(args) == 2 {
		here = args[1]
	}
	if err := r.set(here, o.maps); err != nil {
		return err
	}
	began := time.Now()
	faults := 0
	done, err := send.Play(ctx, send.Log{
		Open:  func() (io.ReadCloser, error) { return a.input(ctx, args[0]), nil },
		Speed: speed, Rounds: rounds, To: r.find,
		Bad: func(err error) {
			const named = 3
			if faults++; faults <= named {
				a.warn("%s: %v", args[0], err)
			}
		},
	})
	fmt.Fprintf(a.stderr, "sent %d frames in %.1f s, skipped %d, %d lines were not frames\n",
		done.Sent, time.Since(began).Seconds(), done.Skipped, done.Bad)
	return err
}

func parseReplaySpeed(s string) (float64, error) {
	if s == "max" {
		return math.Inf(1), nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0.001 && v <= 1e6) {
		return 0, usageError("--speed %s: use a factor from 0.001 to 1000000, or max", s)
	}
	return v, nil
}

// sender is where frames go, and is closed afterwards.
type sender interface {
	send.Writer
	io.Closer
}

// routes say which interface of a log goes where.
type routes struct {
	open   func(name string) (sender, error)
	byHere map[string]sender
	to     map[string]sender // by the interface of the log
	rest   sender            // of all others; nil: nowhere
}

func (r *routes) set(here string, maps []string) (err error) {
	if here == "" && len(maps) == 0 {
		return usageError("where to? give an interface, or --map LOG=HERE")
	}
	type pair struct{ log, here string }
	var pairs []pair
	for _, m := range maps {
		log, target, ok := strings.Cut(m, "=")
		if !ok || log == "" || target == "" {
			return usageError("--map %s: write LOG=HERE, as can0=vcan0", m)
		}
		pairs = append(pairs, pair{log, target})
	}
	if here != "" {
		if r.rest, err = r.sender(here); err != nil {
			return err
		}
	}
	for _, p := range pairs {
		if r.to[p.log], err = r.sender(p.here); err != nil {
			return err
		}
	}
	return nil
}

func (r *routes) sender(name string) (sender, error) {
	if s := r.byHere[name]; s != nil {
		return s, nil
	}
	s, err := r.open(name)
	if err == nil {
		r.byHere[name] = s
	}
	return s, err
}

func (r *routes) find(iface []byte) send.Writer {
	if s := r.to[string(iface)]; s != nil {
		return s
	}
	if r.rest != nil {
		return r.rest
	}
	return nil
}

func (r *routes) close() error {
	var errs []error
	for _, s := range r.byHere {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
