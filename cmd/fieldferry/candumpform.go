package main

import (
	"fmt"
	"strconv"
	"strings"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

// join gives a frame to the transport protocol of its bus, and returns the long
// message that it completes; nil: none that a DBC file describes.
func (d *dumper) join(t *dbc.Transport, f *can.Frame) (p dbc.Packet, m *dbc.Message) {
	if d.db == nil || !d.db.J1939() {
		return p, nil
	}
	p, ok := t.Feed(f)
	if !ok {
		return p, nil
	}
	return p, d.db.LookupPacket(p.ID())
}

// decode finds what a frame means; nil: nobody knows.
func (d *dumper) decode(f *can.Frame) *dbc.Message {
	if d.db == nil {
		return nil
	}
	m := d.db.Find(f.ID, f.Flags)
	if m != nil {
		d.values = m.Decode(f.Payload(), d.values[:0])
	} else if d.err != nil {
		d.part(f)
	}
	return m
}

// partText says of a log or a verb, a message and its PGN why it is not decoded.
const partText = "%s: message %s (PGN %04X) is longer than a frame but arrives as single frames: they keep their data and are not decoded"

// part says once of each message that a frame is only a part of it.
func (d *dumper) part(f *can.Frame) {
	m := d.db.Lookup(f.ID, f.Flags&can.Extended != 0)
	if m == nil || f.Flags&(can.Remote|can.ErrorFrame) != 0 || d.parts[m] {
		return
	}
	if d.parts == nil {
		d.parts = map[*dbc.Message]bool{}
	}
	d.parts[m] = true
	fmt.Fprintln(d.err, printable(fmt.Sprintf(partText, "can dump", m.Name, dbc.PGN(m.ID))))
}

// appendSignals appends the signals of a frame for a person, after its bytes:
//
//	:: EEC1(EngineSpeed: 812.5 rpm, State: Running)
func (d *dumper) appendSignals(dst []byte, f *can.Frame) []byte {
	if m := d.decode(f); m != nil {
		return d.appendValues(dst, m)
	}
	if d.db != nil && d.db.J1939() && f.Flags == can.Extended {
		if name := dbc.TransportName(f.ID); name != "" {
			dst = append(append(dst, "  :: J1939 transport "...), name...)
		}
	}
	return dst
}

// appendValues appends the signals that were decoded of a message.
func (d *dumper) appendValues(dst []byte, m *dbc.Message) []byte {
	dst = append(dst, "  :: "...)
	dst = append(dst, printable(m.Name)...)
	dst = append(dst, '(')
	for i := range d.values {
		v := &d.values[i]
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, printable(v.Signal.Name)...)
		dst = append(dst, ": "...)
		if label, ok := v.Label(); ok {
			dst = append(dst, printable(label)...)
			continue
		}
		if reason := v.Missing(); reason != "" {
			dst = append(dst, reason...)
			continue
		}
		dst = v.AppendJSON(dst)
		if v.Signal.Unit != "" {
			dst = append(dst, ' ')
			dst = append(dst, printable(v.Signal.Unit)...)
		}
	}
	return append(dst, ')')
}

// beginJSON appends what the object of a frame or message begins with.
func (h *dumpedBus) beginJSON(dst []byte, t int64) []byte {
	us := max(t, 0) / 1000
	return fmt.Appendf(dst, `{"ts":%d.%06d,"bus":%s`, us/1e6, us%1e6, strconv.Quote(h.name))
}

// appendJSON appends a frame in the form that the verb decode prints, all but
// the last brace.
func (h *dumpedBus) appendJSON(dst []byte, f *can.Frame) []byte {
	dst = h.beginJSON(dst, f.Time)
	switch {
	case f.Flags&can.ErrorFrame != 0:
		return fmt.Appendf(dst, `,"error":["%s"],"data":"%X"`, strings.Join(can.ErrorClasses(f), `","`), f.Payload())
	case f.Flags&can.Extended != 0:
		dst = fmt.Appendf(dst, `,"id":"%08X","ext":true`, f.ID)
	default:
		dst = fmt.Appendf(dst, `,"id":"%03X"`, f.ID)
	}
	dst = fmt.Appendf(dst, `,"data":"%X"`, f.Payload())
	for _, flag := range []struct {
		bit  can.Flags
		name string
	}{{can.Remote, "rtr"}, {can.FD, "fd"}, {can.BitRateSwitch, "brs"}, {can.ErrorState, "esi"}} {
		if f.Flags&flag.bit != 0 {
			dst = fmt.Appendf(dst, `,"%s":true`, flag.name)
		}
	}
	if f.Flags&can.Remote != 0 && f.Len > 0 {
		dst = fmt.Appendf(dst, `,"dlc":%d`, f.Len)
	}
	if m := h.decode(f); m != nil {
		dst = h.appendMeaning(dst, m, f.ID)
	}
	return dst
}

// appendMeaning appends the members that say what the data mean.
func (h *dumpedBus) appendMeaning(dst []byte, m *dbc.Message, id uint32) []byte {
	dst = h.db.AppendName(append(dst, ','), m, id)
	return dbc.AppendSignals(append(dst, ','), h.values)
}

// appendJoined appends the line of a message that was joined. For people it stands
// behind a tab, as what candump -e explains: whoever reads frames passes it over.
func (h *dumpedBus) appendJoined(dst []byte, p *dbc.Packet, m *dbc.Message) []byte {
	h.values = m.Decode(p.Data, h.values[:0])
	if h.opts.asJSON {
		dst = fmt.Appendf(h.beginJSON(dst, p.Time), `,"id":"%08X","ext":true,"packets":true,"data":"%X"`, p.ID(), p.Data)
		return append(h.appendMeaning(dst, m, p.ID()), '}', '\n')
	}
	dst = h.appendStamp(append(dst, '\t'), p.Time/1000)
	dst = fmt.Appendf(dst, "%*s  %08X  %d bytes joined", h.width, h.name, p.ID(), len(p.Data))
	return append(h.appendValues(dst, m), '\n')
}
