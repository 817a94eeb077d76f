package modbus

import (
	"context"
	"os/exec"
	"slices"
	"testing"
	"time"

	"fieldferry/bus/permit"
)

// TestWriteToPymodbus writes by all four functions to a slave written by others,
// and reads back.
func TestWriteToPymodbus(t *testing.T) {
	python := needPymodbus(t)
	ours, theirs := relay(t)
	server := exec.Command(python, "testdata/pymodbus_server.py", theirs)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	line, err := NewLine(LineConfig{Name: "line1", Port: ours, BaudRate: 115200, Timeout: 2 * time.Second,
		Devices: []Device{{Name: "d", UnitID: 1, Registers: []Register{{Name: "h7", Address: 7, Interval: 100 * ms}}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	up := make(chan struct{})
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- line.Run(running, &until{ok: func(m map[string]string) bool { return m["h7"] == "7" }, stop: func() {
			select {
			case <-up:
			default:
				close(up)
			}
		}})
	}()
	select {
	case <-up: // it answers
	case <-ctx.Done():
		t.Fatal("the server does not answer")
	}
	for name, c := range map[string]struct {
		scope permit.RegisterScope
		words []uint16
	}{
		"one register, 6":      {permit.RegisterScope{Unit: 1, Address: 20}, []uint16{0xFFFF}},
		"registers, 16":        {permit.RegisterScope{Unit: 1, Address: 30}, []uint16{0x4279, 0x3333, 0, 0x8000}},
		"a coil set, 5":        {permit.RegisterScope{Unit: 1, Coil: true, Address: 4}, []uint16{1}},
		"a coil cleared, 5":    {permit.RegisterScope{Unit: 1, Coil: true, Address: 3}, []uint16{0}},
		"coils, 15":            {permit.RegisterScope{Unit: 1, Coil: true, Address: 40}, []uint16{1, 0, 0, 1, 1, 1, 0, 1, 1, 0, 1}},
		"nothing there (2), 6": {permit.RegisterScope{Unit: 1, Address: 200}, []uint16{1}},
	} {
		c.scope.Line, c.scope.Count, c.scope.Limits = "line1", len(c.words), func([]uint16) error { return nil }
		p, err := permit.ForRegister(c.scope)
		if err != nil {
			t.Fatal(err)
		}
		got, err := line.Write(ctx, Order{Permit: p, Words: give(c.words...), After: true})
		if refused := c.scope.Address == 200; (err != nil) != refused || !got.Sent || !refused && !slices.Equal(got.Read, c.words) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if n := line.Stats().Writes; n != 6 {
		t.Errorf("%d requests for 6 writes", n)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
