// Command bench measures what the buffer costs, beside what the same records
// cost in one bbolt file used naively and in mosquitto's persistence, in one
// run on one disk, and prints Markdown. docs/benchmarks.md has a run of it.
//
// # Nouns
//
// Bytes are those of the sectors written to the device, read from the kernel
// before and after, with a sync between: the records, the pages around them
// and the journal of the file system. The disk is an ext4 file system of its
// own on a loop device, which takes root. Records are those of a simulated CAN
// bus, 24 bytes each in the buffer and 125 as JSON.
//
// # Caveats
//
// Bytes repeat within a few per cent. Times depend on the machine and on what
// else it does: only their ratios within one run mean something.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"
)

func main() {
	seconds := flag.Duration("for", 4*time.Second, "how long each rate is measured")
	backlog := flag.Int("backlog", 10_000_000, "records of the long backlog")
	flag.Parse()
	if err := run(*seconds, *backlog); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(seconds time.Duration, backlog int) error {
	d, err := newDisk(3 << 30)
	if err != nil {
		return err
	}
	defer d.close()
	fmt.Printf("%s/%s, %d cores, Go %s, %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()[2:], time.Now().UTC().Format(time.DateOnly))
	b := bench{disk: d, seconds: seconds}
	for _, part := range []func() error{b.bytes, b.others, b.speed, func() error { return b.big(backlog) }, b.full, b.card} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// bench keeps what later parts compare with.
type bench struct {
	disk    *disk
	seconds time.Duration
	outage  map[string]float64 // bytes per record by case
	durable float64            // records/s
}
