package main

import (
	"fmt"
	"log/slog"

	"fieldferry/buffer"

	"github.com/spf13/cobra"
)

func (a *app) newBufferCompactCommand() *cobra.Command {
	var asJSON, dropBad bool
	var o configOptions
	c := &cobra.Command{
		Use:   "compact [DIRECTORY]",
		Short: "Repair a buffer and free the room of what is acknowledged",
		Long: `compact repairs what is damaged in the buffer of a stopped daemon, as the
daemon does when it starts, and accounts for what is lost by loss records. Then
it writes the segments again without what is acknowledged and joins small ones.
No record is evicted, and power may fail at any time. It begins a session.
Without DIRECTORY it is the buffer of the configuration.`,
		Example: `  sudo systemctl stop fieldferry && sudo -u fieldferry fieldferry buffer compact
  fieldferry buffer compact ./buffer`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.onBuffer(&o, func(path string) error { return a.bufferCompact(path, dropBad, asJSON) }),
	}
	o.addFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&dropBad, "remove-damaged", false, "remove the damaged files that were put aside")
	return c
}

func (a *app) bufferCompact(dir string, dropBad, asJSON bool) error {
	bar := a.newBar("compacting", bytesText)
	log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	c, err := buffer.Compact(dir, dropBad, bar.show, log)
	bar.clear()
	if err != nil {
		return err
	}
	if asJSON {
		return a.printIndented(struct {
			BytesBefore    int64    `json:"bytes_before"`
			BytesAfter     int64    `json:"bytes_after"`
			SegmentsBefore int      `json:"segments_before"`
			SegmentsAfter  int      `json:"segments_after"`
			Lost           uint64   `json:"lost"`
			Removed        []string `json:"removed"`
		}{c.BytesBefore, c.BytesAfter, c.SegmentsBefore, c.SegmentsAfter, c.Lost, append([]string{}, c.Removed...)})
	}
	for _, name := range c.Removed {
		fmt.Fprintf(a.stdout, "removed %s\n", printable(name))
	}
	if c.Lost > 0 {
		fmt.Fprintf(a.stdout, "%s could not be saved: loss records say which\n", counted(c.Lost, "record"))
	}
	fmt.Fprintf(a.stdout, "%s: %s in %s, before %s in %d\n", printable(dir),
		bytesText(c.BytesAfter), counted(uint64(c.SegmentsAfter), "segment"), bytesText(c.BytesBefore), c.SegmentsBefore)
	return nil
}
