package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fieldferry/buffer"
)

// cuts has a workload live several times, each time on what a power cut has
// left of the life before, writes down its system calls, and cuts the power
// of a disk with a volatile cache at many places between them, with 0 at all
// of them. After each cut the promises made by then have to be kept, before and
// after the buffer has been opened.
func cuts(dir string, lives, places int, seed uint64) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Printf("seed %d\n", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := cutter{dir: filepath.Join(dir, "buffer"), after: filepath.Join(dir, "after")}
	if err := errors.Join(os.RemoveAll(c.dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	for life := range lives {
		d := newDisk(c.dir)
		if err := d.load(); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		events, err := record(ctx, filepath.Join(dir, "strace"), self, "work", "-steps", fmt.Sprint(cutSteps), "-sync", "1ms", c.dir)
		cancel()
		if err != nil {
			return err
		}
		if err := c.life(d, events, places, rng); err != nil {
			return fmt.Errorf("life %d: %w", life+1, err)
		}
	}
	fmt.Printf("%d lives, %d power cuts between %d system calls, %d promises, %d records looked for: all kept, %d of them accounted for as evicted\n",
		lives, c.cuts, c.calls, strings.Count(c.said, "\n"), c.checked, c.lost)
	return nil
}

const cutSteps = 45

type cutter struct {
	dir   string
	after string // what a cut leaves
	said  string // by the lives so far

	cuts, calls   int
	checked, lost uint64
}

// life cuts the power in one life; what one of the cuts leaves is where the
// next life begins.
func (c *cutter) life(d *disk, events []event, places int, rng *rand.Rand) error {
	at := make([]int, len(events)+1)
	for i := range at {
		at[i] = i
	}
	if places > 0 {
		rng.Shuffle(len(at), func(i, j int) { at[i], at[j] = at[j], at[i] })
		at = at[:min(places, len(at))]
		slices.Sort(at)
	}
	next := rng.IntN(len(at))
	said, left := "", ""
	for i, n := range at {
		from := 0
		if i > 0 {
			from = at[i-1]
		}
		for ; from < n; from++ {
			e := &events[from]
			d.apply(from, e)
			if e.name == "write" && e.fd == 1 {
				said += string(e.data)
			}
		}
		keep := []float64{0, 0.1, 0.5, 0.9, 1}[rng.IntN(5)] // with 1 it is the process that was killed
		if err := c.cut(d, said, keep, rng); err != nil {
			return fmt.Errorf("power cut behind call %d of %d, %v of what was not synced stays: %w", n, len(events), keep, err)
		}
		if i == next {
			if err := d.cut(c.dir, keep, rng); err != nil {
				return err
			}
			left = said
		}
	}
	c.said += left
	c.calls += len(events)
	return nil
}

func (c *cutter) cut(d *disk, said string, keep float64, rng *rand.Rand) error {
	if err := d.cut(c.after, keep, rng); err != nil {
		return err
	}
	c.cuts++
	p := newPromises()
	if err := p.read(c.said + said); err != nil {
		return err
	}
	if p.session == 0 {
		return nil // nothing was promised yet
	}
	if err := p.check(c.after); err != nil {
		return err
	}
	b, err := buffer.Open(workConfig(c.after, options{interval: time.Hour, maxSize: 1 << 20}), nil)
	if err != nil {
		return err
	}
	session := b.Stats().Session
	if err := b.Close(); err != nil {
		return err
	}
	if session <= p.session {
		return fmt.Errorf("session %d was begun after session %d", session, p.session)
	}
	if err := p.check(c.after); err != nil {
		return fmt.Errorf("after it was opened again: %w", err)
	}
	c.checked += p.checked
	c.lost += p.lost
	return nil
}
