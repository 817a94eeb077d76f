package modbus

import (
	"context"
	"fmt"
	"testing"
	"time"

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
// what the characters and the silences leave room for.
func BenchmarkWireLimit(b *testing.B) {
	for _, baud := range []int{9600, 19200, 115200} {
		b.Run(fmt.Sprint(baud), func(b *testing.B) {
			mode := rtu.Mode{BaudRate: baud, DataBits: 8, Parity: 'E', StopBits: 1}
			holding := words(0, 10)
			path := paced(b, mode, map[byte]*modbustest.Unit{1: {Holding: holding}})
			port, err := rtu.Open(rtu.PortConfig{Path: path, Mode: mode})
			if err != nil {
				b.Fatal(err)
			}
			defer port.Close()
			line := rtu.NewTransporter(rtu.Config{Mode: mode, Timeout: time.Second})
			line.Attach(port)
			request := rtu.AppendReadRequest(nil, 1, 3, 0, 10)
			start := time.Now()
			for b.Loop() {
				if _, err := line.Send(request); err != nil {
					b.Fatal(err)
				}
			}
			rate := float64(b.N) / time.Since(start).Seconds()
			limit := 1 / mode.WireTime(3, 10).Seconds()
			b.ReportMetric(rate, "requests/s")
			b.ReportMetric(limit, "limit/s")
			b.ReportMetric(100*rate/limit, "%limit")
		})
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
