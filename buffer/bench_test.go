package buffer_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/buffer/buffertest"
)

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10000} {
		b.Run("records="+strconv.Itoa(n), func(b *testing.B) {
			e, err := buffer.NewBenchEncoder()
			if err != nil {
				b.Fatal(err)
			}
			tr := buffertest.NewTraffic(1, 10000, 1.8e18)
			ts, ds := make([]int64, n), make([][]byte, n)
			for i := range n {
				t, d := tr.Next()
				ts[i], ds[i] = t, append([]byte(nil), d...)
			}
			var dst []byte
			off := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				for i := range n {
					e.Add(off, ts[i], ds[i])
					off++
				}
				dst = e.Finish(dst[:0])
			}
			b.ReportMetric(float64(len(dst))/float64(n), "B/record")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	buf, err := buffer.Open(buffer.Config{Dir: b.TempDir(), SyncInterval: time.Hour}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer buf.Close()
	s := buf.Source("engine")
	data := make([]byte, 24)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		s.Append(int64(i), data)
		if i++; i%100 == 0 {
			buf.Ack(buf.First(), ^uint64(0))
		}
	}
}

// BenchmarkOutage stores records as during an outage, a commit per group, and
// reports bytes per record: of the files, and of the device when
// BUFFER_BENCH_DIR is a directory on a device of its own and
// BUFFER_BENCH_STAT its /sys/block/DEVICE/stat.
func BenchmarkOutage(b *testing.B) {
	for _, group := range []int{10, 100, 1000, 10000} {
		b.Run("records_per_commit="+strconv.Itoa(group), func(b *testing.B) {
			dir := os.Getenv("BUFFER_BENCH_DIR")
			if dir == "" {
				dir = b.TempDir()
			}
			dir = filepath.Join(dir, "bench")
			defer os.RemoveAll(dir)
			cfg := buffer.Config{Dir: dir, SyncInterval: time.Hour, MaxMemory: 64 << 20}
			tr := buffertest.NewTraffic(1, 10000, 1.8e18)
			records := min(400_000, group*2000)
			for b.Loop() {
				buf, err := buffer.Open(cfg, nil)
				if err != nil {
					b.Fatal(err)
				}
				s := buf.Source("engine")
				before := sectors(b)
				begin := time.Now()
				for i := range records {
					t, d := tr.Next()
					s.Append(t, d)
					if i%group == group-1 {
						if err := buffer.Commit(buf); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(records)/time.Since(begin).Seconds(), "records/s")
				b.ReportMetric(float64(sectors(b)-before)*512/float64(records), "device-B/record")
				b.ReportMetric(float64(dirSize(b, dir))/float64(records), "file-B/record")
				begin = time.Now()
				var batch buffer.Batch
				pos := buf.First()
				for n := 0; n < records; n += len(batch.Records) {
					if pos, err = buf.Read(pos, &batch, 100, 1<<20); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(records)/time.Since(begin).Seconds(), "read/s")
				buf.Ack(0, ^uint64(0))
				if err := buf.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// sectors returns what was written to the device so far, 0 when none is named.
func sectors(b *testing.B) int64 {
	name := os.Getenv("BUFFER_BENCH_STAT")
	if name == "" {
		return 0
	}
	text, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.Fields(string(text))[6], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}
