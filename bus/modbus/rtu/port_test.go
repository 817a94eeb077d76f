package rtu_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

func openPTY(t *testing.T) *modbustest.PTY {
	t.Helper()
	pty, err := modbustest.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pty.Close() })
	return pty
}

func TestPortOnPseudoTerminal(t *testing.T) {
	pty := openPTY(t)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		modbustest.Serve(ctx, pty, func(_ int, q []byte) steps { return steps{at(0, right(q))} })
		close(done)
	}()
	defer func() { cancel(); <-done }()
	for range 2 { // closing the port leaves the far end usable
		port, err := rtu.Open(rtu.PortConfig{Path: pty.Path, Mode: mode})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rtu.Open(rtu.PortConfig{Path: pty.Path, Mode: mode}); !errors.Is(err, rtu.ErrInUse) {
			t.Errorf("opened twice: %v", err)
		}
		line := rtu.NewTransporter(rtu.Config{Mode: mode, Timeout: 10 * time.Second})
		line.Attach(port)
		for address := range uint16(20) {
			request := rtu.AppendReadRequest(nil, 1, 3, address, 2)
			reply, err := line.Send(request)
			if err != nil || !bytes.Equal(reply, right(request)) {
				t.Fatalf("% x, %v", reply, err)
			}
		}
		port.Close()
	}
}

func TestAnyBaudRate(t *testing.T) {
	pty := openPTY(t)
	for _, baud := range []int{1200, 9600, 31250, 76800, 115200, 250000} {
		m := mode
		m.BaudRate = baud
		port, err := rtu.Open(rtu.PortConfig{Path: pty.Path, Mode: m})
		if errors.Is(err, unix.ENOSYS) {
			t.Skipf("this emulator has no TCSETS2: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(pty.Path, unix.O_RDWR|unix.O_NOCTTY, 0)
		if err == nil {
			got, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
			if errors.Is(err, unix.ENOSYS) {
				unix.Close(fd)
				port.Close()
				continue // an emulator without TCGETS2; the standard rates went by TCSETS
			}
			if err != nil || got.Ospeed != uint32(baud) || got.Lflag != 0 || got.Oflag != 0 || got.Cc[unix.VMIN] != 1 {
				t.Errorf("%d baud: %+v, %v", baud, got, err)
			}
			unix.Close(fd)
		}
		port.Close()
	}
}

func TestHangUpEndsARead(t *testing.T) {
	pty := openPTY(t)
	port, err := rtu.Open(rtu.PortConfig{Path: pty.Path, Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	line := rtu.NewTransporter(rtu.Config{Mode: mode, Timeout: time.Minute})
	line.Attach(port)
	go func() {
		buf := make([]byte, 8)
		_, _ = pty.Read(buf) // the request is on its way
		pty.Close()
	}()
	_, err = line.Send(rtu.AppendReadRequest(nil, 1, 3, 0, 1))
	if !sameKind(err, isLost) {
		t.Errorf("%v", err)
	}
	if _, err = line.Send(rtu.AppendReadRequest(nil, 1, 3, 0, 1)); !sameKind(err, isLost) {
		t.Errorf("the next request: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pty := openPTY(t)
	for _, c := range []struct {
		name string
		cfg  rtu.PortConfig
		want error
	}{
		{"missing", rtu.PortConfig{Path: "/dev/no-such-port", Mode: mode}, unix.ENOENT},
		{"regular file", rtu.PortConfig{Path: file, Mode: mode}, unix.ENOTTY},
		{"directory", rtu.PortConfig{Path: t.TempDir(), Mode: mode}, unix.EISDIR},
		{"/dev/zero", rtu.PortConfig{Path: "/dev/zero", Mode: mode}, unix.ENOTTY},
		{"RS-485 on a driver without it", rtu.PortConfig{Path: pty.Path, Mode: mode, RS485: rtu.RS485{Enabled: true}}, rtu.ErrNoRS485},
		{"7 data bits", rtu.PortConfig{Path: pty.Path, Mode: rtu.Mode{BaudRate: 9600, DataBits: 7, Parity: 'E', StopBits: 1}}, nil},
	} {
		port, err := rtu.Open(c.cfg)
		if err == nil {
			port.Close()
			t.Errorf("%s: opened", c.name)
		} else if c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
