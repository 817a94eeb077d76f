package tcp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/modbus/tcp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted answers each request, a whole MBAP frame, with what answer writes.
func scripted(t *testing.T, answer func(n int, request []byte, conn net.Conn)) *tcp.Transporter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 12)
		for n := 0; ; n++ {
			if _, err := io.ReadFull(conn, buf); err != nil {
				return
			}
			answer(n, buf, conn)
		}
	}()
	port, err := rtu.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close(); l.Close(); <-done })
	m := tcp.NewTransporter(rtu.Config{Timeout: 200 * time.Millisecond}, tcp.Options{})
	m.Attach(port)
	return m
}

// reply is the right reply to request: each register holds its address.
func reply(request []byte) []byte {
	count := binary.BigEndian.Uint16(request[10:])
	p := append([]byte(nil), request[:4]...)
	p = binary.BigEndian.AppendUint16(p, 3+2*count)
	p = append(p, request[6], request[7], byte(2*count))
	for i := range count {
		p = binary.BigEndian.AppendUint16(p, binary.BigEndian.Uint16(request[8:])+i)
	}
	return p
}

func with(p []byte, change func(p []byte)) []byte {
	p = bytes.Clone(p)
	change(p)
	return p
}

func TestFaults(t *testing.T) {
	var (
		timeout   *rtu.TimeoutError
		mismatch  *rtu.MismatchError
		exception *rtu.ExceptionError
		lost      *rtu.PortLostError
	)
	var owed []byte
	for _, c := range []struct {
		name  string
		first func(request []byte) [][]byte // what answers the first request; the others are answered rightly
		want  any                           // of the first request; nil: the value
	}{
		{"right", func(q []byte) [][]byte { return [][]byte{reply(q)} }, nil},
		{"in pieces", func(q []byte) [][]byte { r := reply(q); return [][]byte{r[:3], r[3:8], r[8:]} }, nil},
		{"no reply", func([]byte) [][]byte { return nil }, &timeout},
		{"late", func(q []byte) [][]byte { owed = reply(q); return nil }, &timeout},
		{"another transaction first", func(q []byte) [][]byte {
			return [][]byte{with(reply(q), func(p []byte) { p[1] ^= 9; p[10] = 99 }), reply(q)}
		}, nil},
		{"another unit", func(q []byte) [][]byte { return [][]byte{with(reply(q), func(p []byte) { p[6] = 9 })} }, &mismatch},
		{"another function", func(q []byte) [][]byte { return [][]byte{with(reply(q), func(p []byte) { p[7] = 4 })} }, &mismatch},
		{"byte count that lies", func(q []byte) [][]byte { return [][]byte{with(reply(q), func(p []byte) { p[8] = 8 })} }, &mismatch},
		{"exception", func(q []byte) [][]byte { return [][]byte{append(append(bytes.Clone(q[:4]), 0, 3), q[6], 0x83, 11)} }, &exception},
		{"no Modbus", func([]byte) [][]byte { return [][]byte{[]byte("HTTP/1.1 400 Bad Request\r\n")} }, &lost},
	} {
		t.Run(c.name, func(t *testing.T) {
			owed = nil
			m := scripted(t, func(n int, request []byte, conn net.Conn) {
				parts := [][]byte{owed, reply(request)}
				if n == 0 {
					parts = c.first(request)
				}
				for _, p := range parts {
					_, _ = conn.Write(p)
				}
			})
			for i, address := range []uint16{10, 20, 30} {
				request := rtu.AppendReadRequest(nil, 1, 3, address, 1)
				got, err := m.SendContext(t.Context(), request)
				if err == nil && !bytes.Equal(got, modbustest.Reply(request, address)) {
					t.Fatalf("request %d: WRONG VALUE % x", i, got)
				}
				switch {
				case i == 0 && c.want != nil && (err == nil || !errors.As(err, c.want)):
					t.Errorf("got %T %v", err, err)
				case i == 0 && c.want == nil && err != nil, i > 0 && err != nil && !errors.As(err, &lost):
					t.Errorf("request %d: %v", i, err)
				}
				if errors.As(err, &lost) {
					break
				}
			}
		})
	}
}

func TestTheFarEndGoes(t *testing.T) {
	m := scripted(t, func(_ int, _ []byte, conn net.Conn) { conn.Close() })
	_, err := m.SendContext(t.Context(), rtu.AppendReadRequest(nil, 1, 3, 0, 1))
	var lost *rtu.PortLostError
	if !errors.As(err, &lost) {
		t.Errorf("%v", err)
	}
}

func TestCancelAndWrites(t *testing.T) {
	m := scripted(t, func(int, []byte, net.Conn) {})
	m.SetTimeout(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := m.SendContext(ctx, rtu.AppendReadRequest(nil, 1, 3, 0, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if _, err := m.SendContext(t.Context(), rtu.AppendCRC([]byte{1, 6, 0, 0, 0, 1})); !errors.Is(err, rtu.ErrRequest) {
		t.Errorf("a write: %v", err)
	}
}
