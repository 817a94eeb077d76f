package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"fieldferry/buffer"
	"fieldferry/buffer/buffertest"
)

const epoch = 1.8e18 // of the records' times

// feed appends records at a rate, in real time, as buses do: every 5 ms.
func feed(s *buffer.Source, rate int, d time.Duration) (n int) {
	tr := buffertest.NewTraffic(1, max(rate, 1000), epoch)
	begin := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for now := range tick.C {
		t := now.Sub(begin)
		for ; float64(n) < t.Seconds()*float64(rate); n++ {
			at, data := tr.Next()
			s.Append(at, data)
		}
		if t >= d {
			return n
		}
	}
	return n
}

// drain reads and acknowledges everything until the buffer is closed.
func drain(b *buffer.Buffer) error {
	var batch buffer.Batch
	for pos := b.First(); ; {
		if err := b.Wait(context.Background(), pos); err != nil {
			return ignoreClosed(err)
		}
		next, err := b.Read(pos, &batch, 256, 64<<10)
		if err != nil {
			return ignoreClosed(err)
		}
		b.Ack(pos, next)
		pos = next
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, buffer.ErrClosed) {
		return nil
	}
	return err
}

var intervals = []time.Duration{0, 100 * time.Millisecond, time.Second}

func caseName(interval time.Duration, rate int) string { return fmt.Sprintf("%v/%d", interval, rate) }

// bytes measures what is written per record, by interval and rate.
func (b *bench) bytes() error {
	fmt.Println("\n## Bytes on the device per record")
	fmt.Println("\n| `sync_interval` | records/s | online | first outage | one after another has drained | commits/s in the first outage |")
	fmt.Println("| --- | --- | --- | --- | --- | --- |")
	b.outage = map[string]float64{}
	for _, interval := range intervals {
		for _, rate := range []int{10, 1000, 10000, 17000} {
			online, _, _, err := b.rate(interval, rate, true)
			if err != nil {
				return err
			}
			first, later, commits, err := b.rate(interval, rate, false)
			if err != nil {
				return err
			}
			b.outage[caseName(interval, rate)] = first
			fmt.Printf("| %v | %d | %.1f | **%.1f** | %.1f | %.1f |\n", interval, rate, online, first, later, commits)
		}
	}
	return nil
}

// rate measures one case: online, or in an outage and in one more after that.
func (b *bench) rate(interval time.Duration, rate int, online bool) (first, later, commits float64, err error) {
	dir, err := b.disk.fresh("buffer")
	if err != nil {
		return 0, 0, 0, err
	}
	buf, err := buffer.Open(buffer.Config{Dir: dir, SyncInterval: interval}, nil)
	if err != nil {
		return 0, 0, 0, err
	}
	ended := make(chan error, 1)
	if online {
		go func() { ended <- drain(buf) }()
	}
	s := buf.Source("engine")
	d := max(b.seconds, 4*interval)
	measure := func() float64 {
		feed(s, rate, 2*interval+100*time.Millisecond) // so that the first file is there
		n := 0
		before := buf.Stats().Commits
		cost, e := b.disk.cost(func() error {
			n = feed(s, rate, d)
			return nil
		})
		err = errors.Join(err, e)
		commits = float64(buf.Stats().Commits-before) / d.Seconds()
		return float64(cost) / float64(n)
	}
	first = measure()
	if !online {
		c := commits
		go func() { ended <- drain(buf) }()
		for buf.Stats().Pending > 0 {
			time.Sleep(time.Millisecond)
		}
		err = errors.Join(err, buf.Close(), <-ended)
		if err != nil {
			return 0, 0, 0, err
		}
		if buf, err = buffer.Open(buffer.Config{Dir: dir, SyncInterval: interval}, nil); err != nil {
			return 0, 0, 0, err
		}
		s = buf.Source("engine")
		later, commits = measure(), c
		ended <- nil
	}
	return first, later, commits, errors.Join(err, buf.Close(), <-ended)
}

// speed measures durable throughput and the time to be on disk.
func (b *bench) speed() error {
	fmt.Println("\n## Records a second, each commit synced")
	fmt.Println("\n| records a commit | records/s | commit p50 | p99 | times the naive pipeline |")
	fmt.Println("| --- | --- | --- | --- | --- |")
	for _, group := range []int{1, 100, 1000, 10000} {
		dir, err := b.disk.fresh("buffer")
		if err != nil {
			return err
		}
		buf, err := buffer.Open(buffer.Config{Dir: dir, SyncInterval: 0, MaxSize: 256 << 20}, nil)
		if err != nil {
			return err
		}
		s := buf.Source("engine")
		tr := buffertest.NewTraffic(1, 10000, epoch)
		var took []time.Duration
		var pos uint64
		var batch buffer.Batch
		begin := time.Now()
		for time.Since(begin) < b.seconds {
			t := time.Now()
			for range group {
				at, data := tr.Next()
				s.Append(at, data)
			}
			for buf.Stats().Unsynced > 0 {
				if err := buf.Wait(context.Background(), pos); err != nil {
					return err
				}
				if pos, err = buf.Read(pos, &batch, group, 1<<30); err != nil {
					return err
				}
			}
			took = append(took, time.Since(t))
		}
		perSecond := float64(len(took)*group) / time.Since(begin).Seconds()
		slices.Sort(took)
		fmt.Printf("| %d | %.0f | %v | %v | %.0f |\n", group, perSecond, took[len(took)/2].Round(10*time.Microsecond),
			took[len(took)*99/100].Round(10*time.Microsecond), perSecond/b.durable)
		if err := buf.Close(); err != nil {
			return err
		}
	}
	return nil
}

