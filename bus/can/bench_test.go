package can_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

// The receive benchmarks put a tick's worth of frames into a SEQPACKET pair and
// take them out again: once a batch per call, once a frame per call. What the
// sender costs is measured by itself, to be subtracted. 50 frames are what a
// bus with 10,000 frames/s yields in 5 ms.

const perTick = 50

func fill(b *testing.B, s *cantest.Sender, raw []byte) {
	for range perTick {
		must(b, s.SendRaw(raw))
	}
}

func reportPerFrame(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perTick, "ns/frame")
}

func BenchmarkReceiveBatch(b *testing.B) {
	fd, s := seqpacket(b)
	defer func() { _ = s.Close() }()
	st := can.NewStepper(newBus(b, can.Config{}), fd, discard{})
	defer st.Close()
	raw := cantest.Wire(counterFrame(1))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		fill(b, s, raw)
		b.StartTimer()
		for n := 0; n < perTick; {
			n += st.Step()
		}
	}
	reportPerFrame(b)
}

func BenchmarkReceiveOneByOne(b *testing.B) {
	fd, s := seqpacket(b)
	defer func() { _ = s.Close() }()
	st := can.NewStepper(newBus(b, can.Config{}), fd, discard{})
	defer st.Close()
	raw := cantest.Wire(counterFrame(1))
	buf := make([]byte, 72)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		fill(b, s, raw)
		b.StartTimer()
		for range perTick {
			st.StepOne(buf)
		}
	}
	reportPerFrame(b)
}

// BenchmarkPaced is a bus with 10,000 frames/s for b.N frames, evenly spread
// as a bus does: the CPU time per frame of the whole process, with the tick of a
// real run and with one so short that nothing gathers. "no reader" is what the
// sender alone costs, to be subtracted.
func BenchmarkPaced(b *testing.B) {
	b.Run("tick=5ms", func(b *testing.B) { paced(b, can.Config{}) })
	b.Run("tick=1ns", func(b *testing.B) { paced(b, can.Config{Tick: 1}) })
	b.Run("no-reader", func(b *testing.B) { paced(b, can.Config{Interface: "sim:ramp?rate=1"}) })
}

func paced(b *testing.B, cfg can.Config) {
	const distance = 100 * time.Microsecond
	fd, s := udp(b, 1<<20)
	bus := newBus(b, cfg)
	read := func(ctx context.Context) error { return bus.RunFD(ctx, fd, discard{}) }
	if cfg.Interface != "" {
		defer func() { _ = unix.Close(fd) }()
		read = func(ctx context.Context) error { <-ctx.Done(); return nil }
	}
	r := start(b, read)
	raw := cantest.Wire(counterFrame(1))
	begin, cpu := time.Now(), cpuTime(b)
	for i := range b.N {
		if wait := time.Until(begin.Add(time.Duration(i) * distance)); wait > 0 {
			ts := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&ts, nil)
		}
		must(b, s.SendRaw(raw))
	}
	r.stop()
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/frame")
}

func cpuTime(b *testing.B) int64 {
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkParseLogLine(b *testing.B) {
	for name, s := range map[string]string{"classic": "123#DEADBEEF00112233", "fd64": "00000123##1" + strings.Repeat("5A", 64)} {
		b.Run(name, func(b *testing.B) {
			line := []byte("(1436509052.249713) vcan0 " + s + "\n")
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := can.ParseLogLine(line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLogReader(b *testing.B) {
	line := []byte("(1436509052.249713) vcan0 123#DEADBEEF00112233\n")
	log := bytes.Repeat(line, 10000)
	src := bytes.NewReader(log)
	l := can.NewLogReader(src)
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	var f can.Frame
	for b.Loop() {
		src.Reset(log)
		l.Reset(src)
		for range 10000 {
			if _, err := l.Next(&f); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkAppendLog(b *testing.B) {
	f := frame(b, "123#DEADBEEF00112233")
	f.Time = 1436509052249713000
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf = can.AppendLog(buf[:0], f, "vcan0")
	}
}

// BenchmarkReplay is a log played as fast as it can be read.
func BenchmarkReplay(b *testing.B) {
	const n = 10000
	name := writeLog(b, strings.Repeat("(1436509052.249713) vcan0 123#DEADBEEF00112233\n", n))
	bus := newBus(b, can.Config{Interface: "replay:" + name + "?speed=max"})
	for b.Loop() {
		_ = bus.Run(b.Context(), discard{})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/frame")
}
