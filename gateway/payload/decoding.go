package payload

import (
	"encoding/binary"
	"fmt"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

// Decoding is how the frames of one source are decoded when they are sent.
// It belongs to one goroutine.
type Decoding struct {
	DB *dbc.Database
	// OmitData leaves out the data of frames that are decoded.
	OmitData bool

	values []dbc.Value
}

// lookup finds the message that describes a frame. A remote frame asks for
// data and has none to decode.
func (d *Decoding) lookup(id uint32, flags can.Flags) *dbc.Message {
	if d == nil || d.DB == nil || flags&can.Remote != 0 {
		return nil
	}
	return d.DB.Lookup(id, flags&can.Extended != 0)
}

// appendSignals appends the members that say what a frame means. A message
// matched by its parameter group also says who sent it.
func (d *Decoding) appendSignals(dst []byte, m *dbc.Message, id uint32, data []byte) []byte {
	dst = append(dst, `,"name":`...)
	dst = appendString(dst, m.Name)
	if m.J1939 {
		dst = append(dst, `,"pgn":`...)
		dst = appendUint(dst, uint64(dbc.PGN(id)))
		dst = append(dst, `,"sa":`...)
		dst = appendUint(dst, uint64(dbc.SourceAddress(id)))
	}
	dst = append(dst, ',')
	d.values = m.Decode(data, d.values[:0])
	return dbc.AppendSignals(dst, d.values)
}

// packetHeader is the length of what precedes the data of a packet's body.
const packetHeader = 5

// AppendPacket appends the body of a long J1939 message that was joined from
// the packets of a transfer (SAE J1939-21).
func AppendPacket(dst []byte, p *dbc.Packet) []byte {
	dst = append(dst, typePacket)
	dst = binary.LittleEndian.AppendUint32(dst, p.ID())
	return append(dst, p.Data...)
}

// appendPacketJSON appends what follows the id's opening quote in the record of
// a joined message.
func appendPacketJSON(dst, body []byte, d *Decoding) ([]byte, error) {
	if len(body) < packetHeader {
		return dst, fmt.Errorf("%w: a packet of %d bytes", ErrBody, len(body))
	}
	id, data := binary.LittleEndian.Uint32(body[1:])&can.MaxExtendedID, body[packetHeader:]
	dst = appendID(dst, id, true)
	dst = append(dst, `","ext":true,"packets":true`...)
	m := d.lookup(id, can.Extended)
	if m == nil || !d.OmitData {
		dst = append(dst, `,"data":"`...)
		dst = appendHex(dst, data)
		dst = append(dst, '"')
	}
	if m != nil {
		dst = d.appendSignals(dst, m, id, data)
	}
	return dst, nil
}
