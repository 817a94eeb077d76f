package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"fieldferry/bus/can/send"

	"github.com/spf13/cobra"
)

type canReplayOptions struct {
	speed  string
	loop   bool
	rounds uint64
	maps   []string
}

func (a *app) newCANReplayCommand() *cobra.Command {
	var o canReplayOptions
	c := &cobra.Command{
		Use:   "replay FILE [INTERFACE] [HERE=LOG]...",
		Short: "Send a recorded log in its own timing",
		Long: `replay sends the frames of a log (candump -l, can dump --log; Vector ASC, CSV of
SavvyCAN and python-can, gzip of all) to an INTERFACE, as far apart as they were
recorded. "-" is standard input. HERE=LOG, in canplayer's order, sends the frames
of the log's interface LOG to the interface HERE; the others go to INTERFACE, or
nowhere if none is given. Each log and its interface are shown before anything is sent.

Error frames cannot be sent and are passed over. It refuses interfaces that are
listen-only.`,
		Example: `  fieldferry can replay drive.log vcan0
  fieldferry can replay drive.log vcan0=can0 vcan1=can1 --speed 10 --loop
  fieldferry can replay drive.log --map vcan0=can0`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.canReplay(c.Context(), args, o) },
	}
	f := c.Flags()
	f.StringVar(&o.speed, "speed", "1", "`FACTOR`: 10 is ten times as fast, max as fast as the interface takes it")
	f.BoolVar(&o.loop, "loop", false, "again and again, until Ctrl-C")
	addCount(f, &o.rounds, "rounds; default 1", "rounds")
	f.StringArrayVar(&o.maps, "map", nil, "`HERE=LOG`: frames of the log's interface LOG go to interface HERE; may be repeated")
	return c
}

func (a *app) canReplay(ctx context.Context, args []string, o canReplayOptions) error {
	speed, err := parseReplaySpeed(o.speed)
	if err != nil {
		return err
	}
	rounds := int(min(max(o.rounds, 1), math.MaxInt32))
	if o.loop {
		rounds = 0
	}
	if args[0] == "-" && rounds != 1 {
		return usageError("standard input can be replayed once only")
	}
	r := routes{open: func(name string) (sender, error) { return send.Open(name) }, to: map[string]sender{}, byHere: map[string]sender{}}
	defer r.close()
	here, maps, err := targets(args[1:], o.maps)
	if err != nil {
		return err
	}
	if err := r.set(here, maps); err != nil {
		return err
	}
	a.showRoutes(here, r.pairs)
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

// targets are the arguments behind the file: one interface for all, and pairs.
func targets(args, flags []string) (here string, maps []string, err error) {
	maps = append(maps, flags...)
	for _, arg := range args {
		switch {
		case strings.Contains(arg, "="):
			maps = append(maps, arg)
		case here != "":
			return "", nil, usageError("two interfaces, %s and %s; write HERE=LOG for each interface of the log", here, arg)
		default:
			here = arg
		}
	}
	return here, maps, nil
}

// showRoutes says what goes where, before it goes.
func (a *app) showRoutes(here string, pairs []routePair) {
	for _, p := range pairs {
		a.warn("frames of %s in the log go to %s", p.log, p.here)
	}
	switch {
	case here == "":
		a.warn("others go nowhere")
	case len(pairs) > 0:
		a.warn("others go to %s", here)
	default:
		a.warn("all frames of the log go to %s", here)
	}
}

// routePair is where the frames of an interface of the log go.
type routePair struct{ here, log string }

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
	pairs  []routePair
}

func (r *routes) set(here string, maps []string) (err error) {
	if here == "" && len(maps) == 0 {
		return usageError("where to? give an interface, or HERE=LOG")
	}
	for _, m := range maps {
		target, log, ok := strings.Cut(m, "=")
		if !ok || log == "" || target == "" {
			return usageError("--map %s: write HERE=LOG, as vcan0=can0 for the frames of can0 in the log", m)
		}
		if slices.ContainsFunc(r.pairs, func(p routePair) bool { return p.log == log }) {
			return usageError("--map %s: frames of %s go somewhere already", m, log)
		}
		r.pairs = append(r.pairs, routePair{target, log})
	}
	if here != "" {
		if r.rest, err = r.sender(here); err != nil {
			return err
		}
	}
	for _, p := range r.pairs {
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
