package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"fieldferry/buffer"
)

type options struct {
	interval time.Duration
	maxSize  int64
}

// work appends as fast as a bus and acknowledges some of it, until it is
// killed. Segments are small, so that they are begun, evicted and removed all
// the time.
func work(dir string, o options, w io.Writer) error {
	b, err := buffer.Open(buffer.Config{Dir: dir, SyncInterval: o.interval, MaxSize: o.maxSize, SegmentSize: 64 << 10}, nil)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	say := func(format string, a ...any) error {
		fmt.Fprintf(out, format+"\n", a...)
		return out.Flush()
	}
	if err := say("session %d", b.Stats().Session); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(time.Now().UnixNano())))
	sources := []*buffer.Source{b.Source("a"), b.Source("b")}
	var batch buffer.Batch
	for {
		for range 1 + rng.IntN(50) {
			s := sources[rng.IntN(2)]
			s.Append(time.Now().UnixNano(), payload(s.Last()+1))
		}
		if rng.IntN(3) == 0 {
			for b.Stats().Unsynced > 0 {
				time.Sleep(time.Millisecond)
			}
			for _, s := range sources {
				if err := say("synced %s %d", s.Name(), s.Last()); err != nil {
					return err
				}
			}
		}
		if rng.IntN(4) == 0 {
			from := b.First()
			next, err := b.Read(from, &batch, rng.IntN(60), 1<<20)
			if err != nil {
				return err
			}
			for _, r := range batch.Records {
				// Said before it is done: the acknowledgement must not be
				// on disk before the log knows of it.
				if err := say("acked %d %s %d %d", r.Session, r.Source, r.Seq, max(r.Lost, 1)); err != nil {
					return err
				}
			}
			b.Ack(from, next)
		}
	}
}

// payload is the data of a record, which can be told from its number and does
// not compress.
func payload(seq uint64) []byte {
	b := make([]byte, 0, 96)
	for rng := rand.NewPCG(seq, 1); len(b) < cap(b); {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b
}
