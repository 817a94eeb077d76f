package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"fieldferry/buffer"
)

type options struct {
	interval time.Duration
	maxSize  int64
	steps    int    // 0: until it is killed
	heard    string // host:port of who takes the promises; empty: standard output
}

func workConfig(dir string, o options) buffer.Config {
	return buffer.Config{Dir: dir, SyncInterval: o.interval, MaxSize: o.maxSize, SegmentSize: 64 << 10}
}

// work appends as fast as a bus and acknowledges some of it, until it is
// killed. Segments are small, so that they are begun, evicted and removed all
// the time.
func work(dir string, o options, w io.Writer) error {
	heard := func() error { return nil }
	if o.heard != "" {
		conn, err := net.Dial("tcp", o.heard)
		if err != nil {
			return err
		}
		defer conn.Close()
		w, heard = conn, func() error {
			if _, err := io.WriteString(conn, "heard?\n"); err != nil {
				return err
			}
			_, err := io.ReadFull(conn, make([]byte, 1))
			return err
		}
	}
	b, err := buffer.Open(workConfig(dir, o), nil)
	if err != nil {
		return err
	}
	j := &job{b: b, heard: heard, out: bufio.NewWriter(w), rng: rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(time.Now().UnixNano())))}
	j.sources = []*buffer.Source{b.Source("a"), b.Source("b"), b.Source("quiet")}
	for b.Stats().Session == 0 { // the disk is not there yet
		time.Sleep(time.Millisecond)
	}
	if err := j.say("session %d", b.Stats().Session); err != nil {
		return err
	}
	for n := 0; n < o.steps || o.steps == 0; n++ {
		if err := j.step(o.steps > 0, n); err != nil {
			return err
		}
	}
	var last []uint64
	for _, s := range j.sources {
		last = append(last, s.Last())
	}
	if err := b.Close(); err != nil {
		return err
	}
	for i, s := range j.sources {
		if err := j.say("synced %s %d", s.Name(), last[i]); err != nil {
			return err
		}
	}
	return nil
}

// job is a workload under way.
type job struct {
	b       *buffer.Buffer
	sources []*buffer.Source
	batch   buffer.Batch
	out     *bufio.Writer
	heard   func() error // returns when all that was said has arrived
	rng     *rand.Rand
}

func (j *job) say(format string, a ...any) error {
	fmt.Fprintf(j.out, format+"\n", a...)
	return j.out.Flush()
}

// step appends some records. Regular steps say all they can: large ones, whose
// commits are for a segment, in turn with small ones, which fit into the journal
// however fast the machine is.
func (j *job) step(always bool, nth int) error {
	n := 1 + j.rng.IntN(50)
	if always {
		n = []int{150, 10, 10}[nth%3]
	}
	for range n {
		s := j.sources[j.rng.IntN(2)]
		s.Append(time.Now().UnixNano(), payload(s.Last()+1))
	}
	quiet := j.sources[2] // the buffer spares it when it drives others out
	quiet.Append(time.Now().UnixNano(), payload(quiet.Last()+1))
	if always || j.rng.IntN(3) == 0 {
		if err := j.sync(); err != nil {
			return err
		}
	}
	if always || j.rng.IntN(4) == 0 {
		return j.deliver(j.rng.IntN(60))
	}
	return nil
}

// sync waits until everything is on disk and promises that it is.
func (j *job) sync() error {
	for j.b.Stats().Unsynced > 0 {
		time.Sleep(time.Millisecond)
	}
	for _, s := range j.sources {
		if err := j.say("synced %s %d", s.Name(), s.Last()); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) deliver(n int) error {
	from := j.b.First()
	next, err := j.b.Read(from, &j.batch, n, 1<<20)
	for err != nil && !errors.Is(err, buffer.ErrClosed) { // the disk's, and asked again
		next, err = j.b.Read(from, &j.batch, n, 1<<20)
	}
	if err != nil {
		return err
	}
	for _, r := range j.batch.Records {
		// Said before it is done: the acknowledgement must not be on disk
		// before the log knows of it. A pipe of a machine that loses its power
		// is not the log yet.
		if err := j.say("acked %d %s %d %d", r.Session, r.Source, r.Seq, max(r.Lost, 1)); err != nil {
			return err
		}
	}
	if err := j.heard(); err != nil {
		return err
	}
	j.b.Ack(from, next)
	return nil
}

// payload is the data of a record, which can be told from its number and does
// not compress.
func payload(seq uint64) []byte {
	n := 96
	if seq%16 == 0 {
		n = 4096
	}
	b := make([]byte, 0, n)
	for rng := rand.NewPCG(seq, 1); len(b) < cap(b); {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b
}
