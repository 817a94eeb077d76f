// Command crash proves the buffer's promise by breaking off a workload.
//
//	crash work DIRECTORY              append and acknowledge, and print what is promised
//	crash check DIRECTORY LOG...      verify the buffer, and that everything promised is kept
//	crash kill [-cycles N] DIRECTORY  run and kill the workload N times, and check
//	crash faults [-every N] DIRECTORY run it once for each system call, which fails, and check
//	crash cuts [-lives N] [-places N] DIRECTORY
//	                                  cut the power between its system calls, and check
//
// # Nouns
//
// A promise is one line of the workload: "session N"; "synced SOURCE SEQ",
// everything of the source in this session up to SEQ is on disk; "acked SESSION
// SOURCE SEQ COUNT", so many records are delivered and need not be there. The
// log is the promises of workloads that ran one after the other; its last line
// may be cut. A promise is printed only after it has been made, so that a crash
// at any instant, of the process or of the machine, must leave it kept.
//
// # Caveats
//
// faults and cuts need strace. Its counters are those of one thread: where the
// workload changes threads a call may fail in each of them. cuts does not cut
// anything: it works out what a disk could have kept of the calls so far. It is
// stricter than a file system, which makes more last than it has to.
//
// The check does what `fieldferry buffer verify` and `buffer dump` do: it
// changes nothing. A loss record keeps a promise only for eviction, which the
// workload's small buffer brings about; damage is a failure.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 {
		f := flag.NewFlagSet(args[0], flag.ExitOnError)
		switch {
		case args[0] == "work":
			o := options{}
			f.DurationVar(&o.interval, "sync", 20*time.Millisecond, "sync interval of the buffer")
			f.Int64Var(&o.maxSize, "max-size", 1<<20, "size limit of the buffer")
			f.StringVar(&o.heard, "heard", "", "HOST:PORT that takes the promises, and answers each line \"heard?\" with a byte")
			f.IntVar(&o.steps, "steps", 0, "end in order after so many steps; 0: never")
			if _ = f.Parse(args[1:]); f.NArg() == 1 {
				return work(f.Arg(0), o, os.Stdout)
			}
		case args[0] == "check" && len(args) > 2:
			p := newPromises()
			for _, name := range args[2:] {
				text, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				if err := p.read(string(text)); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			if err := p.check(args[1]); err != nil {
				return err
			}
			fmt.Println(p.summary())
			return nil
		case args[0] == "kill":
			cycles := f.Int("cycles", 1000, "how often")
			if _ = f.Parse(args[1:]); f.NArg() == 1 {
				return killLoop(f.Arg(0), *cycles)
			}
		case args[0] == "cuts":
			lives := f.Int("lives", 10, "how often the workload runs")
			places := f.Int("places", 200, "power cuts in each life; 0: behind every system call")
			seed := f.Uint64("seed", uint64(time.Now().UnixNano()), "of where they are and what they leave")
			if _ = f.Parse(args[1:]); f.NArg() == 1 {
				return cuts(f.Arg(0), *lives, *places, *seed)
			}
		case args[0] == "faults":
			every := f.Int("every", 1, "fail only every Nth call of each kind")
			if _ = f.Parse(args[1:]); f.NArg() == 1 {
				return faults(f.Arg(0), *every)
			}
		}
	}
	return fmt.Errorf("use crash faults [-every N] DIRECTORY, crash cuts [-lives N] [-places N] DIRECTORY, crash work DIRECTORY, crash check DIRECTORY LOG..., or crash kill [-cycles N] DIRECTORY")
}
