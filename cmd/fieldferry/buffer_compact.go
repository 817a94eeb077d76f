package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"fieldferry/buffer"

	"github.com/spf13/cobra"
)

func (a *app) newBufferCompactCommand() *cobra.Command {
	var asJSON, dropBad bool
	c := &cobra.Command{
		Use:   "compact DIRECTORY",
		Short: "Repair a buffer and free the room of what is acknowledged",
		Long: `compact repairs what is damaged in the buffer of a stopped daemon, as the
daemon does when it starts, and accounts for what is lost by loss records. Then
it writes the segments anew without what is acknowledged and joins small ones.
No record is evicted, and power may fail at any time. It begins a session.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.bufferCompact(args[0], dropBad, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&dropBad, "remove-damaged", false, "remove the damaged files that were put aside")
	return c
}

func (a *app) bufferCompact(dir string, dropBad, asJSON bool) error {
	bar := a.newBar("compacting")
	log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	c, err := buffer.Compact(dir, dropBad, bar.show, log)
	bar.clear()
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(struct {
			BytesBefore    int64    `json:"bytes_before"`
			BytesAfter     int64    `json:"bytes_after"`
			SegmentsBefore int      `json:"segments_before"`
			SegmentsAfter  int      `json:"segments_after"`
			Lost           uint64   `json:"lost"`
			Removed        []string `json:"removed"`
		}{c.BytesBefore, c.BytesAfter, c.SegmentsBefore, c.SegmentsAfter, c.Lost, append([]string{}, c.Removed...)})
	}
	for _, name := range c.Removed {
		fmt.Fprintf(a.stdout, "removed %s\n", name)
	}
	if c.Lost > 0 {
		fmt.Fprintf(a.stdout, "%d records could not be saved and are accounted for by loss records\n", c.Lost)
	}
	fmt.Fprintf(a.stdout, "%s: %s in %d segments, before %s in %d\n", dir,
		bytesText(c.BytesAfter), c.SegmentsAfter, bytesText(c.BytesBefore), c.SegmentsBefore)
	return nil
}

// bar shows on a terminal how far something has come that takes long.
type bar struct {
	out   io.Writer
	what  string
	begun time.Time
	shown time.Time
}

// barAfter is how long something has to take to be worth a bar.
const barAfter = time.Second

func (a *app) newBar(what string) *bar {
	b := &bar{out: io.Discard, what: what, begun: time.Now()}
	if isTerminal(a.stderr) {
		b.out = a.stderr
	}
	return b
}

func (b *bar) show(done, total int64) {
	now := time.Now()
	if now.Sub(b.begun) < barAfter || now.Sub(b.shown) < 100*time.Millisecond || total <= 0 {
		return
	}
	b.shown = now
	const width = 30
	n := int(min(done, total) * width / total)
	fmt.Fprintf(b.out, "\r%s [%s%s] %3d %% of %s", b.what, strings.Repeat("#", n), strings.Repeat(".", width-n), done*100/total, bytesText(total))
}

// clear removes the bar from the screen.
func (b *bar) clear() {
	if !b.shown.IsZero() {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}
