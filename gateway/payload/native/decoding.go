package native

import (
	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/gateway/record"
)

// Decoding is how the frames of one source are decoded when they are sent.
// It belongs to one goroutine.
type Decoding struct {
	DB *dbc.Database
	// OmitData leaves out the data of frames that are decoded.
	OmitData bool

	// Part, if set, is told once of each message of whose frames one is only a
	// part: they are not decoded, see [dbc.Database.IsPart].
	Part func(*dbc.Message)

	parts  map[*dbc.Message]bool // that Part was told of
	values []dbc.Value
}

// lookup finds the message that a frame is decoded by. A remote frame asks for
// data and has none to decode.
func (d *Decoding) lookup(id uint32, flags can.Flags) *dbc.Message {
	if d == nil || d.DB == nil || flags&can.Remote != 0 {
		return nil
	}
	m := d.DB.Lookup(id, flags&can.Extended != 0)
	if m != nil && d.DB.IsPart(m, flags) {
		d.part(m)
		return nil
	}
	return m
}

// lookupPacket finds the message of one that was joined from packets.
func (d *Decoding) lookupPacket(id uint32) *dbc.Message {
	if d == nil || d.DB == nil {
		return nil
	}
	return d.DB.LookupPacket(id)
}

func (d *Decoding) part(m *dbc.Message) {
	if d.Part == nil || d.parts[m] {
		return
	}
	if d.parts == nil {
		d.parts = map[*dbc.Message]bool{}
	}
	d.parts[m] = true
	d.Part(m)
}

// decode reads the signals, which appendSignals appends, and reports whether the
// record needs its data: it does where no signal says anything of it.
func (d *Decoding) decode(m *dbc.Message, data []byte) (withData bool) {
	if m == nil {
		return true
	}
	d.values = m.Decode(data, d.values[:0])
	return !d.OmitData || len(d.values) == 0
}

// appendSignals appends the members that say what a frame means.
func (d *Decoding) appendSignals(dst []byte, m *dbc.Message, id uint32) []byte {
	dst = d.DB.AppendName(append(dst, ','), m, id)
	return dbc.AppendSignals(append(dst, ','), d.values)
}

// appendPacketJSON appends what follows the id's opening quote in the record of
// a joined message.
func appendPacketJSON(dst, body []byte, d *Decoding) ([]byte, error) {
	id, data, err := record.ParsePacket(body)
	if err != nil {
		return dst, err
	}
	dst = appendID(dst, id, true)
	dst = append(dst, `","ext":true,"packets":true`...)
	m := d.lookupPacket(id)
	if d.decode(m, data) {
		dst = append(dst, `,"data":"`...)
		dst = appendHex(dst, data)
		dst = append(dst, '"')
	}
	if m != nil {
		dst = d.appendSignals(dst, m, id)
	}
	return dst, nil
}
