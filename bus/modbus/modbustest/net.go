package modbustest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// ServeTCP answers Modbus TCP requests on every connection to l until ctx
// ends or l is closed. Each unit answers after its delay; requests of one
// connection are answered in order.
func (s *Slave) ServeTCP(ctx context.Context, l net.Listener) {
	serve(ctx, l, func(conn net.Conn) { s.converse(ctx, conn) })
}

// ServeRTUOverTCP answers requests in RTU framing on every connection.
func (s *Slave) ServeRTUOverTCP(ctx context.Context, l net.Listener) {
	serve(ctx, l, func(conn net.Conn) { s.Run(ctx, conn) })
}

func serve(ctx context.Context, l net.Listener, talk func(net.Conn)) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var talks sync.WaitGroup
	defer talks.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		talks.Go(func() {
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			defer conn.Close()
			talk(conn)
		})
	}
}

const mbapLen = 7

func (s *Slave) converse(ctx context.Context, conn net.Conn) {
	start := time.Now()
	var buf [260]byte
	for {
		if _, err := io.ReadFull(conn, buf[:mbapLen]); err != nil {
			return
		}
		length := int(binary.BigEndian.Uint16(buf[4:]))
		if binary.BigEndian.Uint16(buf[2:]) != 0 || length < 2 || length > len(buf)-6 {
			return
		}
		if _, err := io.ReadFull(conn, buf[mbapLen:6+length]); err != nil {
			return
		}
		if length < 6 {
			continue
		}
		request := rtu.AppendCRC(append([]byte(nil), buf[6:6+length]...))
		reply, delay := s.answer(request, time.Since(start))
		if reply == nil {
			continue
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		pdu := reply[:len(reply)-2]
		out := append([]byte(nil), buf[:4]...)
		out = binary.BigEndian.AppendUint16(out, uint16(len(pdu)))
		if _, err := conn.Write(append(out, pdu...)); err != nil {
			return
		}
	}
}
