package can_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

// The receive benchmarks put a tick's worth of frames into a SEQPACKET pair and
// take them out again: once a batch per call, once a frame per call. 50
// frames are what a bus with 10,000 frames/s yields in 5 ms.

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
	st := can.NewOneByOne(newBus(b, can.Config{}), fd, discard{})
	defer st.Close()
	raw := cantest.Wire(counterFrame(1))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		fill(b, s, raw)
		b.StartTimer()
		for range perTick {
			st.Step()
		}
	}
	reportPerFrame(b)
}

// BenchmarkPaced is a bus with 10,000 frames/s for b.N frames, evenly spread as
// a bus does: the CPU time of this process for a frame, and how long after its
// arrival 99 of 100 frames are handed over. The sender is another process.
// One by one, frames carry no kernel time, so that only the CPU is told.
func BenchmarkPaced(b *testing.B) {
	b.Run("batch", func(b *testing.B) {
		fd, _ := udp(b, 1<<20)
		var late lateness
		bus := newBus(b, can.Config{})
		var r *running
		paced(b, fd, &late, func() {
			r = start(b, func(ctx context.Context) error { return bus.RunFD(ctx, fd, &late) })
		})
		r.stop()
		slices.Sort(late.ns)
		b.ReportMetric(float64(late.ns[len(late.ns)*99/100])/1e6, "p99-ms")
	})
	b.Run("one-by-one", func(b *testing.B) {
		fd, _ := udp(b, 1<<20)
		var late lateness
		st := can.NewOneByOne(newBus(b, can.Config{}), fd, &late)
		defer st.Close()
		paced(b, fd, &late, func() {
			go func() {
				for range b.N {
					st.Step()
				}
			}()
		})
	})
}

// lateness is a handler that notes how late frames are and says when it has had enough.
type lateness struct {
	discard
	want int
	ns   []int64
	done chan struct{}
}

func (l *lateness) Frames(batch []can.Frame) {
	now := time.Now().UnixNano()
	for i := range batch {
		l.ns = append(l.ns, now-batch[i].Time)
	}
	if len(l.ns) >= l.want {
		close(l.done)
	}
}

func paced(b *testing.B, fd int, late *lateness, read func()) {
	late.want, late.done, late.ns = b.N, make(chan struct{}), make([]int64, 0, b.N+can.BatchLen)
	addr, err := unix.Getsockname(fd)
	must(b, err)
	self, err := os.Executable()
	must(b, err)
	sender := exec.Command(self)
	sender.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", paceEnv, addr.(*unix.SockaddrInet4).Port, b.N))
	sender.Stderr = os.Stderr
	cpu := cpuTime(b)
	read()
	must(b, sender.Start())
	defer func() { _ = sender.Wait() }()
	<-late.done
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/frame")
}

// paceEnv makes the test binary the sender of BenchmarkPaced: port and number.
const paceEnv = "CAN_TEST_PACE"

func sendPaced(arg string) error {
	const distance = 100 * time.Microsecond
	var port, n int
	if _, err := fmt.Sscan(arg, &port, &n); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}); err != nil {
		return err
	}
	s := cantest.SenderOn(fd)
	begin := time.Now()
	for i := range n {
		if wait := time.Until(begin.Add(time.Duration(i) * distance)); wait > 0 {
			ts := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&ts, nil)
		}
		if err := s.Send(counterFrame(i)); err != nil {
			return err
		}
	}
	return s.Close()
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