// big fills a backlog, drains it, and looks whether that left traces.
func (b *bench) big(records int) error {
	fmt.Printf("\n## A backlog of %d records\n\n", records)
	dir, err := b.disk.fresh("buffer")
	if err != nil {
		return err
	}
	buf, err := buffer.Open(buffer.Config{Dir: dir, SyncInterval: 100 * time.Millisecond}, nil)
	if err != nil {
		return err
	}
	s := buf.Source("engine")
	measure := func() (float64, error) {
		n := 0
		cost, err := b.disk.cost(func() error { n = feed(s, 10000, b.seconds); return nil })
		return float64(cost) / float64(n), err
	}
	before, err := measure()
	if err != nil {
		return err
	}
	rss := residentMemory()
	tr := buffertest.NewTraffic(2, 10000, epoch)
	begin := time.Now()
	for i := range records {
		at, data := tr.Next()
		s.Append(at, data)
		if i%10000 == 0 {
			for buf.Stats().MemoryBytes > 8<<20 {
				time.Sleep(time.Millisecond)
			}
		}
	}
	stored := time.Since(begin)
	st := buf.Stats()
	runtime.GC()
	fmt.Printf("- stored in %v, %.0f records/s, %d lost; %.1f bytes of files per record\n", stored.Round(10*time.Millisecond),
		float64(records)/stored.Seconds(), st.Lost, float64(st.DiskBytes)/float64(st.Pending))
	fmt.Printf("- memory of the process %d MiB, %d before the backlog\n", residentMemory()>>20, rss>>20)
	begin = time.Now()
	var batch buffer.Batch
	for pos := buf.First(); buf.Stats().Pending > 0; {
		if pos, err = buf.Read(pos, &batch, 256, 64<<10); err != nil {
			return err
		}
		buf.Ack(0, pos)
	}
	fmt.Printf("- read and acknowledged in %v, %.0f records/s\n", time.Since(begin).Round(10*time.Millisecond), float64(records)/time.Since(begin).Seconds())
	after, err := measure()
	if err != nil {
		return err
	}
	fmt.Printf("- bytes on the device per record at 10000 records/s and 100 ms: %.1f before, %.1f after, **%.2f** times\n", before, after, after/before)
	return buf.Close()
}

// full opens a buffer that is full.
func (b *bench) full() error {
	dir, err := b.disk.fresh("buffer")
	if err != nil {
		return err
	}
	cfg := buffer.Config{Dir: dir, SyncInterval: time.Second}
	buf, err := buffer.Open(cfg, nil)
	if err != nil {
		return err
	}
	s := buf.Source("engine")
	data := make([]byte, 4096)
	for n := uint64(0); buf.Stats().LostBy[buffer.Evicted] == 0; n++ {
		for i := range data {
			data[i] = byte(n*uint64(i+1)>>3) ^ byte(n>>uint(i%8))
		}
		_, small := s.Append(int64(n), data), buf.Stats().MemoryBytes
		if small > 12<<20 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	if err := buf.Close(); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0); err != nil {
		fmt.Printf("\n(the page cache could not be emptied: %v)\n", err)
	}
	begin := time.Now()
	if buf, err = buffer.Open(cfg, nil); err != nil {
		return err
	}
	took := time.Since(begin)
	st := buf.Stats()
	fmt.Printf("\n## Starting with a full buffer\n\n%v with %d MiB in %d files, %d records, nothing of it in the page cache.\n",
		took.Round(time.Millisecond), st.DiskBytes>>20, st.Segments, st.Pending)
	return buf.Close()
}

// files returns the bytes of files per record when each commit has so many.
func (b *bench) files(group int) (float64, error) {
	dir, err := b.disk.fresh("buffer")
	if err != nil {
		return 0, err
	}
	// Small segments: what the last one has in reserve matters little.
	buf, err := buffer.Open(buffer.Config{Dir: dir, MaxSize: 1 << 30, SegmentSize: 1 << 20, SyncInterval: 0}, nil)
	if err != nil {
		return 0, err
	}
	empty := buf.Stats().DiskBytes
	s := buf.Source("engine")
	tr := buffertest.NewTraffic(1, max(group, 1000), epoch)
	for buf.Stats().Segments < 8 {
		for range group {
			at, data := tr.Next()
			s.Append(at, data)
		}
		for buf.Stats().Unsynced > 0 {
			time.Sleep(50 * time.Microsecond)
		}
	}
	st := buf.Stats()
	return float64(st.DiskBytes-empty) / float64(st.Pending), buf.Close()
}

func residentMemory() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// card says what the measured bytes mean for a card.
func (b *bench) card() error {
	fmt.Println("\n## What that means for a card of 8 GB")
	fmt.Println("\nHours of outage until 7 GiB are full (`max_size: 7GiB`) with commits each second, and years until 3,000 times its size")
	fmt.Println("is written when the uplink is away for one hour of every day; online 5 KiB a minute are. A card that writes more")
	fmt.Println("inside than it is told to lives shorter by that factor, which is often 2 to 10 for small commits.")
	fmt.Println("\n| records/s | bytes of files per record | outage it takes | years at 1s | at 100ms | at 0s |")
	fmt.Println("| --- | --- | --- | --- | --- | --- |")
	const size, wear = 7 << 30, 8e9 * 3000
	for _, rate := range []int{10, 1000, 10000, 17000} {
		fileBytes, err := b.files(rate)
		if err != nil {
			return err
		}
		fmt.Printf("| %d | %.1f | %.0f h |", rate, fileBytes, size/fileBytes/float64(rate)/3600)
		for _, interval := range []time.Duration{time.Second, 100 * time.Millisecond, 0} {
			perYear := b.outage[caseName(interval, rate)] * float64(rate) * 3600 * 365
			fmt.Printf(" %.0f |", wear/perYear)
		}
		fmt.Println()
	}
	return nil
}
