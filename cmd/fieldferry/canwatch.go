package main

import (
	"context"
	"strings"
	"time"

	"fieldferry/bus/can"

	"github.com/spf13/cobra"
)

type canWatchOptions struct {
	filters  []string
	dbc      []string
	match    string
	count    uint64
	duration time.Duration
}

func (a *app) newCANWatchCommand() *cobra.Command {
	var o canWatchOptions
	c := &cobra.Command{
		Use:   "watch INTERFACE[,FILTER]...",
		Short: "Show one line per id, live: what changes is marked",
		Long: `watch shows the latest frame of each id in a line of its own: bus, id, length,
data, the time between two frames, how many there were, and with --dbc the
signals. Bytes that have changed within the last second are marked. Long J1939
messages that --dbc describes are joined and have lines of their own. An INTERFACE
is as for can dump.

On anything but a terminal it prints a line when an id is new or its data change.`,
		Example: `  fieldferry can watch can0
  fieldferry can watch can0 --dbc engine.dbc
  fieldferry can watch can0,0CF00400:1FFFFFFF 'replay:drive.log?loop'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.canWatch(c.Context(), args, o) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.filters, "filter", nil, "`FILTER` for all interfaces; may be repeated")
	f.StringArrayVar(&o.dbc, "dbc", nil, "DBC `FILE` to decode signals by; may be repeated")
	f.StringVar(&o.match, "match", "auto", "`HOW` extended ids find their message: auto, pgn or id")
	addCount(f, &o.count, "frames")
	addFor(f, &o.duration)
	return c
}

func (a *app) canWatch(ctx context.Context, args []string, o canWatchOptions) error {
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &idTable{out: a.stdout, err: a.stderr, plain: !isTerminal(a.stdout), done: cancel, most: o.count, rows: map[idKey]*idRow{}}
	if len(o.dbc) > 0 {
		match, err := parseMatch(o.match)
		if err != nil {
			return err
		}
		if t.dumper.db, err = a.loadDBC(o.dbc, match, false); err != nil {
			return err
		}
	}
	args, err := expandAny(args, canInterfaces)
	if err != nil {
		return err
	}
	var jobs []canJob
	var watched []*watchedBus
	for _, arg := range args {
		h, cfg, err := t.dumper.bus(arg, o.filters)
		if err != nil {
			return usageError("%w", err)
		}
		b, err := a.newBus(cfg)
		if err != nil {
			return err
		}
		w := &watchedBus{t: t, name: h.name}
		jobs, watched = append(jobs, canJob{b, w}), append(watched, w)
	}
	drawn := make(chan struct{})
	go func() {
		defer close(drawn)
		t.drawUntil(ctx)
	}()
	err = runBuses(ctx, cancel, jobs)
	for _, w := range watched {
		w.news.end()
	}
	cancel()
	<-drawn
	if err == nil {
		err = t.failed
	}
	return err
}

// hexBytes appends data with the bytes of which marked is true between on and off.
func hexBytes(dst []byte, data []byte, marked func(i int) bool, on, off string) []byte {
	const digits = "0123456789ABCDEF"
	inside := false
	for i, b := range data {
		if m := marked(i); m != inside {
			if inside {
				dst = append(dst, off...)
			}
			if i > 0 {
				dst = append(dst, ' ')
			}
			if m {
				dst = append(dst, on...)
			}
			inside = m
		} else if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, digits[b>>4], digits[b&15])
	}
	if inside {
		dst = append(dst, off...)
	}
	return dst
}

// idText is an id as candump shows it.
func idText(f *can.Frame) string {
	text := string(f.Append(nil))
	id, _, _ := strings.Cut(text, "#")
	return id
}
