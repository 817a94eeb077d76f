package modbustest

import (
	"context"
	"encoding/binary"
	"io"
	"sync"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// TCPRequest is a Modbus TCP request as it came.
type TCPRequest struct {
	ID   uint16 // transaction
	Unit byte
	PDU  []byte
}

// RTU is the request in RTU framing, as [Reply], [BitReply] and [Exception]
// take it.
func (q TCPRequest) RTU() []byte {
	return rtu.AppendCRC(append([]byte{q.Unit}, q.PDU...))
}

// Frame carries a reply in RTU framing under the request's transaction id.
func (q TCPRequest) Frame(reply []byte) []byte {
	body := reply[:len(reply)-2]
	p := binary.BigEndian.AppendUint16(nil, q.ID)
	p = binary.BigEndian.AppendUint16(p, 0)
	p = binary.BigEndian.AppendUint16(p, uint16(len(body)))
	return append(p, body...)
}

// ServeMBAP is [Serve] for the far end of a Modbus TCP connection.
func ServeMBAP(ctx context.Context, line io.ReadWriteCloser, answer func(n int, q TCPRequest) []Step) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { line.Close() })
	defer stop()
	var writing sync.Mutex
	for n := 0; ; n++ {
		var header [mbapLen]byte
		if _, err := io.ReadFull(line, header[:]); err != nil {
			return
		}
		q := TCPRequest{ID: binary.BigEndian.Uint16(header[:]), Unit: header[6]}
		length := int(binary.BigEndian.Uint16(header[4:]))
		if length < 2 || length > rtu.MaxADU {
			return
		}
		q.PDU = make([]byte, length-1)
		if _, err := io.ReadFull(line, q.PDU); err != nil {
			return
		}
		steps := answer(n, q)
		running.Go(func() { play(ctx, line, &writing, steps) })
	}
}

// Gateway is a Modbus TCP gateway to a serial line: it asks one unit at a time.
type Gateway struct {
	Timeout time.Duration // for a unit that is not there
	Mute    bool          // it says nothing about that; otherwise exception 0x0B
	free    time.Time
}

// Steps are what the gateway does with a request to a unit that answers with
// reply after delay; a nil reply is a unit that is not there.
func (g *Gateway) Steps(q TCPRequest, reply []byte, delay time.Duration) []Step {
	now := time.Now()
	begin := now
	if g.free.After(now) {
		begin = g.free
	}
	if reply == nil {
		delay = g.Timeout
	}
	g.free = begin.Add(delay)
	switch {
	case reply == nil && g.Mute:
		return nil
	case reply == nil:
		reply = Exception(q.RTU(), 0x0B)
	}
	return []Step{{At: g.free.Sub(now), Send: q.Frame(reply)}}
}
