package modbus

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	gomodbus "github.com/goburrow/modbus"
	"golang.org/x/sys/unix"

	"fieldferry/bus"
	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// paced is a line on a pseudo-terminal whose far end takes the time that the
// characters and t3.5 would.
func paced(b *testing.B, mode rtu.Mode, units map[byte]*modbustest.Unit) (path string) {
	b.Helper()
	pty, err := modbustest.OpenPTY()
	if err != nil {
		b.Fatal(err)
	}
	slave := modbustest.NewSlave(units)
	slave.Pace = mode
	done := make(chan struct{})
	go func() { slave.Run(context.Background(), pty); close(done) }()
	b.Cleanup(func() { pty.Close(); <-done })
	return pty.Path
}

// BenchmarkWireLimit measures requests per second for ten registers against
// what the characters and the silences leave room for. "bare" is what the
// simulated slave and the pseudo-terminal leave room for: a master without
// anything but the system calls, which spins through the silence.
func BenchmarkWireLimit(b *testing.B) {
	masters := []struct {
		name string
		open func(b *testing.B, path string, mode rtu.Mode) (ask func() error)
	}{{"fieldferry", ourMaster}, {"bare", bareMaster}, {"goburrow", goburrowMaster}}
	for _, baud := range []int{9600, 19200, 115200} {
		mode := rtu.Mode{BaudRate: baud, DataBits: 8, Parity: 'E', StopBits: 1}
		for _, m := range masters {
			b.Run(fmt.Sprintf("%d/%s", baud, m.name), func(b *testing.B) {
				ask := m.open(b, paced(b, mode, map[byte]*modbustest.Unit{1: {Holding: words(0, 10)}}), mode)
				var took []time.Duration
				for b.Loop() {
					start := time.Now()
					if err := ask(); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(start))
				}
				// The median leaves out what other programs on the machine take.
				slices.Sort(took)
				limit := mode.WireTime(3, 10).Seconds()
				b.ReportMetric(100*limit*float64(b.N)/b.Elapsed().Seconds(), "%limit")
				b.ReportMetric(100*limit/took[len(took)/2].Seconds(), "%limit-median")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			})
		}
	}
}

func ourMaster(b *testing.B, path string, mode rtu.Mode) func() error {
	port, err := rtu.Open(rtu.PortConfig{Path: path, Mode: mode})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { port.Close() })
	line := rtu.NewTransporter(rtu.Config{Mode: mode, Timeout: time.Second})
	line.Attach(port)
	request := rtu.AppendReadRequest(nil, 1, 3, 0, 10)
	return func() error {
		_, err := line.Send(request)
		return err
	}
}

func bareMaster(b *testing.B, path string, mode rtu.Mode) func() error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread()
	b.Cleanup(func() { unix.Close(fd); runtime.UnlockOSThread() })
	request, reply := rtu.AppendReadRequest(nil, 1, 3, 0, 10), make([]byte, rtu.MaxADU)
	return func() error {
		for start := time.Now(); time.Since(start) < mode.Silence(); {
		}
		if _, err := unix.Write(fd, request); err != nil {
			return err
		}
		for n := 0; n < rtu.ReplyLen(3, 10); {
			k, err := unix.Read(fd, reply[n:])
			if err != nil && err != unix.EINTR {
				return err
			}
			n += max(k, 0)
		}
		return nil
	}
}

func goburrowMaster(b *testing.B, path string, mode rtu.Mode) func() error {
	h := gomodbus.NewRTUClientHandler(path)
	h.BaudRate, h.DataBits, h.Parity, h.StopBits = mode.BaudRate, mode.DataBits, string(mode.Parity), mode.StopBits
	h.SlaveId, h.Timeout, h.IdleTimeout = 1, time.Second, 0
	if err := h.Connect(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	client := gomodbus.NewClient(h)
	return func() error {
		_, err := client.ReadHoldingRegisters(0, 10)
		return err
	}
}

// enough ends a run after some readings.
type enough struct {
	left int
	stop context.CancelFunc
}

func (e *enough) Event(bus.Event) {}

func (e *enough) Reading(r *Reading) {
	if e.left--; e.left <= 0 {
		e.stop()
	}
}

// BenchmarkScattered reads 200 scattered registers, merged and one by one, of a
// device that takes 5 ms to answer.
func BenchmarkScattered(b *testing.B) {
	for _, baud := range []int{9600, 19200, 115200} {
		for _, p := range []struct{ used, of int }{{10, 14}, {1, 5}} {
			for _, merged := range []bool{true, false} {
				how := map[bool]string{true: "merged", false: "one by one"}[merged]
				b.Run(fmt.Sprintf("%d baud/%d of %d/%s", baud, p.used, p.of, how), func(b *testing.B) {
					device := Device{Name: "d", UnitID: 1, MaxGap: 8}
					if !merged {
						device.MaxGap, device.MaxRegisters = 0, 1
					}
					for i := range 200 {
						at := p.of*(i/p.used) + i%p.used
						device.Registers = append(device.Registers, Register{Name: fmt.Sprint("r", i), Address: uint16(at), Interval: time.Millisecond})
					}
					benchScattered(b, baud, device)
				})
			}
		}
	}
}

func benchScattered(b *testing.B, baud int, device Device) {
	mode := rtu.Mode{BaudRate: baud, DataBits: 8, Parity: 'E', StopBits: 1}
	path := paced(b, mode, map[byte]*modbustest.Unit{1: {Holding: words(0, 1000), Delay: 5 * time.Millisecond}})
	line, err := NewLine(LineConfig{Name: "l", Port: path, BaudRate: baud, Timeout: 2 * time.Second, Devices: []Device{device}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ResetTimer()
	if err := line.Run(ctx, &enough{left: b.N, stop: cancel}); err != nil {
		b.Fatal(err)
	}
}
