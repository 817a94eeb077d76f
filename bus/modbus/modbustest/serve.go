package modbustest

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/modbus/rtu"
)

// Step is something a scripted slave does, a given time after a request was
// complete.
type Step struct {
	At     time.Duration
	Send   []byte
	Unplug error // not nil: the line ends
}

// Unplugger is a far end that can vanish with a certain error; [SlaveEnd] is one.
type Unplugger interface{ Unplug(err error) }

// Serve runs a scripted slave until the line or ctx ends: answer is called
// with the number of the request, from 0, and the request, and says what to
// do. Steps of earlier requests go on while later requests come in. Serve
// returns when all of them are done or cancelled.
func Serve(ctx context.Context, line io.ReadWriteCloser, answer func(n int, request []byte) []Step) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { line.Close() })
	defer stop()

	var framer requestFramer
	var writing sync.Mutex
	n := 0
	buf := make([]byte, rtu.MaxADU)
	for {
		k, err := line.Read(buf)
		if err != nil {
			return
		}
		framer.push(buf[:k], func(request []byte) {
			steps := answer(n, request)
			n++
			running.Go(func() { play(ctx, line, &writing, steps) })
		})
	}
}

func play(ctx context.Context, line io.ReadWriteCloser, writing *sync.Mutex, steps []Step) {
	start := time.Now()
	for _, s := range steps {
		if !wait(ctx, line, start.Add(s.At)) {
			return
		}
		if s.Unplug != nil {
			if u, ok := line.(Unplugger); ok {
				u.Unplug(s.Unplug)
			} else {
				line.Close()
			}
			return
		}
		writing.Lock()
		_, err := line.Write(s.Send)
		writing.Unlock()
		if err != nil {
			return
		}
	}
}

// wait waits until t. On a real terminal the last part is waited for by the
// kernel, whose timers are finer than those of Go's poller, and the very last
// by looking at the clock: what a slave is late looks like the master's doing.
func wait(ctx context.Context, line io.ReadWriteCloser, t time.Time) bool {
	d := time.Until(t)
	_, real := line.(*PTY)
	if real {
		d -= fineWait
	}
	if d > 0 || !real {
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
	if rest := time.Until(t) - kernelSlack; real && rest > 0 {
		ts := unix.NsecToTimespec(int64(rest))
		_ = unix.Nanosleep(&ts, nil)
	}
	for real && time.Now().Before(t) {
	}
	return ctx.Err() == nil
}

const (
	fineWait    = 3 * time.Millisecond
	kernelSlack = 80 * time.Microsecond // 50 of them are the default of PR_SET_TIMERSLACK
)

// requestFramer cuts requests out of a stream by their CRC, as a slave that
// cannot measure t3.5 must.
type requestFramer struct{ buf []byte }

func (f *requestFramer) push(p []byte, found func(request []byte)) {
	f.buf = append(f.buf, p...)
	for len(f.buf) >= 8 {
		n := 8
		if fc := f.buf[1]; fc == rtu.WriteCoils || fc == rtu.WriteRegisters {
			n = 9 + int(f.buf[6])
		}
		switch {
		case n > rtu.MaxADU:
			f.buf = f.buf[1:]
		case len(f.buf) < n:
			return
		case !rtu.ValidCRC(f.buf[:n]):
			f.buf = f.buf[1:]
		default:
			found(append([]byte(nil), f.buf[:n]...))
			f.buf = f.buf[n:]
		}
	}
}
